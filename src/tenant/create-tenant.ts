/** Creates a tenant's account with its rate cards and opening credit. */
import type { TenantAccount } from './account.ts'
import { openingCreditId, postMoney } from './credits.ts'
import { addKey, type KeyView } from './keys.ts'
import { chainStart } from './ledger/hash-chain.ts'
import { newLimitState, tenantBudgets } from './limits/limits.ts'
import type { NewTenant } from './rpc.ts'
import { zoned } from './store/account-rows.ts'
import { listPrice } from './store/rate-card-rows.ts'

/** Returns the first keys; false if the tenant exists, or existed and was deleted. */
export function createTenant(account: TenantAccount, options: NewTenant, now: number): KeyView[] | false {
  if (account.tenant() || account.store.restoring()) return false
  const { tenantId, name, limits, settings } = options
  account.putTenant({
    ...{ tenantId, name, limits, settings },
    status: 'active',
    deletedAt: null,
    purgeAt: null,
    createdAt: now,
    creditNano: 0,
    postedNano: 0,
    reservedNano: 0,
    chainSeq: 0,
    chainHash: chainStart,
    state: newLimitState(limits, tenantBudgets, zoned({ settings }, now)),
  })
  const { rateCards } = account.store
  for (const model of options.models) rateCards.put(model, 0, listPrice)
  for (const card of options.rateCards ?? []) rateCards.put(card.model, card.effectiveAt, card.rates)
  if (options.creditNano > 0) {
    const opening = { orderId: openingCreditId, kind: 'credit', amountNano: options.creditNano } as const
    postMoney(account, { ...opening, requestId: null, creditId: null, note: 'opening credit' }, now)
  }
  return (options.keys ?? []).map((key) => {
    const added = addKey(account, { kind: 'operator' }, key, now)
    if (!added.ok) throw new Error(added.message)
    return added.value
  })
}
