/** Credits and corrections: entries that an operator posts, once per order id. */
import type { TenantAccount } from './account.ts'
import { type Denial, denied, type TenantResult, tenantMissing } from './permissions.ts'
import type { Tenant } from './store/account-rows.ts'
import type { MoneyOrder } from './store/order-rows.ts'

export const requestMissing = 'requestId: this tenant has no such request. It may have been pruned.'

/** A credit or correction by the operator. `orderId` is its idempotency key. */
export interface MoneyEntry extends MoneyOrder {
  note: string
}

export function postMoney(
  account: TenantAccount,
  entry: MoneyEntry,
  now: number,
): TenantResult<{ seq: number; repeated: boolean }> {
  const { orders } = account.store
  const tenant = account.tenant()
  if (!tenant) return denied('not_found', tenantMissing)
  const known = orders.find(entry)
  if (known?.same) return { ok: true, value: { seq: known.seq, repeated: true } }
  if (known)
    return denied('conflict', `id: ${entry.orderId} was already used for a different entry. Use a new id.`, 'id')
  const refused = entry.kind === 'credit' ? addCredit(account, tenant, entry, now) : addCorrection(account, entry, now)
  if (refused) return refused
  const seq = account.tenant()?.chainSeq ?? 0
  orders.add(entry, seq)
  return { ok: true, value: { seq, repeated: false } }
}

/** Returns the reason for refusal, or undefined if the credit was added. */
function addCredit(account: TenantAccount, tenant: Tenant, entry: MoneyEntry, now: number): Denial | undefined {
  if (tenant.creditNano + entry.amountNano > Number.MAX_SAFE_INTEGER)
    return denied('invalid_value', 'creditNano: total credit cannot exceed $9,007,199. Add less.', 'creditNano')
  account.credit(entry.amountNano, entry.note, now)
  return undefined
}

function addCorrection(account: TenantAccount, entry: MoneyEntry, now: number): Denial | undefined {
  const { requestId, amountNano, note } = entry
  if (requestId !== null && !account.store.reservations.find(requestId))
    return denied('not_found', requestMissing, 'requestId')
  if (account.correct(requestId, amountNano, note, now)) return undefined
  const message =
    'costNano: a correction can neither refund more than was spent nor charge more than the remaining credit.'
  return denied('invalid_value', message, 'costNano')
}
