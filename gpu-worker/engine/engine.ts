/**
 * The interface between the worker and its engine, embedded or behind HTTP.
 *
 * A request takes two steps. `prepare` renders and counts the prompt and generates nothing, so the worker can refuse a
 * prompt that does not fit or costs more than its reservation before any token is computed. `run` generates.
 */
import type { BackendFailure, Capabilities } from '../../backends/contract/backend.ts'
import type { Chat } from '../../backends/model/chat.ts'
import type { EffortWord } from '../../backends/model/effort.ts'
import type { ImageLimits } from '../../backends/model/image.ts'
import type { Counts } from '../../backends/model/money.ts'
import type { ServedCapabilities } from '../../backends/wire/heartbeat.ts'

export interface Engine {
  /** Before the engine is ready it is what the settings promise. */
  readonly description: EngineDescription
  readonly state: EngineState
  /** Why the engine is not ready, if there is more to report than its state. */
  readonly reason?: string
  /** Loads the model. Rejects with one sentence if the model cannot be served. */
  start(): Promise<void>
  /**
   * Renders and counts the prompt. Generates nothing. Rejects only if the engine is down (EngineFailure). If the engine
   * dies, hangs or exceeds its time during preparation, returns the refusal `preparation_failed`: the request may be
   * the cause and must not be sent to another engine. Aborting `signal` ends the work and returns `client_left`.
   */
  prepare(chat: Chat, effort: EffortWord, signal?: AbortSignal): Promise<Prepared | EngineRefusal>
  /**
   * Generates. Aborting `signal` ends the run within one token or one prefill chunk; `events` then ends after an
   * `end` event with finish reason `abort`. If the engine dies, `events` rejects with EngineFailure. If the engine
   * refuses the request only now, `events` rejects with EngineRefused before any other event. A run that fails because
   * of its own grammar or sampling values also rejects with EngineRefused, at any time; the engine is not at fault.
   */
  run(prepared: Prepared, options: RunOptions, signal: AbortSignal): Run
  load(): EngineLoad
  /**
   * Processes that could hang and outlive a killed worker; the worker's watchdog ends them. Absent if there are none.
   */
  childPids?(): readonly number[]
  /** Restarts the engine, if it can be restarted. Open runs reject with EngineFailure. */
  renew?(): void
  /** Ends the engine and every process it started. Open runs reject with EngineFailure. */
  close(): Promise<void>
}

export type EngineState = 'starting' | 'ready' | 'restarting' | 'failed' | 'closed'

export interface EngineDescription {
  engine: string
  version: string
  /** The name that the model file or the endpoint uses, for the log and `/healthz`. */
  modelName: string
  architecture: string
  /** Maximum of prompt plus output of one request. */
  contextTokens: number
  /** Maximum concurrent requests. */
  slotsMax: number
  vision: boolean
  /** Images that the engine reads, and that do not end it; of no importance without vision. */
  images: ImageLimits
  capabilities: ServedCapabilities
}

export function servedBy(engine: Capabilities): ServedCapabilities {
  const { efforts, tools, forcedTool, jsonObject, jsonSchema, prefix, stopsMax } = engine
  return { efforts: [...efforts], tools, forcedTool, jsonObject, jsonSchema, prefix, stopsMax }
}

export interface EngineLoad {
  running: number
  /** KV cache tokens: in use, and the capacity. */
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
  /** Includes control tokens. Exact, or an upper bound if `promptEstimated`. */
  promptTokens: number
  promptEstimated?: boolean
  /** Maximum output that fits the context after this prompt. */
  outputTokensFit: number
  chat: Chat
  effort: EffortWord
  /** Opaque to the caller: token ids or a request body. */
  prompt: unknown
  /** Parameters that the engine does not honour as requested, reported to the client. */
  warnings?: readonly string[]
}

export interface EngineRefusal {
  ok: false
  code: 'context_length_exceeded' | 'invalid_value' | 'preparation_failed' | 'client_left'
  message: string
  param: string | null
  promptTokens?: number
  /** This engine lacks a capability that another one may have. */
  unsupported?: boolean
}

export interface RunOptions {
  requestId: string
  /** Generation stops at this count with finish reason `length`. At least 1. */
  outputTokensMax: number
  /** Smaller runs first. */
  priority: number
  /**
   * The tenant of the request. Prefixes are reused only between requests of one owner: otherwise the count of cached
   * tokens would reveal to one tenant what another has sent.
   */
  owner: string
}

export interface Run {
  /** Tokens computed so far. Current at every moment, also after an abort or a failure. */
  readonly counts: Readonly<Counts>
  /** Whether any count is an estimate. Absent if this engine's counts are always exact. */
  readonly estimated?: boolean
  readonly events: AsyncIterable<EngineEvent>
}

export type EngineEvent =
  /** The prompt has been processed. Always first, unless the run is aborted before it. */
  | { kind: 'started' }
  /** Text of one channel. Never empty, never a partial character. */
  | { kind: 'text'; channel: 'reasoning' | 'content'; text: string }
  /** A tool call; `arguments` is valid JSON, except in the last call before an end with `length`. */
  | { kind: 'tool'; name: string; arguments: string }
  /** Always last. `abort` only after the caller's signal. `stop` is the stop string that ended the answer, if any. */
  | { kind: 'end'; finishReason: 'stop' | 'length' | 'tool_calls' | 'abort'; stop?: string }

/** The engine died or is unreachable. The caller may try another worker if it has sent no byte to the client. */
export class EngineFailure extends Error {
  override name = 'EngineFailure'
}

/** The engine refuses this request, or cannot finish it for a reason that lies in the request alone. */
export class EngineRefused extends Error {
  override name = 'EngineRefused'
  readonly refusal: EngineRefusal
  /** Whether output tokens were generated before the refusal; the run's `counts` have the number. */
  readonly afterTokens: boolean

  constructor(refusal: EngineRefusal, afterTokens = false) {
    super(refusal.message)
    this.refusal = refusal
    this.afterTokens = afterTokens
  }
}

/** The refusal of a request during whose preparation the engine died, hung or exceeded its time. */
export function preparationFailed(why: string): EngineRefusal {
  const message = `The engine failed while it prepared this request: ${why}. Change the request before you send it again.`
  return { ok: false, code: 'preparation_failed', message, param: null }
}

export const clientLeft: EngineRefusal = {
  ok: false,
  code: 'client_left',
  message: 'The client disconnected while its request was being prepared.',
  param: null,
}

/**
 * The refusal to return to the client for an adapter's failure; undefined if the engine, not the request, is at fault.
 */
export function refusalOf(failure: BackendFailure): EngineRefusal | undefined {
  const { code, message, param, promptTokens, operator, unsupported } = failure
  if (operator) return undefined
  const count = promptTokens === undefined ? {} : { promptTokens }
  if (code === 'context_length_exceeded') return { ok: false, code, message, param, ...count }
  if (code === 'invalid_value' || code === 'request_too_large')
    return { ok: false, code: 'invalid_value', message, param, ...(unsupported && { unsupported }) }
  return undefined
}
