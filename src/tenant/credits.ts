/** Credits and corrections: entries that an operator posts, once per order id. */
import type { TenantAccount } from './account.ts'
import { denied, type TenantResult, tenantMissing } from './permissions.ts'
import { int } from './store/sql.ts'

export const requestMissing = 'requestId: this tenant has no such request. It may have been pruned.'

/** A credit or correction by the operator. `orderId` is its idempotency key. */
export interface MoneyEntry {
  orderId: string
  kind: 'credit' | 'correction'
  requestId: string | null
  amountNano: number
  note: string
}

export function postMoney(
  account: TenantAccount,
  entry: MoneyEntry,
  now: number,
): TenantResult<{ seq: number; repeated: boolean }> {
  const { sql } = account.store
  const tenant = account.tenant()
  if (!tenant) return denied('not_found', tenantMissing)
  const known = sql.all('SELECT * FROM orders WHERE order_id = ?', entry.orderId)[0]
  if (known) {
    const same =
      known.kind === entry.kind && known.amount_nano === entry.amountNano && known.request_id === entry.requestId
    if (same) return { ok: true, value: { seq: int(known, 'seq'), repeated: true } }
    return denied('conflict', `id: ${entry.orderId} was already used for a different entry. Use a new id.`, 'id')
  }
  if (entry.kind === 'credit') {
    if (tenant.creditNano + entry.amountNano > Number.MAX_SAFE_INTEGER) {
      const message = 'creditNano: total credit cannot exceed $9,007,199. Add less.'
      return denied('invalid_value', message, 'creditNano')
    }
    account.credit(entry.amountNano, entry.note, now)
  } else if (entry.requestId !== null && !account.store.reservation(entry.requestId)) {
    return denied('not_found', requestMissing, 'requestId')
  } else if (!account.correct(entry.requestId, entry.amountNano, entry.note, now)) {
    const message =
      'costNano: a correction can neither refund more than was spent nor charge more than the remaining credit.'
    return denied('invalid_value', message, 'costNano')
  }
  const seq = account.tenant()?.chainSeq ?? 0
  sql.run(
    'INSERT INTO orders VALUES (?, ?, ?, ?, ?)',
    entry.orderId,
    entry.kind,
    entry.requestId,
    entry.amountNano,
    seq,
  )
  return { ok: true, value: { seq, repeated: false } }
}
