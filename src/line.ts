/** What one request carries along the line: its id, its clock's start, and the one way to stop everything it started. */
import type { Env, Settings } from './env.ts'

export interface Line {
  requestId: string
  env: Env
  settings: Settings
  /** Unix milliseconds. */
  startedAt: number
  /** Fires when the client is known to have left, and at nothing else. */
  left: AbortSignal
  leave: () => void
  /** Work that must go on when the client is gone: closing the reservation, giving back the slot. */
  waitUntil: (work: Promise<unknown>) => void
}

export function startLine(
  request: Request,
  env: Env,
  settings: Settings,
  waitUntil: Line['waitUntil'],
  now: number,
): Line {
  const controller = new AbortController()
  const leave = () => controller.abort()
  // Fires only on a reset before the headers; a polite close is noticed when something is written (see relay.ts).
  request.signal.addEventListener('abort', leave)
  const requestId = `req_${crypto.randomUUID().replaceAll('-', '')}`
  return { requestId, env, settings, startedAt: now, left: controller.signal, leave, waitUntil }
}
