/**
 * The tenant object's SQL. Runs on a Durable Object's SQLite and, in tests, on Node's: both implement `Sql`. Every
 * function is synchronous; a caller of several functions wraps them in one transaction.
 */
import { z } from 'zod'
import { budgets } from '../../../backends/model/budgets.ts'
import { nanoMax, type Rates, safeInteger } from '../../../backends/model/money.ts'
import { priorityClasses, weightMax } from '../../fleet/queue/fair-queue.ts'
import { chainStart } from '../ledger/hash-chain.ts'
import type { Account, LedgerEntry, Reservation } from '../ledger/ledger.ts'
import type { LimitState, Limits } from '../limits/limits.ts'
import { openReservations } from './open-reservations.ts'
import { schema } from './schema.ts'
import { int, LimitStateRow, type Sql, type SqlRow, type SqlValue, text } from './sql.ts'

const LimitRow = z
  .number()
  .nullable()
  .transform((value) => value && safeInteger(value))
const RateRow = LimitRow.transform((value) => value && Math.min(value, budgets.ratePerMinute.value))
const LimitsRow = z.object({
  requestsPerMinute: RateRow,
  tokensPerMinute: RateRow,
  concurrentMax: LimitRow,
  budgetNano: z.object({ total: LimitRow, day: LimitRow, month: LimitRow }),
}) satisfies z.ZodType<Limits>

/** The descriptions are the text of the settings guide. */
export const TenantSettings = z.object({
  effortUnknown: z
    .enum(['map', 'reject'])
    .default('map')
    .describe('Whether an effort that the model does not have is mapped to one that it has, or refused.'),
  retentionDays: z
    .int()
    .min(1)
    .max(3_650)
    .default(90)
    .describe('Days that settled requests are kept one by one. Hourly sums are kept as long as the tenant exists.'),
  weight: z
    .int()
    .min(1)
    .max(weightMax)
    .default(100)
    .describe('The tenant’s share when slots are short: twice the weight gets twice the tokens.'),
  class: z
    .enum(priorityClasses)
    .default('interactive')
    .describe('Batch requests wait behind interactive ones; at least one of every eight grants is batch.'),
  hosted: z
    .enum(['never', 'last-resort'])
    .default('never')
    .describe('Whether requests may be sent to a hosted API when no worker is available in time.'),
  responseDays: z.int().min(0).max(365).default(30).describe('Days that stored responses are kept. 0 stores none.'),
  corsOrigins: z
    .array(
      z.union([
        z.literal('*'),
        z
          .string()
          .max(256)
          .regex(/^[a-z][a-z0-9+.-]*:\/\/[^\s/]+$/, 'must be an origin, as https://example.com, or "*"'),
      ]),
    )
    .max(32)
    .default([])
    .describe('Origins whose pages in browsers may read answers; `"*"` allows every origin.'),
  underLoad: z
    .enum(['wait', 'lower-effort'])
    .default('wait')
    .describe('Under overload, whether requests wait or are served with the least effort. The answer discloses it.'),
})
export type TenantSettings = z.infer<typeof TenantSettings>

export const tenantStatuses = ['active', 'suspended'] as const
export type TenantStatus = (typeof tenantStatuses)[number]

export interface Tenant extends Account {
  tenantId: string
  name: string
  /** A suspended tenant can only read its own usage and limits. */
  status: TenantStatus
  createdAt: number
  /** Number and hash of the last entry. */
  chainSeq: number
  chainHash: string
  limits: Limits
  state: LimitState
  settings: TenantSettings
}

export const roles = ['owner', 'admin', 'member', 'viewer'] as const
export type Role = (typeof roles)[number]

export interface KeyRow {
  keyId: string
  name: string
  prefix: string
  secretHash: string
  /** The secret before the last rotation, accepted until `until`. */
  previous: { secretHash: string; until: number } | null
  /** Decides the key's permissions; see roles.ts. */
  role: Role
  createdAt: number
  expiresAt: number | null
  revokedAt: number | null
  lastUsedAt: number | null
  /** The models that the key can use; null for all. */
  models: string[] | null
  /** `batch` lowers the class of the key's requests; null uses the tenant's class. A key cannot raise it. */
  class: 'batch' | null
  limits: Limits
  state: LimitState
}

/** Additional columns of an entry, for usage reports. */
export interface EntryLabels {
  keyId: string | null
  model: string | null
  pool: string | null
  effort: string | null
  workerId: string | null
  outcome: string | null
  note: string | null
}

export const noLabels: EntryLabels = {
  keyId: null,
  model: null,
  pool: null,
  effort: null,
  workerId: null,
  outcome: null,
  note: null,
}

/** State after pruning: the number and hash of the last pruned entry, and the sums of the pruned entries. */
export interface Pruned {
  seq: number
  hash: string
  costNano: number
  creditNano: number
}

export function openStore(sql: Sql) {
  migrate(sql)
  const reservations = openReservations(sql)
  const cardsOf = rememberedCards(sql)
  const earlyVoids = openEarlyVoids(sql)
  let lastClosed = newestClosed(sql)
  const keyOf = (row: SqlRow) => reservations.key(readKey(row), int(row, 'version'))
  return {
    sql,
    /** Reloads the in-memory state after a transaction was rolled back. */
    forget(): void {
      reservations.reload()
      cardsOf.forget()
      earlyVoids.reload()
      lastClosed = newestClosed(sql)
    },
    /** Call at the end of a transaction, after changed account and keys were put. */
    written: () => reservations.written(),
    tenant(): Tenant | undefined {
      const row = sql.all('SELECT * FROM account WHERE id = 1')[0]
      return row && reservations.account(readTenant(row), int(row, 'version'))
    },
    putTenant(tenant: Tenant): void {
      sql.run(
        `INSERT OR REPLACE INTO account (id, tenant_id, name, status, created_at, credit_nano, posted_nano,
          reserved_nano, chain_seq, chain_hash, limits, state, settings, version)
          VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
        tenant.tenantId,
        tenant.name,
        tenant.status,
        tenant.createdAt,
        tenant.creditNano,
        tenant.postedNano,
        tenant.reservedNano,
        tenant.chainSeq,
        tenant.chainHash,
        JSON.stringify(tenant.limits),
        JSON.stringify(tenant.state),
        JSON.stringify(tenant.settings),
        reservations.version(),
      )
    },
    /** The columns that change with every request. */
    putBalances(tenant: Tenant): void {
      if (reservations.carryAccount(tenant)) return
      sql.run(
        `UPDATE account SET credit_nano = ?, posted_nano = ?, reserved_nano = ?, chain_seq = ?, chain_hash = ?, state = ?,
          version = ? WHERE id = 1`,
        tenant.creditNano,
        tenant.postedNano,
        tenant.reservedNano,
        tenant.chainSeq,
        tenant.chainHash,
        JSON.stringify(tenant.state),
        reservations.version(),
      )
    },
    key(keyId: string): KeyRow | undefined {
      const row = sql.all('SELECT * FROM api_keys WHERE key_id = ?', keyId)[0]
      return row && keyOf(row)
    },
    keys(): KeyRow[] {
      return sql.all('SELECT * FROM api_keys ORDER BY created_at, key_id').map(keyOf)
    },
    /** Keys ordered by id, with ids greater than `after` and a key prefix that begins with `prefix`. */
    keysAfter(after: string, prefix: string, limit: number): KeyRow[] {
      const query = `SELECT * FROM api_keys WHERE key_id > ? AND substr(prefix, 1, length(?)) = ? ORDER BY key_id LIMIT ?`
      return sql.all(query, after, prefix, prefix, limit).map(keyOf)
    },
    keysCount(): number {
      return int(sql.all('SELECT count(*) AS n FROM api_keys')[0] ?? {}, 'n')
    },
    putKey(key: KeyRow): void {
      sql.run(
        `INSERT OR REPLACE INTO api_keys (key_id, name, prefix, secret_hash, previous_hash, previous_until, role,
          created_at, expires_at, revoked_at, last_used_at, models, limits, state, class, version)
          VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
        key.keyId,
        key.name,
        key.prefix,
        key.secretHash,
        key.previous?.secretHash ?? null,
        key.previous?.until ?? null,
        key.role,
        key.createdAt,
        key.expiresAt,
        key.revokedAt,
        key.lastUsedAt,
        key.models && JSON.stringify(key.models),
        JSON.stringify(key.limits),
        JSON.stringify(key.state),
        key.class,
        reservations.version(),
      )
    },
    putKeyState(key: KeyRow): void {
      if (reservations.carryKey(key)) return
      sql.run(
        'UPDATE api_keys SET state = ?, last_used_at = ?, version = ? WHERE key_id = ?',
        JSON.stringify(key.state),
        key.lastUsedAt,
        reservations.version(),
        key.keyId,
      )
    },
    /** The rates in force at `now`, or undefined if the tenant has no card for the model. */
    rates(model: string, now: number): Rates | undefined {
      return cardsOf.model(model).find(({ effectiveAt }) => effectiveAt <= now)?.rates
    },
    rateCards(): SqlRow[] {
      return sql.all('SELECT * FROM rate_cards ORDER BY model, effective_at')
    },
    putRates(model: string, effectiveAt: number, rates: Rates): void {
      cardsOf.forget()
      sql.run(
        'INSERT OR REPLACE INTO rate_cards VALUES (?, ?, ?, ?, ?)',
        model,
        effectiveAt,
        rates.inputNano,
        rates.cachedNano,
        rates.outputNano,
      )
    },
    reservation(requestId: string): Reservation | undefined {
      const open = reservations.get(requestId)
      if (open) return open
      // Ids begin with the time, so a new request needs no lookup among the closed ones.
      if (requestId > lastClosed) return undefined
      const row = sql.all('SELECT * FROM bookings WHERE request_id = ?', requestId)[0]
      return row && readReservation(row)
    },
    openReservations: (): Reservation[] => reservations.all(),
    overdue(now: number, limit: number): Reservation[] {
      const due = reservations.all().filter((reservation) => reservation.expiresAt <= now)
      return due.sort((a, b) => a.expiresAt - b.expiresAt).slice(0, limit)
    },
    /** When the next open reservation is due; undefined if none is open. */
    nextDue(): number | undefined {
      return reservations
        .all()
        .reduce<number | undefined>((due, { expiresAt }) => Math.min(due ?? expiresAt, expiresAt), undefined)
    },
    putReservation(reservation: Reservation): void {
      if (reservation.state === 'reserved') return void reservations.put(reservation)
      reservations.remove(reservation.requestId)
      if (reservation.requestId > lastClosed) lastClosed = reservation.requestId
      sql.run(
        'INSERT OR REPLACE INTO bookings VALUES (?, ?, ?, ?, ?, ?, ?)',
        reservation.requestId,
        reservation.keyId,
        reservation.state,
        reservation.boundNano,
        reservation.boundTokens,
        reservation.openedAt,
        reservation.expiresAt,
      )
    },
    earlyVoids,
    hasEntry(dispatchId: string): boolean {
      return sql.all('SELECT 1 FROM entries WHERE ref = ?', dispatchId).length > 0
    },
    /** Sum that all receipts of one request have posted. */
    postedNano(requestId: string): number {
      const row = sql.all(
        `SELECT ${exactSum('cost_nano')} AS posted FROM entries WHERE ref >= ? AND ref < ? AND kind IN ('post', 'late')`,
        ...[`${requestId}.`, `${requestId}/`],
      )[0]
      return int(row ?? { posted: 0 }, 'posted')
    },
    /** Requests whose receipts posted more than their bound. The ledger never allows that. */
    overBound(limit: number): { requestId: string; boundNano: number; postedNano: number }[] {
      const rows = sql.all(
        `SELECT bookings.request_id, bound_nano, ${exactSum('cost_nano')} AS posted FROM bookings
          JOIN entries ON ref >= bookings.request_id || '.' AND ref < bookings.request_id || '/' AND kind IN ('post', 'late')
          GROUP BY bookings.request_id HAVING posted > bound_nano LIMIT ?`,
        limit,
      )
      return rows.map((row) => ({
        requestId: text(row, 'request_id'),
        boundNano: int(row, 'bound_nano'),
        postedNano: int(row, 'posted'),
      }))
    },
    addEntry(seq: number, hash: string, entry: LedgerEntry, labels: EntryLabels): void {
      sql.run(
        `INSERT INTO entries (seq, request_id, ref, kind, cost_nano, credit_nano, short_nano, prompt_tokens,
          cached_tokens, output_tokens, reasoning_tokens, estimated, at, hash, key_id, model, pool, effort, worker_id, outcome, note)
          VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
        seq,
        entry.requestId,
        refOf(seq, entry),
        entry.kind,
        entry.costNano,
        entry.creditNano,
        entry.shortNano,
        entry.counts?.promptTokens ?? null,
        entry.counts?.cachedTokens ?? null,
        entry.counts?.outputTokens ?? null,
        entry.counts?.reasoningTokens ?? null,
        entry.estimated ? 1 : 0,
        entry.at,
        hash,
        labels.keyId,
        labels.model,
        labels.pool,
        labels.effort,
        labels.workerId,
        labels.outcome,
        labels.note,
      )
    },
    /** Every entry of one request, found by the common prefix of their `ref`. */
    entriesOf(requestId: string): SqlRow[] {
      return sql.all('SELECT * FROM entries WHERE ref >= ? AND ref < ? ORDER BY seq', `${requestId}.`, `${requestId}/`)
    },
    /** Entries after `seq`, in order. */
    entriesAfter(seq: number, limit: number): { seq: number; hash: string; entry: LedgerEntry; labels: EntryLabels }[] {
      return sql.all('SELECT * FROM entries WHERE seq > ? ORDER BY seq LIMIT ?', seq, limit).map(readEntry)
    },
    totals(): SqlRow {
      return (
        sql.all(`SELECT count(*) AS entries,
          coalesce(sum(kind IN ('post', 'void', 'expire')), 0) AS closed, ${exactSum('cost_nano')} AS cost_nano,
          ${exactSum('prompt_tokens')} AS prompt_tokens, ${exactSum('cached_tokens')} AS cached_tokens,
          ${exactSum('output_tokens')} AS output_tokens, ${exactSum('reasoning_tokens')} AS reasoning_tokens
          FROM entries`)[0] ?? {}
      )
    },
    /** Adds one settled dispatch to its hour. A sum stops at the largest exact integer. */
    addUsage(hour: number, labels: EntryLabels, entry: LedgerEntry): void {
      sql.run(
        `INSERT INTO usage_hours VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?)
          ON CONFLICT DO UPDATE SET requests = requests + 1, ${usageSums}, estimated = estimated + excluded.estimated`,
        hour,
        labels.keyId ?? '',
        labels.model ?? '',
        labels.pool ?? '',
        labels.effort ?? '',
        labels.outcome ?? '',
        entry.counts?.promptTokens ?? 0,
        entry.counts?.cachedTokens ?? 0,
        entry.counts?.outputTokens ?? 0,
        entry.counts?.reasoningTokens ?? 0,
        entry.costNano,
        entry.estimated ? 1 : 0,
      )
    },
    pruned(): Pruned {
      const row = sql.all('SELECT * FROM pruned WHERE id = 1')[0]
      if (!row) return { seq: 0, hash: chainStart, costNano: 0, creditNano: 0 }
      return {
        seq: int(row, 'seq'),
        hash: text(row, 'hash'),
        costNano: int(row, 'cost_nano'),
        creditNano: int(row, 'credit_nano'),
      }
    },
    /**
     * Deletes entries and closed reservations older than `before`, at most `limit` of each, and stores the start of the
     * remaining chain and the sums. Returns the number of deleted rows. Only the oldest entries go, so no gap can hide
     * a loss.
     */
    prune(before: number, limit: number): number {
      const start = this.pruned()
      const rows = sql.all(
        `SELECT seq, hash, cost_nano, credit_nano, at, request_id, state, opened_at FROM entries
          LEFT JOIN bookings USING (request_id) WHERE seq > ? ORDER BY seq LIMIT ?`,
        start.seq,
        limit,
      )
      // Stops at the first young entry or request: a repeated receipt must find both its entry and reservation, or
      // neither.
      const young = rows.findIndex(
        (row) =>
          int(row, 'at') >= before ||
          reservations.get(String(row.request_id)) !== undefined ||
          (row.opened_at !== null && int(row, 'opened_at') >= before),
      )
      const old = young < 0 ? rows : rows.slice(0, young)
      const last = old.at(-1)
      if (!last) return 0
      const sum = (column: string) => old.reduce((total, row) => total + int(row, column), 0)
      sql.run(
        'INSERT OR REPLACE INTO pruned VALUES (1, ?, ?, ?, ?)',
        int(last, 'seq'),
        text(last, 'hash'),
        start.costNano + sum('cost_nano'),
        start.creditNano + sum('credit_nano'),
      )
      sql.run('DELETE FROM entries WHERE seq <= ?', int(last, 'seq'))
      const requests = new Set(old.filter((row) => row.state !== null).map((row) => text(row, 'request_id')))
      for (const requestId of requests) sql.run('DELETE FROM bookings WHERE request_id = ?', requestId)
      return old.length + requests.size
    },
  }
}

export type Store = ReturnType<typeof openStore>

/** Cache of rate cards, the latest first: every request needs its model's rates, and they rarely change. */
function rememberedCards(sql: Sql) {
  const cards = new Map<string, { effectiveAt: number; rates: Rates }[]>()
  return {
    forget: () => cards.clear(),
    model(model: string): { effectiveAt: number; rates: Rates }[] {
      const known = cards.get(model)
      if (known) return known
      const query = `SELECT effective_at, input_nano, cached_nano, output_nano FROM rate_cards WHERE model = ?
        ORDER BY effective_at DESC`
      const read = sql.all(query, model).map((row) => ({
        effectiveAt: int(row, 'effective_at'),
        rates: {
          inputNano: price(row, 'input_nano'),
          cachedNano: price(row, 'cached_nano'),
          outputNano: price(row, 'output_nano'),
        },
      }))
      // Unknown model names are not cached: there may be any number of them.
      if (read.length > 0) cards.set(model, read)
      return read
    },
  }
}

function price(row: SqlRow, column: string): number {
  return Math.min(budgets.priceNano.value, Math.max(0, int(row, column)))
}

/** SQL for the sum of a column as an exact integer. SQLite's own sum() fails beyond 64 bits. */
export function exactSum(column: string): string {
  return `CAST(max(-${nanoMax}, min(${nanoMax}, total(${column}))) AS INTEGER)`
}

const usageSums = ['prompt_tokens', 'cached_tokens', 'output_tokens', 'reasoning_tokens', 'cost_nano']
  .map((column) => `${column} = min(${nanoMax}, ${column} + excluded.${column})`)
  .join(', ')

/**
 * Requests that were voided before their admission arrived, because the admitting call was delayed and its caller gave
 * up. An admission after its void is refused, because no later call would close it. They are few and also in memory.
 */
function openEarlyVoids(sql: Sql) {
  const known = new Set<string>()
  function reload(): void {
    known.clear()
    for (const row of sql.all('SELECT request_id FROM early_voids ORDER BY seq')) known.add(text(row, 'request_id'))
  }
  reload()
  return {
    reload,
    has: (requestId: string): boolean => known.has(requestId),
    add(requestId: string): void {
      if (known.has(requestId)) return
      known.add(requestId)
      sql.run('INSERT INTO early_voids (request_id) VALUES (?)', requestId)
      const [oldest] = known
      if (known.size <= budgets.earlyVoids.value || oldest === undefined) return
      known.delete(oldest)
      sql.run('DELETE FROM early_voids WHERE request_id = ?', oldest)
    },
  }
}

/** The greatest request id of a closed reservation. SQLite compares text byte by byte. */
function newestClosed(sql: Sql): string {
  return String(sql.all('SELECT max(request_id) AS id FROM bookings')[0]?.id ?? '')
}

function migrate(sql: Sql): void {
  sql.run('CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)')
  const version = Number(sql.all('SELECT version FROM schema_version')[0]?.version ?? 0)
  if (version === schema.length) return
  for (const statement of schema.slice(version)) sql.run(statement)
  sql.run('DELETE FROM schema_version')
  sql.run('INSERT INTO schema_version VALUES (?)', schema.length)
}

function readTenant(row: SqlRow): Tenant {
  return {
    tenantId: text(row, 'tenant_id'),
    name: text(row, 'name'),
    status: z.enum(tenantStatuses).parse(row.status),
    createdAt: int(row, 'created_at'),
    creditNano: int(row, 'credit_nano'),
    postedNano: int(row, 'posted_nano'),
    reservedNano: int(row, 'reserved_nano'),
    chainSeq: int(row, 'chain_seq'),
    chainHash: text(row, 'chain_hash'),
    limits: LimitsRow.parse(JSON.parse(text(row, 'limits'))),
    state: LimitStateRow.parse(JSON.parse(text(row, 'state'))),
    settings: TenantSettings.parse(JSON.parse(text(row, 'settings'))),
  }
}

function readKey(row: SqlRow): KeyRow {
  return {
    keyId: text(row, 'key_id'),
    name: text(row, 'name'),
    prefix: text(row, 'prefix'),
    secretHash: text(row, 'secret_hash'),
    previous:
      row.previous_hash == null ? null : { secretHash: text(row, 'previous_hash'), until: int(row, 'previous_until') },
    role: z.enum(roles).parse(row.role),
    createdAt: int(row, 'created_at'),
    expiresAt: row.expires_at === null ? null : int(row, 'expires_at'),
    revokedAt: row.revoked_at === null ? null : int(row, 'revoked_at'),
    lastUsedAt: row.last_used_at === null ? null : int(row, 'last_used_at'),
    models: row.models === null ? null : z.array(z.string()).parse(JSON.parse(text(row, 'models'))),
    class: z.literal('batch').nullable().parse(row.class),
    limits: LimitsRow.parse(JSON.parse(text(row, 'limits'))),
    state: LimitStateRow.parse(JSON.parse(text(row, 'state'))),
  }
}

const ReservationState = z.enum(['posted', 'voided', 'expired'])

function readReservation(row: SqlRow): Reservation {
  return {
    requestId: text(row, 'request_id'),
    keyId: text(row, 'key_id'),
    state: ReservationState.parse(row.state),
    boundNano: int(row, 'bound_nano'),
    boundTokens: int(row, 'bound_tokens'),
    openedAt: int(row, 'opened_at'),
    expiresAt: int(row, 'expires_at'),
  }
}

const EntryKind = z.enum(['post', 'void', 'expire', 'late', 'waste', 'credit', 'correction'])

function readEntry(row: SqlRow): { seq: number; hash: string; entry: LedgerEntry; labels: EntryLabels } {
  const counts =
    row.prompt_tokens === null
      ? null
      : {
          promptTokens: int(row, 'prompt_tokens'),
          cachedTokens: int(row, 'cached_tokens'),
          outputTokens: int(row, 'output_tokens'),
          reasoningTokens: int(row, 'reasoning_tokens'),
        }
  const maybe = (column: string) => (row[column] == null ? null : text(row, column))
  return {
    seq: int(row, 'seq'),
    hash: text(row, 'hash'),
    entry: {
      requestId: maybe('request_id'),
      dispatchId: isDispatched(row.kind) ? maybe('ref') : null,
      kind: EntryKind.parse(row.kind),
      costNano: int(row, 'cost_nano'),
      creditNano: int(row, 'credit_nano'),
      shortNano: int(row, 'short_nano'),
      counts,
      estimated: row.estimated === 1,
      at: int(row, 'at'),
    },
    labels: {
      keyId: maybe('key_id'),
      model: maybe('model'),
      pool: maybe('pool'),
      effort: maybe('effort'),
      workerId: maybe('worker_id'),
      outcome: maybe('outcome'),
      note: maybe('note'),
    },
  }
}

/**
 * The unique reference of an entry: its dispatch id, which begins with the request id, or request id and kind. A
 * request may have several corrections, so their reference ends in the entry's number.
 */
function refOf(seq: number, entry: LedgerEntry): string | null {
  if (entry.dispatchId !== null || entry.requestId === null) return entry.dispatchId
  return entry.kind === 'correction' ? `${entry.requestId}.correction.${seq}` : `${entry.requestId}.${entry.kind}`
}

function isDispatched(kind: SqlValue | undefined): boolean {
  return kind === 'post' || kind === 'late' || kind === 'waste'
}
