/**
 * A chat request, in any dialect, passes these steps in this order:
 *
 *   auth ─▶ key check ─▶ body ─▶ prepare ─▶ reserve ─▶ attempts ─▶ deliver     (settlement: the worker's receipt)
 *
 * Referenced responses are loaded before `prepare`, and an idempotent request may get its stored answer; see
 * responses/. From `reserve` on, `answer` owns the reservation: any error there closes it.
 */
import { budgets } from '../../backends/model/budgets.ts'
import type { ErrorCode } from '../../backends/model/errors.ts'
import { digest } from '../../backends/wire/seal.ts'
import type { ApiKey } from '../auth/api-key.ts'
import { authenticate } from '../auth/authenticate.ts'
import { noPreviousTurns, type ParsedRequest } from '../dialects/dialect.ts'
import { type JsonBody, readJsonBody } from '../http/body.ts'
import type { BodyHold } from '../http/body-memory.ts'
import { GatewayError } from '../http/errors.ts'
import { type IdempotentAttempt, idempotencyKeyOf, type Replayed, replay } from '../responses/idempotency.ts'
import { keepResponse, previousResponse } from '../responses/previous-response.ts'
import { type KeyCheck, keyCheck } from '../tenant/key-check.ts'
import type { Admission } from '../tenant/rpc.ts'
import { chatBytes } from './chat-bytes.ts'
import type { RequestContext } from './context.ts'
import { deliver } from './deliver.ts'
import { answerHeaders } from './headers.ts'
import { OpenRequest } from './open-request.ts'
import { type PreparedRequest, prepare } from './prepare.ts'
import { reserve } from './reserve.ts'
import { Attempts } from './run-attempts.ts'
import { takeRates } from './take-rates.ts'
import { type Transcoder, transcoderOf } from './transcoder.ts'
import { checkVision } from './vision-check.ts'

export async function chat(request: Request, context: RequestContext): Promise<Response> {
  const key = await authenticate(request.headers, context.settings.macKey)
  const check = keyCheck(context.env, key)
  const call = await readRequest(request, context, key, check)
  if (call instanceof Response) return call
  try {
    return await answer(context, key, call)
  } catch (error) {
    call.attempt?.drop()
    check.refused(error)
    throw error
  }
}

/** A request that is ready for a reservation. Only the worker's bytes of its body remain. */
interface PreparedCall {
  parsed: ParsedRequest
  prepared: PreparedRequest
  /** The body for the worker. */
  bytes: Uint8Array<ArrayBuffer>
  attempt: IdempotentAttempt | undefined
}

/** @returns the stored answer of an earlier request with the same idempotency key, if there is one */
async function readRequest(
  request: Request,
  context: RequestContext,
  key: ApiKey,
  check: KeyCheck,
): Promise<PreparedCall | Response> {
  const replays = idempotencyKeyOf(request) !== null
  if (replays) await check.ask()
  else await checkKeyBeforeParsing(request, check)
  const options = { bytesMax: budgets.bodyBytes.value, tenantId: key.tenantId, beforeLarge: check.ask }
  let hold: BodyHold | null = null
  try {
    const body = await readJsonBody(request, options)
    hold = body.hold
    context.onEnd(() => hold?.release())
    const bodyDigest = replays ? await digest(body.bytes) : ''
    const call = await prepareBody(context, key, check, body)
    if (!replays) return call
    if (call.prepared.chat.stream) {
      call.prepared.warnings.push('idempotency-key: not supported with streaming, ignored')
      return call
    }
    const { models = null } = await check.ask()
    const replayed = await replay(request, context, key, bodyDigest, { models, model: call.prepared.model.id })
    if (isAttempt(replayed)) return { ...call, attempt: replayed }
    await takeRates(context, key, 0)
    return replayed
  } catch (error) {
    hold?.release()
    throw await charged(context, key, check, error)
  }
}

const isAttempt = (replayed: Replayed): replayed is IdempotentAttempt => !(replayed instanceof Response)

async function checkKeyBeforeParsing(request: Request, check: KeyCheck): Promise<void> {
  // For a large body, `readJsonBody` makes the check before it reads.
  const declared = Number(request.headers.get('content-length') ?? 0)
  if (declared <= budgets.bodyLargeBytes.value) await check.askIfUnknown()
}

async function prepareBody(
  context: RequestContext,
  key: ApiKey,
  check: KeyCheck,
  body: JsonBody,
): Promise<PreparedCall> {
  const { dialect, settings } = context
  const reference = dialect.refers?.(body.value)
  if (reference) await check.ask()
  const previous = reference ? await previousResponse(context, key, reference) : noPreviousTurns
  const read = dialect.read(body.value, previous)
  if (!read.ok) throw new GatewayError(read.code, read.message, { param: read.param })
  const { parsed } = read
  // Workers accept Chat Completions only: its bytes pass unchanged. A body of another dialect is rewritten and dropped.
  body.value = undefined
  if (parsed.writer) {
    body.bytes = new Uint8Array()
    body.bytes = encoded(parsed, body)
  }
  const { bytes } = body
  body.hold?.resize(bytes.byteLength + body.valueBytes)
  const prepared = await checkVision(context, parsed, prepare(parsed, bytes.byteLength, settings.models))
  return { parsed, prepared, bytes, attempt: undefined }
}

function encoded({ chat }: ParsedRequest, { hold }: JsonBody): Uint8Array<ArrayBuffer> {
  const { value: bytesMax } = budgets.bodyBytes
  const bytes = chatBytes(chat, bytesMax, `${crypto.randomUUID()}.`, hold !== null)
  if (bytes) return bytes
  const message = `body: the conversation has more than ${bytesMax} bytes as Chat Completions. Send less in one request.`
  throw new GatewayError('request_too_large', message)
}

/** A refused body counts as one request against the rates: reading it cost as much as reading a valid one. */
async function charged(context: RequestContext, key: ApiKey, check: KeyCheck, error: unknown): Promise<unknown> {
  if (!(error instanceof GatewayError) || !bodyFaults.has(error.code)) return error
  try {
    await takeRates(context, key, 0)
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
  context: RequestContext,
  key: ApiKey,
  { parsed, prepared, bytes, attempt }: PreparedCall,
): Promise<Response> {
  const open = new OpenRequest(context, key)
  try {
    const admission = await open.reserve(() => reserve(context, key, prepared))
    const attempts = new Attempts({ context, key, prepared, admission, bytes, started: open.started })
    open.watch(attempts)
    return await deliver({
      context,
      attempts,
      stream: prepared.chat.stream,
      transcoder: transcoderFor(context, key, { parsed, prepared }, admission),
      replay: attempt,
      headers: (origin) => answerHeaders(context, prepared, admission, origin),
    })
  } catch (error) {
    open.close()
    throw error
  }
}

function transcoderFor(
  context: RequestContext,
  key: ApiKey,
  { parsed, prepared }: Pick<PreparedCall, 'parsed' | 'prepared'>,
  { responseDays }: Admission,
): Transcoder | undefined {
  const { effort, promptTokens, model } = prepared
  const { requestId } = context
  const writer = parsed.writer?.({ requestId, now: () => Date.now(), model: model.id, effort, promptTokens })
  return writer && transcoderOf(writer, (stored) => keepResponse(context, key, stored, responseDays))
}
