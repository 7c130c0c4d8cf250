/** The context of one request: its id, its start time, and the signal that stops everything it started. */

import type { Settings } from '../config.ts'
import type { Dialect } from '../dialects/dialect.ts'
import type { FleetBinding } from '../fleet/client.ts'
import type { ResponsesBinding } from '../responses/stub.ts'
import type { TenantBinding } from '../tenant/stub.ts'

/** What a request reaches beyond its isolate. */
export type ChatEnv = FleetBinding & TenantBinding & ResponsesBinding

export interface RequestContext {
  requestId: string
  /** The client's wire format. */
  dialect: Dialect
  env: ChatEnv
  settings: Settings
  /** Unix milliseconds. */
  startedAt: number
  /** Fires only when the client is known to have left. */
  left: AbortSignal
  leave: () => void
  /** Keeps work alive after the client has left, such as closing the reservation and releasing the slot. */
  waitUntil: (work: Promise<unknown>) => void
  /** Calls `end` once, when the answer and all such work have ended. `failed`: some of it rejected. */
  onEnd: (end: (failed: boolean) => void) => void
}

export function startRequest(
  request: Request,
  dialect: Dialect,
  env: ChatEnv,
  settings: Settings,
  waitUntil: RequestContext['waitUntil'],
  now: number,
): RequestContext {
  const controller = new AbortController()
  const leave = () => controller.abort()
  // Fires only on a reset before the headers. A clean close is noticed at the next write (see relay.ts).
  request.signal.addEventListener('abort', leave)
  if (request.signal.aborted) leave()
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

/** Tracks when all work of a request has ended. Work may start other work. */
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

/** `req_` and 32 hex digits that begin with the time, so that rows keyed by it are appended to their table. */
export function newRequestId(now: number): string {
  const random = crypto.getRandomValues(new Uint8Array(10))
  const tail = [...random].map((byte) => byte.toString(16).padStart(2, '0')).join('')
  return `req_${now.toString(16).padStart(12, '0')}${tail}`
}
