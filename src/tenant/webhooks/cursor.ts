/** Progress of a tenant's webhook: the next batch to send, and the state after the receiver's response. */

import type { MeterView } from '../rpc.ts'
import type { Store, Tenant } from '../store/store.ts'
import type { WebhookCursor } from '../store/webhook-rows.ts'
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
  store: Store,
  tenant: Tenant,
  meter: WebhookCursor,
): { batch: MeterBatch | undefined; skipped: WebhookCursor } {
  let { sentSeq } = meter
  while (sentSeq < tenant.chainSeq) {
    const rows = store
      .entriesAfter(sentSeq, meterBatchMax)
      .filter((row) => meter.batchSeq === null || row.seq <= meter.batchSeq)
    const last = rows.at(-1)
    if (!last) break
    const events = rows.map((row) => meterEvent(row, meter, tenant.tenantId)).filter((event) => event !== undefined)
    if (events.length > 0) {
      const tried = { ...meter, sentSeq, batchSeq: last.seq }
      const id = `mtr_${tenant.tenantId}_${sentSeq + 1}_${last.seq}`
      return { batch: { id, events, meter: tried }, skipped: { ...meter, sentSeq } }
    }
    sentSeq = last.seq
  }
  return { batch: undefined, skipped: { ...meter, sentSeq, batchSeq: null } }
}

/** The state after a batch was acknowledged, or after it failed with the reason in `fault`. */
export function meterAfter(tried: WebhookCursor, fault: string | undefined, now: number): WebhookCursor {
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
  return { ...tried, attempts, nextAt: now + meterRetryMs(attempts), lastFault: fault }
}

export function viewMeter(store: Store, tenant: Tenant, meter: WebhookCursor): MeterView {
  const { url, eventName, customerId, secretVersion, sentSeq, attempts, nextAt, lastFault } = meter
  return {
    url,
    eventName,
    customerId,
    secretVersion,
    entriesBehind: tenant.chainSeq - sentSeq,
    entriesLost: Math.max(0, store.pruned().seq - sentSeq),
    attempts,
    nextAt: nextAt > 0 ? nextAt : null,
    lastFault,
  }
}
