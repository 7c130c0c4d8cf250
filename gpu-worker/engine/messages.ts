/**
 * What the worker and the engine child say to each other. The child deals in token ids only; text is the worker's.
 *
 * Order holds in both directions. After `run` the child reports that run in `step` messages until its id is in
 * `ended`, exactly once; nothing follows. An `abort` for a run that is unknown or over is ignored.
 */

export interface LoadOptions {
  modelPath: string
  slotsMax: number
  contextTokens: number
  batchTokens: number
  prefillChunkTokens: number
  /** A grammar with more open ways than this is sampled with no other such beside it. */
  sharedStacksMax: number
  threads: number
  gpu: false | 'auto'
}

export interface Sampling {
  /** 0 is greedy. */
  temperature: number
  topP: number
  /** An unsigned 32-bit number. */
  seed: number
  frequencyPenalty: number
  presencePenalty: number
}

/** A grammar in GBNF, its start rule `root`. */
export interface Grammar {
  text: string
  /** The run is over as soon as the text is complete. False where a complete text may go on, as a number may. */
  ends: boolean
  /** The most ways of reading an answer that may be open at once; each costs a pass over the vocabulary per token. */
  stacks: number
}

/** Which ids may be sampled when. All ids come from the vocabulary by name, so that any vocabulary works. */
export interface Rules {
  endIds: number[]
  /** Never sampled: control tokens that make no sense in an answer. */
  bannedIds: number[]
  thinkId: number
  thinkEndId: number
  /** What starts a tool call, or null where calls are not wanted. */
  callId: number | null
  /** May the answer begin with thinking? Only asked where `content` is given; elsewhere the model decides. */
  mayThink: boolean
  /** What the answer must match once thinking is over. */
  content: Grammar | null
  /** What must follow `callId`. */
  call: Grammar | null
}

export interface Job {
  tokens: Uint32Array
  sampling: Sampling
  rules: Rules
  outputTokensMax: number
  /** Smaller runs first. */
  priority: number
  /** Prefixes are reused within one owner only. */
  owner: string
}

export type ToChild =
  | { kind: 'load'; options: LoadOptions }
  /** A number is a token id that goes in as it is; text becomes ordinary tokens, whatever it looks like. */
  | { kind: 'tokenise'; id: number; pieces: (number | string)[] }
  /** No request waits for these tokens any more. */
  | { kind: 'forget'; id: number }
  | { kind: 'run'; id: number; job: Job }
  | { kind: 'abort'; id: number }

export type FromChild =
  | { kind: 'ready'; version: string }
  /** The model cannot be served; the child is about to exit. */
  | { kind: 'refused'; reason: string }
  | { kind: 'tokens'; id: number; tokens: Uint32Array }
  | { kind: 'step'; report: StepReport }
  /** A sign of life of the child's event loop; `steps` is how many batches it has begun. */
  | { kind: 'alive'; steps: number }

/**
 * `closed`: the grammar's text is complete. `failed`: no token could be sampled. `costly`: the run's grammar took more
 * time than one run may.
 */
export type EndReason = 'end' | 'length' | 'closed' | 'abort' | 'failed' | 'costly'

/** All that one engine step did, for all sequences together. The lists are flat pairs: run id, value, run id, value. */
export interface StepReport {
  /** Prompt tokens taken from the cache, for runs that got their sequence. */
  cached: number[]
  /** Prompt tokens computed in this step. A run whose prompt is complete has its first sampled token in the same step. */
  prefilled: number[]
  /** Sampled token ids, in order. */
  sampled: number[]
  ended: { id: number; reason: EndReason }[]
  /** Tokens held for the runs that are still going. */
  kvTokens: number
}
