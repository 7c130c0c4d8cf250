/** Prices as a tenant's keys see them: in force, and announced. */
import type { Rates } from '../../backends/model/money.ts'
import type { TenantAccount } from './account.ts'
import { admitTo, type Requester, type TenantResult } from './permissions.ts'
import { hostedPrefix } from './store/rate-card-rows.ts'

export interface Price {
  model: string
  /** `hosted`: the price of an answer of the hosted fallback. */
  servedBy: 'workers' | 'hosted'
  /** Unix milliseconds. */
  effectiveAt: number
  /** The time of the next price, in Unix milliseconds; null if none is announced. */
  until: number | null
  inForce: boolean
  rates: Rates
}

/** Of the models that the key may use, by model; the price in force comes before those that are announced. */
export function pricesOf(account: TenantAccount, by: Requester, now: number): TenantResult<Price[]> {
  const caller = admitTo(account, by, 'read-usage', now)
  if (!caller.ok) return caller
  const allowed = by.kind === 'key' ? account.key(by.keyId)?.models : null
  const prices = [...account.store.rateCards.current(now)].flatMap(([name, cards]) => {
    const hosted = name.startsWith(hostedPrefix)
    const model = hosted ? name.slice(hostedPrefix.length) : name
    if (allowed && !allowed.includes(model)) return []
    return cards.map(({ effectiveAt, rates }, index): Price => {
      const until = cards[index + 1]?.effectiveAt ?? null
      return { model, servedBy: hosted ? 'hosted' : 'workers', effectiveAt, until, inForce: effectiveAt <= now, rates }
    })
  })
  return { ok: true, value: prices }
}
