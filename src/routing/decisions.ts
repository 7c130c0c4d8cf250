/**
 * Why each request went where it went, for whoever asks later. In the fleet's memory only: nothing is written for it, so
 * nothing on the request's path waits for it. The last `keptMax` requests are kept; older ones, and all of them when the
 * object is restarted, are gone, and then the ledger is what is left.
 */
import type { PoolName } from '../../backends/protocol/dispatch.ts'
import type { EffortWord } from '../../backends/protocol/effort.ts'
import type { PriorityClass } from './fair-queue.ts'
import type { Fit, Judged } from './place.ts'

export interface Considered {
  /** Of all workers that serve the model: how many would do, and why the others would not. */
  counts: Partial<Record<Fit, number>>
  /** The best of those that would do. */
  best: Judged[]
}

export interface Attempt extends Considered {
  at: number
  workerId: string
  pool: PoolName
  /** The side of the border where it ran; not `home` when it was a guest. */
  side: PoolName
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
  home: PoolName
  priorityClass: PriorityClass
  weight: number
  cameAt: number
  promptTokens: number
  expectedOutputTokens: number
  attempts: Attempt[]
  /** What became of it; null while it waits or runs. */
  outcome: string | null
  engine: Record<string, number | string | null> | null
}

const keptMax = 4_096

export class Decisions {
  readonly #kept = new Map<string, Decision>()

  begin(decision: Decision): void {
    const before = this.#kept.get(decision.requestId)
    if (before) {
      // It comes back: one story.
      Object.assign(before, { effort: decision.effort, home: decision.home, outcome: null })
      return
    }
    this.#kept.set(decision.requestId, decision)
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= keptMax) return
      this.#kept.delete(oldest)
    }
  }

  attempt(requestId: string, attempt: Attempt): void {
    this.#kept.get(requestId)?.attempts.push(attempt)
  }

  end(requestId: string, outcome: string, engine: Decision['engine'] = null): void {
    const decision = this.#kept.get(requestId)
    // Of two workers that had it, the one that was stopped has nothing to add.
    if (decision && decision.outcome !== 'finished') Object.assign(decision, { outcome, ...(engine && { engine }) })
  }

  find(requestId: string): Decision | undefined {
    return this.#kept.get(requestId)
  }
}
