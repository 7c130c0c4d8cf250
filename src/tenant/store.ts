/**
 * The tenant object's rows, as SQL. Runs on a Durable Object's SQLite and, in tests, on Node's: both give `Sql`.
 * Every function is synchronous; whoever calls several of them does so inside one transaction.
 */
import type { Rates } from '../../backends/protocol/money.ts'
import type { Account, Booking, Entry } from '../ledger/ledger.ts'
import type { Bucket } from '../limits/bucket.ts'
import { schema } from './schema.ts'

export type SqlValue = string | number | null
export type Row = Record<string, SqlValue>

export interface Sql {
  all(query: string, ...values: SqlValue[]): Row[]
  run(query: string, ...values: SqlValue[]): void
}

export interface Tenant extends Account {
  tenantId: string
  name: string
  createdAt: number
  /** Zero means no limit. */
  requestsPerMinute: number
  /** Open reservations at once; zero means no limit. */
  concurrentMax: number
  /** What happens to an effort word that the model does not know. */
  effortUnknown: 'map' | 'reject'
}

export interface KeyRow {
  keyId: string
  name: string
  prefix: string
  secretHash: string
  createdAt: number
  expiresAt: number | null
  revokedAt: number | null
  requestsPerMinute: number
  bucket: Bucket
}

/** What an entry says beyond the ledger's own words, for usage reports. */
export interface EntryLabels {
  keyId: string
  model: string | null
  pool: string | null
  effort: string | null
  workerId: string | null
  outcome: string | null
}

export function openStore(sql: Sql) {
  migrate(sql)
  return {
    tenant(): Tenant | undefined {
      const row = sql.all('SELECT * FROM account WHERE id = 1')[0]
      return row && readTenant(row)
    },
    putTenant(tenant: Tenant): void {
      sql.run(
        `INSERT OR REPLACE INTO account (id, tenant_id, name, created_at, credit_nano, posted_nano, reserved_nano,
          requests_per_minute, concurrent_max, effort_unknown) VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
        tenant.tenantId,
        tenant.name,
        tenant.createdAt,
        tenant.creditNano,
        tenant.postedNano,
        tenant.reservedNano,
        tenant.requestsPerMinute,
        tenant.concurrentMax,
        tenant.effortUnknown,
      )
    },
    putBalances(account: Account): void {
      sql.run(
        'UPDATE account SET posted_nano = ?, reserved_nano = ? WHERE id = 1',
        account.postedNano,
        account.reservedNano,
      )
    },
    keys(): KeyRow[] {
      return sql.all('SELECT * FROM api_keys').map(readKey)
    },
    putKey(key: KeyRow): void {
      sql.run(
        'INSERT OR REPLACE INTO api_keys VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
        key.keyId,
        key.name,
        key.prefix,
        key.secretHash,
        key.createdAt,
        key.expiresAt,
        key.revokedAt,
        key.requestsPerMinute,
        key.bucket.level,
        key.bucket.at,
      )
    },
    putBucket(keyId: string, bucket: Bucket): void {
      sql.run('UPDATE api_keys SET bucket_level = ?, bucket_at = ? WHERE key_id = ?', bucket.level, bucket.at, keyId)
    },
    /** The rates in force at `now`, or undefined when this tenant has none for the model. */
    rates(model: string, now: number): Rates | undefined {
      const row = sql.all(
        `SELECT input_nano, cached_nano, output_nano FROM rate_cards WHERE model = ? AND effective_at <= ?
          ORDER BY effective_at DESC LIMIT 1`,
        model,
        now,
      )[0]
      return (
        row && {
          inputNano: int(row, 'input_nano'),
          cachedNano: int(row, 'cached_nano'),
          outputNano: int(row, 'output_nano'),
        }
      )
    },
    putRates(model: string, effectiveAt: number, rates: Rates): void {
      sql.run(
        'INSERT OR REPLACE INTO rate_cards VALUES (?, ?, ?, ?, ?)',
        model,
        effectiveAt,
        rates.inputNano,
        rates.cachedNano,
        rates.outputNano,
      )
    },
    booking(requestId: string): Booking | undefined {
      const row = sql.all('SELECT * FROM bookings WHERE request_id = ?', requestId)[0]
      return row && readBooking(row)
    },
    openBookings(): number {
      return int(sql.all(`SELECT count(*) AS n FROM bookings WHERE state = 'reserved'`)[0] ?? {}, 'n')
    },
    overdue(now: number, limit: number): Booking[] {
      const query = `SELECT * FROM bookings WHERE state = 'reserved' AND expires_at <= ? ORDER BY expires_at LIMIT ?`
      return sql.all(query, now, limit).map(readBooking)
    },
    putBooking(booking: Booking): void {
      sql.run(
        'INSERT OR REPLACE INTO bookings VALUES (?, ?, ?, ?, ?, ?)',
        booking.requestId,
        booking.keyId,
        booking.state,
        booking.boundNano,
        booking.openedAt,
        booking.expiresAt,
      )
    },
    hasEntry(dispatchId: string): boolean {
      return sql.all('SELECT 1 FROM entries WHERE dispatch_id = ?', dispatchId).length > 0
    },
    entriesOf(requestId: string): Row[] {
      return sql.all('SELECT * FROM entries WHERE request_id = ? ORDER BY seq', requestId)
    },
    totals(): Row {
      return (
        sql.all(`SELECT count(*) AS entries,
          coalesce(sum(kind IN ('post', 'void', 'expire')), 0) AS closed, coalesce(sum(cost_nano), 0) AS cost_nano,
          coalesce(sum(prompt_tokens), 0) AS prompt_tokens, coalesce(sum(cached_tokens), 0) AS cached_tokens,
          coalesce(sum(output_tokens), 0) AS output_tokens, coalesce(sum(reasoning_tokens), 0) AS reasoning_tokens
          FROM entries`)[0] ?? {}
      )
    },
    addEntry(entry: Entry, labels: EntryLabels): void {
      sql.run(
        `INSERT INTO entries (request_id, dispatch_id, kind, cost_nano, short_nano, prompt_tokens, cached_tokens,
          output_tokens, reasoning_tokens, estimated, at, key_id, model, pool, effort, worker_id, outcome)
          VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
        entry.requestId,
        entry.dispatchId,
        entry.kind,
        entry.costNano,
        entry.shortNano,
        entry.counts?.promptTokens ?? null,
        entry.counts?.cachedTokens ?? null,
        entry.counts?.outputTokens ?? null,
        entry.counts?.reasoningTokens ?? null,
        entry.estimated ? 1 : 0,
        entry.at,
        labels.keyId,
        labels.model,
        labels.pool,
        labels.effort,
        labels.workerId,
        labels.outcome,
      )
    },
  }
}

export type Store = ReturnType<typeof openStore>

function migrate(sql: Sql): void {
  sql.run('CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)')
  const version = Number(sql.all('SELECT version FROM schema_version')[0]?.version ?? 0)
  if (version === schema.length) return
  for (const statement of schema.slice(version)) sql.run(statement)
  sql.run('DELETE FROM schema_version')
  sql.run('INSERT INTO schema_version VALUES (?)', schema.length)
}

function readTenant(row: Row): Tenant {
  return {
    tenantId: text(row, 'tenant_id'),
    name: text(row, 'name'),
    createdAt: int(row, 'created_at'),
    creditNano: int(row, 'credit_nano'),
    postedNano: int(row, 'posted_nano'),
    reservedNano: int(row, 'reserved_nano'),
    requestsPerMinute: int(row, 'requests_per_minute'),
    concurrentMax: int(row, 'concurrent_max'),
    effortUnknown: row.effort_unknown === 'reject' ? 'reject' : 'map',
  }
}

function readKey(row: Row): KeyRow {
  return {
    keyId: text(row, 'key_id'),
    name: text(row, 'name'),
    prefix: text(row, 'prefix'),
    secretHash: text(row, 'secret_hash'),
    createdAt: int(row, 'created_at'),
    expiresAt: row.expires_at === null ? null : int(row, 'expires_at'),
    revokedAt: row.revoked_at === null ? null : int(row, 'revoked_at'),
    requestsPerMinute: int(row, 'requests_per_minute'),
    bucket: { level: int(row, 'bucket_level'), at: int(row, 'bucket_at') },
  }
}

function readBooking(row: Row): Booking {
  return {
    requestId: text(row, 'request_id'),
    keyId: text(row, 'key_id'),
    state: text(row, 'state') as Booking['state'],
    boundNano: int(row, 'bound_nano'),
    openedAt: int(row, 'opened_at'),
    expiresAt: int(row, 'expires_at'),
  }
}

function int(row: Row, column: string): number {
  const value = row[column]
  if (typeof value !== 'number') throw new Error(`column ${column} holds no number`)
  return value
}

function text(row: Row, column: string): string {
  const value = row[column]
  if (typeof value !== 'string') throw new Error(`column ${column} holds no text`)
  return value
}
