/** API keys of one tenant: list, create, change, rotate, revoke. Pure on the account; the caller writes. */
import type { TenantAccount } from './account.ts'
import { type KeyBounds, wider } from './key-bounds.ts'
import { changeLimits, keyBudgets, type Limits, newLimitState } from './limits/limits.ts'
import { admitTo, type Denial, denied, type Requester, type TenantResult } from './permissions.ts'
import { may, type Right, type Role, reaches } from './roles.ts'
import type { NewKey } from './rpc.ts'
import { changedLimits, defined, type LimitsChange } from './settings.ts'
import { zoned } from './store/account-rows.ts'
import type { KeyRow } from './store/key-rows.ts'

export interface KeyChange {
  name?: string | undefined
  role?: Role | undefined
  models?: string[] | null | undefined
  class?: 'batch' | null | undefined
  allowedIps?: string[] | null | undefined
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

/** The visible fields of a key: never its secret or the hash. */
export interface KeyView {
  keyId: string
  name: string
  prefix: string
  role: Role
  status: 'active' | 'expired' | 'revoked'
  createdAt: number
  /** When the key got its present secret; null since its creation. */
  rotatedAt: number | null
  expiresAt: number | null
  revokedAt: number | null
  lastUsedAt: number | null
  /** Until when the secret before the last rotation is also accepted. */
  previousUntil: number | null
  models: string[] | null
  class: 'batch' | null
  allowedIps: string[] | null
  limits: Limits
}

const keysMax = 20_000

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
  const keys = account.store.keys.after(page.after, page.prefix, page.limit + 1)
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
  const beyond = beyondOwn(account, by, () => options)
  if (beyond) return beyond
  if (account.store.keys.count() >= keysMax) {
    return denied('conflict', `This tenant already has ${keysMax} keys, the maximum. Reuse an existing key.`)
  }
  const state = newLimitState(options.limits, keyBudgets, zoned(caller.value.tenant, now))
  const key: KeyRow = {
    ...options,
    previous: null,
    createdAt: now,
    rotatedAt: null,
    revokedAt: null,
    lastUsedAt: null,
    state,
  }
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
  const beyond = beyondOwn(account, by, (own) => ({
    ...own,
    ...defined({
      models: change.models,
      class: change.class,
      allowedIps: change.allowedIps,
      expiresAt: change.expiresAt,
    }),
    limits: changedLimits(own.limits, change.limits),
  }))
  if (beyond) return beyond
  const limits = changedLimits(key.limits, change.limits)
  const state = changeLimits(key.state, key.limits, limits, now)
  const after: KeyRow = { ...key, ...defined(change), limits, state }
  account.putKey(after)
  account.watch(now, keyId)
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
  const beyond = beyondOwn(account, by, () => key)
  if (beyond) return beyond
  const previous = overlapMs > 0 ? { secretHash: key.secretHash, until: now + overlapMs } : null
  const after: KeyRow = { ...key, ...secret, previous, rotatedAt: now }
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
    rotatedAt: key.rotatedAt,
    expiresAt,
    revokedAt,
    lastUsedAt,
    previousUntil: previous && previous.until > now ? previous.until : null,
    models,
    class: key.class,
    allowedIps: key.allowedIps,
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

/** Why a key exceeds the bounds of the key that makes it; an operator has none. */
function beyondOwn(account: TenantAccount, by: Requester, wanted: (own: KeyBounds) => KeyBounds): Denial | undefined {
  const own = by.kind === 'key' ? account.key(by.keyId) : undefined
  return own && wider(own, wanted(own))
}

function expiresInPast(): Denial {
  return denied('invalid_value', 'expiresAt: must be in the future, in Unix milliseconds.', 'expiresAt')
}
