/**
 * The desk of a tenant: what an operator, or one of the tenant's own keys as its role allows, may see and change. Pure
 * over the books, for use inside one transaction; a refusal changes nothing and says what to do.
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

/** Who asks: the operator, who may everything, or the bearer of one of the tenant's keys. */
export type Requester = { kind: 'operator' } | { kind: 'key'; keyId: string; secretHash: string }

interface Denial {
  ok: false
  code: ErrorCode
  message: string
  param: string | null
}
export type TenantResult<Value> = { ok: true; value: Value } | Denial

/** Undefined fields stay as they are; of limits, each named one. */
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
  /** Of the keys' prefixes; empty for all. */
  prefix: string
  /** The last key id of the page before. */
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

/** What is shown of a key: never its secret, nor the hash. */
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
  /** Until when the secret before the last rotation is accepted too. */
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

/** Whether `by` may do this, and as what. */
export function identify(account: TenantAccount, by: Requester, right: Right, now: number): TenantResult<Identity> {
  const who = admitTo(account, by, right, now)
  if (!who.ok) return who
  const key = by.kind === 'key' ? account.key(by.keyId) : undefined
  return { ok: true, value: { role: who.value.role, models: key?.models ?? null, expiresAt: key?.expiresAt ?? null } }
}

export interface Identity {
  role: Role
  /** The models that the key may ask; null for all. */
  models: string[] | null
  /** Unix milliseconds; null for never. */
  expiresAt: number | null
}

/** Everything here begins with it. */
function admitTo(
  account: TenantAccount,
  by: Requester,
  right: Right,
  now: number,
): TenantResult<{ tenant: Tenant; role: Role }> {
  const tenant = account.tenant()
  if (by.kind === 'operator') {
    return tenant
      ? { ok: true, value: { tenant, role: 'owner' } }
      : denied('not_found', 'no such tenant: create it first')
  }
  const key = tenant && account.key(by.keyId)
  const fault = checkKey(key, by.secretHash, now)
  if (!tenant || !key || fault) return denied('invalid_api_key', fault ?? 'no such key')
  if (tenant.status === 'suspended' && right !== 'read-usage') return denied('permission_denied', suspendedMessage)
  if (!may(key.role, right)) {
    const message = `a key of role ${key.role} may not do this: use one of role ${roleNeeded(right)} or above`
    return denied('permission_denied', message)
  }
  return { ok: true, value: { tenant, role: key.role } }
}

export function changeTenant(
  account: TenantAccount,
  change: TenantChange,
): TenantResult<{ before: TenantView; after: TenantView }> {
  const tenant = account.tenant()
  if (!tenant) return denied('not_found', 'no such tenant: create it first')
  const after: Tenant = {
    ...tenant,
    name: change.name ?? tenant.name,
    status: change.status ?? tenant.status,
    limits: changedLimits(tenant.limits, change.limits),
    settings: { ...tenant.settings, ...defined(change.settings ?? {}) },
  }
  if (after.limits.budgetNano.total !== null) {
    const message =
      'limits.budgetNano.total: the total of a tenant is its credit: add credit instead, or set day or month'
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
  const who = admitTo(account, by, 'own-key', now)
  if (!who.ok) return who
  if (by.kind === 'key' && !may(who.value.role, 'all-keys')) {
    const own = account.key(by.keyId)
    return { ok: true, value: { keys: own ? [viewKey(own, now)] : [], next: null } }
  }
  const keys = account.store.keysAfter(page.after, page.prefix, page.limit + 1)
  const shown = keys.slice(0, page.limit)
  const next = keys.length > page.limit ? (shown.at(-1)?.keyId ?? null) : null
  return { ok: true, value: { keys: shown.map((key) => viewKey(key, now)), next } }
}

export function addKey(account: TenantAccount, by: Requester, order: NewKey, now: number): TenantResult<KeyView> {
  const who = admitTo(account, by, 'all-keys', now)
  if (!who.ok) return who
  const above = aboveOwn(who.value.role, order.role)
  if (above) return above
  if (order.expiresAt !== null && order.expiresAt <= now) return expiresInPast()
  if (account.store.keysCount() >= keysMax) {
    return denied('conflict', `this tenant has ${keysMax} keys: use one of them for more than one purpose`)
  }
  const state = newLimitState(order.limits, keyBudgets, now)
  const key: KeyRow = { ...order, previous: null, createdAt: now, revokedAt: null, lastUsedAt: null, state }
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
 * A new secret for a key; the old one is accepted until the overlap is over. The key stays what it is, with its limits
 * and what it has spent: a rotation is no way around a budget. A secret that was on its way out before ends at once.
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
  if (key.revokedAt !== null) return denied('conflict', 'this key was revoked: create a new one')
  const previous = overlapMs > 0 ? { secretHash: key.secretHash, until: now + overlapMs } : null
  const after: KeyRow = { ...key, ...secret, previous }
  account.putKey(after)
  return { ok: true, value: viewKey(after, now) }
}

/** With effect on the very next request. Repeating it changes nothing. */
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
  const who = admitTo(account, by, 'read-usage', now)
  if (!who.ok) return who
  const rows = usageRows(account.store.sql, query)
  if (rows) return { ok: true, value: rows }
  const message = `from: this report has more than ${usageRowsMax} rows: ask for less time, fewer dimensions or a larger bucket`
  return denied('invalid_value', message, 'from')
}

export function limitsOf(
  account: TenantAccount,
  by: Requester & { kind: 'key' },
  now: number,
): TenantResult<LimitsView> {
  const who = admitTo(account, by, 'read-usage', now)
  if (!who.ok) return who
  const { tenant } = who.value
  const key = account.key(by.keyId)
  if (!key) return denied('invalid_api_key', 'no such key')
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

/** A rate card that takes effect now or later: what was served before is not priced anew. */
export function addRates(account: TenantAccount, card: NewRates, now: number): TenantResult<{ effectiveAt: number }> {
  if (!account.tenant()) return denied('not_found', 'no such tenant: create it first')
  const effectiveAt = card.effectiveAt ?? now
  if (effectiveAt < now) return denied('invalid_value', 'effectiveAt: must not be in the past', 'effectiveAt')
  const known = account.store.rateCards().some((row) => row.model === card.model && row.effective_at === effectiveAt)
  if (known) {
    const message =
      'effectiveAt: this model has a card from that moment on: cards are added, never changed; take a later one'
    return denied('conflict', message, 'effectiveAt')
  }
  account.store.putRates(card.model, effectiveAt, card.rates)
  return { ok: true, value: { effectiveAt } }
}

/** Money by order of the operator. The order's id makes a repetition harmless. */
export interface MoneyEntry {
  orderId: string
  kind: 'credit' | 'correction'
  requestId: string | null
  amountNano: number
  note: string
}

export function postMoney(
  account: TenantAccount,
  order: MoneyEntry,
  now: number,
): TenantResult<{ seq: number; repeated: boolean }> {
  const { sql } = account.store
  const tenant = account.tenant()
  if (!tenant) return denied('not_found', 'no such tenant: create it first')
  const known = sql.all('SELECT * FROM orders WHERE order_id = ?', order.orderId)[0]
  if (known) {
    const same =
      known.kind === order.kind && known.amount_nano === order.amountNano && known.request_id === order.requestId
    if (same) return { ok: true, value: { seq: int(known, 'seq'), repeated: true } }
    return denied('conflict', `id: ${order.orderId} was used for another order: give this one an id of its own`, 'id')
  }
  if (order.kind === 'credit') {
    if (tenant.creditNano + order.amountNano > Number.MAX_SAFE_INTEGER) {
      const message = 'creditNano: the credit in all would pass what is counted exactly, nine million dollars: add less'
      return denied('invalid_value', message, 'creditNano')
    }
    account.credit(order.amountNano, order.note, now)
  } else if (order.requestId !== null && !account.store.reservation(order.requestId)) {
    return denied('not_found', 'requestId: this tenant has no such request, or no longer', 'requestId')
  } else if (!account.correct(order.requestId, order.amountNano, order.note, now)) {
    const message = 'costNano: a correction can neither refund more than was spent nor charge more than is left'
    return denied('invalid_value', message, 'costNano')
  }
  const seq = account.tenant()?.chainSeq ?? 0
  sql.run(
    'INSERT INTO orders VALUES (?, ?, ?, ?, ?)',
    order.orderId,
    order.kind,
    order.requestId,
    order.amountNano,
    seq,
  )
  return { ok: true, value: { seq, repeated: false } }
}

/** A receipt that the edge refused, with counts that an operator vouches for. */
export type RefusedRun = Omit<Settlement, 'tenantId' | 'keyId' | 'costNano' | 'estimated'>

/** What became of it: posted, late, wasted, or already-posted, and what its entry cost. */
export interface SettledRun {
  answer: string
  costNano: number
  shortNano: number
}

/**
 * Settles a refused receipt under the operator's authority. The price is the tenant's own card at the time of the
 * request; the ledger holds it within the request's bound, as any receipt.
 */
export function settleRefused(account: TenantAccount, run: RefusedRun, now: number): TenantResult<SettledRun> {
  const tenant = account.tenant()
  if (!tenant) return denied('not_found', 'tenantId: no such tenant', 'tenantId')
  const reservation = account.store.reservation(run.requestId)
  if (!reservation) return denied('not_found', 'requestId: this tenant has no such request, or no longer', 'requestId')
  const fault = countsFault(run.counts, widestBounds)
  if (fault !== undefined) return denied('invalid_value', `${fault}. Send counts that can be true.`, 'counts')
  const rates = account.rates(run.model, reservation.openedAt)
  if (!rates) return denied('conflict', `model: this tenant had no rate card for ${cleanText(run.model, 64)}`, 'model')
  const cost = run.outcome === 'failed' ? 0 : costNano(run.counts, rates)
  const { tenantId } = tenant
  const settlement = { ...run, tenantId, keyId: reservation.keyId, costNano: cost, estimated: true }
  const answer = account.settle(settlement, now, 'settled by the operator')
  if (answer === 'impossible') {
    const message =
      'dispatchId: is no dispatch of this request. Dismiss the receipt, or correct the account with a correction.'
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

/** The key, when `by` may touch it: what is not there and what belongs to others look the same. */
function findKey(
  account: TenantAccount,
  by: Requester,
  keyId: string,
  right: Right,
  now: number,
): TenantResult<{ key: KeyRow; role: Role }> {
  const who = admitTo(account, by, right, now)
  if (!who.ok) return who
  const key = account.key(keyId)
  if (!key) return denied('not_found', 'no such key: GET the list of keys for their ids')
  return aboveOwn(who.value.role, key.role) ?? { ok: true, value: { key, role: who.value.role } }
}

function aboveOwn(own: Role, other: Role): Denial | undefined {
  if (reaches(own, other)) return undefined
  return denied(
    'permission_denied',
    `role: ${other} is above ${own}, the role of this key: use a key of role ${other}`,
    'role',
  )
}

function changedLimits(old: Limits, change: LimitsChange = {}): Limits {
  const { budgetNano, ...rates } = change
  return { ...old, ...defined(rates), budgetNano: { ...old.budgetNano, ...defined(budgetNano ?? {}) } }
}

/** Without the fields that are undefined, which a spread would otherwise put over what is there. */
function defined<Fields extends object>(fields: Fields): { [Name in keyof Fields]?: Exclude<Fields[Name], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never
}

function expiresInPast(): Denial {
  return denied('invalid_value', 'expiresAt: must be in the future, in Unix milliseconds', 'expiresAt')
}

function denied(code: ErrorCode, message: string, param: string | null = null): Denial {
  return { ok: false, code, message, param }
}
