/** Ends leases, and forgets workers together with theirs. */
import { undecided } from './circuit-breaker.ts'
import { gave } from './queue/running-shares.ts'
import type { FleetState } from './state.ts'
import { dropLease, type FleetWorker } from './worker.ts'

export const missingMax = 1_000

export function forget(fleet: FleetState, workerId: string): void {
  const worker = fleet.workers.get(workerId)
  if (!worker) return
  for (const requestId of [...worker.leases.keys()]) endLease(fleet, worker, requestId)
  fleet.workers.delete(workerId)
}

export function endLease(fleet: FleetState, worker: FleetWorker, requestId: string): void {
  const lease = dropLease(worker, requestId)
  if (lease) gave(fleet.shares, lease.tenantId)
  undecided(worker.breaker, requestId)
  if (fleet.leases.get(requestId) === worker) fleet.leases.delete(requestId)
}

/** Keeps the map ordered by time. */
export function miss(fleet: FleetState, workerId: string, now: number): void {
  fleet.missing.delete(workerId)
  fleet.missing.set(workerId, now)
}
