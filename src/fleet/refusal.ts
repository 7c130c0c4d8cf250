/** The error for a request that got no slot. */
import { GatewayError } from '../http/errors.ts'
import type { LeaseOutcome } from './state.ts'

/** The fleet has no slot for the request: no worker, a full queue, or too long a wait. */
export class NoWorker extends GatewayError {}

export function refusal(outcome: LeaseOutcome, model: string): GatewayError {
  switch (outcome.kind) {
    case 'rejected-no-endpoints':
      return new NoWorker('server_is_overloaded', `No worker serves ${model} right now. Retry in a few seconds.`, {
        retryAfterMs: 2_000,
      })
    case 'rejected-capacity':
      return new NoWorker('server_is_overloaded', 'The queue is full. Retry later.', {
        retryAfterMs: outcome.retryAfterMs,
      })
    case 'evicted-ttl':
      return new NoWorker('server_is_overloaded', 'No slot became free in time. Retry later.', {
        retryAfterMs: outcome.retryAfterMs,
      })
    case 'evicted-cancelled':
    case 'lower-effort':
    case 'granted':
      return new GatewayError('internal_error', 'The request was cancelled while it waited.')
  }
}
