/** Everything that a seed decides, drawn in one order from one generator. */
import { seeded } from '../tools/bench/figures.ts'

export class Random {
  readonly #next: () => number

  constructor(seed: number) {
    this.#next = seeded(seed)
    // Neighbouring seeds begin alike; a few draws set them apart.
    for (let index = 0; index < 4; index++) this.#next()
  }

  chance(probability: number): boolean {
    return this.#next() < probability
  }

  /** Both ends included. */
  int(min: number, max: number): number {
    return min + Math.floor(this.#next() * (max - min + 1))
  }

  pick<Item>(items: readonly Item[]): Item {
    return items[this.int(0, items.length - 1)] as Item
  }
}
