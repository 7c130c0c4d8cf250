/**
 * One answer of an engine elsewhere, as a run: its connection, its bytes as events, its counts.
 *
 * Who stops whom: the caller's signal closes the connection, which is what stops every engine, and the run ends with
 * `abort`; a reader that leaves early does the same; the engine's death, its silence and the supervisor's word make
 * `events` reject with EngineFailure. Whatever happens, the call has ended when `events` has; after a whole answer its
 * connection is given back for the next one.
 */
import type { BackendEvent, HttpBackend, HttpCall, RequestTerms } from '../../backends/contract/backend.ts'
import { createMeter, type TokenCounter } from '../../backends/contract/token-counter.ts'
import type { Counts } from '../../backends/model/money.ts'
import type { Calls, OpenedCall } from './calls.ts'
import { type EngineEvent, EngineFailure, EngineRefused, type Run, refusalOf } from './engine.ts'
import { plausible } from './plausible.ts'

export interface HttpRunParts {
  calls: Calls
  backend: HttpBackend
  order: RequestTerms
  call: HttpCall
  promptTokens: number
  promptCounted: boolean
  /** The length of a text in tokens, where the engine can say. */
  countText: (text: string, signal: AbortSignal) => Promise<number | undefined>
  times: RunTimes
  /** A sign of life. */
  heard: () => void
}

/** In milliseconds. */
export interface RunTimes {
  /** A prompt of the longest kind may take minutes before anything comes. */
  firstByteMs: number
  /** Between two pieces of an answer. */
  silentMs: number
  /** What is counted after an answer was broken off takes no longer. */
  countMs: number
}

export const runTimes: RunTimes = { firstByteMs: 10 * 60_000, silentMs: 60_000, countMs: 2_000 }

/** An engine that keeps a connection open behind its answer for longer loses it. */
const giveBackMs = 1_000

export interface HttpRun extends Run {
  /** Ends it from outside: `events` rejects with this. */
  fail: (failure: EngineFailure) => void
  /** Resolves when `events` has ended. */
  readonly closed: Promise<void>
  /** Whether the answer came to its regular end. */
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
      // Whatever the connection said when it was closed from here is not the reason.
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
    throw new EngineFailure(`the engine broke the answer to ${order.requestId} off`)
  } finally {
    watch.stop()
  }
}

/** Leaves the source open when its reader leaves. */
async function* read(
  source: AsyncIterator<Uint8Array>,
  streams: boolean,
  { backend, order, times, heard }: HttpRunParts,
  watch: Watchdog,
): AsyncGenerator<BackendEvent> {
  const reader = backend.reader(order, streams)
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

/** Nothing is owed to it: an engine that cannot be reached has no answer going on. */
async function abortElsewhere({ calls, backend, order, times }: HttpRunParts, state: RunState): Promise<void> {
  const call = state.ended ? undefined : backend.abort?.(order)
  if (call) await calls.ask(call, AbortSignal.timeout(times.countMs)).catch(() => undefined)
}

/** What has come of one answer, and what it comes to. */
class RunState {
  readonly #parts: HttpRunParts
  readonly #meter: TokenCounter
  /** Kept only where a length in tokens may have to be asked for. */
  readonly #texts: { content: string; reasoning: string } | undefined
  #deltas = 0
  #started = false
  #told = false
  ended = false
  source: AsyncIterator<Uint8Array> | undefined

  constructor(parts: HttpRunParts) {
    const { backend, promptTokens, promptCounted } = parts
    this.#parts = parts
    this.#meter = createMeter(backend.truth, promptTokens, promptCounted)
    this.#texts = backend.countText ? { content: '', reasoning: '' } : undefined
  }

  /** True where the engine has passed its bound: the answer is cut off before this event. */
  take(event: BackendEvent): boolean {
    this.#meter.take(event)
    this.#started = true
    if (event.kind === 'end') this.ended = true
    if (event.kind === 'text' && this.#texts) this.#texts[event.channel] += event.text
    if (event.kind !== 'text' && event.kind !== 'piece') return false
    this.#deltas += 1
    return this.#deltas > this.#parts.order.outputTokensMax
  }

  /** Reads what follows a whole answer, which is next to nothing, so that the connection is free again. */
  release(close: () => void): void {
    const timer = setTimeout(close, giveBackMs)
    const drain = async () => {
      while (this.source && !(await this.source.next()).done);
    }
    drain()
      .catch(() => undefined)
      .finally(() => clearTimeout(timer))
  }

  /** True once, when the prompt is in. */
  justStarted(): boolean {
    const first = this.#started && !this.#told
    this.#told ||= first
    return first
  }

  /** Until something has come nothing is known to have been computed. */
  get settled(): { counts: Counts; estimated: boolean } {
    if (!this.#started)
      return { counts: { promptTokens: 0, cachedTokens: 0, outputTokens: 0, reasoningTokens: 0 }, estimated: false }
    const { promptTokens, promptCounted, order } = this.#parts
    const seen = { promptTokens, promptCounted, deltas: this.#deltas, outputTokensMax: order.outputTokensMax }
    const { counts, doubtful } = plausible(this.#meter.counts, seen)
    return { counts, estimated: doubtful || this.#meter.estimated }
  }

  /** The answer was broken off: what the engine did not count is counted now, where that can be done. */
  async broken(): Promise<void> {
    const { countText, times } = this.#parts
    const texts = this.#texts
    if (!texts || !this.#started || !this.#meter.estimated) return
    const signal = AbortSignal.timeout(times.countMs)
    const count = (text: string) => (text === '' ? 0 : countText(text, signal).catch(() => undefined))
    const [content, reasoning] = await Promise.all([count(texts.content), count(texts.reasoning)])
    if (content !== undefined && reasoning !== undefined) this.#meter.correct(content + reasoning, reasoning)
  }
}

interface Watchdog {
  within(ms: number, otherwise: string): void
  stop(): void
}

/** One timer for the whole answer: it is looked at when it goes off, not set anew for each token. */
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
