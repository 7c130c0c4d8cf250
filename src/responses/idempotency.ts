/**
 * `Idempotency-Key`: a non-streaming request that is repeated with the same key and body gets the same bytes and is
 * billed once. A second request with the same key waits for the first. A request without an answer (a refusal, a lost
 * worker, a client that left) stores nothing: the next attempt runs again.
 *
 * A stored answer belongs to the API key of its request. Another key of the same tenant has its own models, budget and
 * limits, so it gets its own answer. A replay counts as one request against the rates.
 */
import type { ApiKey } from '../auth/api-key.ts'
import { sha256Hex } from '../auth/secret.ts'
import { GatewayError, logError } from '../http/errors.ts'
import type { KeyCheck } from '../tenant/key-check.ts'
import type { ResponsesCall } from './previous-response.ts'
import { responsesStub } from './stub.ts'

const header = 'idempotency-key'
const keyMax = 255
const storedMs = 24 * 3_600_000
/** Headers of one delivery, not of the answer. */
const notStored = new Set(['content-length', 'transfer-encoding', 'date'])

/** An attempt whose answer will be stored. Ends with `keep` or `drop`; only the first call counts. */
interface IdempotentAttempt {
  /** Collects sent bytes, in order. */
  take(bytes: Uint8Array): void
  /** Stores the complete answer, before the client gets its end. Never rejects. */
  keep(headers: Headers): Promise<void>
  drop(): void
}

/** The parts of a prepared request that decide about a replay. */
interface IdempotentRequest {
  chat: { stream: boolean }
  model: { id: string }
  warnings: string[]
}

/** What `Idempotency-Key` means for a request. */
export type Idempotency =
  /** The request has no such key, or it is streaming. */
  | { kind: 'off' }
  /** The answer of this request will be stored. */
  | { kind: 'first'; attempt: IdempotentAttempt }
  /** The stored answer of an earlier request, which the caller charges to the rates. */
  | { kind: 'replayed'; response: Response }

export const isIdempotent = (request: Request) => request.headers.has(header)

/** @param bodyDigest of the client's bytes */
export async function beginIdempotent(
  request: Request,
  context: ResponsesCall,
  key: ApiKey,
  check: KeyCheck,
  { chat, model, warnings }: IdempotentRequest,
  bodyDigest: string,
): Promise<Idempotency> {
  const idempotencyKey = request.headers.get(header)
  if (idempotencyKey === null) return { kind: 'off' }
  if (chat.stream) {
    warnings.push('idempotency-key: not supported with streaming, ignored')
    return { kind: 'off' }
  }
  if (idempotencyKey === '' || idempotencyKey.length > keyMax)
    throw new GatewayError('invalid_value', `${header}: must have 1 to ${keyMax} characters. Change the key.`, {
      param: header,
    })
  const { models = null } = await check.ask()
  if (models && !models.includes(model.id)) {
    const message = `model: this key may not use ${model.id}. Use one of ${models.join(', ')}, or another key.`
    throw new GatewayError('permission_denied', message)
  }
  const stub = responsesStub(context.env, key.tenantId)
  const replayId = `replay_${await sha256Hex(`${key.keyId} ${idempotencyKey}`)}`
  const requestDigest = await sha256Hex(`${new URL(request.url).pathname} ${bodyDigest}`)
  const begun = await stub.begin(replayId, requestDigest, context.requestId)
  switch (begun.kind) {
    case 'run':
      return { kind: 'first', attempt: attempt(context, key, replayId) }
    case 'other-request':
      throw new GatewayError(
        'idempotency_mismatch',
        `${header}: already used with a different request body. Use a new key.`,
        {
          param: header,
        },
      )
    case 'running':
      throw new GatewayError(
        'idempotency_in_progress',
        `${header}: the first request with this key is still running. Retry after a second.`,
        {
          param: header,
          retryAfterMs: 1_000,
        },
      )
    case 'answer':
      return {
        kind: 'replayed',
        response: new Response(begun.text, { headers: [...begun.headers, ['idempotency-replayed', 'true']] }),
      }
  }
}

function attempt(context: ResponsesCall, key: ApiKey, replayId: string): IdempotentAttempt {
  const decoder = new TextDecoder('utf-8', { fatal: false, ignoreBOM: true })
  let text = ''
  let ended = false
  const stub = () => responsesStub(context.env, key.tenantId)
  const attempt: IdempotentAttempt = {
    take(bytes) {
      text += decoder.decode(bytes, { stream: true })
    },
    async keep(headers) {
      if (ended) return
      ended = true
      const stored = [...headers].filter(([name]) => !notStored.has(name))
      await stub()
        .finish(replayId, context.requestId, stored, text, Date.now() + storedMs)
        .catch((error: unknown) => logError(`request ${context.requestId}: cannot store the answer`, error))
    },
    drop() {
      if (ended) return
      ended = true
      context.waitUntil(stub().abandon(replayId, context.requestId))
    },
  }
  return attempt
}
