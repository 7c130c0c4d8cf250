/** The two kinds of call that adapters make. */
import type { HttpCall } from './backend.ts'

/** A call without a body. */
export function get(path: string): HttpCall {
  return { method: 'GET', path }
}

export function post(path: string, body: unknown): HttpCall {
  return { method: 'POST', path, body: JSON.stringify(body) }
}
