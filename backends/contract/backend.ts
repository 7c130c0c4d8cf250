/**
 * The contract of a backend: how to call one engine or one hosted API. An adapter makes no calls. It describes which
 * calls to make and what their answers mean; the worker, the edge or the doctor makes them. An adapter is pure, uses
 * web-standard types only, and is one short file.
 *
 * The steps:
 *
 *   attach   recognise the engine, its version, its capabilities and its known faults
 *   health   whether it is up    load     how busy it is
 *   count    the exact length of a prompt, before generation (if the engine can count)
 *   request  a chat as the engine's own call, or a refusal; unsupported fields become warnings
 *   reader   the answer's bytes, as they arrive, to events
 *   failure  the error code for an answer other than 200
 *   launch   the command that starts the engine
 *
 * To stop an answer, close its connection. Every engine here stops then; `abort` is for an engine that needs a call
 * too. `token-counter.ts` turns events into counts, by the adapter's `truth`. README.md explains how to add an engine.
 */
import type { Chat } from '../model/chat.ts'
import type { FinishReason, WireCall } from '../model/chunk.ts'
import type { EffortWord } from '../model/effort.ts'
import type { ErrorCode } from '../model/errors.ts'
import { carefulImage, type ImageLimits } from '../model/image.ts'

export type Backend = HttpBackend | InProcessBackend

export interface Described {
  /** The name in settings, and of the file: `llama-cpp`. */
  readonly name: string
  /** The engine's own spelling: `llama.cpp`. */
  readonly title: string
  readonly capabilities: Capabilities
  readonly truth: Truth
  /** For each trait that may be missing, what the operator can do, such as set a launch flag. */
  readonly remedies: Readonly<Partial<Record<Trait, string>>>
}

/** An engine that runs inside the worker. It needs no calls; the worker implements the same contract. */
export interface InProcessBackend extends Described {
  readonly transport: 'in-process'
}

export interface HttpBackend extends Described {
  readonly transport: 'http'
  /** Recognises the engine. Undefined: another engine, or no answer. Must distinguish its engine from all others. */
  readonly attach: Probe<Attached | undefined>
  readonly health: Probe<Health>
  readonly load: Probe<Load>
  /**
   * The prompt's length in tokens, by the engine's template and tokenizer; generates nothing. If absent or `undefined`,
   * the engine cannot count, and `promptTokensMax` of prompt-bound.ts is the bound.
   */
  count?(chat: Chat, terms: RequestTerms, attached: Attached): Probe<number | BackendFailure | undefined> | undefined
  /**
   * The length of a text in tokens, without control tokens. Used when the engine reports no count, as after an abort.
   */
  countText?(text: string, attached: Attached): Probe<number | undefined>
  /**
   * The call that generates. It always streams, so that tokens are counted when the client leaves. It sends only fields
   * that the engine supports, maps names and ids, and sets the bound, seed and stop strings. Fields left out are listed
   * in `warnings`. A field whose loss changes the meaning (image, forced tool, schema, effort) is refused with `param`.
   */
  request(chat: Chat, terms: RequestTerms, attached: Attached): Request | BackendFailure
  /**
   * @param streams whether the answer is `text/event-stream`; an engine may ignore `stream` and send one JSON body
   * @param clientNames of the request; absent only where the request has no tools
   */
  reader(terms: RequestTerms, streams: boolean, clientNames?: ReadonlyMap<string, string>): ResponseReader
  /** The meaning of an answer other than 200. `answer.body` is untrusted and may be truncated. */
  failure(answer: HttpAnswer): BackendFailure
  /**
   * The known cause of an answer other than 200 to an everyday chat, with what to do; undefined if it is not known. The
   * worker asks when the engine is started, so the operator sees the remedy before any client sees the refusal.
   */
  cause?(answer: HttpAnswer): string | undefined
  /** A call that ends the generation, for an engine that continues after its connection is closed. */
  abort?(terms: RequestTerms): HttpCall
  /** How to start the engine. Absent: the worker can only attach to it. */
  launch?(settings: LaunchSettings): Launch
}

/** A call to the engine, relative to its root `http://host:port` (the base URL without a trailing `/v1`). */
export interface HttpCall {
  method: 'GET' | 'POST'
  path: string
  /** JSON text. */
  body?: string
}

export interface HttpAnswer {
  status: number
  /** Keys are lower-case names. */
  headers: Readonly<Record<string, string>>
  body: string
}

/** Calls to make in any order, and a reader for their answers. Null stands for a call without an answer. */
export interface Probe<T> {
  readonly calls: readonly HttpCall[]
  read(answers: readonly (HttpAnswer | null)[]): T
}

/**
 * The capabilities of an engine. All default to `cautious` (below), so a capability that is added later is off for
 * every adapter that does not name it: `capabilities({ tools: true })`.
 */
export interface Capabilities {
  /** Efforts that a request may use; others are refused. The model may support fewer. */
  readonly efforts: readonly EffortWord[]
  /** Reasoning is separate from content. */
  readonly reasoning: boolean
  /** Reasoning of earlier turns is accepted in requests. */
  readonly reasoningHistory: boolean
  readonly tools: boolean
  readonly parallelTools: boolean
  /** Supports `required` and a named tool. */
  readonly forcedTool: boolean
  readonly jsonObject: boolean
  readonly jsonSchema: boolean
  /** Images, as data URLs. */
  readonly vision: boolean
  /** Images that the engine reads, and that do not end it. */
  readonly images: ImageLimits
  /** PDFs. */
  readonly documents: boolean
  /** The engine may fetch URLs. Only for hosted APIs: an own engine would fetch a client's URL inside the network. */
  readonly remoteMedia: boolean
  readonly seed: boolean
  readonly penalties: boolean
  /** Maximum stop strings in one request. */
  readonly stopsMax: number
  /** The engine can continue an assistant message. */
  readonly prefix: boolean
  /** The engine serves requests by priority. */
  readonly priority: boolean
  /** The engine can separate the prefix cache by tenant. */
  readonly cacheSalt: boolean
}

const cautious: Capabilities = {
  efforts: ['none'],
  reasoning: false,
  reasoningHistory: false,
  tools: false,
  parallelTools: false,
  forcedTool: false,
  jsonObject: false,
  jsonSchema: false,
  vision: false,
  images: carefulImage,
  documents: false,
  remoteMedia: false,
  seed: false,
  penalties: false,
  stopsMax: 0,
  prefix: false,
  priority: false,
  cacheSalt: false,
}

export function capabilities(known: Partial<Capabilities>): Capabilities {
  return { ...cautious, ...known }
}

/**
 * Where the ledger's numbers come from. `reported`: the engine reports the exact number. `counted`: exact, from the
 * engine's tokenizer or running totals. `estimated`: from deltas or bytes, and marked as such. `absent`: unknown;
 * cached tokens are then billed as fresh.
 */
export interface Truth {
  /** Before generation. */
  readonly promptBefore: 'counted' | 'estimated'
  readonly prompt: Source
  readonly cached: Source
  readonly output: Source
  readonly reasoning: Source
  /** Of an aborted answer. */
  readonly aborted: Source
}
type Source = 'reported' | 'counted' | 'estimated' | 'absent'

/** An endpoint that an adapter recognised. */
export interface Attached {
  /** The engine's version; empty if it does not report one. */
  version: string
  /** The model's name in requests. */
  model: string
  /** The longest prompt plus output of one request, or null. */
  contextTokens: number | null
  /** Requests that the engine runs at once, or null. */
  slotsMax: number | null
  /** The adapter's capabilities, adjusted to what this endpoint reports. */
  capabilities: Capabilities
  faults: Fault[]
  /** Private to the adapter, such as which of two calls this version supports. */
  own?: Readonly<Record<string, string>>
}

export interface Fault {
  /** `broken`: the engine cannot serve the model. `degraded`: a guarantee does not hold. */
  kind: 'broken' | 'degraded'
  trait: Trait | null
  /** One sentence with what to do next. */
  message: string
}

/** The rows of the doctor's report and of the conformance matrix. */
export const traits = [
  'usage',
  'usage-on-abort',
  'cached-tokens',
  'prompt-count',
  'cancel',
  'effort',
  'effort-refused',
  'thinking',
  'thinking-replay',
  'tools',
  'parallel-tools',
  'forced-tool',
  'json-schema',
  'vision',
  'stop',
  'seed',
  'over-context',
  'error-mid-stream',
  'connection-lost',
  'health',
  'load',
  'priority',
  'cache-salt',
] as const
export type Trait = (typeof traits)[number]

export type Health = 'ready' | 'starting' | 'down'

/** Null: the engine does not report it. */
export interface Load {
  running: number | null
  waiting: number | null
  /** 0 to 1. */
  kvUsed: number | null
  /** Totals since its start. */
  promptTokensTotal: number | null
  cachedTokensTotal: number | null
  outputTokensTotal: number | null
}

/** The terms of one request, in addition to the chat. */
export interface RequestTerms {
  requestId: string
  /** The served effort: one of the model's levels. */
  effort: EffortWord
  /** Generation stops here, including reasoning. At least 1. */
  outputTokensMax: number
  /** Smaller runs first; each adapter converts it to the engine's direction. */
  priority: number
  /**
   * A secret per tenant. The engine reuses prefixes only under the same salt, because cached counts and times would
   * reveal one tenant's prompts to another. Empty: all requests belong to one tenant. For an engine without salts the
   * adapter disables reuse, or reports a fault at attach.
   */
  cacheSalt: string
}

export interface Request {
  ok: true
  call: HttpCall & { body: string }
  warnings: string[]
  /** The client's name of each tool that has another name in `call`; the reader needs it. */
  clientNames: ReadonlyMap<string, string>
}

/** A refusal or a failure, as the client sees it. */
export interface BackendFailure {
  ok: false
  code: ErrorCode
  message: string
  /** The invalid field. */
  param: string | null
  retryAfterMs: number | null
  /** The operator must act: a wrong key, a wrong model, or an invalid call by this adapter. */
  operator: boolean
  /** The engine lacks a capability that another one may have. */
  unsupported?: boolean
  /** The length of a prompt that is too long, if the engine reports it. */
  promptTokens?: number
  /** The engine's own message, for the operator, if the client gets another one. */
  reported?: string
}

/**
 * Reads an answer as it arrives: bytes in, events out. Pushes may split the bytes anywhere, even within a character. No
 * event follows `end` or `failed`. An answer without a known finish reason fails: clients continue their loop after a
 * clean end without one.
 */
export interface ResponseReader {
  push(bytes: Uint8Array): BackendEvent[]
  /** No more bytes will come. */
  end(): BackendEvent[]
}

export type BackendEvent =
  /** One delta of one channel. Never empty. */
  | { kind: 'text'; channel: 'content' | 'reasoning'; text: string }
  /** Tokens were generated, but cannot be shown yet (part of a call). */
  | { kind: 'piece' }
  /** A call. Its arguments are valid JSON, except in the last call before an end with `length`. */
  | { kind: 'call'; call: WireCall }
  /** Usage so far; the last one counts. May arrive with every delta, once, or never. */
  | { kind: 'usage'; usage: BackendUsage }
  /** The answer is complete. */
  | { kind: 'end'; finishReason: FinishReason }
  /** The answer will not be completed. */
  | { kind: 'failed'; message: string }

/** Null: the engine does not report it. */
export interface BackendUsage {
  promptTokens: number
  cachedTokens: number | null
  /** Includes reasoning. */
  outputTokens: number
  reasoningTokens: number | null
}

/** Launch settings from the pool's profile and the host's settings, independent of the engine. */
export interface LaunchSettings {
  /** A path or an id, in the engine's form. */
  model: string
  /** The served model name. */
  servedAs: string
  host: string
  port: number
  contextTokens: number
  slotsMax: number
  /** Maximum tokens in one engine step. */
  batchTokens: number
  /** Maximum tokens of one prompt in one engine step. */
  prefillChunkTokens: number
  /** The tuning target of the pool. */
  performance: 'latency' | 'throughput'
  /** `contextTokens`: the longest sequence that the draft model supports; null if unknown. Null: none. */
  speculation: { draftModel: string; tokens: number; contextTokens: number | null } | null
  /** Accelerators per replica. */
  tensorParallel: number
  /** CUDA compute capability of the GPUs, such as 9 or 12.1; null if unknown. */
  gpuCapability: number | null
  /** The part of each GPU's memory that the engine may use, 0 to 1; null: the engine's default. */
  gpuMemoryUtilisation: number | null
  /** The quantisation of the weights, such as `fp8` or `Q4_K_M`; null if unknown. */
  quantisation: string | null
  /** Layers whose experts stay in the memory of the CPU; null: the engine decides. */
  cpuExpertLayers: number | null
  threads: number | null
  /** Null: the engine accepts every caller. */
  apiKey: string | null
  /** The operator's own flags. They come last and so override the others. */
  extra: readonly string[]
}

export interface Launch {
  command: string
  args: string[]
  env: Record<string, string>
  /**
   * Capabilities that these flags enable and the endpoint does not report. The launcher adds them to
   * `attached.capabilities`.
   */
  enables: Partial<Capabilities>
  /** For a person who runs the command: what to install, why a flag is there, and flags that a host may need. */
  notes: string[]
  /** If `health` is not ready after this time, the start has failed. */
  readyWithinMs: number
}
