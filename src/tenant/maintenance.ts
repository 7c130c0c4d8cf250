/** The work of a tenant object's alarm: overdue reservations, old entries, usage events and alerts. */
import { inquiredMax } from '../../backends/wire/inquiry.ts'
import type { TenantAccount } from './account.ts'
import { alertId } from './alerts/alert.ts'
import type { TenantAlerts } from './alerts/tenant-alerts.ts'
import { judgeOverdue, type Known } from './overdue.ts'
import type { Transactions } from './transactions.ts'
import type { WebhookDeliveries } from './webhooks/deliveries.ts'

const prunedPerRun = 2_000
const pruneAgainMs = 1_000
const dayMs = 86_400_000
/** How old a request is whose receipt is owed before operators get an alert. */
const owedAlertMs = 30 * 60_000

export interface MaintenanceParts {
  account: TenantAccount
  transactions: Transactions
  webhook: WebhookDeliveries
  alerts: TenantAlerts
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
  const { account, transactions, webhook, alerts, inquire } = parts
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
  const sent = [webhook.deliver(parts.now()), alerts.deliver(), parts.copyUsage(parts.now())]
  const due = [reservations.nextDue(), more, purge, ...(await Promise.all(sent))].filter((time) => time !== undefined)
  return due.length > 0 ? Math.min(...due) : undefined
}

/** Expires or extends each reservation, by the workers' answers. */
function settleOverdue(account: TenantAccount, requestIds: string[], known: Known, now: number): void {
  let owed = false
  for (const requestId of requestIds) {
    // It may have been settled during the inquiry.
    const reservation = account.store.reservations.find(requestId)
    if (reservation?.state !== 'reserved') continue
    const judged = judgeOverdue(reservation, known, now)
    if (judged.kind === 'expire') account.close(requestId, 'expire', now)
    else account.extend(requestId, judged.expiresAt)
    owed ||= judged.kind === 'extend' && !known.running.has(requestId) && now - reservation.openedAt >= owedAlertMs
  }
  if (owed) alertOwed(account, now)
}

/** Alerts operators, at most once a day: money stays reserved for receipts that no worker delivers. */
function alertOwed(account: TenantAccount, now: number): void {
  const { alerts, reservations } = account.store
  const tenant = account.tenant()
  if (!tenant) return
  const day = now - (now % dayMs)
  const late = reservations.open().filter(({ openedAt }) => now - openedAt >= owedAlertMs)
  const reservedNano = late.reduce((sum, { boundNano }) => sum + boundNano, 0)
  const oldestAt = Math.min(...late.map(({ openedAt }) => openedAt))
  alerts.add({
    id: alertId('owed', tenant.tenantId, day),
    type: 'receipts.owed',
    at: now,
    data: { tenantId: tenant.tenantId, requests: late.length, reservedNano, oldestAt },
  })
}

/** Deletes entries that are older than the tenant's retention. Returns the number of deleted rows. */
function pruneOld({ account, purge }: Pick<MaintenanceParts, 'account' | 'purge'>, now: number): number {
  const tenant = account.tenant()
  if (!tenant) return 0
  if (tenant.purgeAt !== null && tenant.purgeAt <= now) return purge(prunedPerRun)
  const { retentionDays } = tenant.settings
  return account.store.pruned.prune(now - retentionDays * dayMs, prunedPerRun)
}
