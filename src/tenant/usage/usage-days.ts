/**
 * Copies a tenant's usage by day to the operator's database, for reports over all tenants. Each copy has the whole sums
 * of the days that may have changed since the last one, so that a repeated or lost copy changes nothing.
 */
import { logError } from '../../http/errors.ts'
import type { TenantAccount } from '../account.ts'
import { dayMs } from '../limits/calendar.ts'
import type { UsageDay } from '../store/usage-rows.ts'
import type { Transactions } from '../transactions.ts'

export const copyUsageEveryMs = 15 * 60_000
/** A day has at most a few hundred rows: models, pools, efforts and outcomes are few. */
const rowsMax = 1_000
const againMs = 1_000

export interface UsageCopyParts {
  account: TenantAccount
  transactions: Transactions
  /** Replaces the rows of these days, models, pools, efforts and outcomes of the tenant. */
  write: (tenantId: string, rows: readonly UsageDay[]) => Promise<void>
}

/** Returns the time of the next copy; undefined if all usage is copied. Never throws because of the database. */
export async function copyUsage(
  { account, transactions, write }: UsageCopyParts,
  now: number,
): Promise<number | undefined> {
  const tenant = account.tenant()
  if (!tenant) return undefined
  const { chainSeq, tenantId } = tenant
  const { usage } = account.store
  const copied = usage.copied()
  if (copied.seq === chainSeq) return undefined
  if (now >= copied.at && now < copied.at + copyUsageEveryMs && copied.seq > 0) return copied.at + copyUsageEveryMs
  const rows = usage.days(copied.day, rowsMax)
  // The last day of a full page may be incomplete: the next copy begins with it.
  const last = rows.at(-1)?.day ?? copied.day
  const complete = rows.length < rowsMax
  try {
    await write(tenantId, rows)
  } catch (error) {
    logError(`tenant ${tenantId}: its usage is not copied to the operator's database; it will be copied again`, error)
    return now + copyUsageEveryMs
  }
  // A clock that was set back adds to the day before.
  const next = complete
    ? { seq: chainSeq, at: now, day: Math.max(0, last - dayMs) }
    : { seq: copied.seq, at: copied.at, day: last }
  transactions.transaction(() => usage.putCopied(next))
  return complete ? undefined : now + againMs
}
