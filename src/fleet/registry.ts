/** Registers workers by their heartbeats, and forgets those that are gone. */
import { budgets } from '../../backends/model/budgets.ts'
import type { Heartbeat } from '../../backends/wire/heartbeat.ts'
import type { Hold } from './enrolment-check.ts'
import { endLease, forget, miss } from './leases.ts'
import { observeWritten } from './placement/output-length.ts'
import { endpointOf, type FleetState, type Notification, type Probed, speedOf, type WorkerEndpoint } from './state.ts'
import { sweep } from './sweep.ts'
import { believedTokens, type FleetWorker, newWorker, observeHeartbeat, runningOn } from './worker.ts'

export const workersMax = 1_000

/** How long a worker may not yet report a leased request as running: the dispatch is in flight. */
const leaseGraceMs = 10_000

export function heartbeat(
  fleet: FleetState,
  beat: Heartbeat,
  keyEpoch: number,
  now: number,
  hold?: Hold,
  secretId?: string,
): Notification[] {
  const known = fleet.workers.get(beat.workerId)
  const sameProcess = known?.heartbeat.instance === beat.instance
  if (known && sameProcess && known.heartbeat.sentAt > beat.sentAt) return []
  if (!known && fleet.workers.size >= workersMax) return []
  fleet.missing.delete(beat.workerId)
  if (beat.state === 'gone') {
    forget(fleet, beat.workerId)
    return sweep(fleet, now)
  }
  const speed = speedOf(fleet, beat)
  const worker = known ?? newWorker(beat, keyEpoch, speed, now)
  const running = new Set(beat.running)
  // Requests of the worker's previous process ended with that process.
  const graceMs = sameProcess ? leaseGraceMs : 0
  for (const [requestId, { at }] of worker.leases) {
    if (!running.has(requestId) && now - at > graceMs) endLease(fleet, worker, requestId)
  }
  const unleased = beat.running.filter((id) => !worker.leases.has(id) && !fleet.ended.has(id)).length
  if (known) learn(fleet, worker, beat, now)
  if (beat.pool !== worker.heartbeat.pool) worker.assignedPool = beat.pool
  if (known && !sameProcess) Object.assign(worker, { failed: false, failedWhy: undefined, probedAt: undefined })
  Object.assign(worker, { heartbeat: beat, keyEpoch, secretId, seenAt: now, hold, unleased, speed })
  fleet.workers.set(beat.workerId, worker)
  return sweep(fleet, now)
}

/** Sends the worker no new requests; running ones continue. `seenAt` is the time of its last heartbeat. */
export function holdWorker(
  fleet: FleetState,
  workerId: string,
  hold: Hold,
  seenAt: number,
  now: number,
): Notification[] {
  const worker = fleet.workers.get(workerId)
  if (worker) Object.assign(worker, { hold, seenAt })
  return sweep(fleet, now)
}

/** Whether the edge must probe this worker now: at its first heartbeat, and repeatedly while it is unreachable. */
export function probeDue(fleet: FleetState, workerId: string, now: number): boolean {
  const worker = fleet.workers.get(workerId)
  if (!worker || (worker.probedAt !== undefined && !worker.failed)) return false
  if (worker.probedAt !== undefined && now - worker.probedAt < budgets.workerProbeMs.value) return false
  worker.probedAt = now
  return true
}

export function probed(fleet: FleetState, { workerId, instance, fault }: Probed, now: number): Notification[] {
  const worker = fleet.workers.get(workerId)
  if (worker?.heartbeat.instance !== instance) return []
  Object.assign(worker, { failed: fault !== undefined, failedWhy: fault })
  // After a success, the next failure is probed at the next heartbeat.
  if (fault === undefined) worker.probedAt = Number.NEGATIVE_INFINITY
  return sweep(fleet, now)
}

/** Call before the heartbeat is stored: the requests that ran until now wrote the tokens since the last heartbeat. */
function learn(fleet: FleetState, worker: FleetWorker, heartbeat: Heartbeat, now: number): void {
  const claimed = heartbeat.outputTokensTotal - worker.heartbeat.outputTokensTotal
  const tokens = believedTokens(claimed, runningOn(worker), now - worker.seenAt)
  const latencyShare = worker.leases.size > 0 ? worker.latencyCount / worker.leases.size : 0
  observeWritten(fleet.lengths, heartbeat.model, 'latency', tokens * latencyShare)
  observeWritten(fleet.lengths, heartbeat.model, 'throughput', tokens * (1 - latencyShare))
  observeHeartbeat(worker, heartbeat, now)
}

/** Removes a worker whose key is no longer valid. Settlement waits for its receipts only if it is still `believed`. */
export function expel(fleet: FleetState, workerId: string, believed: boolean, now: number): Notification[] {
  if (believed && fleet.workers.has(workerId)) miss(fleet, workerId, now)
  if (!believed) fleet.missing.delete(workerId)
  forget(fleet, workerId)
  return sweep(fleet, now)
}

/** Every worker that may hold receipts: reachable ones in `present`, silent ones in `missing`. */
export function registry(fleet: FleetState): { present: WorkerEndpoint[]; missing: string[] } {
  return { present: [...fleet.workers.values()].map(endpointOf), missing: [...fleet.missing.keys()] }
}
