/**
 * Watches the worker of a request. A frozen process or a cut network closes no connection: data stops without an error.
 * The worker's heartbeats stop too, so the fleet reports the worker as missing.
 *
 * The watch does not detect a single connection that a middlebox dropped while both ends live. TCP's timeout does.
 */

import { fleetOf } from '../fleet/client.ts'
import type { GrantedLease } from '../fleet/lease.ts'
import type { RequestContext } from './context.ts'

export interface Watch {
  /** Fires when the worker has gone silent, and when the client has left. */
  lost: AbortSignal
  /** Starts polling. Most answers finish before this is called, which saves them the timer. */
  begin(): void
  /** The owner of the answer calls this when the answer has ended in any way. */
  stop(): void
}

const everyMs = 2_000
/** One call to the fleet serves all requests of this isolate for this long. */
const freshMs = 1_500
let known: { missing: Set<string>; at: number } | undefined

export function watchWorker(context: RequestContext, { endpoint }: Pick<GrantedLease, 'endpoint'>): Watch {
  const lost = new AbortController()
  let stopped = false
  let timer: number | null = null
  const leave = () => lost.abort(context.left.reason)
  if (context.left.aborted) leave()
  // Never removed: it does not affect an ended answer, and removing it costs time.
  context.left.addEventListener('abort', leave)
  const look = async () => {
    const missing = await missingFrom(context).catch(() => undefined)
    if (stopped) return
    if (missing?.has(endpoint.workerId)) lost.abort(new Error('the worker has gone silent'))
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
