/** How often one worker may beat: a worker that floods its gateway must not keep the fleet object from all others. */
import { budgets } from '../../backends/model/budgets.ts'

const windowMs = 1_000
const workersMax = 1_024

export class HeartbeatRate {
  /** In the order in which their windows began. */
  readonly #windows = new Map<string, { since: number; count: number }>()

  /** Whether one more beat is let through now. Ask only for a worker whose key was checked. */
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
