/** One signed dispatch to one worker, and its result. `stop` aborts it at any time, including the answer's body. */

import { below } from '../../backends/contract/root.ts'
import { budgets } from '../../backends/model/budgets.ts'
import { faultText, readFields } from '../../backends/model/field-fault.ts'
import { type Dispatch, dispatchPath, dispatchTtlMs, Refusal } from '../../backends/wire/dispatch.ts'
import { type Prelude, PreludeReader } from '../../backends/wire/prelude.ts'
import { digest } from '../../backends/wire/seal.ts'
import { proofOf } from '../auth/dispatch-proof.ts'
import { sealFor } from '../auth/worker-key.ts'
import type { GrantedLease } from '../fleet/lease.ts'
import type { RequestContext } from './context.ts'

type DispatchRequest = Omit<
  Dispatch,
  'dispatchId' | 'workerId' | 'pool' | 'bodyDigest' | 'issuedAt' | 'expiresAt' | 'proof'
>

export type Dispatched =
  /** The prompt is prepared. The caller owns the stream: cancelling it, or `stop`, stops the engine. */
  | {
      kind: 'prepared'
      /** Bytes that arrived with the prelude; may be empty. */
      first: Uint8Array
      rest: ReadableStream<Uint8Array>
      /** The prompt's exact length, as the worker counted it. */
      promptTokens: number | undefined
      /** The bound of the output, if the reservation pays for less than was dispatched. */
      outputTokensMax: number | undefined
      /** Request fields that the engine ignores. */
      warnings: readonly string[]
    }
  | { kind: 'refused'; refusal: Refusal }
  /** The worker accepted the request and went silent: the request was in preparation, and may be the cause. */
  | { kind: 'unprepared'; cause: unknown }
  /** As far as the edge knows, the worker did not accept the request. If an engine ran anyway, a receipt follows. */
  | { kind: 'unreachable'; cause: unknown }

export interface DispatchOptions {
  lease: GrantedLease
  request: DispatchRequest
  body: Uint8Array<ArrayBuffer>
  /** Counts the dispatches of the request from 1. */
  number: number
  /** Unix milliseconds. */
  now: number
  /** Aborts the dispatch at any time, including the answer's body. */
  lost: AbortSignal
}

export async function dispatch(
  context: RequestContext,
  { lease, request, body, number, now, lost }: DispatchOptions,
): Promise<Dispatched> {
  const { workerId, url } = lease.endpoint
  const dispatchId = `${context.requestId}.${number}`
  const named = { ...request, dispatchId, workerId, pool: lease.pool, issuedAt: now }
  const claims: Dispatch = {
    ...named,
    proof: proofOf(context.settings.fleet, named),
    bodyDigest: await digest(body),
    expiresAt: now + dispatchTtlMs,
  }
  const token = await sealFor(context.settings.fleetSecrets, lease.endpoint, 'dispatch', claims)
  return send(below(url, dispatchPath), token, body, lost)
}

/** Sends a signed request to a worker and reads up to the answer's prelude. Never rejects. */
export async function send(
  url: string,
  token: string,
  body: Uint8Array<ArrayBuffer>,
  stop: AbortSignal,
): Promise<Dispatched> {
  if (body.byteLength > bodyBytesMax) return { kind: 'refused', refusal: bodyTooLarge }
  let response: Response
  try {
    response = await fetch(url, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      // A redirect would send the prompt to an address that is not enrolled.
      redirect: 'manual',
      body,
      signal: stop,
    })
  } catch (cause) {
    return { kind: 'unreachable', cause }
  }
  if (!response.ok || !response.body) return { kind: 'refused', refusal: await readRefusal(response) }
  try {
    return await readPrelude(response.body)
  } catch (cause) {
    return { kind: 'unprepared', cause }
  }
}

const bodyBytesMax = budgets.dispatchBodyBytes.value
/** Rewriting a body from another dialect can lengthen it: a number such as 1e20 becomes 21 digits. */
const bodyTooLarge: Refusal = {
  code: 'invalid_value',
  message: `The request has more than ${bodyBytesMax} bytes as Chat Completions. Send less in one request.`,
}

/** Unlocks the stream after the prelude, so that the rest can be piped. */
async function readPrelude(body: ReadableStream<Uint8Array>): Promise<Dispatched> {
  const stream = body.getReader()
  const reader = new PreludeReader()
  try {
    for (;;) {
      const { value } = await stream.read()
      if (!value) throw new Error('the answer ended before its first line')
      const read = reader.push(value)
      if (read.kind === 'more') continue
      if (read.kind === 'malformed') {
        await stream.cancel().catch(() => undefined)
        throw new Error(read.reason)
      }
      // Nothing follows a refusal.
      if (read.prelude.kind === 'refused') await stream.cancel().catch(() => undefined)
      return dispatchedOf(read.prelude, read.rest, body)
    }
  } finally {
    stream.releaseLock()
  }
}

function dispatchedOf(prelude: Prelude, first: Uint8Array, rest: ReadableStream<Uint8Array>): Dispatched {
  if (prelude.kind === 'refused') return { kind: 'refused', refusal: prelude.refusal }
  const { promptTokens, outputTokensMax, warnings } = prelude
  return { kind: 'prepared', first, rest, promptTokens, outputTokensMax, warnings }
}

async function readRefusal(response: Response): Promise<Refusal> {
  const value = await readBounded(response)
    .then(
      (text): unknown => JSON.parse(text),
      () => undefined,
    )
    .catch(() => undefined)
  const read = readFields(Refusal, value)
  return read.ok ? read.data : { code: 'malformed_refusal', message: faultText(read.fault, 'refusal') }
}

/** Bounded, because a worker may send text of any length. */
async function readBounded({ body }: Response): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  for await (const part of body ?? []) {
    text += decoder.decode(part, { stream: true })
    if (text.length > budgets.preludeBytes.value) break
  }
  return text
}
