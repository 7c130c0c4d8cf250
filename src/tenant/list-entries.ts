/** A page of a tenant's ledger, for its operator and for its keys. */
import type { TenantAccount } from './account.ts'
import { admitTo, type Requester, type TenantResult } from './permissions.ts'
import type { EntryPage } from './store/entry-rows.ts'
import type { SqlRow } from './store/sql.ts'

/** Returns one entry more than the page has, if there is one. Keys see no worker: workers belong to the operator. */
export function listEntries(
  account: TenantAccount,
  by: Requester,
  page: EntryPage,
  now: number,
): TenantResult<SqlRow[]> {
  const caller = admitTo(account, by, 'read-usage', now)
  if (!caller.ok) return caller
  const rows = account.store.entries.page({ ...page, limit: page.limit + 1 })
  return { ok: true, value: by.kind === 'operator' ? rows : rows.map(({ worker_id: _, ...row }) => row) }
}
