/** Permissions: checks every call of a key against the key's role before the call reads or changes anything. */
import type { TenantAccount } from './account.ts'
import { suspendedMessage } from './admission-refusals.ts'
import { type Denial, denied, type TenantResult } from './denial.ts'
import { checkKey } from './key-validity.ts'
import { may, type Right, type Role, roleNeeded } from './roles.ts'
import type { Tenant } from './store/account-rows.ts'

export { type Denial, denied, type TenantResult } from './denial.ts'

/** The caller: the operator, who has every permission, or the bearer of one of the tenant's keys. */
export type Requester =
  | { kind: 'operator' }
  | { kind: 'key'; keyId: string; secretHash: string; address?: string | null }

export const tenantMissing = 'Tenant not found. Create it first.'

/** Refuses a change of a deleted tenant. */
export function refuseDeleted({ deletedAt }: Pick<Tenant, 'deletedAt'>): Denial | undefined {
  if (deletedAt === null) return undefined
  return denied('conflict', 'This tenant was deleted and cannot be changed. Create another tenant.')
}

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
export function admitTo(
  account: TenantAccount,
  by: Requester,
  right: Right,
  now: number,
): TenantResult<{ tenant: Tenant; role: Role }> {
  const tenant = account.tenant()
  if (by.kind === 'operator') {
    if (!tenant) return denied('not_found', tenantMissing)
    const refused = right === 'all-keys' ? refuseDeleted(tenant) : undefined
    return refused ?? { ok: true, value: { tenant, role: 'owner' } }
  }
  const key = tenant && account.key(by.keyId)
  const fault = checkKey(key, by, now)
  if (fault) return denied(fault.code, fault.message)
  if (!tenant || !key) return denied('invalid_api_key', 'API key not found.')
  if (tenant.status === 'suspended' && right !== 'read-usage') return denied('permission_denied', suspendedMessage)
  if (!may(key.role, right)) {
    const message = `A key with role ${key.role} cannot do this. Use a key with role ${roleNeeded(right)} or higher.`
    return denied('permission_denied', message)
  }
  return { ok: true, value: { tenant, role: key.role } }
}
