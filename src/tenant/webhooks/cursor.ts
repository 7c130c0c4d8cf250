/** The state of a tenant's meter stream: what is to be sent next, and what follows from the receiver's answer. */

import type { MeterView } from '../rpc.ts'
import type { Store, Tenant } from '../store.ts'
import type { WebhookCursor } from './cursor-rows.ts'
import { type MeterEvent, meterEvent, meterRetryMs } from './event.ts'

export const meterBatchMax = 100
/** How long events are gathered before they are sent. */
export const meterGatherMs = 1_000

export interface MeterBatch {
  /** The same as long as the batch is tried again: receivers may tell a repeated delivery by it. */
  id: string
  events: MeterEvent[]
  /** The meter as it stands while this batch is tried. */
  meter: WebhookCursor
}

/** The next batch, or undefined when every entry was sent or bills nothing; `skipped` is the meter moved past those. */
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

/** The meter after a batch was acknowledged, or was not, for the reason in `fault`. */
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
