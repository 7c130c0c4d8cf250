/**
 * The operators' alerts: one Durable Object. Other objects raise alerts here; no request waits for it. It is the same
 * store and the same delivery as a tenant's.
 */
import { DurableObject } from 'cloudflare:workers'
import { type ConfigVariables, settings } from '../config.ts'
import type { AlertSink, RaisedAlert } from '../fleet/alert-sink.ts'
import type { Alarm } from '../tenant/alarm.ts'
import { type AlertType, alertTypes } from '../tenant/alerts/alert.ts'
import type { AlertCall } from '../tenant/alerts/alert-calls.ts'
import { AlertDeliveries } from '../tenant/alerts/alert-deliveries.ts'
import { alertSchema } from '../tenant/alerts/alert-schema.ts'
import { durableAlarm, durableSql } from '../tenant/durable-storage.ts'
import { AlertRows } from '../tenant/store/alert-rows.ts'
import { migrate } from '../tenant/store/schema.ts'
import { deliver } from '../tenant/webhooks/deliver.ts'

export class AlertsObject extends DurableObject implements AlertSink {
  readonly #rows: AlertRows
  readonly #alarm: Alarm
  readonly #deliveries: AlertDeliveries

  constructor(state: DurableObjectState, env: ConfigVariables) {
    super(state, env as never)
    const { storage } = state
    const sql = durableSql(storage.sql)
    storage.transactionSync(() => migrate(sql, alertSchema))
    this.#rows = new AlertRows(sql, alertTypes)
    this.#alarm = durableAlarm(state)
    this.#deliveries = new AlertDeliveries({
      rows: this.#rows,
      transaction: (work) => this.#transaction(work),
      alarm: this.#alarm,
      // No tenant has this id: it has fewer than four characters.
      owner: () => 'op',
      macKeys: async () => (await settings(env)).macKeys,
      send: deliver,
      now: Date.now,
    })
  }

  /** Adds each alert once, however often it is raised. */
  async raise(alerts: RaisedAlert[]): Promise<void> {
    this.#transaction(() => {
      for (const alert of alerts) if (isAlertType(alert.type)) this.#rows.add({ ...alert, type: alert.type })
    })
    this.#alarm.wakeAt(Date.now())
  }

  call(call: AlertCall) {
    return this.#deliveries.call(call)
  }

  override async alarm(): Promise<void> {
    this.#alarm.fired()
    const next = await this.#deliveries.deliver()
    if (next !== undefined) this.#alarm.wakeAt(next)
  }

  #transaction<Result>(work: () => Result): Result {
    try {
      return this.ctx.storage.transactionSync(work)
    } catch (error) {
      this.#rows.reload()
      throw error
    }
  }
}

function isAlertType(type: string): type is AlertType {
  return (alertTypes as readonly string[]).includes(type)
}
