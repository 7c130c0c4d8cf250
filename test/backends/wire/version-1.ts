/**
 * Messages of protocol version 1, recorded between an edge and a worker before messages had a version. The fleet secret
 * of that edge was 40 times the letter f, as in the edge project.
 */
import { base64url } from 'jose'
import { parseWorkerKey } from '../../../backends/wire/worker-key.ts'
import recorded from './version-1.json' with { type: 'json' }

export const { workerKey } = recorded
/** A time at which all recorded messages were valid. */
export const recordedAt = 1_795_820_979_700

const parsed = parseWorkerKey(workerKey)
if (!parsed) throw new Error('the recorded worker key is not one')
export const recordedSecret = parsed.secret

/** `token` is the message to the worker, or the message in the body to the edge. */
export function exchange(path: string): { token: string; body: string; answer: string } {
  const found = recorded.exchanges.find((each) => each.path === path)
  if (!found) throw new Error(`no exchange of ${path} was recorded`)
  const { body, answer } = found
  return { token: found.token ?? tokenIn(JSON.parse(body)), body, answer }
}

function tokenIn({ heartbeat, receipts }: { heartbeat?: string; receipts?: string[] }): string {
  return heartbeat ?? receipts?.[0] ?? ''
}

/** The claims of a token, unverified. */
export function claimsOf(token: string): Record<string, unknown> {
  return JSON.parse(new TextDecoder().decode(base64url.decode(token.split('.')[1] ?? '')))
}
