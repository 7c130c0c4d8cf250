/** Rate cards: what a token of a model costs this tenant, from a moment on. */
import type { Rates } from '../../backends/model/money.ts'
import type { TenantAccount } from './account.ts'
import { denied, refuseDeleted, type TenantResult, tenantMissing } from './permissions.ts'

export interface NewRates {
  model: string
  /** Null for now. */
  effectiveAt: number | null
  rates: Rates
}

/** Adds a rate card that takes effect now or later. It does not change the price of earlier requests. */
export function addRates(account: TenantAccount, card: NewRates, now: number): TenantResult<{ effectiveAt: number }> {
  const tenant = account.tenant()
  if (!tenant) return denied('not_found', tenantMissing)
  const deleted = refuseDeleted(tenant)
  if (deleted) return deleted
  const effectiveAt = card.effectiveAt ?? now
  if (effectiveAt < now) return denied('invalid_value', 'effectiveAt: must not be in the past.', 'effectiveAt')
  const known = account.store.rateCards
    .all()
    .some((row) => row.model === card.model && row.effective_at === effectiveAt)
  if (known) {
    const message =
      'effectiveAt: this model already has a rate card for that time. Cards cannot be changed: choose a later time.'
    return denied('conflict', message, 'effectiveAt')
  }
  account.store.rateCards.put(card.model, effectiveAt, card.rates)
  return { ok: true, value: { effectiveAt } }
}
