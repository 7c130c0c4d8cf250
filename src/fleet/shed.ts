/** Refuses waiting requests that cannot be served in time. */
import { hasCandidate } from './choose.ts'
import { backLookMax } from './grant.ts'
import { grantEveryMs } from './queue/drain-rate.ts'
import type { QueueEntry } from './queue/fair-queue.ts'
import { retryAfterMs } from './retry-after.ts'
import {
  type FleetState,
  type LeaseOutcome,
  laneOf,
  modelIn,
  type Notification,
  paceOf,
  type WaitingRequest,
} from './state.ts'

export const waitingTtlMs = 60_000

/** Per sweep and lane. */
const shedMax = 256

/** Refuses waiting requests whose model has no worker, or only workers that already failed the request. */
export function refuseHopeless(fleet: FleetState, lane: string, now: number): Notification[] {
  const served = hasCandidate(fleet, { model: modelIn(lane), exclude: [] }, now)
  const { queue } = fleet
  const hopeless = served
    ? queue.back(lane, backLookMax).filter(({ item }) => !hasCandidate(fleet, item, now))
    : queue.waitingFor(lane)
  return hopeless.map(({ item: { requestId } }) => {
    queue.remove(requestId)
    return endRequest(fleet, requestId, { kind: 'rejected-no-endpoints' })
  })
}

/**
 * Refuses waiting requests that the recent grant rate cannot serve before their wait limit, with the time in which the
 * queue will drain. Batch requests of the tenant furthest over its share go first, then requests that are already late.
 */
export function shedSurplus(fleet: FleetState, lane: string, now: number): Notification[] {
  const everyMs = grantEveryMs(paceOf(fleet, lane), now)
  if (everyMs === undefined || everyMs <= 0) return []
  const notifications: Notification[] = []
  for (let count = 0; count < shedMax && fleet.queue.backlog(lane) * everyMs > waitingTtlMs; count++) {
    const entry = fleet.queue.surplus(lane)
    if (!entry) break
    fleet.queue.remove(entry.item.requestId)
    notifications.push(shed(fleet, entry, now))
  }
  return notifications
}

export function shed(fleet: FleetState, { item }: QueueEntry<WaitingRequest>, now: number): Notification {
  const outcome: LeaseOutcome = { kind: 'rejected-capacity', retryAfterMs: retryAfterMs(fleet, laneOf(item), now) }
  return endRequest(fleet, item.requestId, outcome)
}

export function endRequest(fleet: FleetState, requestId: string, outcome: LeaseOutcome): Notification {
  fleet.decisions.end(requestId, outcome.kind)
  return { requestId, outcome }
}
