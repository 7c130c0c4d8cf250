/**
 * The contract of a backend: how one engine, or one hosted API, is spoken to. An adapter describes and never performs:
 * it says which calls to make and what their answers mean, and a shell makes them (the worker, the edge, the doctor).
 * So an adapter is pure: values in, values out, web-standard types only, and one short file.
 *
 * A shell goes through it so:
 *
 *   attach   who answers there, in which version, with what; what is known to be broken in it
 *   health   is it up            load     how busy it is
 *   count    how long a prompt really is, before anything is generated (where the engine can say)
 *   request  a chat as the engine's own call, or a refusal; what is not honoured becomes a warning
 *   reader   the answer's bytes, pushed in as they come, as events
 *   failure  what an answer other than 200 means, by the product's table of codes
 *   launch   the command that starts it
 *
 * To stop an answer, close its connection: every engine here stops then. Where one needs a call as well, `abort` is it.
 * `meter.ts` turns events into counts, by the adapter's `truth`. README.md: how to add one.
 */
import type { Chat } from '../model/chat.ts'
import type { FinishReason, WireCall } from '../model/chunk.ts'
import type { EffortWord } from '../model/effort.ts'
import type { ErrorCode } from '../model/errors.ts'

export type Backend = HttpBackend | InProcessBackend

export interface Described {
  /** The file's name, and the word in settings: `llama-cpp`. */
  readonly name: string
  /** As its makers write it: `llama.cpp`. */
  readonly title: string
  readonly capabilities: Capabilities
  readonly truth: Truth
  /** By trait that may be missing: what the operator does about it, a launch flag where there is one. */
  readonly remedies: Readonly<Partial<Record<Trait, string>>>
}

/** An engine that runs inside the worker. It has no calls; the worker keeps its side of the same promises. */
export interface InProcessBackend extends Described {
  readonly transport: 'in-process'
}

export interface HttpBackend extends Described {
  readonly transport: 'http'
  /** Reads who answers. Undefined: this is another engine, or nobody. Must tell its own engine from all others. */
  readonly attach: Probe<Attached | undefined>
  readonly health: Probe<Health>
  readonly load: Probe<Load>
  /**
   * The prompt's length in tokens, by the engine's own template and tokenizer; generates nothing. Absent, or
   * `undefined` from it: the engine cannot say, and `promptTokensMax` of prompt-bound.ts bounds it.
   */
  count?(chat: Chat, order: RequestTerms, attached: Attached): Probe<number | BackendFailure | undefined> | undefined
  /** The length of a text in tokens, without control tokens: for what an aborted or silent engine did not count. */
  countText?(text: string, attached: Attached): Probe<number | undefined>
  /**
   * The call that generates. It streams, whatever the client asked, so that a departure is counted. It passes on
   * nothing that the engine does not know, maps every name and id, and sets the bound, the seed and the stops. What it
   * leaves out is in `warnings`; what would change the answer's meaning if left out (an image, a forced tool, a schema,
   * an effort) is refused with `param`.
   */
  request(chat: Chat, order: RequestTerms, attached: Attached): Request | BackendFailure
  /** @param streams whether the answer is `text/event-stream`; an engine may answer whole all the same */
  reader(order: RequestTerms, streams: boolean): ResponseReader
  /** What an answer that is not 200 means. `answer.body` may be cut; it may be anything. */
  failure(answer: HttpAnswer): BackendFailure
  /** A call that ends the generation of `order`, for an engine that goes on after its connection is closed. */
  abort?(order: RequestTerms): HttpCall
  /** How it is started. Absent: it cannot be, only attached to. */
  launch?(settings: LaunchSettings): Launch
}

/** A call to the engine, relative to its root: `http://host:port`, what a base URL is without a trailing `/v1`. */
export interface HttpCall {
  method: 'GET' | 'POST'
  path: string
  /** JSON text. */
  body?: string
}

export interface HttpAnswer {
  status: number
  /** By lower-case name. */
  headers: Readonly<Record<string, string>>
  body: string
}

/** Calls to make, in any order, and what their answers say. Null stands for a call that got no answer. */
export interface Probe<T> {
  readonly calls: readonly HttpCall[]
  read(answers: readonly (HttpAnswer | null)[]): T
}

/**
 * What an engine can do. Everything starts as `cautious` (below), so that a capability which is added here later is
 * off for every adapter that does not name it: `capabilities({ tools: true })`.
 */
export interface Capabilities {
  /** Efforts it can be asked for; any other is refused. Which of them the model knows is the model's business. */
  readonly efforts: readonly EffortWord[]
  /** Thinking comes apart from content. */
  readonly reasoning: boolean
  /** Thinking of earlier turns is taken back. */
  readonly reasoningHistory: boolean
  readonly tools: boolean
  readonly parallelTools: boolean
  /** `required`, and a named tool. */
  readonly forcedTool: boolean
  readonly jsonObject: boolean
  readonly jsonSchema: boolean
  /** Images, as data URLs. */
  readonly vision: boolean
  /** PDFs. */
  readonly documents: boolean
  /** Other URLs may be passed on. Never where the engine is ours: it would fetch, inside, what a client names. */
  readonly remoteMedia: boolean
  readonly seed: boolean
  readonly penalties: boolean
  /** Stop strings in one request. */
  readonly stopsMax: number
  /** An assistant message may be continued. */
  readonly prefix: boolean
  /** Requests are served by priority. */
  readonly priority: boolean
  /** Prefixes can be kept apart by tenant. */
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
 * Where the ledger's numbers come from. `told`: the engine says, exactly. `counted`: found exactly with the engine's
 * help (its tokenizer, its running totals). `estimated`: from deltas or bytes, and marked as such. `absent`: nobody
 * can say, and nothing is claimed (cached tokens: all are billed as fresh).
 */
export interface Truth {
  /** Before anything is generated. */
  readonly promptBefore: 'counted' | 'estimated'
  readonly prompt: Source
  readonly cached: Source
  readonly output: Source
  readonly reasoning: Source
  /** Of an answer that was broken off. */
  readonly aborted: Source
}
type Source = 'told' | 'counted' | 'estimated' | 'absent'

/** What an endpoint turned out to be. */
export interface Attached {
  /** Of the engine, or empty where it does not say. */
  version: string
  /** The name to ask for it by. */
  model: string
  /** The longest prompt plus output of one request, or null. */
  contextTokens: number | null
  /** Requests that it runs at once, or null. */
  slotsMax: number | null
  /** The adapter's, less what this endpoint lacks, and more where it says so. */
  capabilities: Capabilities
  faults: Fault[]
  /** What the adapter itself wants to know again, such as which of two calls this version has. */
  own?: Readonly<Record<string, string>>
}

export interface Fault {
  /** `broken`: the model cannot be served so, do not. `degraded`: something does not hold. */
  kind: 'broken' | 'degraded'
  trait: Trait | null
  /** One sentence with what to do next. */
  message: string
}

/** What the doctor and the matrix have a line for. */
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

/** Null: the engine does not say. */
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

/** One request's terms, beside the chat itself. */
export interface RequestTerms {
  requestId: string
  /** The level that serves, as the model knows it. */
  effort: EffortWord
  /** Generation ends here, reasoning included. At least 1. */
  outputTokensMax: number
  /** Smaller first; each adapter turns it the engine's way round. */
  priority: number
  /**
   * A word that only one tenant's requests share, not to be guessed: prefixes are reused under the same word only,
   * since cached counts and times would tell one tenant what another sent. Empty: all requests are one tenant's.
   * An engine that cannot keep them apart is asked to reuse nothing, or the attachment says that it does.
   */
  cacheSalt: string
}

export interface Request {
  ok: true
  call: HttpCall & { body: string }
  warnings: string[]
}

/** A refusal or a failure, as the client is told of it. */
export interface BackendFailure {
  ok: false
  code: ErrorCode
  message: string
  /** The field that is to blame. */
  param: string | null
  retryAfterMs: number | null
  /** The operator must act: a wrong key, a wrong model, a call that this adapter wrote badly. */
  operator: boolean
  /** Of a prompt that is too long, where the engine says. */
  promptTokens?: number
  /** What the engine itself said, where the client is told something else: for the operator. */
  reported?: string
}

/**
 * Reads an answer as it comes: bytes in, events out. The cuts between pushes mean nothing, not even in the middle of a
 * character. After `end` or `failed` nothing follows. An answer without a known finish reason is a failed one: clients
 * take a clean end without one for an order to go on.
 */
export interface ResponseReader {
  push(bytes: Uint8Array): BackendEvent[]
  /** No more bytes will come. */
  end(): BackendEvent[]
}

export type BackendEvent =
  /** One delta of one channel. Never empty. */
  | { kind: 'text'; channel: 'content' | 'reasoning'; text: string }
  /** A delta of something that cannot be shown yet (a part of a call): tokens were generated. */
  | { kind: 'piece' }
  /** A whole call, its arguments as valid JSON text. */
  | { kind: 'call'; call: WireCall }
  /** What was used so far; the last one counts. May come with every delta, or once, or never. */
  | { kind: 'usage'; usage: BackendUsage }
  /** The answer is whole. */
  | { kind: 'end'; finishReason: FinishReason }
  /** The answer will never be whole. */
  | { kind: 'failed'; message: string }

/** Null: the engine does not say. */
export interface BackendUsage {
  promptTokens: number
  cachedTokens: number | null
  /** Reasoning included. */
  outputTokens: number
  reasoningTokens: number | null
}

/** What a pool's profile and a host's settings come to, in no engine's words. */
export interface LaunchSettings {
  /** A path or an id, as the engine takes it. */
  model: string
  /** The name that it is served under. */
  servedAs: string
  host: string
  port: number
  contextTokens: number
  slotsMax: number
  /** Most tokens in one engine step. */
  batchTokens: number
  /** Most tokens of one prompt in one engine step. */
  prefillChunkTokens: number
  /** What the pool is tuned for. */
  performance: 'latency' | 'throughput'
  /** Null: none. */
  speculation: { draftModel: string; tokens: number } | null
  /** Accelerators that one replica is spread over. */
  tensorParallel: number
  threads: number | null
  /** Null: the engine listens to everybody who reaches it. */
  apiKey: string | null
  /** The operator's own flags, last, so that they win. */
  extra: readonly string[]
}

export interface Launch {
  command: string
  args: string[]
  env: Record<string, string>
  /**
   * What these flags turn on that an endpoint does not tell. Whoever launched it adds this to
   * `attached.capabilities`.
   */
  enables: Partial<Capabilities>
  /** Longer than this until `health` says ready, and it will not come up. */
  readyWithinMs: number
}
