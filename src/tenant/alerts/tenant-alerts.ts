/** Alerts of one tenant: the calls of its keys, the work of its alarm, and the copies for operators. */
import type { AlertSink } from '../../fleet/alert-sink.ts'
import type { TenantAccount } from '../account.ts'
import type { Alarm } from '../alarm.ts'
import { admitTo, type Requester, type TenantResult } from '../permissions.ts'
import { changeTenant } from '../settings.ts'
import type { TenantSettings } from '../tenant-settings.ts'
import type { Transactions } from '../transactions.ts'
import type { deliver } from '../webhooks/deliver.ts'
import type { MacKeys } from '../webhooks/event.ts'
import type { AlertCall } from './alert-calls.ts'
import { type AlertAnswer, AlertDeliveries } from './alert-deliveries.ts'
import { watchExpiries } from './watch.ts'

export type AlertThresholds = Pick<TenantSettings, 'alertBudgetShares' | 'alertCreditNano' | 'alertKeyExpiryDays'>

const forwardedPerRun = 100
const forwardAgainMs = 60_000

export interface TenantAlertParts {
  account: TenantAccount
  transactions: Transactions
  alarm: Alarm
  macKeys: MacKeys
  send: typeof deliver
  /** Operators receive a copy of each alert. */
  sink: AlertSink
  now: () => number
}

export class TenantAlerts {
  readonly #parts: TenantAlertParts
  readonly #deliveries: AlertDeliveries
  /** When a key next expires soon; undefined until looked up, null if none does. */
  #expiryAt: number | null | undefined

  constructor(parts: TenantAlertParts) {
    const { account, transactions } = parts
    this.#parts = parts
    this.#deliveries = new AlertDeliveries({
      ...parts,
      rows: account.store.alerts,
      transaction: (work) => transactions.transaction(work),
      owner: () => account.tenant()?.tenantId ?? '',
    })
  }

  async call(by: Requester, call: AlertCall): Promise<TenantResult<AlertAnswer>> {
    const { account, now } = this.#parts
    const caller = admitTo(account, by, call.kind === 'alerts' ? 'read-usage' : 'alerts', now())
    return caller.ok ? this.#deliveries.call(call) : caller
  }

  /** Returns the thresholds, after the change if there is one. */
  thresholds(by: Requester, change?: Partial<AlertThresholds>): TenantResult<AlertThresholds> {
    const { account, transactions, now } = this.#parts
    const caller = admitTo(account, by, 'alerts', now())
    if (!caller.ok) return caller
    if (!change) return { ok: true, value: thresholdsOf(caller.value.tenant.settings) }
    const changed = transactions.transaction(() => changeTenant(account, { settings: change }, now()))
    this.keysChanged()
    return changed.ok ? { ok: true, value: thresholdsOf(changed.value.after.settings) } : changed
  }

  /** Call after a key or a setting changed: another key may expire first. */
  keysChanged(): void {
    this.#expiryAt = undefined
    this.#parts.alarm.wakeAt(this.#parts.now() + 1_000)
  }

  /** Raises the alerts of keys that expire soon, and sends due alerts. Returns the time of the next run. */
  async deliver(): Promise<number | undefined> {
    const times = [this.#watchExpiries(), ...(await Promise.all([this.#forward(), this.#deliveries.deliver()]))]
    const due = times.filter((time) => time !== undefined)
    return due.length > 0 ? Math.min(...due) : undefined
  }

  #watchExpiries(): number | undefined {
    const { account, transactions, now } = this.#parts
    if (this.#expiryAt === undefined || (this.#expiryAt !== null && this.#expiryAt <= now())) {
      const tenant = account.tenant()
      const next = tenant && transactions.transaction(() => watchExpiries(account.store.alerts, tenant, now()))
      this.#expiryAt = next ?? null
    }
    return this.#expiryAt ?? undefined
  }

  /** Copies alerts to the operators' object, which stores each id once. */
  async #forward(): Promise<number | undefined> {
    const { account, sink, transactions, now } = this.#parts
    const { alerts } = account.store
    const some = alerts.toForward(forwardedPerRun)
    const last = some.at(-1)
    if (!last) return undefined
    try {
      await sink.raise(some.map(({ id, type, at, data }) => ({ id, type, at, data })))
    } catch (error) {
      console.warn(`alerts: the operators' object does not answer. They are sent again in a minute.`, error)
      return now() + forwardAgainMs
    }
    transactions.transaction(() => alerts.markForwarded(last.seq))
    return some.length < forwardedPerRun ? undefined : now()
  }
}

function thresholdsOf({ alertBudgetShares, alertCreditNano, alertKeyExpiryDays }: TenantSettings): AlertThresholds {
  return { alertBudgetShares, alertCreditNano, alertKeyExpiryDays }
}
