/**
 * A worker that fails again and again is left alone for a while, longer each time, and then tried with one request.
 *
 *   closed ──(3 failures in a row)──▶ open ──(its time is over)──▶ trying ──(success)──▶ closed
 *                                      ▲                              │
 *                                      └──────(failure: twice as long)┘
 *
 * A heartbeat says that a worker lives; only an answer says that it works, so only answers close it.
 */
export interface Breaker {
  /** In a row. */
  failures: number
  /** Unix milliseconds; open until then. 0 while closed. */
  openUntil: number
  openMs: number
  /** The one request that tries it; undefined when none does. */
  trial: string | undefined
}

export const breakerFailures = 3
const openFirstMs = 2_000
const openMostMs = 60_000

export function newBreaker(): Breaker {
  return { failures: 0, openUntil: 0, openMs: openFirstMs, trial: undefined }
}

/** Whether a request may go there now; one at a time when it is only tried. */
export function lets(breaker: Breaker, now: number): boolean {
  if (breaker.openUntil === 0) return true
  return now >= breaker.openUntil && breaker.trial === undefined
}

export function began(breaker: Breaker, requestId: string): void {
  if (breaker.openUntil !== 0) breaker.trial = requestId
}

export function worked(breaker: Breaker): void {
  Object.assign(breaker, newBreaker())
}

export function broke(breaker: Breaker, requestId: string, now: number): void {
  breaker.failures += 1
  const wasTried = breaker.trial === requestId
  if (breaker.failures < breakerFailures) return
  // Requests that ran there already when it was opened say nothing new.
  if (breaker.openUntil !== 0 && !wasTried) return
  if (wasTried) breaker.openMs = Math.min(openMostMs, 2 * breaker.openMs)
  breaker.trial = undefined
  breaker.openUntil = now + breaker.openMs
}

/** Its trial ended without a word on the worker: its client left, or the lease was lost. Another may try. */
export function undecided(breaker: Breaker, requestId: string): void {
  if (breaker.trial === requestId) breaker.trial = undefined
}
