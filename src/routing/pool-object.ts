/**
 * One Durable Object for the fleet: the only one that leases its workers' slots. Its registry is in memory only, because every
 * heartbeat, one a second from each worker, says again what is true; see `pool.ts`. What nobody would say again, which
 * workers' keys are no longer good and why requests went where they went, is on disk; see `fence.ts`, `decision-book.ts`.
 */
import { DurableObject } from 'cloudflare:workers'
import type { PoolName } from '../../backends/protocol/dispatch.ts'
import { type Heartbeat, heartbeatLostMs } from '../../backends/protocol/heartbeat.ts'
import type { Env } from '../env.ts'
import { DecisionBook } from './decision-book.ts'
import type { Decision } from './decisions.ts'
import { type Fence, heartbeatAllowed, joinFences, receiptAllowed } from './fence.ts'
import {
  type Ask,
  type End,
  emptyPool,
  expel,
  heartbeat,
  hedge,
  lease,
  type Outcome,
  type Place,
  type PoolState,
  type PoolView,
  registry,
  release,
  releaseOn,
  settled,
  suggest,
  sweep,
  type Told,
  view,
  type WaitView,
  waitView,
  workerFailed,
} from './pool.ts'

const sweepEveryMs = 1_000
/** Decisions are written down so often, once they are at least that old. */
const writeEveryMs = 2_000

export class PoolObject extends DurableObject {
  readonly #startedAt = Date.now()
  readonly #pool: PoolState
  readonly #waiters = new Map<string, (outcome: Outcome) => void>()
  readonly #fences: Map<string, Fence>
  readonly #book: DecisionBook
  #sweeping = false
  #writing = false

  constructor(state: DurableObjectState, env: Env) {
    super(state, env as never)
    this.#pool = emptyPool(env.SPILL !== 'off')
    const { sql } = state.storage
    this.#book = new DecisionBook(sql)
    sql.exec(`CREATE TABLE IF NOT EXISTS fences (worker_id TEXT PRIMARY KEY, epoch_min INTEGER NOT NULL,
      next_min INTEGER NOT NULL, next_at INTEGER NOT NULL, epoch_revoked INTEGER NOT NULL) WITHOUT ROWID`)
    const query = `SELECT worker_id AS workerId, epoch_min AS epochMin, next_min AS nextMin, next_at AS nextAt,
      epoch_revoked AS epochRevoked FROM fences`
    this.#fences = new Map(
      sql
        .exec<Fence & Record<string, SqlStorageValue>>(query)
        .toArray()
        .map((row) => [row.workerId, row]),
    )
  }

  /** Resolves when a slot is leased, or with the reason why none is. `release` ends the waiting. */
  lease(ask: Ask): Promise<Outcome> | Outcome {
    const outcome = lease(this.#pool, ask, Date.now(), (told) => this.#tell([told]))
    this.#writeLater()
    if (outcome) return outcome
    this.#sweepLater()
    return new Promise((resolve) => this.#waiters.set(ask.requestId, resolve))
  }

  /** Where a request stands that waits. Cheap, and one call in `askAgainMs` is enough. */
  position(requestId: string): WaitView | undefined {
    return waitView(this.#pool, requestId, Date.now())
  }

  release(requestIds: string[]): void {
    const now = Date.now()
    for (const requestId of requestIds) this.#tell(release(this.#pool, requestId, now))
  }

  /** The worker that is to read this request's media; undefined where none serves its model. */
  suggest(ask: Ask): Place | undefined {
    return suggest(this.#pool, ask, Date.now())
  }

  /** A slot on a second worker for a request that has one; undefined where none is free now. */
  hedge(ask: Ask): Place | undefined {
    return hedge(this.#pool, ask, Date.now())
  }

  releaseOn(workerId: string, requestId: string): void {
    this.#tell(releaseOn(this.#pool, workerId, requestId, Date.now()))
  }

  workerFailed(workerId: string, requestId: string): void {
    this.#tell(workerFailed(this.#pool, workerId, requestId, Date.now()))
  }

  /** False when the key that signed it was rotated or revoked. */
  heartbeat(beat: Heartbeat, keyEpoch: number): boolean {
    const now = Date.now()
    if (!heartbeatAllowed(this.#fences.get(beat.workerId), keyEpoch, now)) return false
    this.#tell(heartbeat(this.#pool, beat, keyEpoch, now))
    return true
  }

  /** Keeps out a worker's old keys from now on, and for good. */
  fence(added: Fence): void {
    const fence = joinFences(this.#fences.get(added.workerId), added)
    this.ctx.storage.sql.exec(
      'INSERT OR REPLACE INTO fences VALUES (?, ?, ?, ?, ?)',
      fence.workerId,
      fence.epochMin,
      fence.nextMin,
      fence.nextAt,
      fence.epochRevoked,
    )
    this.#fences.set(fence.workerId, fence)
    const now = Date.now()
    const epoch = this.#pool.workers.get(fence.workerId)?.keyEpoch ?? 0
    if (heartbeatAllowed(fence, epoch, now)) return
    this.#tell(expel(this.#pool, fence.workerId, receiptAllowed(fence, epoch), now))
  }

  /** Gives back the slots of requests whose receipts came, and learns from them. Answers, in order, whose receipts are to be believed. */
  receiptsCame(receipts: (End & { keyEpoch: number })[]): boolean[] {
    const good = receipts.map(({ workerId, keyEpoch }) => receiptAllowed(this.#fences.get(workerId), keyEpoch))
    const now = Date.now()
    receipts.forEach((end, index) => {
      if (good[index]) this.#tell(settled(this.#pool, end, now))
    })
    return good
  }

  /** `complete` once every worker that is there has had the time to say so since this object was started. */
  registry(): { present: Place[]; missing: string[]; complete: boolean } {
    const now = Date.now()
    this.#tell(sweep(this.#pool, now))
    return { ...registry(this.#pool), complete: now - this.#startedAt > heartbeatLostMs }
  }

  view(): PoolView {
    this.#tell(sweep(this.#pool, Date.now()))
    return view(this.#pool)
  }

  views(): Record<PoolName, PoolView> {
    this.#tell(sweep(this.#pool, Date.now()))
    return { latency: view(this.#pool, 'latency'), throughput: view(this.#pool, 'throughput') }
  }

  /** Why a request went where it went; undefined when it is not remembered, see decisions.ts. */
  decision(requestId: string): Decision | undefined {
    return this.#pool.decisions.find(requestId) ?? this.#book.find(requestId)
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

  #writeLater(): void {
    if (this.#writing) return
    this.#writing = true
    setTimeout(() => {
      this.#writing = false
      const { decisions } = this.#pool
      this.#book.add(decisions.take())
      if (decisions.untaken) this.#writeLater()
    }, writeEveryMs)
  }
}
