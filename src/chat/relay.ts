/**
 * The relay: sends the worker's bytes to the client unchanged.
 *
 * Three facts about workerd shape it. First, workerd notices a clean close before the first byte only by writing, so a
 * waiting streaming request gets SSE comments; once an engine has it, the worker sends them. Second, a stream that
 * workerd pipes natively costs half of one that passes through our code, so only the first chunk does. Third, nothing
 * runs after a client has left unless `waitUntil` holds it, so `waitUntil` holds the pump from the start.
 *
 * Cancellation: when a client leaves, the pipe fails and cancels the worker's stream (the engine stops, and the receipt
 * reports what was generated). While the request waits, the departure aborts `context.left`, which removes the request
 * from the queue. When a worker breaks off, the client gets one error event.
 */
import { cleanText } from '../../backends/model/clean-text.ts'
import { errorStart } from '../dialects/answer-events.ts'
import { failureOf } from '../dialects/error-response.ts'
import { openaiErrors } from '../dialects/openai-chat/errors.ts'
import { waitComment } from '../fleet/queue-status.ts'
import { GatewayError } from '../http/errors.ts'
import type { IdempotentAttempt } from '../responses/idempotency.ts'
import type { Answered, AttemptState } from './answered.ts'
import type { RequestContext } from './context.ts'
import { within } from './deadline.ts'
import { addWarnings } from './headers.ts'
import type { Transcoder } from './transcoder.ts'

const keepAliveMs = 250
const encoder = new TextEncoder()
const decoder = new TextDecoder()
const space = 0x20

/** @param transcoder rewrites the worker's bytes for another dialect; without one they pass unchanged */
export async function relayStream(
  context: RequestContext,
  attempts: AttemptState,
  headers: Headers,
  transcoder: Transcoder | undefined,
): Promise<Response> {
  const served = attempts.next()
  const keepAlive = firstKeepAlive(attempts)
  const first = await Promise.race([served, keepAlive.passed]).catch((error: unknown) => {
    keepAlive.stop()
    attempts.cancel()
    throw error
  })
  headers.set('content-type', 'text/event-stream; charset=utf-8')
  if (first) discloseWorker(headers, first, context)
  else await discloseWait(headers, attempts)
  discloseEffort(headers, attempts)
  const { readable, writable } = new IdentityTransformStream()
  context.waitUntil(
    pumpStream(context, attempts, served, writable, transcoder).catch(broken(writable)).finally(keepAlive.stop),
  )
  return new Response(readable, { headers })
}

/** A pump that rejects has a defect. The client must not wait for it, and the owner of the request closes it. */
const broken = (writable: WritableStream<Uint8Array>) => async (error: unknown) => {
  await writable.abort(error).catch(() => undefined)
  throw error
}

/** Returns when the client has left or the stream is closed. */
async function pumpStream(
  context: RequestContext,
  attempts: AttemptState,
  pending: Promise<Answered>,
  writable: WritableStream<Uint8Array>,
  transcoder: Transcoder | undefined,
) {
  let served: Answered | undefined
  try {
    served = await keepAliveUntil(pending, attempts, writable)
    if (transcoder) await writeTranscoded(transcoder, served, writable)
    else {
      await write(writable, served.first)
      await served.rest.pipeTo(writable, { preventAbort: true, preventClose: true })
    }
    await writable.close()
  } catch (error) {
    // An error that the worker wrote ends the answer: the worker is healthy, and its receipt follows.
    const answered = served !== undefined && error instanceof GatewayError
    const failure =
      served && !answered
        ? new GatewayError('worker_lost', 'The worker was lost in the middle of the answer. Retry the request.', {
            cause: error,
          })
        : error
    const reported = context.left.aborted ? undefined : failureOf(failure, context.requestId)
    const event = reported && (transcoder?.fail(reported) ?? openaiErrors.event(reported))
    const delivered = event !== undefined && (await succeeds(write(writable, encoder.encode(event))))
    if (delivered) {
      await writable.close().catch(() => undefined)
      if (served && !answered) attempts.lost(served)
      // If the transcoding failed and not the connection, the engine is still running.
      await served?.rest.cancel().catch(() => undefined)
    } else {
      context.leave()
      // An answer may have started meanwhile; then its receipt follows.
      served ??= await pending.catch(() => undefined)
      await served?.rest.cancel().catch(() => undefined)
    }
    // The receipt bills a client that left a running engine, and an answer that ended with an error.
    if ((delivered && !answered) || !served) attempts.cancel()
  } finally {
    served?.watch?.stop()
  }
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
  attempts: AttemptState,
  writable: WritableStream<Uint8Array>,
): Promise<Answered> {
  for (;;) {
    const served = await within(pending, keepAliveMs)
    if (served) return served
    await write(writable, encoder.encode(waitComment(attempts.wait.look(Date.now()))))
  }
}

/**
 * Relays an answer that does not stream. The worker sends white space, which JSON ignores, until the answer is
 * complete; a failed write shows that the client has left. Only white space is sent before the last chunk, so another
 * worker can replace a lost one.
 */
export async function relayWhole(
  context: RequestContext,
  attempts: AttemptState,
  headers: Headers,
  transcoder: Transcoder | undefined,
  attempt: IdempotentAttempt | undefined,
): Promise<Response> {
  const keepAlive = firstKeepAlive(attempts)
  const served = await attempts.next().catch((error: unknown) => {
    keepAlive.stop()
    attempts.cancel()
    throw error
  })
  headers.set('content-type', 'application/json')
  discloseWorker(headers, served, context)
  discloseEffort(headers, attempts)
  const { readable, writable } = new IdentityTransformStream()
  const to: Whole = { writable, transcoder, attempt, headers }
  // Started last: a pump without a response would wait for a reader forever.
  context.waitUntil(pumpWhole(context, attempts, served, to).catch(broken(writable)).finally(keepAlive.stop))
  return new Response(readable, { headers })
}

/** The destination of an answer that does not stream. */
interface Whole {
  writable: WritableStream<Uint8Array>
  transcoder: Transcoder | undefined
  /** Stores the answer before the client gets its end. */
  attempt: IdempotentAttempt | undefined
  headers: Headers
}

/** A second loss aborts the connection, so that an incomplete answer never looks complete. */
async function pumpWhole(context: RequestContext, attempts: AttemptState, first: Answered, to: Whole) {
  const { writable, attempt, headers } = to
  let served: Answered | undefined = first
  while (served) {
    const ended = await copy(served, to, context)
    served.watch?.stop()
    if (ended === 'done') {
      await attempt?.keep(headers)
      return void (await writable.close().catch(() => undefined))
    }
    if (ended === 'error') {
      // The status has been sent. The worker's receipt closes the reservation.
      attempt?.drop()
      return void (await writable.close().catch(() => undefined))
    }
    if (ended === 'client-left' || context.left.aborted) {
      attempt?.drop()
      context.leave()
      return void (await served.rest.cancel().catch(() => undefined))
    }
    attempts.lost(served)
    served = await attempts.next().catch(() => undefined)
  }
  attempt?.drop()
  attempts.cancel()
  await writable.abort(new Error('the worker was lost')).catch(() => undefined)
}

async function copy(
  served: Answered,
  { writable, transcoder, attempt }: Whole,
  context: RequestContext,
): Promise<'done' | 'error' | 'client-left' | 'worker-lost'> {
  const reader = served.rest.getReader()
  let chunk: Uint8Array | undefined = served.first
  let error = false
  let blank = true
  const send = (bytes: Uint8Array) => {
    attempt?.take(bytes)
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
      if (bytes.length > 0 && !(await send(bytes))) return 'client-left'
      chunk = (await reader.read()).value
    }
    if (!transcoder) return error ? 'error' : 'done'
    const whole = encoder.encode(await transcoder.whole())
    return (await send(whole)) ? 'done' : 'client-left'
  } catch (cause) {
    if (!(cause instanceof GatewayError)) return 'worker-lost'
    const body = context.dialect.errors.body(failureOf(cause, context.requestId))
    return (await succeeds(write(writable, encoder.encode(JSON.stringify(body))))) ? 'error' : 'client-left'
  } finally {
    reader.releaseLock()
  }
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

function discloseWorker(headers: Headers, served: Answered, context: RequestContext): void {
  headers.set('x-tramontane-pool', served.lease.pool)
  headers.set('x-tramontane-worker', cleanText(served.lease.endpoint.workerId, 64))
  addWarnings(headers, served.warnings)
  headers.set('openai-processing-ms', String(Date.now() - context.startedAt))
  const { position, waitedMs } = served.lease
  if (position !== null) setQueueHeaders(headers, position, waitedMs)
}

/** Discloses a lowered effort. It is decided before a request waits, so always before the headers are sent. */
function discloseEffort(headers: Headers, attempts: AttemptState): void {
  const { lowered } = attempts.wait
  if (lowered === undefined) return
  const requested = headers.get('x-tramontane-effort-asked') ?? headers.get('x-tramontane-effort')
  headers.set('x-tramontane-effort', lowered)
  addWarnings(headers, [`effort lowered from ${requested} to ${lowered} under load, as this tenant's settings allow`])
}

/** Sent before the answer: the queue position, and the expected or the past wait. */
async function discloseWait(headers: Headers, attempts: AttemptState): Promise<void> {
  const view = await within(attempts.wait.firstLook(Date.now()), keepAliveMs)
  const { past } = attempts.wait
  if (view) setQueueHeaders(headers, view.position, view.expectedWaitMs)
  else if (past) setQueueHeaders(headers, past.position, past.waitedMs)
}

function setQueueHeaders(headers: Headers, position: number, waitMs: number | null): void {
  headers.set('x-tramontane-queue-position', String(position))
  if (waitMs !== null) headers.set('x-tramontane-queue-wait-ms', String(waitMs))
}

/** The only timer of a fast request. When it fires, the client gets keep-alives and the worker is watched. */
function firstKeepAlive(attempts: AttemptState): { passed: Promise<undefined>; stop: () => void } {
  const { promise: passed, resolve } = Promise.withResolvers<undefined>()
  const timer = setTimeout(() => {
    attempts.slow()
    resolve(undefined)
  }, keepAliveMs)
  return { passed, stop: () => clearTimeout(timer) }
}
