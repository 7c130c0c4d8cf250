/**
 * Hedging: when a worker has not started to answer after a while, a second worker gets the request too, and the first
 * to start serves it. Off unless the operator sets HEDGE_AFTER_MS.
 *
 *   first ─▶ prepared ─▶ silent for HEDGE_AFTER_MS ─▶ free slot elsewhere? ─▶ ledger informed ─▶ second ─▶ one starts
 *                                    no: the first continues           ledger records the winner ─▶ the other is stopped
 *
 * This order keeps the billing correct: the tenant's ledger learns of the second attempt before it starts, and of the
 * winner before the other receipt can arrive; see ledger/hedge.ts. Both share the bound of the one reservation.
 */

import { fleetOf } from '../fleet/client.ts'
import type { GrantedLease } from '../fleet/lease.ts'
import type { LeaseRequest } from '../fleet/state.ts'
import type { GatewayError } from '../http/errors.ts'
import type { Answered } from './answered.ts'
import type { RequestContext } from './context.ts'
import { within } from './deadline.ts'
import type { Dispatched } from './dispatch.ts'
import { tenantStub } from './reserve.ts'

/** The result of one worker's attempt. `served`: the worker has started to answer. */
export interface Tried {
  lease: GrantedLease
  dispatchId: string
  dispatched: Dispatched
  served: Answered | undefined
  /** The client's error if the request itself ended its run. */
  failure: GatewayError | undefined
}

/** An attempt in progress. */
export interface Trying {
  lease: GrantedLease
  dispatchId: string
  /** Whether the worker has accepted the request. From then until `prepared`, no other worker may get it. */
  accepted: () => boolean
  prepared: Promise<boolean>
  tried: Promise<Tried>
}

export interface HedgeParts {
  context: RequestContext
  afterMs: number
  /** Sends the request to this worker. `dropped` aborts it at any time, including the answer's body. */
  send: (lease: GrantedLease, dropped: AbortSignal) => Trying
  /** The attempt that is not returned has ended without an answer. */
  lost: (tried: Tried) => void
  /** The ledger knows that there are two attempts. */
  begun: () => void
}

/** Returns the attempt that answers, or the first attempt's failure. Stops the other attempt. */
export async function hedged(
  parts: HedgeParts,
  lease: GrantedLease,
  request: Omit<LeaseRequest, 'requestId'>,
): Promise<Tried> {
  const { context, afterMs } = parts
  const first = start(parts, lease)
  const soon = await within(first.tried, afterMs)
  if (soon) return soon
  // A request in preparation may be what silences its worker: no second worker gets it.
  if (first.accepted() && !(await first.prepared)) return first.tried
  const second = await startSecond(parts, lease, request)
  if (!second) return first.tried
  try {
    const begun = await firstServed(first, second)
    if (!begun) {
      if (!context.left.aborted) parts.lost(await second.tried)
      return await first.tried
    }
    const paid = await tenantStub(context, request.tenantId).hedgeWon(context.requestId, begun.dispatchId)
    const winner = paid === second.dispatchId ? second : first
    void drop(winner === first ? second : first, parts)
    return await winner.tried
  } catch (error) {
    // The ledger does not answer: neither attempt is billed, and both stop.
    await Promise.all([drop(first, parts), drop(second, parts)])
    throw error
  }
}

interface Racing extends Trying {
  stop: () => void
}

function start({ send }: HedgeParts, lease: GrantedLease): Racing {
  const dropped = new AbortController()
  return { ...send(lease, dropped.signal), stop: () => dropped.abort(new Error('another worker answers')) }
}

async function startSecond(
  parts: HedgeParts,
  lease: GrantedLease,
  request: Omit<LeaseRequest, 'requestId'>,
): Promise<Racing | undefined> {
  const { context } = parts
  const { requestId } = context
  const fleet = fleetOf(context.env)
  const exclude = [...request.exclude, lease.endpoint.workerId]
  const place = await fleet.hedge({ requestId, ...request, exclude }).catch(() => undefined)
  if (!place) return undefined
  const recorded = await tenantStub(context, request.tenantId)
    .hedge(requestId)
    .then(() => true)
    .catch(() => false)
  if (recorded) parts.begun()
  // The ledger now waits for a winner, so the second is sent even if the first has started meanwhile: they race.
  if (recorded && !context.left.aborted) return start(parts, { ...lease, pool: place.pool, endpoint: place })
  context.waitUntil(fleet.releaseOn(place.workerId, requestId))
  return undefined
}

/** The first attempt that starts to answer; undefined when both have ended without an answer. */
function firstServed(...both: Racing[]): Promise<Racing | undefined> {
  return new Promise((resolve, reject) => {
    let open = both.length
    for (const racing of both) {
      racing.tried.then(({ served }) => {
        open -= 1
        if (served) resolve(racing)
        else if (open === 0) resolve(undefined)
      }, reject)
    }
  })
}

/** Stops an attempt in any state. Its receipt frees the slot and reports what it generated. Never rejects. */
async function drop(racing: Racing, { context, lost }: HedgeParts): Promise<void> {
  const already = await within(racing.tried, 0).catch(() => undefined)
  racing.stop()
  if (already && !already.served && !context.left.aborted) lost(already)
  const tried = already ?? (await racing.tried.catch(() => undefined))
  tried?.served?.watch?.stop()
  await tried?.served?.rest.cancel().catch(() => undefined)
}
