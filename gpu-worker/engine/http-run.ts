/**
 * One answer of an engine over HTTP, as a run: its connection, its bytes as events, its counts.
 *
 * Endings: the caller's signal closes the connection, which stops every engine, and the run ends with `abort`. A reader
 * that stops early has the same effect. If the engine dies or falls silent, or the supervisor fails the run, `events`
 * rejects with EngineFailure. The call has always ended when `events` ends; after a complete answer the connection
 * returns to the connection pool.
 */
import type { BackendEvent, HttpBackend, HttpCall, RequestTerms } from '../../backends/contract/backend.ts'
import {
  type CounterTerms,
  correct,
  countsOf,
  isEstimated,
  newTokenCounter,
  takeEvent,
} from '../../backends/contract/token-counter.ts'
import type { Counts } from '../../backends/model/money.ts'
import type { Calls, OpenedCall } from './calls.ts'
import { plausible } from './check-counts.ts'
import { type EngineEvent, EngineFailure, EngineRefused, type Run, refusalOf } from './engine.ts'

export interface HttpRunParts {
  calls: Calls
  backend: HttpBackend
  order: RequestTerms
  call: HttpCall
  /** The client's name of each tool that has another name in `call`. */
  clientNames: ReadonlyMap<string, string>
  promptTokens: number
  promptCounted: boolean
  /** The length of a text in tokens; undefined if the engine cannot count it. */
  countText: (text: string, signal: AbortSignal) => Promise<number | undefined>
  times: RunTimes
  /** Called for each received chunk, as a sign of life. */
  heard: () => void
}

/** In milliseconds. */
export interface RunTimes {
  /** Until the first byte. The longest prompts take minutes. */
  firstByteMs: number
  /** Between two chunks of an answer. */
  silentMs: number
  /** For counting the text after an answer broke off. */
  countMs: number
}

export const runTimes: RunTimes = { firstByteMs: 10 * 60_000, silentMs: 60_000, countMs: 2_000 }

/** If the engine keeps the connection open for longer than this after its answer, the connection is closed. */
const releaseMs = 1_000

export interface HttpRun extends Run {
  /** Ends the run from outside: `events` rejects with `failure`. */
  fail: (failure: EngineFailure) => void
  /** Resolves when `events` has ended. */
  readonly closed: Promise<void>
  /** Whether the answer is complete. */
  readonly whole: boolean
}

export function startHttpRun(parts: HttpRunParts, signal: AbortSignal): HttpRun {
  const state = new RunState(parts)
  const stop = new AbortController()
  const closed = Promise.withResolvers<void>()
  let failure: EngineFailure | undefined
  const fail = (cause: EngineFailure) => {
    failure ??= cause
    stop.abort()
  }
  const leave = () => stop.abort()
  signal.addEventListener('abort', leave, { once: true })
  if (signal.aborted) stop.abort()

  async function* events(): AsyncGenerator<EngineEvent> {
    try {
      yield* answer(parts, state, stop.signal, fail)
    } catch (error) {
      // An error of a connection that this side closed is not the reason.
      if (failure || !signal.aborted) throw failure ?? asFailure(error)
      await state.broken()
      yield { kind: 'end', finishReason: 'abort' }
    } finally {
      signal.removeEventListener('abort', leave)
      if (state.ended) state.release(() => stop.abort())
      else stop.abort()
      await abortElsewhere(parts, state)
      closed.resolve()
    }
  }

  return {
    get counts() {
      return state.settled.counts
    },
    get estimated() {
      return state.settled.estimated
    },
    get whole() {
      return state.ended
    },
    events: events(),
    fail,
    closed: closed.promise,
  }
}

async function* answer(
  parts: HttpRunParts,
  state: RunState,
  signal: AbortSignal,
  fail: (failure: EngineFailure) => void,
): AsyncGenerator<EngineEvent> {
  const { calls, backend, order, call, times } = parts
  const watch = watchdog(fail)
  try {
    watch.within(times.firstByteMs, 'the engine did not begin to answer in time')
    const opened = await calls.open(call, signal)
    if (opened.status !== 200) throw await refused(calls, backend, opened)
    const source = opened.body[Symbol.asyncIterator]()
    state.source = source
    for await (const event of read(source, opened.streams, parts, watch)) {
      if (event.kind === 'failed') throw new EngineFailure(event.message)
      const cut = state.take(event)
      if (state.justStarted()) yield { kind: 'started' }
      if (cut) return yield { kind: 'end', finishReason: 'length' }
      if (event.kind === 'text') yield event
      if (event.kind === 'call') yield { kind: 'tool', name: event.call.name, arguments: event.call.arguments }
      if (event.kind !== 'end') continue
      return yield { kind: 'end', finishReason: event.finishReason }
    }
    throw new EngineFailure(`the engine broke off the answer to ${order.requestId}`)
  } finally {
    watch.stop()
  }
}

/** Does not close the source when its own reader stops. */
async function* read(
  source: AsyncIterator<Uint8Array>,
  streams: boolean,
  { backend, order, clientNames, times, heard }: HttpRunParts,
  watch: Watchdog,
): AsyncGenerator<BackendEvent> {
  const reader = backend.reader(order, streams, clientNames)
  for (;;) {
    const { done, value } = await source.next()
    if (done) return yield* reader.end()
    heard()
    watch.within(times.silentMs, 'the engine fell silent in mid-answer')
    yield* reader.push(value)
  }
}

async function refused(calls: Calls, backend: HttpBackend, opened: OpenedCall): Promise<EngineFailure | EngineRefused> {
  const failure = backend.failure(await calls.refusal(opened))
  const refusal = refusalOf(failure)
  return refusal ? new EngineRefused(refusal) : new EngineFailure(failure.message)
}

function asFailure(error: unknown): Error {
  if (error instanceof EngineFailure || error instanceof EngineRefused) return error
  const cause = error instanceof Error ? error : new Error(String(error))
  return new EngineFailure(`the connection to the engine was lost (${cause.message})`, { cause })
}

/** Aborts the request by a separate call, if the engine has one. Ignores errors: an unreachable engine runs nothing. */
async function abortElsewhere({ calls, backend, order, times }: HttpRunParts, state: RunState): Promise<void> {
  const call = state.ended ? undefined : backend.abort?.(order)
  if (call) await calls.ask(call, AbortSignal.timeout(times.countMs)).catch(() => undefined)
}

/** The received part of one answer, and its counts. */
class RunState {
  readonly #parts: HttpRunParts
  readonly #counter = newTokenCounter()
  readonly #terms: CounterTerms
  /** The text so far. Stored only if the engine can count the tokens of a text. */
  readonly #texts: { content: string; reasoning: string } | undefined
  #deltas = 0
  #started = false
  #startReported = false
  ended = false
  source: AsyncIterator<Uint8Array> | undefined

  constructor(parts: HttpRunParts) {
    const { backend, promptTokens, promptCounted } = parts
    this.#parts = parts
    this.#terms = { truth: backend.truth, promptTokens, promptCounted }
    this.#texts = backend.countText ? { content: '', reasoning: '' } : undefined
  }

  /** Returns true if the engine has exceeded the output bound: the answer is cut off before this event. */
  take(event: BackendEvent): boolean {
    takeEvent(this.#counter, event)
    this.#started = true
    if (event.kind === 'end') this.ended = true
    if (event.kind === 'text' && this.#texts) this.#texts[event.channel] += event.text
    if (event.kind !== 'text' && event.kind !== 'piece') return false
    this.#deltas += 1
    return this.#deltas > this.#parts.order.outputTokensMax
  }

  /** Reads the few bytes after a complete answer, so that the connection can be reused. */
  release(close: () => void): void {
    const timer = setTimeout(close, releaseMs)
    const drain = async () => {
      while (this.source && !(await this.source.next()).done);
    }
    drain()
      .catch(() => undefined)
      .finally(() => clearTimeout(timer))
  }

  /** Returns true once, when the prompt has been processed. */
  justStarted(): boolean {
    const first = this.#started && !this.#startReported
    this.#startReported ||= first
    return first
  }

  /** All zero until the first event: no earlier computation is known. */
  get settled(): { counts: Counts; estimated: boolean } {
    if (!this.#started)
      return { counts: { promptTokens: 0, cachedTokens: 0, outputTokens: 0, reasoningTokens: 0 }, estimated: false }
    const { promptTokens, promptCounted, order } = this.#parts
    const seen = { promptTokens, promptCounted, deltas: this.#deltas, outputTokensMax: order.outputTokensMax }
    const { counts, doubtful } = plausible(countsOf(this.#counter, this.#terms), seen)
    return { counts, estimated: doubtful || isEstimated(this.#counter, this.#terms) }
  }

  /** Called when the answer broke off: counts the text if the engine did not report exact counts. */
  async broken(): Promise<void> {
    const { countText, times } = this.#parts
    const texts = this.#texts
    if (!texts || !this.#started || !isEstimated(this.#counter, this.#terms)) return
    const signal = AbortSignal.timeout(times.countMs)
    const count = (text: string) => (text === '' ? 0 : countText(text, signal).catch(() => undefined))
    const [content, reasoning] = await Promise.all([count(texts.content), count(texts.reasoning)])
    if (content !== undefined && reasoning !== undefined) correct(this.#counter, content + reasoning, reasoning)
  }
}

interface Watchdog {
  within(ms: number, otherwise: string): void
  stop(): void
}

/** One timer for the whole answer. It checks the deadline when it fires instead of being reset for each token. */
function watchdog(fail: (failure: EngineFailure) => void): Watchdog {
  let until = 0
  let why = ''
  let timer: NodeJS.Timeout | undefined
  const look = () => {
    const left = until - performance.now()
    if (left <= 0) fail(new EngineFailure(why))
    else timer = setTimeout(look, left)
  }
  return {
    within(ms, otherwise) {
      const sooner = performance.now() + ms < until
      until = performance.now() + ms
      why = otherwise
      if (timer && !sooner) return
      clearTimeout(timer)
      timer = setTimeout(look, ms)
    },
    stop: () => clearTimeout(timer),
  }
}
