/** What a client is told whose request got no place. */
import { GatewayError } from '../http/errors.ts'
import type { LeaseOutcome } from './fleet.ts'

/** The house has no place for the request, now or in time: no worker, a full queue, a wait too long. */
export class NoPlace extends GatewayError {}

export function refusal(outcome: LeaseOutcome, model: string): GatewayError {
  switch (outcome.kind) {
    case 'rejected-no-endpoints':
      return new NoPlace('server_is_overloaded', `no worker serves ${model} at the moment: try again soon`, {
        retryAfterMs: 2_000,
      })
    case 'rejected-capacity':
      return new NoPlace('server_is_overloaded', 'the queue is full: try again later', {
        retryAfterMs: outcome.retryAfterMs,
      })
    case 'evicted-ttl':
      return new NoPlace('server_is_overloaded', 'no slot came free in time: try again later', {
        retryAfterMs: outcome.retryAfterMs,
      })
    case 'evicted-cancelled':
    case 'lower-effort':
    case 'granted':
      return new GatewayError('internal_error', 'the request was withdrawn while it waited')
  }
}
