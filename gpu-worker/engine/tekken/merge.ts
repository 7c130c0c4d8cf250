/**
 * Merges the tokens of one word: always the pair of the lowest rank, the leftmost of equals.
 *
 * A short word is scanned for each merge. A long word uses a heap, so that n tokens take O(n log n) steps: a word of a
 * million letters would take hours otherwise.
 */
import type { PairTable } from './pair-table.ts'

export interface Merges {
  ranks: PairTable
  /** The token that a merge of a rank makes. */
  results: Int32Array
}

/** Merges the first `length` of `tokens` in place and returns the new length. `ranks` is scratch of the same size. */
export function mergeShort({ ranks: pairs, results }: Merges, tokens: Int32Array, ranks: Int32Array, length: number) {
  const rankAt = (at: number) => pairs.get(tokens[at] ?? -1, tokens[at + 1] ?? -1)
  let end = length
  for (let at = 0; at < end - 1; at++) ranks[at] = rankAt(at)
  while (end > 1) {
    const best = lowest(ranks, end - 1)
    const rank = ranks[best] ?? -1
    if (rank < 0) break
    tokens[best] = results[rank] ?? -1
    tokens.copyWithin(best + 1, best + 2, end)
    ranks.copyWithin(best, best + 1, end - 1)
    end--
    if (best > 0) ranks[best - 1] = rankAt(best - 1)
    if (best < end - 1) ranks[best] = rankAt(best)
  }
  return end
}

/** The leftmost index of the lowest rank. Pairs that do not merge have -1, which is the highest as unsigned. */
function lowest(ranks: Int32Array, length: number): number {
  let best = 0
  for (let at = 1; at < length; at++) if ((ranks[at] ?? -1) >>> 0 < (ranks[best] ?? -1) >>> 0) best = at
  return best
}

/** Merges between two yields: about 0.3 ms. */
const stepsPerYield = 1_024
/** A heap entry is the rank times this, plus the position: one number compares both. */
const positionsMax = 2 ** 31

/** Appends the merged tokens of a word of any length. Yields often, so that the caller can do other work between. */
export function* mergeLong({ ranks: pairs, results }: Merges, tokens: Int32Array, into: number[]): Generator<void> {
  const { length } = tokens
  const next = new Int32Array(length)
  const previous = new Int32Array(length)
  /** The rank of the pair that begins at a position; -1 if it does not merge, or if the position was merged. */
  const ranks = new Int32Array(length).fill(-1)
  const heap = new RankHeap(length)
  let steps = 0

  function rate(at: number): void {
    const after = next[at] ?? length
    const rank = after < length ? pairs.get(tokens[at] ?? -1, tokens[after] ?? -1) : -1
    ranks[at] = rank
    if (rank >= 0) heap.push(rank * positionsMax + at)
  }

  for (let at = 0; at < length; at++) {
    next[at] = at + 1
    previous[at] = at - 1
    rate(at)
    if (++steps % stepsPerYield === 0) yield
  }
  for (let entry = heap.pop(); entry !== undefined; entry = heap.pop()) {
    if (++steps % stepsPerYield === 0) yield
    const rank = Math.floor(entry / positionsMax)
    const at = entry - rank * positionsMax
    // An entry is outdated if a merge has changed its pair.
    if (ranks[at] !== rank) continue
    const merged = next[at] ?? length
    const after = next[merged] ?? length
    tokens[at] = results[rank] ?? -1
    ranks[merged] = -1
    next[at] = after
    if (after < length) previous[after] = at
    rate(at)
    const before = previous[at] ?? -1
    if (before >= 0) rate(before)
  }
  for (let at = 0; at < length; at = next[at] ?? length) {
    into.push(tokens[at] ?? -1)
    if (++steps % stepsPerYield === 0) yield
  }
}

/** A binary heap of numbers, lowest first. */
class RankHeap {
  #numbers: Float64Array
  #length = 0

  constructor(capacity: number) {
    this.#numbers = new Float64Array(Math.max(16, capacity))
  }

  push(number: number): void {
    if (this.#length === this.#numbers.length) {
      const larger = new Float64Array(this.#length * 2)
      larger.set(this.#numbers)
      this.#numbers = larger
    }
    const numbers = this.#numbers
    let at = this.#length++
    while (at > 0) {
      const above = (at - 1) >> 1
      const other = numbers[above] ?? 0
      if (other <= number) break
      numbers[at] = other
      at = above
    }
    numbers[at] = number
  }

  pop(): number | undefined {
    if (this.#length === 0) return undefined
    const numbers = this.#numbers
    const lowest = numbers[0]
    const last = numbers[--this.#length] ?? 0
    const length = this.#length
    let at = 0
    for (let below = 1; below < length; below = at * 2 + 1) {
      if (below + 1 < length && (numbers[below + 1] ?? 0) < (numbers[below] ?? 0)) below++
      const other = numbers[below] ?? 0
      if (other >= last) break
      numbers[at] = other
      at = below
    }
    numbers[at] = last
    return lowest
  }
}
