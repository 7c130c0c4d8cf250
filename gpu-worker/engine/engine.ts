/**
 * What the worker asks of an engine, whether it is embedded here or runs elsewhere behind HTTP.
 *
 * A request goes through it in two steps. `prepare` renders and counts, and starts nothing, so that a prompt which
 * does not fit, or costs more than was reserved, is refused before a token is spent. `run` generates.
 */
import type { BackendFailure } from '../../backends/contract/backend.ts'
import type { Chat } from '../../backends/model/chat.ts'
import type { EffortWord } from '../../backends/model/effort.ts'
import type { Counts } from '../../backends/model/money.ts'

export interface Engine {
  /** Known once `start` has resolved. */
  readonly description: EngineDescription
  readonly state: EngineState
  /** Why it is not ready, where more can be said than its state. */
  readonly reason?: string
  /** Loads the model. Rejects with one clear sentence when the model cannot be served. */
  start(): Promise<void>
  /**
   * Renders and counts the prompt. Generates nothing. Rejects only when the engine is down (EngineFailure). A request
   * during whose preparation the engine died, hung or ran out of time gets the refusal `preparation_failed`: it may be
   * the cause, so it must not be sent to another engine. Aborting `signal` ends the work and gives `client_left`.
   */
  prepare(chat: Chat, effort: EffortWord, signal?: AbortSignal): Promise<Prepared | EngineRefusal>
  /**
   * Generates. Aborting `signal` ends the run within one token or one prefill chunk; `events` then ends after an
   * `end` event with finish reason `abort`. If the engine dies, `events` rejects with EngineFailure; if it says only now
   * that it will not run this, with EngineRefused, before any other event. A run that its own rules or sampling values
   * end rejects with EngineRefused too, at any time; that is never the engine's failure.
   */
  run(prepared: Prepared, options: RunOptions, signal: AbortSignal): Run
  load(): EngineLoad
  /** Processes that would outlive a killed worker while they hang; its watchdog ends them. None where it is not there. */
  childPids?(): readonly number[]
  /** Starts the engine anew, where that can be done. Open runs reject with EngineFailure. */
  renew?(): void
  /** Ends the engine and every process it started. Open runs reject with EngineFailure. */
  close(): Promise<void>
}

export type EngineState = 'starting' | 'ready' | 'restarting' | 'failed' | 'closed'

export interface EngineDescription {
  engine: string
  version: string
  /** The model file's or endpoint's own name for the model, for the log and `/healthz`. */
  modelName: string
  architecture: string
  /** Longest prompt plus output of one request. */
  contextTokens: number
  /** Requests that may run at once. */
  slotsMax: number
  vision: boolean
}

export interface EngineLoad {
  running: number
  /** Tokens of the KV cache in use and in all. */
  kvTokens: number
  kvTokensMax: number
  /** Totals since start. */
  promptTokensTotal: number
  cachedTokensTotal: number
  outputTokensTotal: number
  restartsTotal: number
}

export interface Prepared {
  ok: true
  /** Including control tokens. Exact, or where it is estimated, more than it can be. */
  promptTokens: number
  promptEstimated?: boolean
  /** The most that fits the context after this prompt. */
  outputTokensFit: number
  chat: Chat
  effort: EffortWord
  /** The engine's own (token ids, or a request body). */
  prompt: unknown
  /** What was asked and is not honoured as it was asked, for the client to see. */
  warnings?: readonly string[]
}

export interface EngineRefusal {
  ok: false
  code: 'context_length_exceeded' | 'invalid_value' | 'preparation_failed' | 'client_left'
  message: string
  param: string | null
  promptTokens?: number
}

export interface RunOptions {
  requestId: string
  /** Generation stops here with finish reason `length`. At least 1. */
  outputTokensMax: number
  /** Smaller runs first. */
  priority: number
  /**
   * Whose prompt it is. Prefixes are reused among the same owner's requests only: a count of cached tokens would
   * otherwise tell one tenant what another has sent.
   */
  owner: string
}

export interface Run {
  /** What has really been computed so far; live, at every moment, also after an abort or a failure. */
  readonly counts: Readonly<Counts>
  /** Whether one of them is not exact; absent where they always are. */
  readonly estimated?: boolean
  readonly events: AsyncIterable<EngineEvent>
}

export type EngineEvent =
  /** The prompt is in. First, unless the run is aborted before. */
  | { kind: 'started' }
  /** Text of one channel. Never empty, never half a character. */
  | { kind: 'text'; channel: 'reasoning' | 'content'; text: string }
  /** One whole tool call; `arguments` is valid JSON. */
  | { kind: 'tool'; name: string; arguments: string }
  /** Always last. `abort` only after the caller's signal. `stop` is the stop string that ended it, where one did. */
  | { kind: 'end'; finishReason: 'stop' | 'length' | 'tool_calls' | 'abort'; stop?: string }

/** The engine died or is not there. Whoever asked may try another worker, as long as no byte was sent. */
export class EngineFailure extends Error {
  override name = 'EngineFailure'
}

/** The engine will not run this request, or cannot finish it for a reason that lies in the request alone. */
export class EngineRefused extends Error {
  override name = 'EngineRefused'
  readonly refusal: EngineRefusal
  /** Whether output tokens were generated before; the run's `counts` say how many. */
  readonly afterTokens: boolean

  constructor(refusal: EngineRefusal, afterTokens = false) {
    super(refusal.message)
    this.refusal = refusal
    this.afterTokens = afterTokens
  }
}

/** For a request during whose preparation the engine was lost. */
export function preparationFailed(why: string): EngineRefusal {
  const message = `The engine was lost while it worked on this request: ${why}. Send another request, not this one again.`
  return { ok: false, code: 'preparation_failed', message, param: null }
}

export const clientLeft: EngineRefusal = {
  ok: false,
  code: 'client_left',
  message: 'The client left while its request was prepared.',
  param: null,
}

/** What the client is to be told of an adapter's failure; undefined where the engine, and not the request, is to blame. */
export function refusalOf({ code, message, param, promptTokens, operator }: BackendFailure): EngineRefusal | undefined {
  if (operator) return undefined
  const count = promptTokens === undefined ? {} : { promptTokens }
  if (code === 'context_length_exceeded') return { ok: false, code, message, param, ...count }
  if (code === 'invalid_value' || code === 'request_too_large')
    return { ok: false, code: 'invalid_value', message, param }
  return undefined
}
