/**
 * Which workers hold which prompts' beginnings. A prompt comes as hashes of its beginnings, shortest first (see
 * prefix.ts); the text itself never leaves the edge. A worker that was given a prompt is taken to hold all of its
 * beginnings until others have pushed them out; what an engine really kept only its receipts tell, so this is a guess
 * that places well, and nothing else depends on it.
 *
 * Bounded: the beginnings that were used last are kept, each with the workers that were given it last.
 */
export interface PrefixHash {
  /** Of this tenant, model, effort, and of all text up to here. */
  hash: number
  /** Its length in tokens, about. */
  tokens: number
}

const keptMax = 100_000
const holdersMax = 8

export class Affinity {
  readonly #holders = new Map<number, string[]>()

  /** Tokens that each worker is likely to hold already: none for those that are not named. */
  held(prefix: readonly PrefixHash[]): Map<string, number> {
    const held = new Map<string, number>()
    for (let index = prefix.length - 1; index >= 0; index--) {
      const beginning = prefix[index]
      if (!beginning) continue
      for (const workerId of this.#holders.get(beginning.hash) ?? []) {
        if (!held.has(workerId)) held.set(workerId, beginning.tokens)
      }
    }
    return held
  }

  given(prefix: readonly PrefixHash[], workerId: string): void {
    for (const { hash } of prefix) {
      const known = this.#holders.get(hash)
      if (known) this.#holders.delete(hash)
      const others = known?.filter((each) => each !== workerId) ?? []
      this.#holders.set(hash, [workerId, ...others].slice(0, holdersMax))
    }
    for (const hash of this.#holders.keys()) {
      if (this.#holders.size <= keptMax) return
      this.#holders.delete(hash)
    }
  }
}
