/** A router's view of the world: a clock and replicas. Both are simulated on virtual time, or real: see real.ts. */
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
  /** Prompt prefixes that others may share, shortest first, and the whole prompt with its answer. */
  prefix: PrefixHash[]
  whole: PrefixHash
  onFirst: (now: number) => void
  onEnd: (now: number) => void
}

export interface Replica {
  readonly profile: Profile
  /** Requests submitted and not ended. */
  readonly load: number
  /** Requests that have a slot, by id. */
  readonly running: ReadonlyMap<string, unknown>
  readonly dead: boolean
  readonly cacheTokens: number
  readonly cacheTokensMax: number
  readonly promptTokensTotal: number
  readonly cachedTokensTotal: number
  readonly outputTokensTotal: number
  submit(work: Work): void
  /** Tokens of the longest of these prefixes that it holds. */
  holds(prefix: PrefixHash[]): number
  /** Prompt tokens of this request that were cached. */
  cachedOf(id: string): number
  /** Kills the replica and returns its unfinished work. */
  kill(): Work[]
}

export interface Site {
  readonly clock: { readonly now: number; after(ms: number, what: string, run: () => void): void }
  open(profile: Profile): Replica
}
