/** Asks the fleet for a worker: effort, load and held prefixes decide which; see place.ts. */

import type { EffortWord } from '../../backends/model/effort.ts'
import type { PoolName } from '../../backends/wire/dispatch.ts'
import type { RequestContext } from '../chat/context.ts'
import { fleetOf } from './client.ts'
import type { LeaseOutcome, LeaseRequest, WorkerEndpoint } from './fleet.ts'
import type { Wait } from './queue-status.ts'
import { refusal } from './refusal.ts'

export interface GrantedLease {
  pool: PoolName
  endpoint: WorkerEndpoint
  waitedMs: number
  /** In the queue, when it came; null when it did not wait. */
  position: number | null
  /** The one to prompt with: less than was asked where the tenant agreed to it. */
  effort: EffortWord
}

/**
 * Leases a slot, waiting in the queue where there is none. Where the fleet has no room in time and the tenant agreed to
 * less effort then, it is asked once more with that.
 * The caller owns the lease: the receipt gives it back, or `releaseLease` does.
 */
export async function route(
  context: RequestContext,
  order: Omit<LeaseRequest, 'requestId'>,
  wait: Wait,
): Promise<GrantedLease> {
  const ask = { requestId: context.requestId, ...order }
  wait.begin()
  const outcome = await leaseLowering(context, ask, wait).finally(() => wait.end())
  if (outcome.kind !== 'granted') throw refusal(outcome, ask.model)
  const { endpoint, waitedMs, position } = outcome
  if (position !== null) wait.past = { position, waitedMs }
  return { pool: endpoint.pool, endpoint, waitedMs, position, effort: wait.lowered ?? ask.effort }
}

async function leaseLowering(context: RequestContext, request: LeaseRequest, wait: Wait): Promise<LeaseOutcome> {
  const outcome = await leaseIn(context, request)
  if (outcome.kind !== 'lower-effort') return outcome
  wait.lowered = outcome.effort
  // The hashes are of the prompt with the other effort.
  return leaseIn(context, { ...request, effort: outcome.effort, effortUnderLoad: null, prefix: [] })
}

async function leaseIn(context: RequestContext, request: LeaseRequest): Promise<LeaseOutcome> {
  const fleet = fleetOf(context.env)
  const cancel = () => context.waitUntil(fleet.release([request.requestId]))
  context.left.addEventListener('abort', cancel, { once: true })
  try {
    return await fleet.lease(request)
  } finally {
    context.left.removeEventListener('abort', cancel)
  }
}
