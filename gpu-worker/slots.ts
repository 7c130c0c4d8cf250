/** The worker's slots: how many requests may hold one, and who does. There is no queue here; the pool has it. */
export class Slots {
  readonly max: number
  readonly #held = new Map<string, number>()
  readonly #free: number[]

  constructor(max: number) {
    this.max = max
    this.#free = Array.from({ length: max }, (_, index) => max - 1 - index)
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
