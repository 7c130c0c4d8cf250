/** Periodic work: drops lost workers and expired waits, moves the pool split, grants free slots. */
import { heartbeatLostMs } from '../../backends/wire/heartbeat.ts'
import { moveSplits } from './choose.ts'
import { grantWaiting } from './grant.ts'
import { forget, miss, missingMax } from './leases.ts'
import { retryAfterMs } from './retry-after.ts'
import { endRequest, refuseHopeless, shedSurplus, waitingTtlMs } from './shed.ts'
import { type FleetState, laneOf, type Notification } from './state.ts'

const endedKeptMs = 5_000

/** After this time settlement no longer waits for the worker's receipts; see tenant/overdue.ts. */
const missingKeptMs = 24 * 3_600_000

/** Drops expired state and grants free slots to waiting requests. Call it about once a second. */
export function sweep(fleet: FleetState, now: number): Notification[] {
  for (const [id, worker] of fleet.workers) {
    if (now - worker.seenAt <= heartbeatLostMs) continue
    forget(fleet, id)
    if (fleet.missing.size < missingMax) miss(fleet, id, now)
  }
  dropOlder(fleet.missing, now - missingKeptMs)
  dropOlder(fleet.ended, now - endedKeptMs)
  const notifications = fleet.queue.removeOlder(now - waitingTtlMs).map((entry): Notification => {
    const { requestId } = entry.item
    return endRequest(fleet, requestId, {
      kind: 'evicted-ttl',
      retryAfterMs: retryAfterMs(fleet, laneOf(entry.item), now),
    })
  })
  for (const lane of fleet.queue.lanes())
    notifications.push(...refuseHopeless(fleet, lane, now), ...shedSurplus(fleet, lane, now))
  for (const model of fleet.modelLoads.keys()) {
    moveSplits(fleet, model, now)
    notifications.push(...grantWaiting(fleet, model, now))
  }
  return notifications
}

function dropOlder(times: Map<string, number>, time: number): void {
  for (const [id, at] of times) {
    if (at >= time) return
    times.delete(id)
  }
}
