/**
 * Deletes a tenant in two steps. At once: its keys are refused, and names and labels of people are erased. After the
 * retention: its books. The account row stays, so that its id is never used again.
 */
import type { TenantAccount } from '../account.ts'
import { denied, type TenantResult, tenantMissing } from '../permissions.ts'
import type { Sql } from '../store/sql.ts'
import { tablesOf } from './tables.ts'

export interface DeletedTenant {
  deletedAt: number
  /** When the books are removed. */
  purgeAt: number
}

const dayMs = 86_400_000

/**
 * @param confirm must be the tenant's name
 * @param retentionDays days that the books are kept
 */
export function deleteTenant(
  account: TenantAccount,
  sql: Sql,
  { confirm, retentionDays }: { confirm: string; retentionDays: number },
  now: number,
): TenantResult<DeletedTenant> {
  const tenant = account.tenant()
  if (!tenant) return denied('not_found', tenantMissing)
  // Repeating an interrupted deletion completes it.
  if (tenant.deletedAt !== null)
    return { ok: true, value: { deletedAt: tenant.deletedAt, purgeAt: tenant.purgeAt ?? tenant.deletedAt } }
  if (confirm !== tenant.name) {
    return denied('invalid_value', 'confirm: must be the name of the tenant. Send its name exactly.', 'confirm')
  }
  const purgeAt = now + retentionDays * dayMs
  account.putTenant({ ...tenant, name: tenant.tenantId, deletedAt: now, purgeAt })
  erase(sql, now)
  // Rows that are also in memory were changed, those of open reservations included.
  account.forget()
  return { ok: true, value: { deletedAt: now, purgeAt } }
}

/** Erases the text of the tenant's people. */
const erasing = [
  `UPDATE api_keys SET name = '', allowed_ips = NULL, previous_hash = NULL, previous_until = NULL`,
  'UPDATE bookings SET end_user = NULL, tags = NULL WHERE end_user IS NOT NULL OR tags IS NOT NULL',
  'UPDATE reservations SET details = NULL',
  'DELETE FROM request_labels',
  'DELETE FROM usage_labels',
  // They name keys, and their endpoints are addresses of the tenant.
  'DELETE FROM alerts',
  'DELETE FROM alert_deliveries',
  'DELETE FROM alert_endpoints',
]

function erase(sql: Sql, now: number): void {
  sql.run('UPDATE api_keys SET revoked_at = coalesce(revoked_at, ?)', now)
  for (const statement of erasing) sql.run(statement)
}

/**
 * Removes the books of a deleted tenant, at most `limit` entries per call. Returns the number of removed rows. The
 * chain's end and the sums stay, so that the ledger is still verified.
 */
export function purgeBooks(account: TenantAccount, sql: Sql, limit: number): number {
  const pruned = account.store.pruned.prune(Number.MAX_SAFE_INTEGER, limit)
  // An open reservation is settled or expires first; its alarm comes back here.
  if (pruned >= limit || account.store.reservations.open().length > 0) return pruned
  const kept = ['account', 'pruned', 'reservations', 'early_voids']
  for (const { name } of tablesOf(sql)) if (!kept.includes(name)) sql.run(`DELETE FROM ${name}`)
  account.forget()
  return pruned
}
