/**
 * Raises a tenant's alerts, in the transaction that causes them: so an alert is stored if and only if its cause is.
 * Nothing is sent here.
 */
import type { Tenant } from '../store/account-rows.ts'
import type { AlertRows } from '../store/alert-rows.ts'
import type { KeyRow } from '../store/key-rows.ts'
import type { TenantSettings } from '../tenant-settings.ts'
import { alertId } from './alert.ts'
import { newLevels, sharesReached, thresholdsPassed, type WatchedBudget, watchedBudgets } from './levels.ts'

const dayMs = 86_400_000
const expiriesPerRun = 100

/** Call after the money or the limits of a tenant and its keys changed. Returns whether an alert was added. */
export function watchMoney(rows: AlertRows, tenant: Tenant, keys: readonly KeyRow[], now: number): boolean {
  let added = watchCredit(rows, tenant, now)
  for (const budget of watchedBudgets(tenant.limits, tenant.state))
    added = watchBudget(rows, tenant, null, budget, now) || added
  for (const key of keys)
    for (const budget of watchedBudgets(key.limits, key.state))
      added = watchBudget(rows, tenant, key, budget, now) || added
  return added
}

function watchBudget(
  rows: AlertRows,
  { tenantId, settings }: Tenant,
  key: KeyRow | null,
  budget: WatchedBudget,
  now: number,
): boolean {
  const shares = sharesOf(settings)
  const { period, budgetNano, spentNano, windowStart } = budget
  const levels = sharesReached(budget, shares)
  if (levels === 0) return false
  const name = key ? `key:${key.keyId}` : 'tenant'
  const subject = `${name}:${period}`
  const reached = { subject, window: windowStart, limitNano: budgetNano, levels }
  const found = newLevels(rows.mark(subject), reached, false)
  if (!found) return false
  rows.putMark(found.mark)
  for (const share of shares.slice(found.from, levels)) {
    rows.add({
      id: alertId('budget', tenantId, name, period, windowStart, budgetNano, share),
      type: 'budget.reached',
      at: now,
      data: {
        ...{ tenantId, scope: key ? 'key' : 'tenant', keyId: key?.keyId ?? null, keyName: key?.name ?? null },
        ...{ period, windowStart, share, budgetNano, spentNano },
      },
    })
  }
  return true
}

function watchCredit(rows: AlertRows, tenant: Tenant, now: number): boolean {
  const { tenantId, creditNano, postedNano, settings } = tenant
  const thresholds = thresholdsOf(settings)
  if (thresholds.length === 0) return false
  const leftNano = creditNano - postedNano
  const subject = 'credit'
  const levels = thresholdsPassed(leftNano, thresholds)
  const found = newLevels(rows.mark(subject), { subject, window: 0, limitNano: 0, levels }, true)
  if (!found) return false
  rows.putMark(found.mark)
  const passed = thresholds.slice(found.from, levels)
  for (const thresholdNano of passed) {
    rows.add({
      id: alertId('credit', tenantId, tenant.chainSeq, now, thresholdNano),
      type: 'credit.low',
      at: now,
      data: { tenantId, thresholdNano, leftNano, creditNano },
    })
  }
  return passed.length > 0
}

/**
 * Raises the alerts of keys that expire soon. Returns when to call it again; undefined if no key expires, which a change
 * of a key changes.
 */
export function watchExpiries(rows: AlertRows, { tenantId, settings }: Tenant, now: number): number | undefined {
  const days = settings.alertKeyExpiryDays
  if (days === 0) return undefined
  const soonMs = days * dayMs
  for (const { keyId, name, expiresAt } of rows.keysToExpire(now, now + soonMs, expiriesPerRun)) {
    rows.putMark({ subject: `expiry:${keyId}`, window: expiresAt, limitNano: 0, levels: 1 })
    rows.add({
      id: alertId('expiry', tenantId, keyId, expiresAt),
      type: 'key.expiring',
      at: now,
      data: { tenantId, keyId, keyName: name, expiresAt },
    })
  }
  const [next] = rows.keysToExpire(now, Number.MAX_SAFE_INTEGER, 1)
  return next && Math.max(now, next.expiresAt - soonMs)
}

/** In ascending order, each once. */
function sharesOf({ alertBudgetShares }: TenantSettings): number[] {
  return [...new Set(alertBudgetShares)].sort((one, other) => one - other)
}

/** In descending order, each once. */
function thresholdsOf({ alertCreditNano }: TenantSettings): number[] {
  return [...new Set(alertCreditNano)].sort((one, other) => other - one)
}
