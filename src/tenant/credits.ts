/** Credits, reversals and corrections: entries that an operator posts, once per order id. */
import type { TenantAccount } from './account.ts'
import { type Denial, denied, refuseDeleted, type TenantResult, tenantMissing } from './permissions.ts'
import type { Tenant } from './store/account-rows.ts'
import type { MoneyOrder } from './store/order-rows.ts'

export const requestMissing = 'requestId: this tenant has no such request. It may have been pruned.'

/** An entry by the operator. `orderId` is its idempotency key. */
export interface MoneyEntry extends MoneyOrder {
  note: string
}

/** The order id of the credit with which a tenant was created. */
export const openingCreditId = 'opening-credit'

export function postMoney(
  account: TenantAccount,
  entry: MoneyEntry,
  now: number,
): TenantResult<{ seq: number; repeated: boolean }> {
  const { orders } = account.store
  const tenant = account.tenant()
  if (!tenant) return denied('not_found', tenantMissing)
  const deleted = entry.kind === 'credit' ? refuseDeleted(tenant) : undefined
  if (deleted) return deleted
  const known = orders.find(entry)
  if (known?.same) return { ok: true, value: { seq: known.seq, repeated: true } }
  if (known)
    return denied('conflict', `id: ${entry.orderId} was already used for a different entry. Use a new id.`, 'id')
  const refused = apply(account, tenant, entry, now)
  if (refused) return refused
  const seq = account.tenant()?.chainSeq ?? 0
  orders.add(entry, seq)
  return { ok: true, value: { seq, repeated: false } }
}

/** Returns the reason for refusal, or undefined if the entry was added. */
function apply(account: TenantAccount, tenant: Tenant, entry: MoneyEntry, now: number): Denial | undefined {
  switch (entry.kind) {
    case 'credit':
      return addCredit(account, tenant, entry, now)
    case 'reversal':
      return addReversal(account, entry, now)
    case 'correction':
      return addCorrection(account, entry, now)
  }
}

function addCredit(account: TenantAccount, tenant: Tenant, entry: MoneyEntry, now: number): Denial | undefined {
  if (tenant.creditNano + entry.amountNano > Number.MAX_SAFE_INTEGER)
    return denied('invalid_value', 'creditNano: total credit cannot exceed $9,007,199. Add less.', 'creditNano')
  account.credit(entry.amountNano, entry.note, now)
  return undefined
}

function addReversal(account: TenantAccount, entry: MoneyEntry, now: number): Denial | undefined {
  const { creditId, amountNano, note } = entry
  const unreversed = creditId === null ? undefined : account.store.orders.unreversedNano(creditId)
  if (unreversed === undefined) {
    const message = `creditId: no credit was posted with this id. Use its own id, or ${openingCreditId} for the first.`
    return denied('not_found', message, 'creditId')
  }
  if (amountNano > unreversed)
    return denied('invalid_value', `creditNano: at most ${unreversed} of this credit is not reversed.`, 'creditNano')
  const left = account.reverse(amountNano, note, now)
  if (left === undefined) return undefined
  const message = `creditNano: only ${left} of the credit is neither spent nor reserved. Reverse at most that.`
  return denied('invalid_value', message, 'creditNano')
}

function addCorrection(account: TenantAccount, entry: MoneyEntry, now: number): Denial | undefined {
  const { requestId, amountNano, note } = entry
  if (requestId !== null && !account.store.reservations.find(requestId))
    return denied('not_found', requestMissing, 'requestId')
  const most = account.correct(requestId, amountNano, note, now)
  if (most === undefined) return undefined
  const charged = requestId === null ? 'was spent' : 'its request was charged'
  const message =
    amountNano < 0
      ? `costNano: a refund cannot exceed what ${charged}. Refund at most ${most}.`
      : `costNano: a charge cannot exceed the remaining credit. Charge at most ${most}.`
  return denied('invalid_value', message, 'costNano')
}
