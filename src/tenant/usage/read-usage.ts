/** Usage rows of a tenant, for its keys and for operators. */
import type { TenantAccount } from '../account.ts'
import { admitTo, denied, type Requester, type TenantResult } from '../permissions.ts'
import type { UsageQuery, UsageRow } from './report.ts'
import { usageRowsMax } from './report.ts'

export function usageOf(
  account: TenantAccount,
  by: Requester,
  query: UsageQuery,
  now: number,
): TenantResult<UsageRow[]> {
  const caller = admitTo(account, by, 'read-usage', now)
  if (!caller.ok) return caller
  const rows = account.store.usage.report(query)
  if (rows) return { ok: true, value: rows }
  const message = `from: the report has more than ${usageRowsMax} rows. Choose a shorter period, fewer dimensions or a larger bucket.`
  return denied('invalid_value', message, 'from')
}
