/** Usage events of one tenant: sets its webhook, and sends the events that are due. */
import type { TenantAccount } from '../account.ts'
import type { Alarm } from '../alarm.ts'
import { alertId } from '../alerts/alert.ts'
import type { MeterView, WebhookTarget } from '../rpc.ts'
import type { Tenant } from '../store/account-rows.ts'
import type { WebhookCursor } from '../store/webhook-rows.ts'
import type { Transactions } from '../transactions.ts'
import {
  type MeterBatch,
  meterAfter,
  meterBehindMs,
  meterGatherMs,
  meterRecorded,
  nextMeterBatch,
  replayMeter,
  retargetMeter,
  viewMeter,
} from './cursor.ts'
import type { DeliveryFault, deliver } from './deliver.ts'
import { formatWebhookSecret, type MacKeys, meterSecrets } from './event.ts'

const batchesPerRun = 50
/** The mark of a receiver that is behind. */
const behind = 'meter'

export interface WebhookParts {
  account: TenantAccount
  transactions: Transactions
  alarm: Alarm
  macKeys: MacKeys
  send: typeof deliver
  now: () => number
}

export class WebhookDeliveries {
  readonly #parts: WebhookParts
  /** Whether the tenant has a webhook; undefined until looked up. */
  #known: boolean | undefined

  constructor(parts: WebhookParts) {
    this.#parts = parts
  }

  view(): MeterView | null {
    const { account } = this.#parts
    const tenant = account.tenant()
    const meter = account.store.webhook.find()
    return tenant && meter ? viewMeter(account.store.pruned.find().seq, tenant, meter) : null
  }

  /** Returns the secret only if it is new: at creation, or if `newSecret` is true. Undefined without a tenant. */
  async set(
    target: WebhookTarget,
    newSecret: boolean,
  ): Promise<{ meter: MeterView; secret: string | null } | undefined> {
    const { account, transactions, alarm } = this.#parts
    const macKeys = await this.#parts.macKeys()
    const now = this.#parts.now()
    const tenant = account.tenant()
    if (!tenant) return undefined
    const { webhook } = account.store
    const old = webhook.find()
    const changed = retargetMeter(old, target, { newSecret, chainSeq: tenant.chainSeq, now })
    transactions.transaction(() => webhook.put(changed))
    this.#known = undefined
    alarm.wakeAt(now + meterGatherMs)
    const meter = viewMeter(account.store.pruned.find().seq, tenant, changed)
    if (old && !newSecret) return { meter, secret: null }
    const [secret] = await meterSecrets(macKeys, tenant.tenantId, changed.secretVersion)
    return { meter, secret: secret ? formatWebhookSecret(secret) : null }
  }

  /** Returns false if there was no webhook. */
  drop(): boolean {
    const { account, transactions } = this.#parts
    const had = this.#exists()
    transactions.transaction(() => account.store.webhook.drop())
    this.#known = undefined
    return had
  }

  /** Sends a signed message without events at once. Returns its failure; undefined without a webhook. */
  async test(): Promise<{ fault: DeliveryFault | null } | undefined> {
    const { account, macKeys, send, now } = this.#parts
    const [tenant, meter] = [account.tenant(), account.store.webhook.find()]
    if (!tenant || !meter) return undefined
    const secrets = await meterSecrets(await macKeys(), tenant.tenantId, meter.secretVersion)
    const id = `mtr_${tenant.tenantId}_test_${now()}`
    const fault = await send({ url: meter.url, secrets, id, body: JSON.stringify({ events: [] }) }, now())
    return { fault: fault ?? null }
  }

  /** Sends every stored entry since `from` again, with the identifiers it had. Undefined without a webhook. */
  replay(from: number): MeterView | undefined {
    const { account, transactions, alarm, now } = this.#parts
    const { webhook, entries, pruned } = account.store
    const replayed = transactions.transaction(() => {
      const [tenant, meter] = [account.tenant(), webhook.find()]
      if (!tenant || !meter) return undefined
      const first = entries.firstSince(from, pruned.find().seq + 1, tenant.chainSeq)
      webhook.put(replayMeter(meter, first - 1))
      return meter
    })
    if (!replayed) return undefined
    alarm.wakeAt(now())
    return this.view() ?? undefined
  }

  /** Call when entries are added: their events are sent together, a moment later. */
  gather(): void {
    if (this.#exists()) this.#parts.alarm.wakeAt(this.#parts.now() + meterGatherMs)
  }

  /**
   * Sends due events batch by batch, until all are sent or the receiver fails. Returns the time of the next attempt, or
   * undefined if all events are sent. Never throws because of a receiver.
   */
  async deliver(now: number): Promise<number | undefined> {
    const { account, transactions } = this.#parts
    const { webhook, entries } = account.store
    for (let batches = 0; batches < batchesPerRun; batches++) {
      const tenant = account.tenant()
      const meter = webhook.find()
      if (!tenant || !meter) return undefined
      if (meter.nextAt > now) return meter.nextAt
      const { batch, skipped } = nextMeterBatch(entries, tenant, meter)
      transactions.transaction(() => webhook.put(batch?.meter ?? skipped))
      if (!batch) return undefined
      const after = await this.#send(tenant, batch)
      transactions.transaction(() => this.#record(after))
      if (after.lastFault !== null) return after.nextAt
    }
    return this.#parts.now()
  }

  async #send({ tenantId }: Tenant, { id, events, meter }: MeterBatch): Promise<WebhookCursor> {
    const { macKeys, send, now } = this.#parts
    const secrets = await meterSecrets(await macKeys(), tenantId, meter.secretVersion)
    const fault = await send({ url: meter.url, secrets, id, body: JSON.stringify({ events }) }, now())
    return meterAfter(meter, fault, now())
  }

  #record(after: WebhookCursor): void {
    const { account } = this.#parts
    const { webhook } = account.store
    const current = webhook.find()
    const recorded = current && meterRecorded(current, after)
    if (recorded) webhook.put(recorded)
    if (after.lastFault !== null) this.#watchDelay(after)
    else if (account.store.alerts.mark(behind)?.levels === 1)
      account.store.alerts.putMark({ subject: behind, window: 0, limitNano: 0, levels: 0 })
  }

  /** Alerts operators once when the receiver is late, until it receives again. */
  #watchDelay({ sentSeq, url, lastFault }: WebhookCursor): void {
    const { account, alarm, now } = this.#parts
    const { entries, alerts } = account.store
    const tenant = account.tenant()
    const oldestAt = entries.after(sentSeq, 1)[0]?.entry.at
    if (!tenant || oldestAt === undefined || now() - oldestAt < meterBehindMs || alerts.mark(behind)?.levels === 1)
      return
    alerts.putMark({ subject: behind, window: 0, limitNano: 0, levels: 1 })
    const { tenantId, chainSeq } = tenant
    const data = { tenantId, url, entriesBehind: chainSeq - sentSeq, oldestAt, lastFault }
    alerts.add({ id: alertId('meter', tenantId, sentSeq, now()), type: 'meter.behind', at: now(), data })
    alarm.wakeAt(now())
  }

  #exists(): boolean {
    this.#known ??= this.#parts.account.store.webhook.find() !== undefined
    return this.#known
  }
}
