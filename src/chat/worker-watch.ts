/**
 * Watches over the worker that has a request. A process that is frozen, or a network that is cut, closes no connection:
 * nothing comes any more, and nobody says so. The worker's heartbeats stop as well, so the pool knows.
 *
 * What is not seen so is one connection that something on the way has forgotten while both ends live; there TCP's own
 * time is the bound.
 */

import { fleetOf } from '../fleet/client.ts'
import type { GrantedLease } from '../fleet/lease.ts'
import type { RequestContext } from './context.ts'

export interface Watch {
  /** Fires when the worker has fallen silent, and when the client has left. */
  lost: AbortSignal
  /** Until then nothing is looked at: most answers are over before a silence could be told, and a timer has its price. */
  begin(): void
  /** Whoever has the answer says so when it has ended, whichever way. */
  stop(): void
}

const everyMs = 2_000
/** One question to the fleet serves all requests of this isolate for this long. */
const freshMs = 1_500
let known: { missing: Set<string>; at: number } | undefined

export function watchWorker(context: RequestContext, { endpoint }: Pick<GrantedLease, 'endpoint'>): Watch {
  const lost = new AbortController()
  let stopped = false
  let timer: number | null = null
  const leave = () => lost.abort(context.left.reason)
  if (context.left.aborted) leave()
  // Never taken back: it does nothing to an answer that is over, and taking it back has a price.
  context.left.addEventListener('abort', leave)
  const look = async () => {
    const missing = await missingFrom(context).catch(() => undefined)
    if (stopped) return
    if (missing?.has(endpoint.workerId)) lost.abort(new Error('the worker has fallen silent'))
    else timer = setTimeout(look, everyMs)
  }
  return {
    lost: lost.signal,
    begin() {
      if (!stopped) timer ??= setTimeout(look, everyMs)
    },
    stop() {
      stopped = true
      clearTimeout(timer)
    },
  }
}

async function missingFrom(context: RequestContext): Promise<Set<string>> {
  const now = Date.now()
  if (known && now - known.at < freshMs) return known.missing
  const { missing } = await fleetOf(context.env).registry()
  known = { missing: new Set(missing), at: Date.now() }
  return known.missing
}
