/**
 * A hedge: a request whose worker has not begun to answer after a while is given to a second one beside it, and whoever
 * begins first answers. Off unless the operator sets HEDGE_AFTER_MS.
 *
 *   first ──▶ prepared ──▶ silent for HEDGE_AFTER_MS ──▶ a slot is free elsewhere? ──▶ ledger informed ──▶ second ──▶ one begins
 *                                              no: the first goes on            books told who ──▶ the other is stopped
 *
 * The order is what keeps the money right: the tenant's books know that there may be two before there are, and who is
 * paid for before the other one's receipt can come; see ledger/hedge.ts. Both have the one reservation's bound.
 */

import { fleetOf } from '../fleet/client.ts'
import type { LeaseRequest } from '../fleet/fleet.ts'
import type { GrantedLease } from '../fleet/lease.ts'
import type { GatewayError } from '../http/errors.ts'
import { tenantStub } from '../tenant/client.ts'
import type { Answered } from './attempts.ts'
import type { RequestContext } from './context.ts'
import type { Dispatched } from './dispatch.ts'
import { within } from './relay.ts'

/** How one worker's attempt went: `served` where it has begun to answer. */
export interface Tried {
  lease: GrantedLease
  dispatchId: string
  dispatched: Dispatched
  served: Answered | undefined
  /** The client's error where the request itself ended its run. */
  failure: GatewayError | undefined
}

/** An attempt on its way. */
export interface Trying {
  lease: GrantedLease
  dispatchId: string
  /** Whether its worker has accepted it by now. From then on, until it is prepared, no other worker gets it. */
  accepted: () => boolean
  prepared: Promise<boolean>
  tried: Promise<Tried>
}

export interface HedgeParts {
  context: RequestContext
  afterMs: number
  /** Sends the request to this worker; `dropped` breaks it off at any time, its answer's body too. */
  send: (lease: GrantedLease, dropped: AbortSignal) => Trying
  /** An attempt beside the one that is returned has ended without an answer. */
  lost: (tried: Tried) => void
  /** The books know that there are two. */
  begun: () => void
}

/** The attempt that answers; where none does, how the first ended. Nothing of any other goes on. */
export async function hedged(
  parts: HedgeParts,
  lease: GrantedLease,
  ask: Omit<LeaseRequest, 'requestId'>,
): Promise<Tried> {
  const { context, afterMs } = parts
  const first = start(parts, lease)
  const soon = await within(first.tried, afterMs)
  if (soon) return soon
  // A request in preparation may be what stops its worker: no second worker gets it.
  if (first.accepted() && !(await first.prepared)) return first.tried
  const second = await startSecond(parts, lease, ask)
  if (!second) return first.tried
  try {
    const begun = await firstServed(first, second)
    if (!begun) {
      if (!context.left.aborted) parts.lost(await second.tried)
      return await first.tried
    }
    const paid = await tenantStub(context, ask.tenantId).hedgeWon(context.requestId, begun.dispatchId)
    const winner = paid === second.dispatchId ? second : first
    void drop(winner === first ? second : first, parts)
    return await winner.tried
  } catch (error) {
    // The books do not answer: nobody is paid for, and nobody goes on.
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
  ask: Omit<LeaseRequest, 'requestId'>,
): Promise<Racing | undefined> {
  const { context } = parts
  const { requestId } = context
  const fleet = fleetOf(context.env)
  const exclude = [...ask.exclude, lease.endpoint.workerId]
  const place = await fleet.hedge({ requestId, ...ask, exclude }).catch(() => undefined)
  if (!place) return undefined
  const told = await tenantStub(context, ask.tenantId)
    .hedge(requestId)
    .then(() => true)
    .catch(() => false)
  if (told) parts.begun()
  // From here on the books wait for a winner, so it is sent even if the first has begun meanwhile: they race.
  if (told && !context.left.aborted) return start(parts, { ...lease, pool: place.pool, endpoint: place })
  context.waitUntil(fleet.releaseOn(place.workerId, requestId))
  return undefined
}

/** The first that has begun to answer; undefined when both have ended without. */
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

/** Stops it, in whatever state it is. Its receipt gives the slot back, and says what it had generated. Never rejects. */
async function drop(racing: Racing, { context, lost }: HedgeParts): Promise<void> {
  const already = await within(racing.tried, 0).catch(() => undefined)
  racing.stop()
  if (already && !already.served && !context.left.aborted) lost(already)
  const tried = already ?? (await racing.tried.catch(() => undefined))
  tried?.served?.watch?.stop()
  await tried?.served?.rest.cancel().catch(() => undefined)
}
