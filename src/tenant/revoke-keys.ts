/** Revokes all keys of a tenant at once, for example after a leak. */
import type { TenantAccount } from './account.ts'
import { admitTo, type Requester, type TenantResult } from './permissions.ts'
import { reaches, roles } from './roles.ts'

export interface RevokedKeys {
  /** Keys that this call revoked. */
  revoked: number
  /** Keys that are still valid: the caller's own, and those of a higher role. */
  kept: number
}

/**
 * Revokes every key whose role the caller reaches. A key keeps itself unless `includeOwn` is true: otherwise the tenant
 * would need its operator to get back in.
 */
export function revokeAllKeys(
  account: TenantAccount,
  by: Requester,
  includeOwn: boolean,
  now: number,
): TenantResult<RevokedKeys> {
  const caller = admitTo(account, by, 'all-keys', now)
  if (!caller.ok) return caller
  const reached = roles.filter((role) => reaches(caller.value.role, role))
  const kept = by.kind === 'key' && !includeOwn ? by.keyId : null
  return { ok: true, value: account.revokeKeys(reached, kept, now) }
}
