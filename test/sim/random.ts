/** Every random value of a world, drawn in order from one seeded generator. */
import { seeded } from '../tools/bench/figures.ts'

export class Random {
  readonly #next: () => number

  constructor(seed: number) {
    this.#next = seeded(seed)
    // Adjacent seeds start with similar values; a few draws separate them.
    for (let index = 0; index < 4; index++) this.#next()
  }

  /** At least 0, below 1. */
  next(): number {
    return this.#next()
  }

  chance(probability: number): boolean {
    return this.#next() < probability
  }

  /** An integer from `low` to `high`, both inclusive. */
  int(min: number, max: number): number {
    return min + Math.floor(this.#next() * (max - min + 1))
  }

  pick<Item>(items: readonly Item[]): Item {
    return items[this.int(0, items.length - 1)] as Item
  }
}
