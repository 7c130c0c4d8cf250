/** Gives free slots to waiting requests. */
import { poolNames } from '../../backends/wire/dispatch.ts'
import { type Choice, choose, hasPool, overShare } from './choose.ts'
import { began } from './circuit-breaker.ts'
import { granted } from './queue/drain-rate.ts'
import type { Queued, QueueEntry } from './queue/fair-queue.ts'
import { took } from './queue/running-shares.ts'
import {
  endpointOf,
  type FleetState,
  type LeaseOutcome,
  type LeaseRequest,
  laneOf,
  modelLoadOf,
  type Notification,
  paceOf,
  type WaitingRequest,
} from './state.ts'
import { addLease } from './worker.ts'
/** Retried requests that are checked for a free slot on a worker that they do not exclude. */
export const backLookMax = 64

/** Without a throughput pool, at least one of this many grants is a long answer while one waits. */
const longEvery = 8

/** Grants the model's free slots to waiting requests. */
export function grantWaiting(fleet: FleetState, model: string, now: number): Notification[] {
  const notifications: Notification[] = []
  for (let next = nextToGrant(fleet, model, now); next; next = nextToGrant(fleet, model, now)) {
    granted(paceOf(fleet, laneOf(next.entry.item)), now)
    const { requestId } = next.entry.item
    notifications.push({ requestId, outcome: grant(fleet, next.entry.item, next.choice, now, next.entry) })
  }
  return notifications
}

/** Short answers go first: they need little and take only suitable slots. Without a throughput pool, not always. */
function nextToGrant(fleet: FleetState, model: string, now: number) {
  if (fleet.queue.size === 0) return undefined
  const modelLoad = modelLoadOf(fleet, model, now)
  const longWaits = fleet.queue.backlog(`throughput ${model}`) > 0
  if (!longWaits) modelLoad.passedLong = 0
  const due = modelLoad.passedLong >= longEvery - 1 && !hasPool(fleet, model, 'throughput', now)
  for (const preferredPool of due ? [...poolNames].reverse() : poolNames) {
    const next = nextInLane(fleet, `${preferredPool} ${model}`, due && preferredPool === 'throughput', now)
    if (!next) continue
    modelLoad.passedLong = preferredPool === 'latency' && longWaits ? modelLoad.passedLong + 1 : 0
    return next
  }
  return undefined
}

function nextInLane(fleet: FleetState, lane: string, due: boolean, now: number) {
  const { queue } = fleet
  let choice: Choice | undefined
  const fits = (item: WaitingRequest) => {
    choice = choose(fleet, item, now - (queue.entry(item.requestId)?.since ?? now), now, due)
    return choice !== undefined
  }
  const back = queue.takeBack(lane, fits, backLookMax)
  if (back && choice) return { entry: back, choice }
  const entry = queue.next(lane, now)
  if (!entry) return undefined
  if (fits(entry.item) && choice) {
    queue.take(lane, now)
    return { entry, choice }
  }
  // A slot reserved from a tenant over its share goes to the tenants behind it.
  const skips = (item: WaitingRequest) => overShare(fleet, item)
  const other = skips(entry.item) ? queue.next(lane, now, skips) : undefined
  if (!other || !fits(other.item) || !choice) return undefined
  queue.take(lane, now, skips)
  return { entry: other, choice }
}

export function grant(
  fleet: FleetState,
  request: LeaseRequest,
  choice: Choice,
  now: number,
  waited?: QueueEntry<LeaseRequest & Queued>,
  held = fleet.leases,
): LeaseOutcome {
  const { worker, request: placement, judged, considered } = choice
  const { requestId, promptTokens, prefix } = request
  const { workerId, pool } = worker.heartbeat
  const keepTokens = promptTokens + placement.outputTokens
  const freshTokens = Math.max(1, promptTokens - judged.heldTokens)
  const { preferredPool } = placement
  addLease(worker, requestId, { at: now, preferredPool, freshTokens, keepTokens, tenantId: request.tenantId })
  held.set(requestId, worker)
  took(fleet.shares, request.tenantId, request.weight)
  fleet.affinity.given(prefix, workerId)
  began(worker.breaker, requestId)
  const waitedMs = waited ? now - waited.since : 0
  const position = waited?.position ?? null
  const { assignedPool } = judged
  const why = whyOf(choice)
  fleet.decisions.attempt(requestId, {
    at: now,
    workerId,
    pool,
    assignedPool,
    why,
    waitedMs,
    position,
    ...considered,
  })
  return { kind: 'granted', endpoint: endpointOf(worker), waitedMs, position }
}

function whyOf({ request, judged }: Choice): string {
  const where =
    judged.assignedPool === request.preferredPool
      ? `a free slot in the ${request.preferredPool} pool`
      : `no free slot in the ${request.preferredPool} pool in time, but one in the other pool`
  const prefix = judged.heldTokens > 0 ? `; its cache holds about ${judged.heldTokens} tokens of the prompt` : ''
  return `${where}; best predicted latency relative to the targets${prefix}`
}
