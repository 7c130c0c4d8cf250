/** Usage rows of a tenant, for its keys and for operators. */
import type { TenantAccount } from '../account.ts'
import { admitTo, denied, type Requester, type TenantResult } from '../permissions.ts'
import { resolveUsageQuery, type UsageQuery, type UsageReportRows, usageRowsMax } from './report.ts'

export function usageOf(
  account: TenantAccount,
  by: Requester,
  query: UsageQuery,
  now: number,
): TenantResult<UsageReportRows> {
  const caller = admitTo(account, by, 'read-usage', now)
  if (!caller.ok) return caller
  const { settings } = caller.value.tenant
  const resolved = resolveUsageQuery(query, settings, now)
  if (!resolved.ok) return resolved
  const { from, to } = resolved.value
  const rows = account.store.usage.report(resolved.value)
  if (rows) return { ok: true, value: { from, to, timeZone: settings.timeZone, rows } }
  const message = `from: the report has more than ${usageRowsMax} rows. Choose a shorter period, fewer dimensions or a larger bucket.`
  return denied('invalid_value', message, 'from')
}
