/** The work of a tenant object's alarm: overdue reservations, old entries and usage events. */
import { inquiredMax } from '../../backends/wire/inquiry.ts'
import type { TenantAccount } from './account.ts'
import { judgeOverdue, type Known } from './overdue.ts'
import type { Transactions } from './transactions.ts'
import type { WebhookDeliveries } from './webhooks/deliveries.ts'

const prunedPerRun = 2_000
const pruneAgainMs = 1_000
const dayMs = 86_400_000

export interface MaintenanceParts {
  account: TenantAccount
  transactions: Transactions
  webhook: WebhookDeliveries
  /** Asks the workers about requests. */
  inquire: (requestIds: string[], now: number) => Promise<Known>
  /** Removes books of a deleted tenant, at most so many rows, and returns their number. */
  purge: (limit: number) => number
  /** Copies usage for the operator. */
  copyUsage: (now: number) => Promise<number | undefined>
  now: () => number
}

/** Returns the time of the next run; undefined if there is nothing to do. */
export async function maintain(parts: MaintenanceParts): Promise<number | undefined> {
  const { account, transactions, webhook, inquire } = parts
  const { reservations } = account.store
  const overdue = reservations.overdue(parts.now(), inquiredMax).map(({ requestId }) => requestId)
  const known = overdue.length > 0 ? await inquire(overdue, parts.now()) : undefined
  const now = parts.now()
  const pruned = transactions.transaction(() => {
    if (known) settleOverdue(account, overdue, known, now)
    return pruneOld(parts, now)
  })
  const more = pruned >= prunedPerRun ? now + pruneAgainMs : undefined
  const purgeAt = account.tenant()?.purgeAt ?? undefined
  const purge = purgeAt !== undefined && purgeAt > now ? purgeAt : undefined
  const others = [await webhook.deliver(parts.now()), await parts.copyUsage(parts.now())]
  const due = [reservations.nextDue(), more, purge, ...others].filter((time) => time !== undefined)
  return due.length > 0 ? Math.min(...due) : undefined
}

/** Expires or extends each reservation, by the workers' answers. */
function settleOverdue(account: TenantAccount, requestIds: string[], known: Known, now: number): void {
  for (const requestId of requestIds) {
    // It may have been settled during the inquiry.
    const reservation = account.store.reservations.find(requestId)
    if (reservation?.state !== 'reserved') continue
    const judged = judgeOverdue(reservation, known, now)
    if (judged.kind === 'expire') account.close(requestId, 'expire', now)
    else account.extend(requestId, judged.expiresAt)
  }
}

/** Deletes entries that are older than the tenant's retention. Returns the number of deleted rows. */
function pruneOld({ account, purge }: Pick<MaintenanceParts, 'account' | 'purge'>, now: number): number {
  const tenant = account.tenant()
  if (!tenant) return 0
  if (tenant.purgeAt !== null && tenant.purgeAt <= now) return purge(prunedPerRun)
  const { retentionDays } = tenant.settings
  return account.store.pruned.prune(now - retentionDays * dayMs, prunedPerRun)
}
