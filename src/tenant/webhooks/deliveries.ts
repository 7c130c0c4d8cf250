/** Usage events of one tenant: sets its webhook, and sends the events that are due. */
import type { TenantAccount } from '../account.ts'
import type { Alarm } from '../alarm.ts'
import type { MeterView, WebhookTarget } from '../rpc.ts'
import type { Tenant } from '../store/account-rows.ts'
import type { WebhookCursor } from '../store/webhook-rows.ts'
import type { Transactions } from '../transactions.ts'
import {
  type MeterBatch,
  meterAfter,
  meterGatherMs,
  meterRecorded,
  nextMeterBatch,
  retargetMeter,
  viewMeter,
} from './cursor.ts'
import type { deliverBatch } from './deliver.ts'
import { formatMeterSecret, meterSecret } from './event.ts'

const batchesPerRun = 50

export interface WebhookParts {
  account: TenantAccount
  transactions: Transactions
  alarm: Alarm
  /** The key from which the webhooks' secrets are derived. */
  macKey: () => Promise<CryptoKey>
  send: typeof deliverBatch
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
    const macKey = await this.#parts.macKey()
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
    return { meter, secret: formatMeterSecret(await meterSecret(macKey, tenant.tenantId, changed.secretVersion)) }
  }

  /** Returns false if there was no webhook. */
  drop(): boolean {
    const { account, transactions } = this.#parts
    const had = this.#exists()
    transactions.transaction(() => account.store.webhook.drop())
    this.#known = undefined
    return had
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
    const { macKey, send, now } = this.#parts
    const secret = await meterSecret(await macKey(), tenantId, meter.secretVersion)
    return meterAfter(meter, await send(meter.url, secret, id, events, now()), now())
  }

  #record(after: WebhookCursor): void {
    const { webhook } = this.#parts.account.store
    const current = webhook.find()
    const recorded = current && meterRecorded(current, after)
    if (recorded) webhook.put(recorded)
  }

  #exists(): boolean {
    this.#known ??= this.#parts.account.store.webhook.find() !== undefined
    return this.#known
  }
}
