/** Expected waits and retry times, from the rate at which the queue drains. */
import { grantEveryMs } from './queue/drain-rate.ts'
import { type FleetState, paceOf } from './state.ts'

const retryAfterMinMs = 1_000

/** Clients ignore longer retry times. */
const retryAfterMaxMs = 60_000

/** Used until the rate of free slots is measured. */
const retryAfterUnknownMs = 5_000

/** Expected wait of a request that arrives now; 0 while no request waits. */
export function expectedWaitMs(fleet: FleetState, lane: string, now: number): number {
  const backlog = fleet.queue.backlog(lane)
  if (backlog === 0) return 0
  return (backlog + 1) * (grantEveryMs(paceOf(fleet, lane), now) ?? retryAfterUnknownMs)
}

/** Time until the requests that wait in this lane are served, at the recent grant rate. */
export function retryAfterMs(fleet: FleetState, lane: string, now: number): number {
  const everyMs = grantEveryMs(paceOf(fleet, lane), now)
  if (everyMs === undefined) return retryAfterUnknownMs
  const wait = Math.ceil(everyMs * (fleet.queue.backlog(lane) + 1))
  return Math.min(retryAfterMaxMs, Math.max(retryAfterMinMs, wait))
}
