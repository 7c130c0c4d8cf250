/**
 * Progress of a tenant's webhook: the next batch to send, and the state after the receiver's response. The ledger's
 * entries serve as the outbox: a cursor moves along them, and no event is stored. A batch that was not acknowledged is
 * retried unchanged.
 */

import { sha256 } from '../ledger/sha256.ts'
import type { MeterView, WebhookTarget } from '../rpc.ts'
import type { Tenant } from '../store/account-rows.ts'
import type { EntryRows } from '../store/entry-rows.ts'
import type { WebhookCursor } from '../store/webhook-rows.ts'
import type { DeliveryFault } from './deliver.ts'
import { type MeterEvent, meterEvent, meterRetryMs } from './event.ts'

export const meterBatchMax = 100
/** How long events are collected before they are sent. */
export const meterGatherMs = 1_000

export interface MeterBatch {
  /** The same for every retry of the batch, so that receivers can detect a repeated delivery. */
  id: string
  events: MeterEvent[]
  /** State of the webhook while this batch is in delivery. */
  meter: WebhookCursor
}

/**
 * The next batch, or undefined if no entry needs an event. `skipped` is the state after the entries that bill nothing.
 */
export function nextMeterBatch(
  entries: EntryRows,
  tenant: Tenant,
  meter: WebhookCursor,
): { batch: MeterBatch | undefined; skipped: WebhookCursor } {
  let { sentSeq } = meter
  while (sentSeq < tenant.chainSeq) {
    const rows = entries
      .after(sentSeq, meterBatchMax)
      .filter((row) => meter.batchSeq === null || row.seq <= meter.batchSeq)
    const last = rows.at(-1)
    if (!last) break
    const events = rows.map((row) => meterEvent(row, meter, tenant.tenantId)).filter((event) => event !== undefined)
    if (events.length > 0) {
      const tried = { ...meter, sentSeq, batchSeq: last.seq }
      const id = batchId(tenant.tenantId, meter, sentSeq + 1, last.seq)
      return { batch: { id, events, meter: tried }, skipped: { ...meter, sentSeq } }
    }
    sentSeq = last.seq
  }
  return { batch: undefined, skipped: { ...meter, sentSeq, batchSeq: null } }
}

/** The id of a batch. The names of its events are a part: with other names, the same entries are another message. */
function batchId(tenantId: string, { eventName, customerId }: WebhookCursor, from: number, to: number): string {
  const names = sha256(JSON.stringify([eventName, customerId])).slice(0, 8)
  return `mtr_${tenantId}_${from}_${to}_${names}`
}

/** The state after a batch was acknowledged, or after it failed for the reason in `fault`. */
export function meterAfter(tried: WebhookCursor, fault: DeliveryFault | undefined, now: number): WebhookCursor {
  if (fault === undefined) {
    return {
      ...tried,
      sentSeq: tried.batchSeq ?? tried.sentSeq,
      batchSeq: null,
      attempts: 0,
      nextAt: 0,
      lastFault: null,
    }
  }
  const attempts = tried.attempts + 1
  const waitMs = Math.max(meterRetryMs(attempts), fault.retryAfterMs)
  return { ...tried, attempts, nextAt: now + waitMs, lastFault: fault.text }
}

/**
 * The stored state after a delivery, if the webhook was changed meanwhile: a new target keeps its own retry. Undefined
 * if the delivery changes nothing.
 */
export function meterRecorded(current: WebhookCursor, after: WebhookCursor): WebhookCursor | undefined {
  // A replay was requested meanwhile: it begins before this batch.
  if (current.batchSeq === null) return undefined
  const { url, eventName, customerId, secretVersion } = current
  if (url === after.url && secretVersion === after.secretVersion) return { ...after, eventName, customerId }
  return after.lastFault === null ? { ...current, sentSeq: after.sentSeq, batchSeq: null } : undefined
}

/** The webhook with a new target. A new webhook starts after the last entry; an existing one continues, at once. */
export function retargetMeter(
  old: WebhookCursor | undefined,
  target: WebhookTarget,
  { newSecret, chainSeq, now }: { newSecret: boolean; chainSeq: number; now: number },
): WebhookCursor {
  const { url, eventName, customerId } = target
  const secretVersion = old ? old.secretVersion + (newSecret ? 1 : 0) : now
  const { sentSeq, batchSeq } = old ?? { sentSeq: chainSeq, batchSeq: null }
  return { url, eventName, customerId, secretVersion, sentSeq, batchSeq, attempts: 0, nextAt: 0, lastFault: null }
}

/** How old the oldest entry that was not acknowledged is before operators get an alert. */
export const meterBehindMs = 15 * 60_000

/** The webhook after which every entry after `sentSeq` is sent again. */
export function replayMeter(meter: WebhookCursor, sentSeq: number): WebhookCursor {
  const replayed = Math.min(meter.sentSeq, sentSeq)
  return { ...meter, sentSeq: replayed, batchSeq: null, attempts: 0, nextAt: 0, lastFault: null }
}

export function viewMeter(prunedSeq: number, tenant: Tenant, meter: WebhookCursor): MeterView {
  const { url, eventName, customerId, secretVersion, sentSeq, attempts, nextAt, lastFault } = meter
  return {
    url,
    eventName,
    customerId,
    secretVersion,
    entriesBehind: tenant.chainSeq - sentSeq,
    entriesLost: Math.max(0, prunedSeq - sentSeq),
    attempts,
    nextAt: nextAt > 0 ? nextAt : null,
    lastFault,
  }
}
