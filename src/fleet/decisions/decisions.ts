/**
 * Why each request went where it went, for whoever asks later. Nothing on the request's path waits for it to be written:
 * while a request is open, and for a moment after, its decision is in the fleet's memory; then it is taken from here, many
 * at once, to be kept on disk (see decision-book.ts). Memory that is lost takes the last seconds' with it.
 */

import type { EffortWord } from '../../../backends/model/effort.ts'
import type { PoolName } from '../../../backends/wire/dispatch.ts'
import type { Fit, JudgedWorker } from '../placement/score.ts'
import type { PriorityClass } from '../queue/fair-queue.ts'

export interface Considered {
  /** Of all workers that serve the model: how many would do, and why the others would not. */
  counts: Partial<Record<Fit, number>>
  /** The best of those that would do. */
  best: JudgedWorker[]
}

export interface DecisionAttempt extends Considered {
  at: number
  workerId: string
  pool: PoolName
  /** The side of the border where it ran; not `home` when it was a guest. */
  assignedPool: PoolName
  why: string
  waitedMs: number
  /** In the queue, when it came; null when it did not wait. */
  position: number | null
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
  /** What became of it; null while it waits or runs. */
  outcome: string | null
  engine: Record<string, number | string | null> | null
}

const keptMax = 8_192

export class Decisions {
  readonly #kept = new Map<string, Decision>()
  /** Ended since `take` was called last, and in the time before that: a receipt may still add to these. */
  #ended = new Set<string>()
  #endedBefore = new Set<string>()

  begin(decision: Decision): void {
    const before = this.#kept.get(decision.requestId)
    if (before) {
      // It comes back: one story.
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

  end(requestId: string, outcome: string, engine: Decision['engine'] = null): void {
    const decision = this.#kept.get(requestId)
    // Of two workers that had it, the one that was stopped has nothing to add.
    if (!decision || decision.outcome === 'finished') return
    Object.assign(decision, { outcome, ...(engine && { engine }) })
    if (!this.#endedBefore.has(requestId)) this.#ended.add(requestId)
  }

  find(requestId: string): Decision | undefined {
    return this.#kept.get(requestId)
  }

  /** Whether there is any that `take` will give, now or the next time. */
  get untaken(): boolean {
    return this.#ended.size + this.#endedBefore.size > 0
  }

  /** Those that had ended when it was called last. They are the caller's from now on. */
  take(): Decision[] {
    const taken = [...this.#endedBefore].flatMap((requestId) => this.#kept.get(requestId) ?? [])
    for (const requestId of this.#endedBefore) this.#kept.delete(requestId)
    this.#endedBefore = this.#ended
    this.#ended = new Set()
    return taken
  }
}
