/** Rate limit for the heartbeats of one worker, so that a flood does not block the fleet object for all others. */
import { budgets } from '../../backends/model/budgets.ts'

const windowMs = 1_000
const workersMax = 1_024

export class HeartbeatRate {
  /** Ordered by the start of the window. */
  readonly #windows = new Map<string, { since: number; count: number }>()

  /** Whether one more heartbeat is allowed now. Call only after the worker's key was checked. */
  allows(workerId: string, now: number): boolean {
    const known = this.#windows.get(workerId)
    if (known && now - known.since < windowMs && now >= known.since) {
      known.count += 1
      return known.count <= budgets.heartbeatsPerSecond.value
    }
    this.#windows.delete(workerId)
    const [oldest] = this.#windows.keys()
    if (oldest !== undefined && this.#windows.size >= workersMax) this.#windows.delete(oldest)
    this.#windows.set(workerId, { since: now, count: 1 })
    return true
  }
}
