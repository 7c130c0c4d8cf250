/**
 * SQL schema of a tenant object. Statements run in order, once each. Never edit a released statement: append a new one.
 * Each index adds one written row per insert, so there are few. Request ids begin with their time, so inserts go to the
 * end of every tree, and a long history does not slow them.
 */
import { alertSchema } from '../alerts/alert-schema.ts'
import type { Sql } from './sql.ts'

export const schema: readonly string[] = [
  `CREATE TABLE account (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    tenant_id TEXT NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('active', 'suspended')),
    created_at INTEGER NOT NULL,
    credit_nano INTEGER NOT NULL,
    posted_nano INTEGER NOT NULL,
    reserved_nano INTEGER NOT NULL,
    chain_seq INTEGER NOT NULL,
    chain_hash TEXT NOT NULL,
    limits TEXT NOT NULL,
    state TEXT NOT NULL,
    settings TEXT NOT NULL
  )`,
  `CREATE TABLE api_keys (
    key_id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    secret_hash TEXT NOT NULL,
    previous_hash TEXT,
    previous_until INTEGER,
    role TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    last_used_at INTEGER,
    models TEXT,
    limits TEXT NOT NULL,
    state TEXT NOT NULL
  ) WITHOUT ROWID`,
  `CREATE TABLE rate_cards (
    model TEXT NOT NULL,
    effective_at INTEGER NOT NULL,
    input_nano INTEGER NOT NULL,
    cached_nano INTEGER NOT NULL,
    output_nano INTEGER NOT NULL,
    PRIMARY KEY (model, effective_at)
  ) WITHOUT ROWID`,
  `CREATE TABLE bookings (
    request_id TEXT PRIMARY KEY,
    key_id TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('reserved', 'posted', 'voided', 'expired')),
    bound_nano INTEGER NOT NULL,
    bound_tokens INTEGER NOT NULL,
    opened_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
  ) WITHOUT ROWID`,
  `CREATE INDEX open_bookings ON bookings (expires_at) WHERE state = 'reserved'`,
  `CREATE TABLE entries (
    seq INTEGER PRIMARY KEY,
    request_id TEXT,
    ref TEXT UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('post', 'void', 'expire', 'late', 'waste', 'credit', 'correction')),
    cost_nano INTEGER NOT NULL,
    credit_nano INTEGER NOT NULL,
    short_nano INTEGER NOT NULL,
    prompt_tokens INTEGER,
    cached_tokens INTEGER,
    output_tokens INTEGER,
    reasoning_tokens INTEGER,
    estimated INTEGER NOT NULL,
    at INTEGER NOT NULL,
    hash TEXT NOT NULL,
    key_id TEXT,
    model TEXT,
    pool TEXT,
    effort TEXT,
    worker_id TEXT,
    outcome TEXT,
    note TEXT
  )`,
  `CREATE TABLE usage_hours (
    hour INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    model TEXT NOT NULL,
    pool TEXT NOT NULL,
    effort TEXT NOT NULL,
    outcome TEXT NOT NULL,
    requests INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    PRIMARY KEY (hour, key_id, model, pool, effort, outcome)
  ) WITHOUT ROWID`,
  `CREATE TABLE pruned (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL,
    hash TEXT NOT NULL,
    cost_nano INTEGER NOT NULL,
    credit_nano INTEGER NOT NULL
  )`,
  // Credits and corrections by the operator's own id, so that a repeated one is applied once.
  `CREATE TABLE orders (
    order_id TEXT PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('credit', 'correction')),
    request_id TEXT,
    amount_nano INTEGER NOT NULL,
    seq INTEGER NOT NULL
  ) WITHOUT ROWID`,
  // The webhook's endpoint and progress. The entries serve as the outbox: no event is stored.
  `CREATE TABLE meter (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    url TEXT NOT NULL,
    event_name TEXT NOT NULL,
    customer_id TEXT NOT NULL,
    secret_version INTEGER NOT NULL,
    sent_seq INTEGER NOT NULL,
    batch_seq INTEGER,
    attempts INTEGER NOT NULL,
    next_at INTEGER NOT NULL,
    last_fault TEXT
  )`,
  `ALTER TABLE api_keys ADD COLUMN class TEXT CHECK (class IN ('batch'))`,
  // Open reservations, separate from closed ones, with the balances that they carry; see open-reservations.ts.
  'DROP INDEX open_bookings',
  `CREATE TABLE reservations (
    seq INTEGER PRIMARY KEY,
    request_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    bound_nano INTEGER NOT NULL,
    bound_tokens INTEGER NOT NULL,
    opened_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    balances TEXT,
    key_state TEXT
  )`,
  `INSERT INTO reservations SELECT row_number() OVER (ORDER BY request_id), request_id, key_id, bound_nano, bound_tokens,
    opened_at, expires_at, NULL, NULL FROM bookings WHERE state = 'reserved'`,
  `DELETE FROM bookings WHERE state = 'reserved'`,
  // The number of the last reservation that the row includes.
  'ALTER TABLE account ADD COLUMN version INTEGER NOT NULL DEFAULT 0',
  'ALTER TABLE api_keys ADD COLUMN version INTEGER NOT NULL DEFAULT 0',
  'UPDATE account SET version = (SELECT coalesce(max(seq), 0) FROM reservations)',
  // Of a feature that was removed; the last step drops it.
  'CREATE TABLE hedges (request_id TEXT PRIMARY KEY, winner TEXT) WITHOUT ROWID',
  // Requests that were voided before their admission arrived; see early-void-rows.ts.
  'CREATE TABLE early_voids (seq INTEGER PRIMARY KEY, request_id TEXT NOT NULL UNIQUE)',
  'DROP TABLE hedges',
  // Corrections count as usage, like every other entry with a cost.
  `INSERT INTO usage_hours SELECT at - at % 3600000, '', '', '', '', 'correction', 0, 0, 0, 0, 0, sum(cost_nano), 0
    FROM entries WHERE kind = 'correction' GROUP BY 1`,
  // The code checks the kinds. SQLite changes a check only with a new table.
  `CREATE TABLE ledger_entries (
    seq INTEGER PRIMARY KEY,
    request_id TEXT,
    ref TEXT UNIQUE,
    kind TEXT NOT NULL,
    cost_nano INTEGER NOT NULL,
    credit_nano INTEGER NOT NULL,
    short_nano INTEGER NOT NULL,
    prompt_tokens INTEGER,
    cached_tokens INTEGER,
    output_tokens INTEGER,
    reasoning_tokens INTEGER,
    estimated INTEGER NOT NULL,
    at INTEGER NOT NULL,
    hash TEXT NOT NULL,
    key_id TEXT,
    model TEXT,
    pool TEXT,
    effort TEXT,
    worker_id TEXT,
    outcome TEXT,
    note TEXT
  )`,
  'INSERT INTO ledger_entries SELECT * FROM entries',
  'DROP TABLE entries',
  'ALTER TABLE ledger_entries RENAME TO entries',
  `CREATE TABLE money_orders (
    order_id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    request_id TEXT,
    amount_nano INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    credit_id TEXT
  ) WITHOUT ROWID`,
  'INSERT INTO money_orders SELECT *, NULL FROM orders',
  'DROP TABLE orders',
  'ALTER TABLE money_orders RENAME TO orders',
  // Sums of quarter hours, for days in every time zone. The sums of earlier hours count in their first quarter.
  'ALTER TABLE usage_hours RENAME TO usage_quarters',
  'ALTER TABLE usage_quarters RENAME COLUMN hour TO quarter',
  // A JSON list of addresses and ranges; null for all.
  'ALTER TABLE api_keys ADD COLUMN allowed_ips TEXT',
  'ALTER TABLE api_keys ADD COLUMN rotated_at INTEGER',
  // Of the request that the reservation is for; see RequestDetails.
  'ALTER TABLE reservations ADD COLUMN details TEXT',
  // What the list of requests shows; see request-rows.ts. Sums are null until a receipt posts.
  'ALTER TABLE bookings ADD COLUMN model TEXT',
  'ALTER TABLE bookings ADD COLUMN end_user TEXT',
  'ALTER TABLE bookings ADD COLUMN tags TEXT',
  'ALTER TABLE bookings ADD COLUMN pool TEXT',
  'ALTER TABLE bookings ADD COLUMN effort TEXT',
  'ALTER TABLE bookings ADD COLUMN outcome TEXT',
  'ALTER TABLE bookings ADD COLUMN cost_nano INTEGER',
  'ALTER TABLE bookings ADD COLUMN prompt_tokens INTEGER',
  'ALTER TABLE bookings ADD COLUMN cached_tokens INTEGER',
  'ALTER TABLE bookings ADD COLUMN output_tokens INTEGER',
  'ALTER TABLE bookings ADD COLUMN reasoning_tokens INTEGER',
  'ALTER TABLE bookings ADD COLUMN estimated INTEGER',
  'ALTER TABLE bookings ADD COLUMN settled_at INTEGER',
  `UPDATE bookings SET (model, pool, effort, outcome, cost_nano, prompt_tokens, cached_tokens, output_tokens,
      reasoning_tokens, estimated, settled_at) =
    (done.model, done.pool, done.effort, done.outcome, done.cost_nano, done.prompt_tokens, done.cached_tokens,
      done.output_tokens, done.reasoning_tokens, done.estimated, done.settled_at)
    FROM (SELECT request_id, max(model) AS model, max(pool) AS pool, max(effort) AS effort,
        max(CASE WHEN kind = 'correction' THEN NULL ELSE outcome END) AS outcome, sum(cost_nano) AS cost_nano,
        sum(prompt_tokens) AS prompt_tokens, sum(cached_tokens) AS cached_tokens, sum(output_tokens) AS output_tokens,
        sum(reasoning_tokens) AS reasoning_tokens, max(estimated) AS estimated, max(at) AS settled_at
      FROM entries WHERE kind IN ('post', 'late', 'correction') AND request_id IS NOT NULL GROUP BY request_id) AS done
    WHERE done.request_id = bookings.request_id`,
  `UPDATE bookings SET outcome = state WHERE outcome IS NULL AND state <> 'posted'`,
  // Only requests with labels have rows here.
  `CREATE TABLE request_labels (
    label TEXT NOT NULL,
    value TEXT NOT NULL,
    request_id TEXT NOT NULL,
    PRIMARY KEY (label, value, request_id)
  ) WITHOUT ROWID`,
  // Usage of requests with labels, by day in the time zone of the tenant.
  `CREATE TABLE usage_labels (
    day INTEGER NOT NULL,
    label TEXT NOT NULL,
    value TEXT NOT NULL,
    key_id TEXT NOT NULL,
    model TEXT NOT NULL,
    pool TEXT NOT NULL,
    effort TEXT NOT NULL,
    outcome TEXT NOT NULL,
    requests INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    PRIMARY KEY (label, day, value, key_id, model, pool, effort, outcome)
  ) WITHOUT ROWID`,
  // Entries that are no usage. They are kept when the ledger is pruned; see money-rows.ts.
  `CREATE TABLE money_entries (
    entry INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    credit_nano INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    request_id TEXT,
    note TEXT
  )`,
  'CREATE INDEX money_entries_at ON money_entries (at)',
  'CREATE INDEX orders_by_seq ON orders (seq)',
  `INSERT INTO money_entries SELECT 0, created_at, 'credit', pruned.credit_nano, 0, NULL, 'before entries were kept'
    FROM account, pruned WHERE pruned.credit_nano <> 0`,
  `INSERT INTO money_entries SELECT seq, at, kind, credit_nano, cost_nano, request_id, note FROM entries
    WHERE kind = 'correction' OR credit_nano <> 0`,
  // Of a deleted tenant: since when, and when its books are removed.
  'ALTER TABLE account ADD COLUMN deleted_at INTEGER',
  'ALTER TABLE account ADD COLUMN purge_at INTEGER',
  // Up to which entry, time and day the usage is in the operator's database.
  'CREATE TABLE IF NOT EXISTS usage_copied (id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL, at INTEGER NOT NULL, day INTEGER NOT NULL)',
  ...alertSchema,
]

/** Applies the statements that a database does not have yet. */
export function migrate(sql: Sql, statements: readonly string[] = schema): void {
  sql.run('CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)')
  const version = Number(sql.all('SELECT version FROM schema_version')[0]?.version ?? 0)
  if (version === statements.length) return
  for (const statement of statements.slice(version)) sql.run(statement)
  sql.run('DELETE FROM schema_version')
  sql.run('INSERT INTO schema_version VALUES (?)', statements.length)
}

/** Whether a restore of the tenant began and has not ended. */
export function isRestoring(sql: Sql): boolean {
  return sql.all(`SELECT 1 FROM sqlite_master WHERE name = 'restoring'`).length > 0
}
