/** The worker's slots and the requests that hold them. There is no queue here: the gateway's fleet has the queues. */
export class Slots {
  #max: number
  readonly #held = new Map<string, number>()
  /** Requests whose run is over and whose answer is not sent completely. */
  readonly #sending = new Set<string>()
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
    if (this.#held.has(requestId) || this.#sending.has(requestId)) return undefined
    const slot = this.#free.pop()
    if (slot !== undefined) this.#held.set(requestId, slot)
    return slot
  }

  /**
   * The request's run is over: another may have its slot, while the rest of the answer is sent. Called before the
   * receipt is delivered, because the fleet grants the slot as soon as it has the receipt.
   */
  free(requestId: string): void {
    if (!this.#held.has(requestId)) return
    this.release(requestId)
    this.#sending.add(requestId)
  }

  /** The request is over. Idempotent. */
  release(requestId: string): void {
    this.#sending.delete(requestId)
    const slot = this.#held.get(requestId)
    if (slot === undefined) return
    this.#held.delete(requestId)
    this.#free.push(slot)
  }

  holders(): string[] {
    return [...this.#held.keys()]
  }

  /** No request is running or being answered. */
  get idle(): boolean {
    return this.#held.size + this.#sending.size === 0
  }
}

function freeUpTo(max: number): number[] {
  return Array.from({ length: max }, (_, index) => max - 1 - index)
}
