/**
 * Delivers alerts to their endpoints. Every due delivery is a row, so a restart loses none. Endpoints are independent of
 * each other: the first failure ends an endpoint's run and pauses it.
 */
import type { Alarm } from '../alarm.ts'
import type { TenantResult } from '../permissions.ts'
import type { AlertDelivery, AlertEndpoint, AlertRows, StoredAlert } from '../store/alert-rows.ts'
import type { DeliveryFault, deliver } from '../webhooks/deliver.ts'
import { formatWebhookSecret, type MacKeys, meterRetryMs, webhookSecrets } from '../webhooks/event.ts'
import { alertBody } from './alert.ts'
import { type AlertAnswers, type AlertCall, alertCall } from './alert-calls.ts'

/** Attempts of one delivery: with waits up to an hour, these take about twenty hours. */
export const alertAttemptsMax = 30
const deliveriesPerRun = 20
/** A run that takes longer ends, because the object's other jobs wait for it. */
const runMsMax = 15_000
/** An endpoint that failed gets its other alerts after at most this time. */
const pauseMsMax = 60_000

/** `secret` is the new secret of an endpoint. */
export interface AlertAnswer {
  answer: AlertAnswers[AlertCall['kind']]
  secret?: string
}

export interface AlertDeliveryParts {
  rows: AlertRows
  /** All or nothing. */
  transaction: <Result>(work: () => Result) => Result
  alarm: Alarm
  /** The tenant’s id, or another name that no tenant has. It is a part of the names of the secrets. */
  owner: () => string
  macKeys: MacKeys
  send: typeof deliver
  now: () => number
}

/** After these calls an alert may be due. */
const sends: ReadonlySet<AlertCall['kind']> = new Set(['update', 'test', 'redeliver'])

export class AlertDeliveries {
  readonly #parts: AlertDeliveryParts

  constructor(parts: AlertDeliveryParts) {
    this.#parts = parts
  }

  /** Reads or changes alerts and endpoints. A new secret is only in the answer that creates it. */
  async call(call: AlertCall): Promise<TenantResult<AlertAnswer>> {
    const { rows, transaction, alarm, now } = this.#parts
    const answer = transaction(() => alertCall(rows, call, now()))
    if (!answer.ok) return answer
    if (sends.has(call.kind)) alarm.wakeAt(now())
    if (call.kind !== 'create' && call.kind !== 'rotate') return { ok: true, value: { answer: answer.value } }
    const { secretVersion } = answer.value as AlertAnswers['create']
    const [secret] = await this.#secrets(call.endpointId, secretVersion)
    return { ok: true, value: { answer: answer.value, ...(secret && { secret: formatWebhookSecret(secret) }) } }
  }

  /** Sends due alerts. Returns the time of the next attempt; undefined if none is due. Never throws for a receiver. */
  async deliver(): Promise<number | undefined> {
    const { rows, now } = this.#parts
    const endpoints = rows.endpoints().filter(({ disabledAt }) => disabledAt === null)
    const endsAt = now() + runMsMax
    const times = await Promise.all(endpoints.map(({ endpointId }) => this.#deliverTo(endpointId, endsAt)))
    const due = times.filter((time) => time !== undefined)
    return due.length > 0 ? Math.min(...due) : undefined
  }

  async #deliverTo(endpointId: string, endsAt: number): Promise<number | undefined> {
    const { rows, now } = this.#parts
    for (let sent = 0; ; sent++) {
      const endpoint = rows.endpoint(endpointId)
      const due = endpoint?.disabledAt === null ? rows.nextDue(endpointId) : undefined
      if (!endpoint || !due) return undefined
      const time = Math.max(endpoint.nextAt, due.delivery.nextAt)
      if (time > now()) return time
      if (sent >= deliveriesPerRun || now() >= endsAt) return now()
      await this.#send(endpoint, due)
    }
  }

  async #send(
    endpoint: AlertEndpoint,
    { alert, delivery }: { alert: StoredAlert; delivery: AlertDelivery },
  ): Promise<void> {
    const { send, now, rows, transaction } = this.#parts
    const { endpointId, url, secretVersion, previous } = endpoint
    const versions = previous && previous.until > now() ? [secretVersion, previous.version] : [secretVersion]
    const secrets = (await Promise.all(versions.map((version) => this.#secrets(endpointId, version)))).flat()
    const fault = await send({ url, secrets, id: alert.id, body: alertBody(alert) }, now())
    transaction(() => {
      const [current, known] = [rows.endpoint(endpointId), rows.delivery(endpointId, alert.seq)]
      // The endpoint may have been changed or removed meanwhile, and a change begins again.
      if (known && current?.url === url) rows.putDelivery(afterAttempt(delivery, fault, now()))
      if (current?.url === url) rows.putEndpoint(afterDelivery(current, fault, now()))
    })
  }

  async #secrets(endpointId: string, version: number): Promise<Uint8Array<ArrayBuffer>[]> {
    const { macKeys, owner } = this.#parts
    return webhookSecrets(await macKeys(), `alert:${owner()}:${endpointId}:${version}`)
  }
}

function afterAttempt(delivery: AlertDelivery, fault: DeliveryFault | undefined, now: number): AlertDelivery {
  const attempts = delivery.attempts + 1
  if (!fault) return { ...delivery, state: 'delivered', attempts, endedAt: now, lastFault: null }
  if (fault.gone || attempts >= alertAttemptsMax)
    return { ...delivery, state: 'failed', attempts, endedAt: now, lastFault: fault.text }
  const waitMs = Math.max(meterRetryMs(attempts), fault.retryAfterMs)
  return { ...delivery, attempts, nextAt: now + waitMs, lastFault: fault.text }
}

function afterDelivery(endpoint: AlertEndpoint, fault: DeliveryFault | undefined, now: number): AlertEndpoint {
  if (!fault) return { ...endpoint, failures: 0, nextAt: 0, lastFault: null }
  const failures = endpoint.failures + 1
  const pauseMs = Math.max(Math.min(pauseMsMax, meterRetryMs(failures)), fault.retryAfterMs)
  const disabledAt = fault.gone ? now : endpoint.disabledAt
  return { ...endpoint, failures, nextAt: now + pauseMs, lastFault: fault.text, disabledAt }
}
