/** Requests of a tenant, for its operator and for its keys. */
import type { TenantAccount } from './account.ts'
import { admitTo, denied, type Requester, type TenantResult } from './permissions.ts'
import { type RequestListQuery, type RequestView, resolveRequestQuery } from './request-filter.ts'
import type { SqlRow } from './store/sql.ts'

export interface RequestPageView {
  data: RequestView[]
  next: string | null
}

export function listRequests(
  account: TenantAccount,
  by: Requester,
  query: RequestListQuery,
  now: number,
): TenantResult<RequestPageView> {
  const caller = admitTo(account, by, 'read-usage', now)
  if (!caller.ok) return caller
  const filter = resolveRequestQuery(query, caller.value.tenant.settings, now)
  if (!filter.ok) return filter
  const { before, limit } = query
  return { ok: true, value: account.store.requests.page({ before, limit, filter: filter.value }) }
}

/** One request with its entries. Keys see no worker: workers belong to the operator. */
export function showRequest(
  account: TenantAccount,
  by: Requester,
  requestId: string,
  now: number,
): TenantResult<{ request: RequestView; entries: SqlRow[] }> {
  const caller = admitTo(account, by, 'read-usage', now)
  if (!caller.ok) return caller
  const request = account.store.requests.find(requestId)
  if (!request) return denied('not_found', 'requestId: no such request. It may have been pruned.', 'requestId')
  const rows = account.store.entries.ofRequest(requestId)
  const entries = by.kind === 'operator' ? rows : rows.map(({ worker_id: _, ...row }) => row)
  return { ok: true, value: { request, entries } }
}
