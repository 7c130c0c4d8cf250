/** Requests that wait for a slot. Each waits for one outcome. */
import type { LeaseOutcome, Notification } from './state.ts'

export class Waiters {
  readonly #resolve = new Map<string, (outcome: LeaseOutcome) => void>()

  get size(): number {
    return this.#resolve.size
  }

  wait(requestId: string): Promise<LeaseOutcome> {
    return new Promise((resolve) => this.#resolve.set(requestId, resolve))
  }

  notify(notifications: readonly Notification[]): void {
    for (const { requestId, outcome } of notifications) {
      this.#resolve.get(requestId)?.(outcome)
      this.#resolve.delete(requestId)
    }
  }
}
