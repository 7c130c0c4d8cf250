/**
 * Keys that their tenant confirmed recently. They save a request with a small body a second call to its tenant.
 * Bounded; entries expire after `keyKnownMs`. The cache decides only whether a body may be parsed. Pure.
 */
import { budgets } from '../../backends/model/budgets.ts'
import type { ApiKey } from './api-key.ts'

export class KnownKeys {
  /** By key and secret, the least recently confirmed first. */
  readonly #until = new Map<string, number>()

  good(key: ApiKey, now: number): boolean {
    const until = this.#until.get(nameOf(key))
    // A clock that is set back does not extend an entry's time.
    return until !== undefined && now < until && now > until - 2 * budgets.keyKnownMs.value
  }

  /** @param expiresAt when the key expires; null for never */
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
