/**
 * Messages between the worker and the engine child. The child handles token ids; the worker handles text.
 *
 * Messages arrive in order in both directions. After `run` the child reports the run in `step` messages until its id is
 * in `ended`, exactly once; nothing follows. An `abort` for an unknown or ended run is ignored.
 */

export interface LoadOptions {
  modelPath: string
  slotsMax: number
  contextTokens: number
  batchTokens: number
  prefillChunkTokens: number
  /** A step samples at most one run whose grammar has more parse stacks than this. */
  sharedStacksMax: number
  threads: number
  gpu: false | 'auto'
}

export interface Sampling {
  /** 0 always selects the most likely token. */
  temperature: number
  topP: number
  /** Unsigned 32-bit integer. */
  seed: number
  frequencyPenalty: number
  presencePenalty: number
}

/** A GBNF grammar with the start rule `root`. */
export interface Grammar {
  text: string
  /** Whether the run ends as soon as the text is complete. False if a complete text may continue, like a number. */
  ends: boolean
  /** Maximum parse stacks at once; each costs a pass over the vocabulary per token. */
  stacks: number
}

/** Which ids may be sampled in which mode. Ids are looked up by name, so that any vocabulary works. */
export interface Rules {
  endIds: number[]
  /** Control tokens that are never sampled, because they have no meaning in an answer. */
  bannedIds: number[]
  thinkId: number
  thinkEndId: number
  /** The token that starts a tool call, or null if calls are not allowed. */
  callId: number | null
  /** The token between the name and the arguments of a call. */
  argsId: number
  /** The answer is one or more calls: `content` allows only `callId`, and `again` allows it or the end after a call. */
  again: Grammar | null
  /** Whether the answer may begin with thinking. Used only if `content` is set; otherwise the model decides. */
  mayThink: boolean
  /** Whether the prompt ends within thinking, which the answer continues. */
  inThinking: boolean
  /** The grammar of the answer after thinking. */
  content: Grammar | null
  /** The grammar of the text after `callId`. */
  call: Grammar | null
}

export interface Job {
  tokens: Uint32Array
  sampling: Sampling
  rules: Rules
  outputTokensMax: number
  /** Smaller runs first. */
  priority: number
  /** Prefixes are reused only between requests of one owner. */
  owner: string
}

export type ToChild =
  | { kind: 'load'; options: LoadOptions }
  /** A number is a token id and is used unchanged; text always becomes ordinary tokens. */
  | { kind: 'tokenise'; id: number; pieces: (number | string)[] }
  /** Cancels a `tokenise` message. */
  | { kind: 'forget'; id: number }
  | { kind: 'run'; id: number; job: Job }
  | { kind: 'abort'; id: number }

export type FromChild =
  | { kind: 'ready'; version: string }
  /** The model cannot be served; the child is about to exit. */
  | { kind: 'refused'; reason: string }
  | { kind: 'tokens'; id: number; tokens: Uint32Array }
  | { kind: 'step'; report: StepReport }
  /** A sign of life of the child's event loop; `steps` counts the batches begun. */
  | { kind: 'alive'; steps: number }

/**
 * `closed`: the grammar's text is complete. `failed`: no token could be sampled. `costly`: the run's grammar exceeded
 * its time limit.
 */
export type EndReason = 'end' | 'length' | 'closed' | 'abort' | 'failed' | 'costly'

/** The results of one engine step for all sequences. The lists are flat pairs: run id, value, run id, value. */
export interface StepReport {
  /** Prompt tokens reused from the cache, for runs that were admitted to a sequence. */
  cached: number[]
  /** Prompt tokens computed in this step. A run whose prompt is complete samples its first token in the same step. */
  prefilled: number[]
  /** Sampled token ids, in order. */
  sampled: number[]
  ended: { id: number; reason: EndReason }[]
  /** KV cache tokens of the runs that have not ended. */
  kvTokens: number
}
