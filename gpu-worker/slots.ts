/** The worker's slots: how many requests may hold one, and who does. There is no queue here; the pool has it. */
export class Slots {
  #max: number
  readonly #held = new Map<string, number>()
  #free: number[]

  constructor(max: number) {
    this.#max = max
    this.#free = freeUpTo(max)
  }

  get max(): number {
    return this.#max
  }

  /** The engine has room for fewer. Before the first is taken. */
  limit(max: number): void {
    if (max >= this.#max || this.#held.size > 0) return
    this.#max = max
    this.#free = freeUpTo(max)
  }

  /** The slot's number, or undefined when all are held or the request holds one already. */
  take(requestId: string): number | undefined {
    if (this.#held.has(requestId)) return undefined
    const slot = this.#free.pop()
    if (slot !== undefined) this.#held.set(requestId, slot)
    return slot
  }

  release(requestId: string): void {
    const slot = this.#held.get(requestId)
    if (slot === undefined) return
    this.#held.delete(requestId)
    this.#free.push(slot)
  }

  holders(): string[] {
    return [...this.#held.keys()]
  }
}

function freeUpTo(max: number): number[] {
  return Array.from({ length: max }, (_, index) => max - 1 - index)
}
