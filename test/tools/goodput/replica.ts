/** What a router needs of the world: a clock, and replicas. Both are a model on virtual time, or real: see real.ts. */
import type { PrefixHash } from '../../../src/fleet/placement/prefix-holders.ts'

export interface Profile {
  name: string
  /** vLLM's --max-num-seqs and --max-num-batched-tokens. */
  slots: number
  stepTokens: number
}

export interface Work {
  id: string
  tenantId: string
  promptTokens: number
  outputTokens: number
  /** The prompt's beginnings that others may hold, shortest first, and the whole with its answer. */
  prefix: PrefixHash[]
  whole: PrefixHash
  onFirst: (now: number) => void
  onEnd: (now: number) => void
}

export interface Replica {
  readonly profile: Profile
  /** Submitted and not ended. */
  readonly load: number
  /** By id: those that have a slot. */
  readonly running: ReadonlyMap<string, unknown>
  readonly dead: boolean
  readonly cacheTokens: number
  readonly cacheTokensMax: number
  readonly promptTokensTotal: number
  readonly cachedTokensTotal: number
  readonly outputTokensTotal: number
  submit(work: Work): void
  /** Tokens of the longest of these that it holds. */
  holds(prefix: PrefixHash[]): number
  /** How much of this one's prompt was held. */
  cachedOf(id: string): number
  /** It is gone with all it ran. */
  kill(): Work[]
}

export interface Site {
  readonly clock: { readonly now: number; after(ms: number, what: string, run: () => void): void }
  open(profile: Profile): Replica
}
