/**
 * The last room: the worker's bytes go to the client as they are.
 *
 * Three facts about workerd shape it. A client that closes politely before the first byte is seen only by writing to
 * it, so while a streaming request waits for its slot it is sent SSE comments; from the moment an engine has it, the
 * worker sends them. A stream that workerd pipes natively costs half of one that passes through our code, so only the
 * first chunk does. And nothing runs after a client has left unless `waitUntil` holds it, so the pump is held from the
 * start.
 *
 * Who stops whom: a client that leaves makes the pipe fail, which cancels the worker's stream (the engine stops, the
 * receipt says what was generated); the same departure while waiting aborts `line.left`, which withdraws the request
 * from the queue. A worker that breaks off makes the pipe fail from the other side: the client is told in one event.
 */
import { cleanText } from '../../backends/model/clean-text.ts'
import { errorStart } from '../dialects/answer-events.ts'
import { openaiErrors } from '../dialects/openai-chat/errors.ts'
import { waitComment } from '../fleet/queue-status.ts'
import { failureOf, GatewayError } from '../http/errors.ts'
import type { IdempotentAttempt } from '../responses/idempotency.ts'
import type { Answered, AttemptState } from './attempts.ts'
import type { RequestContext } from './context.ts'
import { addWarnings } from './headers.ts'
import type { Transcoder } from './transcoder.ts'

const keepAliveMs = 250
const encoder = new TextEncoder()
const decoder = new TextDecoder()
const space = 0x20

/** @param transcoder rewrites the worker's bytes for a surface that is not theirs; without one they pass as they are */
export async function relayStream(
  context: RequestContext,
  attempts: AttemptState,
  headers: Headers,
  transcoder: Transcoder | undefined,
): Promise<Response> {
  const served = attempts.next()
  const beat = firstKeepAlive(attempts)
  const first = await Promise.race([served, beat.passed]).catch((error: unknown) => {
    beat.stop()
    attempts.cancel()
    throw error
  })
  headers.set('content-type', 'text/event-stream; charset=utf-8')
  if (first) discloseWorker(headers, first, context)
  else await discloseWait(headers, attempts)
  discloseEffort(headers, attempts)
  const { readable, writable } = new IdentityTransformStream()
  context.waitUntil(
    pumpStream(context, attempts, served, writable, transcoder).catch(broken(writable)).finally(beat.stop),
  )
  return new Response(readable, { headers })
}

/** A pump that fails has a defect. Its client must not wait for it, and the owner of the request closes it. */
const broken = (writable: WritableStream<Uint8Array>) => async (error: unknown) => {
  await writable.abort(error).catch(() => undefined)
  throw error
}

/** Ends with the client gone or the stream closed. */
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
    if (transcoder) await speak(transcoder, served, writable)
    else {
      await write(writable, served.first)
      await served.rest.pipeTo(writable, { preventAbort: true, preventClose: true })
    }
    await writable.close()
  } catch (error) {
    // An error that the worker wrote is the answer's own end: the worker is well, and its receipt follows.
    const answered = served !== undefined && error instanceof GatewayError
    const failure =
      served && !answered
        ? new GatewayError('worker_lost', 'the worker was lost in mid-answer', { cause: error })
        : error
    const told = context.left.aborted ? undefined : failureOf(failure, context.requestId)
    const event = told && (transcoder?.fail(told) ?? openaiErrors.event(told))
    const here = event !== undefined && (await succeeds(write(writable, encoder.encode(event))))
    if (here) {
      await writable.close().catch(() => undefined)
      if (served && !answered) attempts.lost(served)
      // Where the words were wrong and not the connection, the engine is still at work.
      await served?.rest.cancel().catch(() => undefined)
    } else {
      context.leave()
      // An answer may have begun meanwhile; then its receipt follows.
      served ??= await pending.catch(() => undefined)
      await served?.rest.cancel().catch(() => undefined)
    }
    // A client that left an engine at work is billed by the receipt, and so is an answer that ended with an error.
    if ((here && !answered) || !served) attempts.cancel()
  } finally {
    served?.watch?.stop()
  }
}

/** The answer in a surface's own words. Rejects when the client has left, or the worker's answer is not whole. */
async function speak(
  transcoder: Transcoder,
  { first, rest, promptTokens }: Answered,
  writable: WritableStream<Uint8Array>,
) {
  const say = async (text: string) => {
    if (text !== '') await write(writable, encoder.encode(text))
  }
  const reader = rest.getReader()
  try {
    await say(transcoder.open(promptTokens))
    for (let chunk: Uint8Array | undefined = first; chunk; chunk = (await reader.read()).value)
      await say(transcoder.push(chunk))
  } finally {
    reader.releaseLock()
  }
  await say(await transcoder.end())
}

/** Sends a comment every beat until the answer begins; a comment that cannot be sent means that the client has left. */
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
 * An answer that does not stream. The worker sends white space, which JSON ignores, until the answer is whole: that is
 * how a client that left is noticed. Nothing but white space has gone out until the last chunk, so a lost worker is
 * made good by another.
 */
export async function relayWhole(
  context: RequestContext,
  attempts: AttemptState,
  headers: Headers,
  transcoder: Transcoder | undefined,
  attempt: IdempotentAttempt | undefined,
): Promise<Response> {
  const beat = firstKeepAlive(attempts)
  const served = await attempts.next().catch((error: unknown) => {
    beat.stop()
    attempts.cancel()
    throw error
  })
  headers.set('content-type', 'application/json')
  discloseWorker(headers, served, context)
  discloseEffort(headers, attempts)
  const { readable, writable } = new IdentityTransformStream()
  const to: Whole = { writable, transcoder, attempt, headers }
  // Begun last: a pump whose response is lost would wait for a reader for ever.
  context.waitUntil(pumpWhole(context, attempts, served, to).catch(broken(writable)).finally(beat.stop))
  return new Response(readable, { headers })
}

/** Where an answer that does not stream goes. */
interface Whole {
  writable: WritableStream<Uint8Array>
  transcoder: Transcoder | undefined
  /** Has it kept before its end is told. */
  attempt: IdempotentAttempt | undefined
  headers: Headers
}

/** A second loss breaks the connection off: an answer never looks whole when it is not. */
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
      // Its status has gone out. The worker's receipt closes the reservation.
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
  const say = (bytes: Uint8Array) => {
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
      if (bytes.length > 0 && !(await say(bytes))) return 'client-left'
      chunk = (await reader.read()).value
    }
    if (!transcoder) return error ? 'error' : 'done'
    const whole = encoder.encode(await transcoder.whole())
    return (await say(whole)) ? 'done' : 'client-left'
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

/** What was served is told, and that its tenant agreed to it. It is decided before a request waits, so always in time. */
function discloseEffort(headers: Headers, attempts: AttemptState): void {
  const { lowered } = attempts.wait
  if (lowered === undefined) return
  const asked = headers.get('x-tramontane-effort-asked') ?? headers.get('x-tramontane-effort')
  headers.set('x-tramontane-effort', lowered)
  addWarnings(headers, [`effort lowered from ${asked} to ${lowered} under load, as this tenant's settings allow`])
}

/** The headers go out before the answer: where it stands and how long it is expected to wait, or how long it has. */
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

/** The one timer that a request has unless it takes longer: then its client is told that it waits, and its worker watched. */
function firstKeepAlive(attempts: AttemptState): { passed: Promise<undefined>; stop: () => void } {
  const { promise: passed, resolve } = Promise.withResolvers<undefined>()
  const timer = setTimeout(() => {
    attempts.slow()
    resolve(undefined)
  }, keepAliveMs)
  return { passed, stop: () => clearTimeout(timer) }
}

/** What the promise gives within `ms`, or undefined; rejects as it does. */
export async function within<Value>(promise: Promise<Value>, ms: number): Promise<Value | undefined> {
  let timer: number | null = null
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
