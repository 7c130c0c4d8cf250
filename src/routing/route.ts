/** Effort decides the pool; the pool decides the worker. */
import type { PoolName } from '../../backends/protocol/dispatch.ts'
import type { EffortWord } from '../../backends/protocol/effort.ts'
import { GatewayError } from '../errors.ts'
import type { Line } from '../line.ts'
import type { Ask, Outcome, Place } from './pool.ts'
import type { Wait } from './wait.ts'

export interface Lease {
  pool: PoolName
  place: Place
  waitedMs: number
  /** In the queue, when it came; null when it did not wait. */
  position: number | null
}

/** No pool has a worker for the request: neither waiting nor another pool helps. */
export class NoEndpoints extends GatewayError {}

/** Short answers go where the next token comes soonest, long thinking where most tokens come in all. */
export function preferredPools(effort: EffortWord): [PoolName, PoolName] {
  return effort === 'none' ? ['latency', 'throughput'] : ['throughput', 'latency']
}

/**
 * Leases a slot, waiting in the preferred pool's queue; the other pool serves when the preferred one has no worker.
 * The caller owns the lease: the receipt gives it back, or `releaseLease` does.
 */
export async function route(
  line: Line,
  order: Omit<Ask, 'requestId'> & { effort: EffortWord },
  wait: Wait,
): Promise<Lease> {
  const { effort, ...ask } = order
  let last: Outcome = { kind: 'rejected-no-endpoints' }
  for (const pool of preferredPools(effort)) {
    wait.begin(pool)
    const outcome = await leaseIn(line, pool, { requestId: line.requestId, ...ask }).finally(() => wait.end())
    if (outcome.kind === 'granted') {
      const { place, waitedMs, position } = outcome
      if (position !== null) wait.past = { position, waitedMs }
      return { pool, place, waitedMs, position }
    }
    last = outcome
    if (outcome.kind !== 'rejected-no-endpoints') break
  }
  throw refusal(last, ask.model)
}

async function leaseIn(line: Line, pool: PoolName, ask: Ask): Promise<Outcome> {
  const stub = line.env.POOL.getByName(pool)
  const cancel = () => line.waitUntil(stub.release([ask.requestId]))
  line.left.addEventListener('abort', cancel, { once: true })
  try {
    return await stub.lease(ask)
  } finally {
    line.left.removeEventListener('abort', cancel)
  }
}

function refusal(outcome: Outcome, model: string): GatewayError {
  switch (outcome.kind) {
    case 'rejected-no-endpoints':
      return new NoEndpoints('server_is_overloaded', `no worker serves ${model} at the moment: try again soon`, {
        retryAfterMs: 2_000,
      })
    case 'rejected-capacity':
      return new GatewayError('server_is_overloaded', 'the queue is full: try again later', {
        retryAfterMs: outcome.retryAfterMs,
      })
    case 'evicted-ttl':
      return new GatewayError('server_is_overloaded', 'no slot came free in time: try again later', {
        retryAfterMs: outcome.retryAfterMs,
      })
    case 'evicted-cancelled':
    case 'granted':
      return new GatewayError('internal_error', 'the request was withdrawn while it waited')
  }
}
