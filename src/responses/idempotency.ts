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
import type { ResponsesCall } from './previous-response.ts'
import { responsesStub } from './stub.ts'

const header = 'idempotency-key'
const keyMax = 255
const storedMs = 24 * 3_600_000
/** Headers of one delivery, not of the answer. */
const notStored = new Set(['content-length', 'transfer-encoding', 'date'])

/** An attempt whose answer will be stored. Ends with `keep` or `drop`; only the first call counts. */
export interface IdempotentAttempt {
  /** Collects sent bytes, in order. */
  take(bytes: Uint8Array): void
  /** Stores the complete answer, before the client gets its end. Never rejects. */
  keep(headers: Headers): Promise<void>
  drop(): void
}

export const idempotencyKeyOf = (request: Request) => request.headers.get(header)

/** The key's allowed models, confirmed just now by its tenant, and the requested model. */
export interface ReplayScope {
  /** Null for all. */
  models: string[] | null
  model: string
}

export type Replayed = Response | IdempotentAttempt

/** @returns the stored answer, which the caller charges to the rates, or the attempt to run */
export async function replay(
  request: Request,
  context: ResponsesCall,
  key: ApiKey,
  bodyDigest: string,
  { models, model }: ReplayScope,
): Promise<Replayed> {
  const idempotencyKey = idempotencyKeyOf(request) ?? ''
  if (idempotencyKey === '' || idempotencyKey.length > keyMax)
    throw new GatewayError('invalid_value', `${header}: must have 1 to ${keyMax} characters. Change the key.`, {
      param: header,
    })
  if (models && !models.includes(model)) {
    const message = `model: this key may not use ${model}. Use one of ${models.join(', ')}, or another key.`
    throw new GatewayError('permission_denied', message)
  }
  const stub = responsesStub(context.env, key.tenantId)
  const replayId = `replay_${await sha256Hex(`${key.keyId} ${idempotencyKey}`)}`
  const requestDigest = await sha256Hex(`${new URL(request.url).pathname} ${bodyDigest}`)
  const begun = await stub.begin(replayId, requestDigest, context.requestId)
  switch (begun.kind) {
    case 'run':
      return attempt(context, key, replayId)
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
      return new Response(begun.text, { headers: [...begun.headers, ['idempotency-replayed', 'true']] })
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
