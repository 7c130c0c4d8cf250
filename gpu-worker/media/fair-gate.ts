/**
 * Limits concurrent work, in all and per owner, and admits owners in turn, so an owner with many requests does not
 * delay an owner with few. The waiting requests are limited too, per owner and in all.
 */
export interface GateBounds {
  atOnce: number
  perOwner: number
  waiting: number
  waitingPerOwner: number
}

/** Call `leave` once, when the work has ended. `full` says which limit was reached. */
export type Entered = { ok: true; leave: () => void } | { ok: false; full: 'owner' | 'all' }

interface Waiter {
  enter: () => void
}

export class FairGate {
  readonly #bounds: GateBounds
  readonly #inside = new Map<string, number>()
  /** Queues by owner, in the order of the owners' turns. */
  readonly #waiting = new Map<string, Waiter[]>()
  #insideCount = 0
  #waitingCount = 0

  constructor(bounds: GateBounds) {
    this.#bounds = bounds
  }

  get inside(): number {
    return this.#insideCount
  }

  get waiting(): number {
    return this.#waitingCount
  }

  /** Rejects only when `signal` aborts while the owner waits. */
  async enter(owner: string, signal: AbortSignal): Promise<Entered> {
    signal.throwIfAborted()
    if (this.#admits(owner) && !this.#waiting.has(owner)) return this.#entered(owner)
    const queue = this.#waiting.get(owner) ?? []
    if (queue.length >= this.#bounds.waitingPerOwner) return { ok: false, full: 'owner' }
    if (this.#waitingCount >= this.#bounds.waiting) return { ok: false, full: 'all' }
    const { promise, resolve, reject } = Promise.withResolvers<Entered>()
    const waiter = { enter: () => resolve(this.#entered(owner)) }
    queue.push(waiter)
    this.#waiting.set(owner, queue)
    this.#waitingCount += 1
    const abort = () => {
      if (this.#withdraw(owner, waiter)) reject(signal.reason)
    }
    signal.addEventListener('abort', abort, { once: true })
    return promise.finally(() => signal.removeEventListener('abort', abort))
  }

  #admits(owner: string): boolean {
    return this.#insideCount < this.#bounds.atOnce && (this.#inside.get(owner) ?? 0) < this.#bounds.perOwner
  }

  #entered(owner: string): Entered {
    this.#insideCount += 1
    this.#inside.set(owner, (this.#inside.get(owner) ?? 0) + 1)
    let left = false
    const leave = () => {
      if (left) return
      left = true
      this.#insideCount -= 1
      const inside = (this.#inside.get(owner) ?? 1) - 1
      if (inside > 0) this.#inside.set(owner, inside)
      else this.#inside.delete(owner)
      this.#next()
    }
    return { ok: true, leave }
  }

  #next(): void {
    for (const [owner, [waiter]] of this.#waiting) {
      if (!waiter || !this.#admits(owner)) continue
      this.#withdraw(owner, waiter)
      const queue = this.#waiting.get(owner)
      // The owner's next turn comes after every other owner's.
      if (queue && this.#waiting.delete(owner)) this.#waiting.set(owner, queue)
      waiter.enter()
      return
    }
  }

  #withdraw(owner: string, waiter: Waiter): boolean {
    const queue = this.#waiting.get(owner) ?? []
    const at = queue.indexOf(waiter)
    if (at < 0) return false
    queue.splice(at, 1)
    if (queue.length === 0) this.#waiting.delete(owner)
    this.#waitingCount -= 1
    return true
  }
}
