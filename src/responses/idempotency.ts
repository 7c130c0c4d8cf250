/**
 * `Idempotency-Key`: a request that does not stream and comes again with the same key and the same body is given the
 * same bytes, and billed once. One that comes while its twin runs waits for it. What has no answer (a refusal, a lost
 * worker, a client that left) is not kept: the next attempt asks anew.
 *
 * An answer belongs to the API key that asked for it. Another key of the same tenant has its own models, budget and
 * limits, so it gets an answer of its own. A replay takes one request of the rates.
 */
import type { ApiKey } from '../auth/api-key.ts'
import { sha256Hex } from '../auth/secret.ts'
import type { RequestContext } from '../chat/context.ts'
import { GatewayError, logError } from '../http/errors.ts'
import { takeRates } from '../tenant/take-rates.ts'
import { responsesStub } from './previous-response.ts'

const header = 'idempotency-key'
const keyMax = 255
const keptMs = 24 * 3_600_000
/** Headers that are about one delivery and not about the answer. */
const notKept = new Set(['content-length', 'transfer-encoding', 'date'])

/** An attempt at an answer that is to be kept. Ends with `keep` or `drop`; only the first counts. */
export interface IdempotentAttempt {
  /** Bytes that went out, in order. */
  take(bytes: Uint8Array): void
  /** The answer is whole, and its end is not yet told. Never rejects. */
  keep(headers: Headers): Promise<void>
  drop(): void
}

export const idempotencyKeyOf = (request: Request) => request.headers.get(header)

/** What the key may ask now, as its tenant just said, and what it asks. */
export interface ReplayScope {
  /** Null for all. */
  models: string[] | null
  model: string
}

export type Replayed = Response | IdempotentAttempt

/** @returns the answer that was given before, or the attempt that is to be made */
export async function replay(
  request: Request,
  context: RequestContext,
  key: ApiKey,
  bodyDigest: string,
  { models, model }: ReplayScope,
): Promise<Replayed> {
  const given = idempotencyKeyOf(request) ?? ''
  if (given === '' || given.length > keyMax)
    throw new GatewayError('invalid_value', `${header}: must have 1 to ${keyMax} characters`, { param: header })
  if (models && !models.includes(model)) {
    const message = `model: this key may not ask ${model}. Use one of ${models.join(', ')}, or another key.`
    throw new GatewayError('permission_denied', message)
  }
  const stub = responsesStub(context.env, key.tenantId)
  const replayId = `replay_${await sha256Hex(`${key.keyId} ${given}`)}`
  const asked = await sha256Hex(`${new URL(request.url).pathname} ${bodyDigest}`)
  const begun = await stub.begin(replayId, asked, context.requestId)
  switch (begun.kind) {
    case 'run':
      return attempt(context, key, replayId)
    case 'other-request':
      throw new GatewayError('idempotency_mismatch', `${header}: it came with another body before: take a new one`, {
        param: header,
      })
    case 'running':
      throw new GatewayError('idempotency_in_progress', `${header}: its first request still runs: try again soon`, {
        param: header,
        retryAfterMs: 1_000,
      })
    case 'answer':
      await takeRates(context, key, 0)
      return new Response(begun.text, { headers: [...begun.headers, ['idempotency-replayed', 'true']] })
  }
}

function attempt(context: RequestContext, key: ApiKey, replayId: string): IdempotentAttempt {
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
      const kept = [...headers].filter(([name]) => !notKept.has(name))
      await stub()
        .finish(replayId, context.requestId, kept, text, Date.now() + keptMs)
        .catch((error: unknown) => logError(`request ${context.requestId}: its answer is not kept`, error))
    },
    drop() {
      if (ended) return
      ended = true
      context.waitUntil(stub().abandon(replayId, context.requestId))
    },
  }
  return attempt
}
