/**
 * Management of a tenant: what an operator can see and change, or a tenant's own key within its role. Synchronous over
 * the account, for use inside one transaction. A refusal changes nothing and its message states what to do.
 */
import { cleanText } from '../../backends/model/clean-text.ts'
import { countsFault, widestBounds } from '../../backends/model/counts.ts'
import type { ErrorCode } from '../../backends/model/errors.ts'
import { costNano, type Rates } from '../../backends/model/money.ts'
import type { Settlement } from '../../backends/wire/receipt.ts'
import type { TenantAccount } from './account.ts'
import { checkKey, suspendedMessage } from './admission.ts'
import { keyBudgets, type Limits, newLimitState } from './limits/limits.ts'
import { type LimitsRemaining, limitsRemaining } from './limits/remaining.ts'
import { may, type Right, reaches, roleNeeded } from './roles.ts'
import { int } from './rows.ts'
import type { NewKey } from './rpc.ts'
import type { KeyRow, Role, Tenant, TenantSettings, TenantStatus } from './store.ts'
import type { UsageQuery, UsageRow } from './usage/report.ts'
import { usageRowsMax } from './usage/report.ts'
import { usageRows } from './usage/rows.ts'

/** The caller: the operator, who has every permission, or the bearer of one of the tenant's keys. */
export type Requester = { kind: 'operator' } | { kind: 'key'; keyId: string; secretHash: string }

interface Denial {
  ok: false
  code: ErrorCode
  message: string
  param: string | null
}
export type TenantResult<Value> = { ok: true; value: Value } | Denial

/** Undefined fields stay unchanged; so do limits that `limits` does not name. */
export interface TenantChange {
  name?: string | undefined
  status?: TenantStatus | undefined
  limits?: LimitsChange | undefined
  settings?: Partial<TenantSettings> | undefined
}

interface LimitsChange extends Partial<Omit<Limits, 'budgetNano'>> {
  budgetNano?: Partial<Limits['budgetNano']>
}

export interface KeyChange {
  name?: string | undefined
  role?: Role | undefined
  models?: string[] | null | undefined
  class?: 'batch' | null | undefined
  limits?: LimitsChange | undefined
  expiresAt?: number | null | undefined
}

export interface KeyPage {
  /** Filter on the beginning of the key prefix; empty for all. */
  prefix: string
  /** The last key id of the previous page. */
  after: string
  limit: number
}

export interface NewSecret {
  prefix: string
  secretHash: string
}

export interface NewRates {
  model: string
  /** Null for now. */
  effectiveAt: number | null
  rates: Rates
}

/** The visible fields of a key: never its secret or the hash. */
export interface KeyView {
  keyId: string
  name: string
  prefix: string
  role: Role
  status: 'active' | 'expired' | 'revoked'
  createdAt: number
  expiresAt: number | null
  revokedAt: number | null
  lastUsedAt: number | null
  /** Until when the secret before the last rotation is also accepted. */
  previousUntil: number | null
  models: string[] | null
  class: 'batch' | null
  limits: Limits
}

export interface LimitsView {
  tenant: { tenantId: string; status: TenantStatus; limits: Limits; left: LimitsRemaining; credit: Credit }
  key: {
    keyId: string
    role: Role
    expiresAt: number | null
    models: string[] | null
    limits: Limits
    left: LimitsRemaining
  }
}

interface Credit {
  creditNano: number
  spentNano: number
  reservedNano: number
  leftNano: number
}

export interface TenantView {
  name: string
  status: TenantStatus
  limits: Limits
  settings: TenantSettings
}

const keysMax = 20_000
const tenantMissing = 'Tenant not found. Create it first.'
const requestMissing = 'requestId: this tenant has no such request. It may have been pruned.'

/** Checks that `by` has the permission `right`, and returns its role. */
export function identify(account: TenantAccount, by: Requester, right: Right, now: number): TenantResult<Identity> {
  const caller = admitTo(account, by, right, now)
  if (!caller.ok) return caller
  const key = by.kind === 'key' ? account.key(by.keyId) : undefined
  return {
    ok: true,
    value: { role: caller.value.role, models: key?.models ?? null, expiresAt: key?.expiresAt ?? null },
  }
}

export interface Identity {
  role: Role
  /** The models that the key can use; null for all. */
  models: string[] | null
  /** Unix milliseconds; null for never. */
  expiresAt: number | null
}

/** The permission check of every function of this file. */
function admitTo(
  account: TenantAccount,
  by: Requester,
  right: Right,
  now: number,
): TenantResult<{ tenant: Tenant; role: Role }> {
  const tenant = account.tenant()
  if (by.kind === 'operator') {
    return tenant ? { ok: true, value: { tenant, role: 'owner' } } : denied('not_found', tenantMissing)
  }
  const key = tenant && account.key(by.keyId)
  const fault = checkKey(key, by.secretHash, now)
  if (!tenant || !key || fault) return denied('invalid_api_key', fault ?? 'API key not found.')
  if (tenant.status === 'suspended' && right !== 'read-usage') return denied('permission_denied', suspendedMessage)
  if (!may(key.role, right)) {
    const message = `A key with role ${key.role} cannot do this. Use a key with role ${roleNeeded(right)} or higher.`
    return denied('permission_denied', message)
  }
  return { ok: true, value: { tenant, role: key.role } }
}

export function changeTenant(
  account: TenantAccount,
  change: TenantChange,
): TenantResult<{ before: TenantView; after: TenantView }> {
  const tenant = account.tenant()
  if (!tenant) return denied('not_found', tenantMissing)
  const after: Tenant = {
    ...tenant,
    name: change.name ?? tenant.name,
    status: change.status ?? tenant.status,
    limits: changedLimits(tenant.limits, change.limits),
    settings: { ...tenant.settings, ...defined(change.settings ?? {}) },
  }
  if (after.limits.budgetNano.total !== null) {
    const message =
      'limits.budgetNano.total: not supported for a tenant, whose total budget is its credit. Add credit, or set day or month.'
    return denied('invalid_value', message, 'limits.budgetNano.total')
  }
  account.putTenant(after)
  return { ok: true, value: { before: viewTenant(tenant), after: viewTenant(after) } }
}

export function listKeys(
  account: TenantAccount,
  by: Requester,
  page: KeyPage,
  now: number,
): TenantResult<{ keys: KeyView[]; next: string | null }> {
  const caller = admitTo(account, by, 'own-key', now)
  if (!caller.ok) return caller
  if (by.kind === 'key' && !may(caller.value.role, 'all-keys')) {
    const own = account.key(by.keyId)
    return { ok: true, value: { keys: own ? [viewKey(own, now)] : [], next: null } }
  }
  const keys = account.store.keysAfter(page.after, page.prefix, page.limit + 1)
  const shown = keys.slice(0, page.limit)
  const next = keys.length > page.limit ? (shown.at(-1)?.keyId ?? null) : null
  return { ok: true, value: { keys: shown.map((key) => viewKey(key, now)), next } }
}

export function addKey(account: TenantAccount, by: Requester, options: NewKey, now: number): TenantResult<KeyView> {
  const caller = admitTo(account, by, 'all-keys', now)
  if (!caller.ok) return caller
  const above = aboveOwn(caller.value.role, options.role)
  if (above) return above
  if (options.expiresAt !== null && options.expiresAt <= now) return expiresInPast()
  if (account.store.keysCount() >= keysMax) {
    return denied('conflict', `This tenant already has ${keysMax} keys, the maximum. Reuse an existing key.`)
  }
  const state = newLimitState(options.limits, keyBudgets, now)
  const key: KeyRow = { ...options, previous: null, createdAt: now, revokedAt: null, lastUsedAt: null, state }
  account.putKey(key)
  return { ok: true, value: viewKey(key, now) }
}

export function changeKey(
  account: TenantAccount,
  by: Requester,
  keyId: string,
  change: KeyChange,
  now: number,
): TenantResult<{ before: KeyView; after: KeyView }> {
  const found = findKey(account, by, keyId, 'all-keys', now)
  if (!found.ok) return found
  const { key, role } = found.value
  const above = aboveOwn(role, change.role ?? key.role)
  if (above) return above
  if (typeof change.expiresAt === 'number' && change.expiresAt <= now) return expiresInPast()
  const after: KeyRow = { ...key, ...defined(change), limits: changedLimits(key.limits, change.limits) }
  account.putKey(after)
  return { ok: true, value: { before: viewKey(key, now), after: viewKey(after, now) } }
}

/**
 * Gives a key a new secret; the old one is accepted until the overlap ends. The key keeps its limits and its spent
 * budget, so a rotation does not bypass a budget. The secret of an earlier rotation ends at once.
 */
export function rotateKey(
  account: TenantAccount,
  by: Requester,
  keyId: string,
  secret: NewSecret,
  overlapMs: number,
  now: number,
): TenantResult<KeyView> {
  const found = findKey(account, by, keyId, by.kind === 'key' && by.keyId === keyId ? 'own-key' : 'all-keys', now)
  if (!found.ok) return found
  const { key } = found.value
  if (key.revokedAt !== null) return denied('conflict', 'This key was revoked. Create a new key.')
  const previous = overlapMs > 0 ? { secretHash: key.secretHash, until: now + overlapMs } : null
  const after: KeyRow = { ...key, ...secret, previous }
  account.putKey(after)
  return { ok: true, value: viewKey(after, now) }
}

/** Revokes a key from the next request on. Idempotent. */
export function revokeKey(account: TenantAccount, by: Requester, keyId: string, now: number): TenantResult<KeyView> {
  const found = findKey(account, by, keyId, by.kind === 'key' && by.keyId === keyId ? 'own-key' : 'all-keys', now)
  if (!found.ok) return found
  const { key } = found.value
  const after: KeyRow = { ...key, revokedAt: key.revokedAt ?? now, previous: null }
  account.putKey(after)
  return { ok: true, value: viewKey(after, now) }
}

export function showKey(account: TenantAccount, by: Requester, keyId: string, now: number): TenantResult<KeyView> {
  const found = findKey(account, by, keyId, by.kind === 'key' && by.keyId === keyId ? 'own-key' : 'all-keys', now)
  return found.ok ? { ok: true, value: viewKey(found.value.key, now) } : found
}

export function usageOf(
  account: TenantAccount,
  by: Requester,
  query: UsageQuery,
  now: number,
): TenantResult<UsageRow[]> {
  const caller = admitTo(account, by, 'read-usage', now)
  if (!caller.ok) return caller
  const rows = usageRows(account.store.sql, query)
  if (rows) return { ok: true, value: rows }
  const message = `from: the report has more than ${usageRowsMax} rows. Choose a shorter period, fewer dimensions or a larger bucket.`
  return denied('invalid_value', message, 'from')
}

export function limitsOf(
  account: TenantAccount,
  by: Requester & { kind: 'key' },
  now: number,
): TenantResult<LimitsView> {
  const caller = admitTo(account, by, 'read-usage', now)
  if (!caller.ok) return caller
  const { tenant } = caller.value
  const key = account.key(by.keyId)
  if (!key) return denied('invalid_api_key', 'API key not found.')
  const { tenantId, status, limits, state, creditNano, postedNano, reservedNano } = tenant
  const { keyId, role, expiresAt, models } = key
  const leftNano = creditNano - postedNano - reservedNano
  const credit = { creditNano, spentNano: postedNano, reservedNano, leftNano }
  return {
    ok: true,
    value: {
      tenant: { tenantId, status, limits, left: limitsRemaining(limits, state, now), credit },
      key: { keyId, role, expiresAt, models, limits: key.limits, left: limitsRemaining(key.limits, key.state, now) },
    },
  }
}

/** Adds a rate card that takes effect now or later. It does not change the price of earlier requests. */
export function addRates(account: TenantAccount, card: NewRates, now: number): TenantResult<{ effectiveAt: number }> {
  if (!account.tenant()) return denied('not_found', tenantMissing)
  const effectiveAt = card.effectiveAt ?? now
  if (effectiveAt < now) return denied('invalid_value', 'effectiveAt: must not be in the past.', 'effectiveAt')
  const known = account.store.rateCards().some((row) => row.model === card.model && row.effective_at === effectiveAt)
  if (known) {
    const message =
      'effectiveAt: this model already has a rate card for that time. Cards cannot be changed: choose a later time.'
    return denied('conflict', message, 'effectiveAt')
  }
  account.store.putRates(card.model, effectiveAt, card.rates)
  return { ok: true, value: { effectiveAt } }
}

/** A credit or correction by the operator. `orderId` is its idempotency key. */
export interface MoneyEntry {
  orderId: string
  kind: 'credit' | 'correction'
  requestId: string | null
  amountNano: number
  note: string
}

export function postMoney(
  account: TenantAccount,
  entry: MoneyEntry,
  now: number,
): TenantResult<{ seq: number; repeated: boolean }> {
  const { sql } = account.store
  const tenant = account.tenant()
  if (!tenant) return denied('not_found', tenantMissing)
  const known = sql.all('SELECT * FROM orders WHERE order_id = ?', entry.orderId)[0]
  if (known) {
    const same =
      known.kind === entry.kind && known.amount_nano === entry.amountNano && known.request_id === entry.requestId
    if (same) return { ok: true, value: { seq: int(known, 'seq'), repeated: true } }
    return denied('conflict', `id: ${entry.orderId} was already used for a different entry. Use a new id.`, 'id')
  }
  if (entry.kind === 'credit') {
    if (tenant.creditNano + entry.amountNano > Number.MAX_SAFE_INTEGER) {
      const message = 'creditNano: total credit cannot exceed $9,007,199. Add less.'
      return denied('invalid_value', message, 'creditNano')
    }
    account.credit(entry.amountNano, entry.note, now)
  } else if (entry.requestId !== null && !account.store.reservation(entry.requestId)) {
    return denied('not_found', requestMissing, 'requestId')
  } else if (!account.correct(entry.requestId, entry.amountNano, entry.note, now)) {
    const message =
      'costNano: a correction can neither refund more than was spent nor charge more than the remaining credit.'
    return denied('invalid_value', message, 'costNano')
  }
  const seq = account.tenant()?.chainSeq ?? 0
  sql.run(
    'INSERT INTO orders VALUES (?, ?, ?, ?, ?)',
    entry.orderId,
    entry.kind,
    entry.requestId,
    entry.amountNano,
    seq,
  )
  return { ok: true, value: { seq, repeated: false } }
}

/** A receipt that the edge refused, with counts that the operator vouches for. */
export type RefusedRun = Omit<Settlement, 'tenantId' | 'keyId' | 'costNano' | 'estimated'>

/** `answer` is posted, late, wasted or already-posted; the amounts are those of the entry. */
export interface SettledRun {
  answer: string
  costNano: number
  shortNano: number
}

/**
 * Settles a refused receipt under the operator's authority, at the tenant's rate card of the time of the request. As
 * for any receipt, the ledger limits the cost to the request's bound.
 */
export function settleRefused(account: TenantAccount, run: RefusedRun, now: number): TenantResult<SettledRun> {
  const tenant = account.tenant()
  if (!tenant) return denied('not_found', 'tenantId: tenant not found.', 'tenantId')
  const reservation = account.store.reservation(run.requestId)
  if (!reservation) return denied('not_found', requestMissing, 'requestId')
  const fault = countsFault(run.counts, widestBounds)
  if (fault !== undefined) return denied('invalid_value', `${fault}. Send counts that are possible.`, 'counts')
  const rates = account.rates(run.model, reservation.openedAt)
  if (!rates)
    return denied(
      'conflict',
      `model: this tenant had no rate card for ${cleanText(run.model, 64)} at that time.`,
      'model',
    )
  const cost = run.outcome === 'failed' ? 0 : costNano(run.counts, rates)
  const { tenantId } = tenant
  const settlement = { ...run, tenantId, keyId: reservation.keyId, costNano: cost, estimated: true }
  const answer = account.settle(settlement, now, 'settled by the operator')
  if (answer === 'impossible') {
    const message =
      'dispatchId: not a dispatch of this request. Dismiss the receipt, or add a correction to the account.'
    return denied('conflict', message, 'dispatchId')
  }
  const entry = account.store.entriesOf(run.requestId).find((row) => row.ref === run.dispatchId)
  return {
    ok: true,
    value: { answer, costNano: int(entry ?? {}, 'cost_nano'), shortNano: int(entry ?? {}, 'short_nano') },
  }
}

function viewTenant({ name, status, limits, settings }: Tenant): TenantView {
  return { name, status, limits, settings }
}

function viewKey(key: KeyRow, now: number): KeyView {
  const { keyId, name, prefix, role, createdAt, expiresAt, revokedAt, lastUsedAt, models, limits, previous } = key
  const expired = expiresAt !== null && expiresAt <= now
  return {
    keyId,
    name,
    prefix,
    role,
    status: revokedAt !== null ? 'revoked' : expired ? 'expired' : 'active',
    createdAt,
    expiresAt,
    revokedAt,
    lastUsedAt,
    previousUntil: previous && previous.until > now ? previous.until : null,
    models,
    class: key.class,
    limits,
  }
}

/** Finds a key that `by` can access. Refuses a key of a higher role. */
function findKey(
  account: TenantAccount,
  by: Requester,
  keyId: string,
  right: Right,
  now: number,
): TenantResult<{ key: KeyRow; role: Role }> {
  const caller = admitTo(account, by, right, now)
  if (!caller.ok) return caller
  const key = account.key(keyId)
  if (!key) return denied('not_found', 'API key not found. List the keys to get their ids.')
  return aboveOwn(caller.value.role, key.role) ?? { ok: true, value: { key, role: caller.value.role } }
}

function aboveOwn(own: Role, other: Role): Denial | undefined {
  if (reaches(own, other)) return undefined
  return denied(
    'permission_denied',
    `role: ${other} is higher than ${own}, the role of this key. Use a key with role ${other}.`,
    'role',
  )
}

function changedLimits(old: Limits, change: LimitsChange = {}): Limits {
  const { budgetNano, ...rates } = change
  return { ...old, ...defined(rates), budgetNano: { ...old.budgetNano, ...defined(budgetNano ?? {}) } }
}

/** Omits undefined fields, which a spread would otherwise copy over existing values. */
function defined<Fields extends object>(fields: Fields): { [Name in keyof Fields]?: Exclude<Fields[Name], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never
}

function expiresInPast(): Denial {
  return denied('invalid_value', 'expiresAt: must be in the future, in Unix milliseconds.', 'expiresAt')
}

function denied(code: ErrorCode, message: string, param: string | null = null): Denial {
  return { ok: false, code, message, param }
}
