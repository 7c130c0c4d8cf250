/**
 * Delivers an answer to the client: streamed or whole, with the worker's bytes unchanged or rewritten for a dialect.
 *
 * Three facts about workerd shape it. First, workerd notices a clean close before the first byte only by writing, so a
 * waiting streaming request gets SSE comments; once an engine has it, the worker sends them. Second, a stream that
 * workerd pipes natively costs half of one that passes through our code, so only the first chunk does. Third, nothing
 * runs after a client has left unless `waitUntil` holds it, so `waitUntil` holds the pump from the start.
 *
 * Cancellation: when a client leaves, the pipe fails and cancels the worker's stream (the engine stops, and the receipt
 * reports what was generated). While the request waits, the departure aborts `context.left`, which removes the request
 * from the queue.
 */
import { errorStart } from '../dialects/answer-events.ts'
import { failureOf } from '../dialects/error-response.ts'
import { openaiErrors } from '../dialects/openai-chat/errors.ts'
import { waitComment } from '../fleet/queue-status.ts'
import { GatewayError } from '../http/errors.ts'
import type { Idempotency } from '../responses/idempotency.ts'
import type { Answered } from './answered.ts'
import type { RequestContext } from './context.ts'
import { within } from './deadline.ts'
import { lateWarnings, type Origin } from './headers.ts'
import type { HostedCall } from './hosted-call.ts'
import type { Attempts } from './run-attempts.ts'
import type { Transcoder } from './transcoder.ts'

const keepAliveMs = 250
const encoder = new TextEncoder()
const decoder = new TextDecoder()
const space = 0x20

export interface AnswerDelivery {
  context: RequestContext
  attempts: Attempts
  stream: boolean
  /** Rewrites the worker's bytes for another dialect; without one they pass unchanged. */
  transcoder: Transcoder | undefined
  /** The answer of an idempotent request is stored before the client gets its end. */
  idempotency: Idempotency
  headers: (origin: Origin) => Headers
}

/** The possible endings of an answer, streamed or whole. */
type DeliveryEnd =
  /** The client has all of it. */
  | { kind: 'done' }
  /** The client has the answer's own error. The worker is healthy, and its receipt follows. */
  | { kind: 'error' }
  /** No attempt started an answer. The client has the error. */
  | { kind: 'not-answered' }
  | { kind: 'client-left' }
  /** The worker broke off. A stream's client has an error event; a whole answer's connection is aborted. */
  | { kind: 'worker-lost' }

/** The answer that is being sent, where one has started, and how it ended. */
interface Sent {
  ended: DeliveryEnd
  answered: Answered | undefined
}

export async function deliver(delivery: AnswerDelivery): Promise<Response> {
  const { context, attempts, stream } = delivery
  const keepAlive = firstKeepAlive(attempts)
  const pending = attempts.first()
  try {
    const answered = await (stream ? Promise.race([pending, keepAlive.passed]) : pending)
    const headers = delivery.headers(await originOf(delivery, answered))
    const { readable, writable } = new IdentityTransformStream()
    // Started last: a pump without a response would wait for a reader forever.
    const pump = (
      stream ? sendStream(delivery, pending, writable, answered === undefined) : sendWhole(delivery, pending, writable)
    ).then((sent) => end(delivery, sent, writable, headers))
    context.waitUntil(pump.catch(broken(writable)).finally(keepAlive.stop))
    return new Response(readable, { headers })
  } catch (error) {
    keepAlive.stop()
    attempts.cancel()
    throw error
  }
}

/** Applies an ending to the client's connection, the worker's answer, the reservation and the stored replay. */
async function end(
  { context, attempts, stream, idempotency }: AnswerDelivery,
  { ended, answered }: Sent,
  writable: WritableStream<Uint8Array>,
  headers: Headers,
): Promise<void> {
  answered?.watch?.stop()
  if (idempotency.kind === 'first') {
    if (ended.kind === 'done') await idempotency.attempt.keep(headers)
    else idempotency.attempt.drop()
  }
  switch (ended.kind) {
    case 'done':
      return writable.close().catch(() => undefined)
    case 'error':
      await writable.close().catch(() => undefined)
      break
    case 'not-answered':
      await writable.close().catch(() => undefined)
      attempts.cancel()
      break
    case 'client-left':
      context.leave()
      // The receipt bills a client that left a running engine.
      if (!answered) attempts.cancel()
      break
    case 'worker-lost':
      if (answered) attempts.lost(answered)
      attempts.cancel()
      // An incomplete whole answer must never look complete.
      if (stream) await writable.close().catch(() => undefined)
      else await writable.abort(new Error('the worker was lost')).catch(() => undefined)
  }
  // If the transcoding failed and not the connection, the engine is still running.
  await answered?.rest.cancel().catch(() => undefined)
}

/** A pump that rejects has a defect. The client must not wait for it, and the owner of the request closes it. */
const broken = (writable: WritableStream<Uint8Array>) => async (error: unknown) => {
  await writable.abort(error).catch(() => undefined)
  throw error
}

async function sendStream(
  delivery: AnswerDelivery,
  pending: Promise<Answered>,
  writable: WritableStream<Uint8Array>,
  waited: boolean,
): Promise<Sent> {
  const { context, transcoder } = delivery
  let answered: Answered | undefined
  try {
    answered = await keepAliveUntil(pending, delivery, writable)
    const warnings = waited ? lateWarnings(context, answered) : ''
    if (warnings !== '') await write(writable, encoder.encode(warnings))
    if (transcoder) await writeTranscoded(transcoder, answered, writable)
    else {
      await write(writable, answered.first)
      await answered.rest.pipeTo(writable, { preventAbort: true, preventClose: true })
    }
    return { ended: { kind: 'done' }, answered }
  } catch (cause) {
    const own = answered !== undefined && cause instanceof GatewayError
    const lost = 'The worker was lost in the middle of the answer. Retry the request.'
    const error = answered && !own ? new GatewayError('worker_lost', lost, { cause }) : cause
    const delivered = !context.left.aborted && (await sendError(delivery, error, writable))
    if (!delivered) {
      // Leaves the queue. An answer may have started meanwhile; then its receipt follows.
      context.leave()
      return { ended: { kind: 'client-left' }, answered: answered ?? (await settled(pending)) }
    }
    if (!answered) return { ended: { kind: 'not-answered' }, answered }
    return { ended: { kind: own ? 'error' : 'worker-lost' }, answered }
  }
}

/** Whether the client got the event. */
async function sendError(
  { context, transcoder }: AnswerDelivery,
  error: unknown,
  writable: WritableStream<Uint8Array>,
): Promise<boolean> {
  const failure = failureOf(error, context.requestId)
  const event = transcoder?.fail(failure) ?? openaiErrors.event(failure)
  return succeeds(write(writable, encoder.encode(event)))
}

/** Writes the answer in the client's dialect. Rejects when the client has left or the worker's answer is incomplete. */
async function writeTranscoded(
  transcoder: Transcoder,
  { first, rest, promptTokens }: Answered,
  writable: WritableStream<Uint8Array>,
) {
  const send = async (text: string) => {
    if (text !== '') await write(writable, encoder.encode(text))
  }
  const reader = rest.getReader()
  try {
    await send(transcoder.open(promptTokens))
    for (let chunk: Uint8Array | undefined = first; chunk; chunk = (await reader.read()).value)
      await send(transcoder.push(chunk))
  } finally {
    reader.releaseLock()
  }
  await send(await transcoder.end())
}

/** Sends a comment every `keepAliveMs` until the answer starts. Rejects when the client has left. */
async function keepAliveUntil(
  pending: Promise<Answered>,
  { attempts }: AnswerDelivery,
  writable: WritableStream<Uint8Array>,
): Promise<Answered> {
  for (;;) {
    const answered = await within(pending, keepAliveMs)
    if (answered) return answered
    await write(writable, encoder.encode(waitComment(attempts.wait.look(Date.now()))))
  }
}

/**
 * The worker sends white space, which JSON ignores, until a whole answer is complete; a failed write shows that the
 * client has left. Only white space is sent before the last chunk, so another worker can replace a lost one.
 */
async function sendWhole(
  delivery: AnswerDelivery,
  pending: Promise<Answered>,
  writable: WritableStream<Uint8Array>,
): Promise<Sent> {
  const { context, attempts } = delivery
  let answered = await pending
  for (;;) {
    const ended = await copyWhole(delivery, answered, writable)
    const left = context.left.aborted && ended.kind === 'worker-lost'
    if (left) return { ended: { kind: 'client-left' }, answered }
    if (ended.kind !== 'worker-lost') return { ended, answered }
    answered.watch?.stop()
    const next = await settled(attempts.another(answered))
    if (!next) return { ended, answered: undefined }
    answered = next
  }
}

async function copyWhole(
  { context, transcoder, idempotency }: AnswerDelivery,
  answered: Answered,
  writable: WritableStream<Uint8Array>,
): Promise<DeliveryEnd> {
  const reader = answered.rest.getReader()
  let chunk: Uint8Array | undefined = answered.first
  let error = false
  let blank = true
  const send = (bytes: Uint8Array) => {
    if (idempotency.kind === 'first') idempotency.attempt.take(bytes)
    return succeeds(write(writable, bytes))
  }
  try {
    while (chunk) {
      if (!transcoder && blank) {
        const from = chunk.findIndex((byte) => byte !== space)
        blank = from < 0
        error = !blank && decoder.decode(chunk.subarray(from, from + errorStart.length)) === errorStart
      }
      const bytes = transcoder ? encoder.encode(transcoder.collect(chunk)) : chunk
      if (bytes.length > 0 && !(await send(bytes))) return { kind: 'client-left' }
      chunk = (await reader.read()).value
    }
    if (!transcoder) return { kind: error ? 'error' : 'done' }
    const whole = encoder.encode(await transcoder.whole())
    return { kind: (await send(whole)) ? 'done' : 'client-left' }
  } catch (cause) {
    if (!(cause instanceof GatewayError)) return { kind: 'worker-lost' }
    const body = context.dialect.errors.body(failureOf(cause, context.requestId))
    const delivered = await succeeds(write(writable, encoder.encode(JSON.stringify(body))))
    return { kind: delivered ? 'error' : 'client-left' }
  } finally {
    reader.releaseLock()
  }
}

/** The facts for the headers. For a stream that waits, these are its position in the queue and its expected wait. */
async function originOf({ attempts, stream }: AnswerDelivery, answered: Answered | undefined): Promise<Origin> {
  const now = Date.now()
  const { hosted, wait } = attempts
  const view = answered ? undefined : await within(wait.firstLook(now), keepAliveMs)
  const lease = answered?.lease
  const leased = lease && lease.position !== null ? { position: lease.position, waitMs: lease.waitedMs } : undefined
  const past = wait.past && { position: wait.past.position, waitMs: wait.past.waitedMs }
  const waiting = view ? { position: view.position, waitMs: view.expectedWaitMs } : past
  const worker = lease && { ...answered, pool: lease.pool, workerId: lease.endpoint.workerId }
  return {
    contentType: stream ? 'text/event-stream; charset=utf-8' : 'application/json',
    served: hosted ? hostedOrigin(hosted) : worker,
    answering: answered !== undefined,
    queue: answered ? leased : waiting,
    // Decided before a request waits, so always before the headers are sent.
    lowered: wait.lowered,
    now,
  }
}

function hostedOrigin({ workerId, warnings }: HostedCall): Origin['served'] {
  return { pool: 'hosted', workerId, outputTokensMax: undefined, warnings }
}

/** The only timer of a fast request. When it fires, the client gets keep-alives and the worker is watched. */
function firstKeepAlive(attempts: Attempts): { passed: Promise<undefined>; stop: () => void } {
  const { promise: passed, resolve } = Promise.withResolvers<undefined>()
  const timer = setTimeout(() => {
    attempts.slow()
    resolve(undefined)
  }, keepAliveMs)
  return { passed, stop: () => clearTimeout(timer) }
}

async function settled<Value>(pending: Promise<Value>): Promise<Value | undefined> {
  return pending.catch(() => undefined)
}

async function succeeds(work: Promise<unknown>): Promise<boolean> {
  return work.then(
    () => true,
    () => false,
  )
}

async function write(writable: WritableStream<Uint8Array>, bytes: Uint8Array): Promise<void> {
  const writer = writable.getWriter()
  try {
    await writer.write(bytes)
  } finally {
    writer.releaseLock()
  }
}
