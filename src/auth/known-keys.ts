/**
 * Keys that their tenant called good a moment ago, so that a request with a small body asks its tenant once and not
 * twice. Bounded, and forgotten after `keyKnownMs`; what is remembered decides only whether a body may be parsed. Pure.
 */
import { budgets } from '../../backends/model/budgets.ts'
import type { ApiKey } from './api-key.ts'

export class KnownKeys {
  /** By key and secret, in the order in which they were last confirmed. */
  readonly #until = new Map<string, number>()

  good(key: ApiKey, now: number): boolean {
    const until = this.#until.get(nameOf(key))
    // A clock that went back does not make a key good for longer.
    return until !== undefined && now < until && now > until - 2 * budgets.keyKnownMs.value
  }

  /** @param expiresAt when the key ends; null for never */
  confirm(key: ApiKey, now: number, expiresAt: number | null): void {
    const name = nameOf(key)
    this.#until.delete(name)
    this.#until.set(name, Math.min(now + budgets.keyKnownMs.value, expiresAt ?? Number.POSITIVE_INFINITY))
    if (this.#until.size <= budgets.keysKnown.value) return
    const [oldest] = this.#until.keys()
    if (oldest !== undefined) this.#until.delete(oldest)
  }

  drop(key: ApiKey): void {
    this.#until.delete(nameOf(key))
  }
}

function nameOf({ tenantId, keyId, secretHash }: ApiKey): string {
  return `${tenantId}.${keyId}.${secretHash}`
}
