/** Leases a worker from the fleet. Effort, load and prefix cache decide which; see placement/score.ts. */

import type { EffortWord } from '../../backends/model/effort.ts'
import type { PoolName } from '../../backends/wire/dispatch.ts'
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

/** The parts of a request that a lease uses. */
export interface LeaseCall {
  fleet: {
    lease(request: LeaseRequest): Promise<LeaseOutcome>
    release(requestIds: string[]): Promise<unknown>
  }
  /** Fires when the client has left. */
  left: AbortSignal
  waitUntil: (work: Promise<unknown>) => void
}

/** The state of the wait, as the client sees it; see queue-status.ts. */
export interface LeaseWait {
  begin(): void
  end(): void
  past: { position: number; waitedMs: number } | undefined
  lowered: EffortWord | undefined
}

/**
 * Leases a slot, and waits in the queue if none is free. If the wait would be long and the tenant agreed to less
 * effort, leases once more with the lower effort. The caller owns the lease: a receipt or a call of `release` ends it.
 */
export async function lease(call: LeaseCall, request: LeaseRequest, wait: LeaseWait): Promise<GrantedLease> {
  wait.begin()
  const outcome = await leaseLowering(call, request, wait).finally(() => wait.end())
  if (outcome.kind !== 'granted') throw refusal(outcome, request.model)
  const { endpoint, waitedMs, position } = outcome
  if (position !== null) wait.past = { position, waitedMs }
  return { pool: endpoint.pool, endpoint, waitedMs, position, effort: wait.lowered ?? request.effort }
}

async function leaseLowering(call: LeaseCall, request: LeaseRequest, wait: LeaseWait): Promise<LeaseOutcome> {
  const outcome = await leaseIn(call, request)
  if (outcome.kind !== 'lower-effort') return outcome
  wait.lowered = outcome.effort
  // The prefix hashes belong to the prompt with the other effort.
  return leaseIn(call, { ...request, effort: outcome.effort, effortUnderLoad: null, prefix: [] })
}

async function leaseIn(call: LeaseCall, request: LeaseRequest): Promise<LeaseOutcome> {
  const { fleet, left, waitUntil } = call
  const cancel = () => waitUntil(fleet.release([request.requestId]))
  left.addEventListener('abort', cancel, { once: true })
  try {
    return await fleet.lease(request)
  } finally {
    left.removeEventListener('abort', cancel)
  }
}
