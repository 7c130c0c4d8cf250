/**
 * Circuit breaker: a worker that fails repeatedly gets no requests for a growing time, then one trial request.
 *
 *   closed ──(3 failures in a row)──▶ open ──(time is over)──▶ trying ──(success)──▶ closed
 *                                      ▲                          │
 *                                      └──(failure: double time)──┘
 *
 * A heartbeat proves that a worker is alive, only an answer proves that it works. So only answers close the breaker.
 */
export interface Breaker {
  /** In a row. */
  failures: number
  /** Unix milliseconds; 0 while closed. */
  openUntil: number
  openMs: number
  /** Id of the trial request, if one is running. */
  trial: string | undefined
}

export const breakerFailures = 3
const openFirstMs = 2_000
const openMaxMs = 60_000

export function newBreaker(): Breaker {
  return { failures: 0, openUntil: 0, openMs: openFirstMs, trial: undefined }
}

/** Whether the worker may get a request now. Once the open time is over, one trial request at a time. */
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
  // Requests that were running when the breaker opened are no new evidence.
  if (breaker.openUntil !== 0 && !wasTried) return
  if (wasTried) breaker.openMs = Math.min(openMaxMs, 2 * breaker.openMs)
  breaker.trial = undefined
  breaker.openUntil = now + breaker.openMs
}

/** The trial ended without a result: the client disconnected or the lease was lost. Allows another trial. */
export function undecided(breaker: Breaker, requestId: string): void {
  if (breaker.trial === requestId) breaker.trial = undefined
}
