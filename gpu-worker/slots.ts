/** The worker's slots and the requests that hold them. There is no queue here: the gateway's fleet has the queues. */
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

  /** Lowers the number of slots to what the engine supports. Call it before the first slot is taken. */
  limit(max: number): void {
    if (max >= this.#max || this.#held.size > 0) return
    this.#max = max
    this.#free = freeUpTo(max)
  }

  /** Returns the slot's number, or undefined if all are taken or the request already holds one. */
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
