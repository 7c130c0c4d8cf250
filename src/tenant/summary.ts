/** A tenant's account as the operator sees it. */
import type { TenantAccount } from './account.ts'
import type { TenantListing, TenantSummary } from './rpc.ts'

/** @param totals reads every stored entry: only for small tenants or manual checks. */
export function summaryOf(account: TenantAccount, totals: boolean): TenantSummary | undefined {
  const tenant = account.tenant()
  if (!tenant) return undefined
  const { state, chainSeq: _, chainHash: __, ...rest } = tenant
  const status = rest.deletedAt === null ? rest.status : 'deleted'
  return { ...rest, status, openReservations: state.running, totals: totals ? account.store.entries.totals() : null }
}

/** The tenant's row in the list of tenants. Reads no entries. */
export function listingOf(account: TenantAccount): TenantListing | undefined {
  const tenant = account.tenant()
  return tenant && { name: tenant.name, status: tenant.status, createdAt: tenant.createdAt }
}
