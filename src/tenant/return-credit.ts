/** Reverses a credit whose payment was returned: as far as the returned total, the credit and the balance allow. */
import type { TenantAccount } from './account.ts'
import { postMoney } from './credits.ts'
import { leftNano } from './ledger/ledger.ts'
import { denied, type TenantResult, tenantMissing } from './permissions.ts'

export interface CreditReturn {
  /** The order id of the credit. */
  creditId: string
  /** The refunded charge or the lost dispute. Each reversal for it has an order id that begins with this one. */
  sourceId: string
  /** All that the source has returned so far. A smaller total that arrives late changes nothing. */
  totalNano: number
  note: string
}

/** Idempotent. `dueNano` is the part that is spent or reserved; a later call reverses it when credit was added. */
export function returnCredit(
  account: TenantAccount,
  { creditId, sourceId, totalNano, note }: CreditReturn,
  now: number,
): TenantResult<{ reversedNano: number; dueNano: number }> {
  const tenant = account.tenant()
  if (!tenant) return denied('not_found', tenantMissing)
  const { orders } = account.store
  const unreversed = orders.unreversedNano(creditId)
  if (unreversed === undefined)
    return denied('conflict', `The credit ${creditId} is not posted yet. Send the event again after its payment.`)
  const beforeNano = orders.reversedFor(sourceId)
  const owedNano = Math.min(Math.max(0, totalNano - beforeNano), unreversed)
  const amountNano = Math.min(owedNano, Math.max(0, leftNano(tenant)))
  if (amountNano > 0) {
    const orderId = `${sourceId}:${beforeNano + amountNano}`
    const posted = postMoney(account, { orderId, kind: 'reversal', amountNano, requestId: null, creditId, note }, now)
    if (!posted.ok) return posted
  }
  return { ok: true, value: { reversedNano: amountNano, dueNano: owedNano - amountNano } }
}
