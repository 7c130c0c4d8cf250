/**
 * One Durable Object per pool: the only one that leases its workers' slots. The state is in memory only, because every
 * heartbeat, one a second from each worker, says again what is true; see `pool.ts`.
 */
import { DurableObject } from 'cloudflare:workers'
import type { Heartbeat } from '../../backends/protocol/heartbeat.ts'
import {
  type Ask,
  emptyPool,
  heartbeat,
  lease,
  type Outcome,
  type Place,
  type PoolView,
  registry,
  release,
  sweep,
  type Told,
  view,
  workerFailed,
} from './pool.ts'

const sweepEveryMs = 1_000

export class PoolObject extends DurableObject {
  readonly #pool = emptyPool()
  readonly #waiters = new Map<string, (outcome: Outcome) => void>()
  #sweeping = false

  /** Resolves when a slot is leased, or with the reason why none is. `release` ends the waiting. */
  lease(ask: Ask): Promise<Outcome> | Outcome {
    const outcome = lease(this.#pool, ask, Date.now())
    if (outcome) return outcome
    this.#sweepLater()
    return new Promise((resolve) => this.#waiters.set(ask.requestId, resolve))
  }

  release(requestIds: string[]): void {
    const now = Date.now()
    for (const requestId of requestIds) this.#tell(release(this.#pool, requestId, now))
  }

  workerFailed(workerId: string, requestId: string): void {
    this.#tell(workerFailed(this.#pool, workerId, requestId, Date.now()))
  }

  heartbeat(beat: Heartbeat, keyEpoch: number): void {
    this.#tell(heartbeat(this.#pool, beat, keyEpoch, Date.now()))
  }

  registry(): { present: Place[]; missing: string[] } {
    this.#tell(sweep(this.#pool, Date.now()))
    return registry(this.#pool)
  }

  view(): PoolView {
    this.#tell(sweep(this.#pool, Date.now()))
    return view(this.#pool)
  }

  #tell(told: Told[]): void {
    for (const { requestId, outcome } of told) {
      this.#waiters.get(requestId)?.(outcome)
      this.#waiters.delete(requestId)
    }
  }

  #sweepLater(): void {
    if (this.#sweeping) return
    this.#sweeping = true
    setTimeout(() => {
      this.#sweeping = false
      this.#tell(sweep(this.#pool, Date.now()))
      if (this.#waiters.size > 0) this.#sweepLater()
    }, sweepEveryMs)
  }
}
