/** What one request carries along the line: its id, its clock's start, and the one way to stop everything it started. */

import type { Dialect } from '../dialects/dialect.ts'
import type { Env, Settings } from '../env.ts'

export interface RequestContext {
  requestId: string
  /** How this client writes and reads. */
  dialect: Dialect
  env: Env
  settings: Settings
  /** Unix milliseconds. */
  startedAt: number
  /** Fires when the client is known to have left, and at nothing else. */
  left: AbortSignal
  leave: () => void
  /** Work that must go on when the client is gone: closing the reservation, giving back the slot. */
  waitUntil: (work: Promise<unknown>) => void
  /** Calls `end` once, when the answer and all such work have ended; `failed` when any of it rejected. */
  onEnd: (end: (failed: boolean) => void) => void
}

export function startRequest(
  request: Request,
  dialect: Dialect,
  env: Env,
  settings: Settings,
  waitUntil: RequestContext['waitUntil'],
  now: number,
): RequestContext {
  const controller = new AbortController()
  const leave = () => controller.abort()
  // Fires only on a reset before the headers; a polite close is noticed when something is written (see relay.ts).
  request.signal.addEventListener('abort', leave)
  const requestId = newRequestId(now)
  return {
    requestId,
    dialect,
    env,
    settings,
    startedAt: now,
    left: controller.signal,
    leave,
    ...counted(waitUntil),
  }
}

/** Knows when all work of a request has ended. Work may start other work. */
function counted(waitUntil: RequestContext['waitUntil']): Pick<RequestContext, 'waitUntil' | 'onEnd'> {
  let open = 0
  let failed = false
  let ends: ((failed: boolean) => void)[] = []
  const ended = () => {
    open -= 1
    if (open > 0) return
    const now = ends
    ends = []
    for (const end of now) end(failed)
  }
  return {
    waitUntil(work) {
      open += 1
      const settled = work.then(ended, (error: unknown) => {
        failed = true
        ended()
        throw error
      })
      waitUntil(settled)
    },
    onEnd: (end) => void ends.push(end),
  }
}

/** `req_` and 32 hex digits that begin with the time: rows that are keyed by it go to the end of their table. */
export function newRequestId(now: number): string {
  const random = crypto.getRandomValues(new Uint8Array(10))
  const tail = [...random].map((byte) => byte.toString(16).padStart(2, '0')).join('')
  return `req_${now.toString(16).padStart(12, '0')}${tail}`
}
