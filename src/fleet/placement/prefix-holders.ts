import { prefixesKeptMax, prefixHoldersMax } from './tuning.ts'

/**
 * Which workers likely hold which prompt prefixes. A prompt arrives as hashes of its prefixes, shortest first (see
 * prefix-hash.ts); its text never reaches the fleet object. A worker that got a prompt is assumed to hold all of its
 * prefixes until newer ones replace them. Only placement depends on this estimate; receipts report the real cache hits.
 *
 * Bounded: only the most recently used prefixes are kept, each with the workers that got it most recently.
 */
export interface PrefixHash {
  /** Covers tenant, model, effort and all text up to here. */
  hash: number
  /** Approximate length of the prefix in tokens. */
  tokens: number
}

export class Affinity {
  readonly #holders = new Map<number, string[]>()

  /** Prefix tokens that each worker likely holds. Workers without an entry hold none. */
  held(prefix: readonly PrefixHash[]): Map<string, number> {
    const held = new Map<string, number>()
    for (let index = prefix.length - 1; index >= 0; index--) {
      const part = prefix[index]
      if (!part) continue
      for (const workerId of this.#holders.get(part.hash) ?? []) {
        if (!held.has(workerId)) held.set(workerId, part.tokens)
      }
    }
    return held
  }

  given(prefix: readonly PrefixHash[], workerId: string): void {
    for (const { hash } of prefix) {
      const known = this.#holders.get(hash)
      if (known) this.#holders.delete(hash)
      const others = known?.filter((each) => each !== workerId) ?? []
      this.#holders.set(hash, [workerId, ...others].slice(0, prefixHoldersMax))
    }
    for (const hash of this.#holders.keys()) {
      if (this.#holders.size <= prefixesKeptMax) return
      this.#holders.delete(hash)
    }
  }
}
