/**
 * The line. A chat request, of whichever surface, passes these rooms in this order and no other:
 *
 *   auth ─▶ key check ─▶ body ─▶ shape ─▶ reserve ─▶ route ─▶ dispatch ─▶ relay     (settlement: the worker's receipt)
 *
 * What a request refers to is recalled before it is shaped, and an answer that was given before is given again; see
 * answers/. From `reserve` on, `answer` owns the reservation: any error there closes it.
 */
import { budgets } from '../../backends/model/budgets.ts'
import type { ErrorCode } from '../../backends/model/errors.ts'
import { digest } from '../../backends/wire/seal.ts'
import type { ApiKey } from '../auth/api-key.ts'
import { authenticate } from '../auth/authenticate.ts'
import { type KeyCheck, keyCheck } from '../auth/key-check.ts'
import { noPast, type ParsedRequest } from '../dialects/dialect.ts'
import { type JsonBody, readJsonBody } from '../http/body.ts'
import type { BodyHold } from '../http/body-memory.ts'
import { GatewayError } from '../http/errors.ts'
import { type IdempotentAttempt, idempotencyKeyOf, type Replayed, replay } from '../responses/idempotency.ts'
import { keepResponse, recall } from '../responses/previous-response.ts'
import { reserve } from '../tenant/client.ts'
import { takeRates } from '../tenant/take-rates.ts'
import { serve } from './attempts.ts'
import { chatBytes } from './chat-bytes.ts'
import type { RequestContext } from './context.ts'
import { answerHeaders } from './headers.ts'
import { lastResort } from './hosted-fallback.ts'
import { OpenRequest } from './open-request.ts'
import { type PreparedRequest, prepare } from './prepare.ts'
import { relayStream, relayWhole } from './relay.ts'
import { transcoderOf } from './transcoder.ts'
import { checkVision } from './vision-check.ts'

export async function chat(request: Request, line: RequestContext): Promise<Response> {
  const key = await authenticate(request.headers, line.settings.macKey)
  const check = keyCheck(line.env, key)
  const prepared = await readRequest(request, line, key, check)
  if (prepared instanceof Response) return prepared
  try {
    return await answer(line, key, prepared)
  } catch (error) {
    prepared.attempt?.drop()
    check.refused(error)
    throw error
  }
}

/** A request that is ready for a reservation. Of its body only the bytes for the worker remain. */
interface PreparedCall {
  asked: ParsedRequest
  shaped: PreparedRequest
  /** What a worker is sent. */
  bytes: Uint8Array<ArrayBuffer>
  attempt: IdempotentAttempt | undefined
}

/** @returns an answer that was given before, where the request asks for that */
async function readRequest(
  request: Request,
  line: RequestContext,
  key: ApiKey,
  check: KeyCheck,
): Promise<PreparedCall | Response> {
  const replays = idempotencyKeyOf(request) !== null
  if (replays) await check.ask()
  else await askBeforeParsing(request, check)
  const order = { bytesMax: budgets.bodyBytes.value, tenantId: key.tenantId, beforeLarge: check.ask }
  let hold: BodyHold | null = null
  try {
    const body = await readJsonBody(request, order)
    hold = body.hold
    line.onEnd(() => hold?.release())
    const bodyDigest = replays ? await digest(body.bytes) : ''
    const prepared = await shapeBody(line, key, check, body)
    if (!replays) return prepared
    if (prepared.shaped.chat.stream) {
      prepared.shaped.warnings.push('idempotency-key: answers that stream are not kept, ignored')
      return prepared
    }
    const { models = null } = await check.ask()
    const before = await replay(request, line, key, bodyDigest, { models, model: prepared.shaped.model.id })
    return isAttempt(before) ? { ...prepared, attempt: before } : before
  } catch (error) {
    hold?.release()
    throw await charged(line, key, check, error)
  }
}

const isAttempt = (before: Replayed): before is IdempotentAttempt => !(before instanceof Response)

async function askBeforeParsing(request: Request, check: KeyCheck): Promise<void> {
  // A large body asks by itself, before it is read.
  const declared = Number(request.headers.get('content-length') ?? 0)
  if (declared <= budgets.bodyLargeBytes.value) await check.askIfUnknown()
}

async function shapeBody(line: RequestContext, key: ApiKey, check: KeyCheck, body: JsonBody): Promise<PreparedCall> {
  const { surface, settings } = line
  const reference = surface.refers?.(body.value)
  if (reference) await check.ask()
  const past = reference ? await recall(line, key, reference) : noPast
  const read = surface.read(body.value, past)
  if (!read.ok) throw new GatewayError(read.code, read.message, { param: read.param })
  const { asked } = read
  // Only Chat Completions is what workers speak: its bytes go on as they came. Of any other body nothing stays.
  body.value = undefined
  if (asked.writer) {
    body.bytes = new Uint8Array()
    body.bytes = encoded(asked, body)
  }
  const { bytes } = body
  body.hold?.resize(bytes.byteLength + body.valueBytes)
  const shaped = await checkVision(line, asked, prepare(asked, bytes.byteLength, settings.models))
  return { asked, shaped, bytes, attempt: undefined }
}

function encoded({ chat }: ParsedRequest, { hold }: JsonBody): Uint8Array<ArrayBuffer> {
  const { value: bytesMax } = budgets.bodyBytes
  const bytes = chatBytes(chat, bytesMax, `${crypto.randomUUID()}.`, hold !== null)
  if (bytes) return bytes
  const message = `body: the conversation has more than ${bytesMax} bytes for a worker. Send less in one request.`
  throw new GatewayError('request_too_large', message)
}

/** A body that is refused costs one request of the rates: reading it took as much as reading a good one. */
async function charged(line: RequestContext, key: ApiKey, check: KeyCheck, error: unknown): Promise<unknown> {
  if (!(error instanceof GatewayError) || !bodyFaults.has(error.code)) return error
  try {
    await takeRates(line, key, 0)
    return error
  } catch (refusal) {
    check.refused(refusal)
    return refusal
  }
}

const bodyFaults: ReadonlySet<ErrorCode> = new Set([
  'invalid_json',
  'invalid_value',
  'request_too_large',
  'model_not_found',
  'not_found',
  'previous_response_not_found',
] as const)

async function answer(
  line: RequestContext,
  key: ApiKey,
  { asked, shaped, bytes, attempt }: PreparedCall,
): Promise<Response> {
  const open = new OpenRequest(line, key)
  try {
    const reservation = await open.reserve(() => reserve(line, key, shaped))
    const headers = answerHeaders(line, shaped, reservation)
    const workers = serve(line, key, shaped, reservation, bytes)
    const service = open.watch(lastResort(line, key, shaped, reservation, headers, workers))
    const { effort, promptTokens, model } = shaped
    const { requestId } = line
    const writer = asked.writer?.({ requestId, now: () => Date.now(), model: model.id, effort, promptTokens })
    const voice = writer && transcoderOf(writer, (kept) => keepResponse(line, key, kept, reservation.responseDays))
    return await (shaped.chat.stream
      ? relayStream(line, service, headers, voice)
      : relayWhole(line, service, headers, voice, attempt))
  } catch (error) {
    open.close()
    throw error
  }
}
