/**
 * Records why each request went to its worker, for operators. No request waits for storage: a decision stays in memory
 * while its request is open and for a moment after, then moves to disk in a batch (see decision-log.ts). An eviction of
 * the fleet object loses the decisions of the last seconds.
 */

import { cleanText } from '../../../backends/model/clean-text.ts'
import type { EffortWord } from '../../../backends/model/effort.ts'
import type { PoolName } from '../../../backends/wire/dispatch.ts'
import type { Fit, JudgedWorker } from '../placement/score.ts'
import type { PriorityClass } from '../queue/fair-queue.ts'

export interface Considered {
  /** Number of workers of the model by result: suitable, or the reason why not. */
  counts: Partial<Record<Fit, number>>
  /** The best suitable workers. */
  best: JudgedWorker[]
}

export interface DecisionAttempt extends Considered {
  at: number
  workerId: string
  pool: PoolName
  /** The worker's assigned pool; differs from the request's `preferredPool` if the request was spilled. */
  assignedPool: PoolName
  why: string
  waitedMs: number
  /** Queue position on arrival; null if the request did not wait. */
  position: number | null
  /** Why it gave no answer; null if it did, or may yet. */
  failed?: AttemptFailure | null
}

export interface AttemptFailure {
  /** Such as `worker_lost`; a tenant sees only this. */
  code: string
  /** For operators. */
  reason: string
}

export interface Decision {
  requestId: string
  tenantId: string
  model: string
  effort: EffortWord
  preferredPool: PoolName
  priorityClass: PriorityClass
  weight: number
  cameAt: number
  promptTokens: number
  expectedOutputTokens: number
  attempts: DecisionAttempt[]
  /** Null while the request waits or runs. */
  outcome: string | null
  engine: Record<string, number | string | null> | null
}

const keptMax = 8_192

export class Decisions {
  readonly #kept = new Map<string, Decision>()
  /** Ended since the last call of `take`, and between the two calls before. A receipt may still update both. */
  #ended = new Set<string>()
  #endedBefore = new Set<string>()

  begin(decision: Decision): void {
    const before = this.#kept.get(decision.requestId)
    if (before) {
      // A retried request keeps one decision.
      Object.assign(before, { effort: decision.effort, preferredPool: decision.preferredPool, outcome: null })
      this.#ended.delete(decision.requestId)
      this.#endedBefore.delete(decision.requestId)
      return
    }
    this.#kept.set(decision.requestId, decision)
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= keptMax) return
      this.#kept.delete(oldest)
    }
  }

  attempt(requestId: string, attempt: DecisionAttempt): void {
    this.#kept.get(requestId)?.attempts.push(attempt)
  }

  /** The latest attempt at this worker failed. */
  failed(requestId: string, workerId: string, { code, reason }: AttemptFailure): void {
    const attempt = this.#kept.get(requestId)?.attempts.findLast((each) => each.workerId === workerId)
    if (attempt) attempt.failed ??= { code: cleanText(code, 64), reason: cleanText(reason, 300) }
  }

  /** Newest first, with ids before `before`; all if it is empty. */
  list(before: string): Decision[] {
    const kept = [...this.#kept.values()].filter(({ requestId }) => before === '' || requestId < before)
    return kept.sort((one, other) => (one.requestId < other.requestId ? 1 : -1))
  }

  end(requestId: string, outcome: string, engine: Decision['engine'] = null): void {
    const decision = this.#kept.get(requestId)
    // A late receipt of an attempt that was lost does not change the outcome.
    if (!decision || decision.outcome === 'finished') return
    Object.assign(decision, { outcome, ...(engine && { engine }) })
    if (!this.#endedBefore.has(requestId)) this.#ended.add(requestId)
  }

  find(requestId: string): Decision | undefined {
    return this.#kept.get(requestId)
  }

  /** Whether `take` has decisions to return, now or at the next call. */
  get untaken(): boolean {
    return this.#ended.size + this.#endedBefore.size > 0
  }

  /** Returns and forgets the decisions that had ended before the previous call. */
  take(): Decision[] {
    const taken = [...this.#endedBefore].flatMap((requestId) => this.#kept.get(requestId) ?? [])
    for (const requestId of this.#endedBefore) this.#kept.delete(requestId)
    this.#endedBefore = this.#ended
    this.#ended = new Set()
    return taken
  }
}
