/** Leases a worker from the fleet. Effort, load and prefix cache decide which; see placement/score.ts. */

import type { EffortWord } from '../../backends/model/effort.ts'
import type { PoolName } from '../../backends/wire/dispatch.ts'
import { type FleetCall, fleetOf } from './client.ts'
import type { Wait } from './queue-status.ts'
import { refusal } from './refusal.ts'
import type { LeaseOutcome, LeaseRequest, WorkerEndpoint } from './state.ts'

export interface GrantedLease {
  pool: PoolName
  endpoint: WorkerEndpoint
  waitedMs: number
  /** Queue position on arrival; null if the request did not wait. */
  position: number | null
  /** The effort to prompt with: lower than requested if the tenant agreed to that under load. */
  effort: EffortWord
}

/**
 * Leases a slot, and waits in the queue if none is free. If the wait would be long and the tenant agreed to less
 * effort, leases once more with the lower effort. The caller owns the lease: a receipt or a call of `release` ends it.
 */
export async function lease(context: FleetCall, request: LeaseRequest, wait: Wait): Promise<GrantedLease> {
  wait.begin()
  const outcome = await leaseLowering(context, request, wait).finally(() => wait.end())
  if (outcome.kind !== 'granted') throw refusal(outcome, request.model)
  const { endpoint, waitedMs, position } = outcome
  if (position !== null) wait.past = { position, waitedMs }
  return { pool: endpoint.pool, endpoint, waitedMs, position, effort: wait.lowered ?? request.effort }
}

async function leaseLowering(context: FleetCall, request: LeaseRequest, wait: Wait): Promise<LeaseOutcome> {
  const outcome = await leaseIn(context, request)
  if (outcome.kind !== 'lower-effort') return outcome
  wait.lowered = outcome.effort
  // The prefix hashes belong to the prompt with the other effort.
  return leaseIn(context, { ...request, effort: outcome.effort, effortUnderLoad: null, prefix: [] })
}

async function leaseIn(context: FleetCall, request: LeaseRequest): Promise<LeaseOutcome> {
  const fleet = fleetOf(context.env)
  const cancel = () => context.waitUntil(fleet.release([request.requestId]))
  context.left.addEventListener('abort', cancel, { once: true })
  try {
    return await fleet.lease(request)
  } finally {
    context.left.removeEventListener('abort', cancel)
  }
}
