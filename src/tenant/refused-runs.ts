/** Settles a run whose receipt was refused, by an operator’s decision. */
import { cleanText } from '../../backends/model/clean-text.ts'
import { countsFault, widestBounds } from '../../backends/model/counts.ts'
import { costNano } from '../../backends/model/money.ts'
import type { Settlement } from '../../backends/wire/receipt.ts'
import type { TenantAccount } from './account.ts'
import { requestMissing } from './credits.ts'
import { denied, type TenantResult } from './permissions.ts'
import { int } from './store/sql.ts'

/** A receipt that the edge refused, with counts that the operator vouches for. */
export type RefusedRun = Omit<Settlement, 'tenantId' | 'keyId' | 'costNano' | 'estimated'>

/** `answer` is posted, late, wasted or already-posted; the amounts are those of the entry. */
export interface SettledRun {
  answer: string
  costNano: number
  shortNano: number
}

/**
 * Settles a refused receipt under the operator's authority, at the tenant's rate card of the time of the request. As
 * for any receipt, the ledger limits the cost to the request's bound.
 */
export function settleRefused(account: TenantAccount, run: RefusedRun, now: number): TenantResult<SettledRun> {
  const tenant = account.tenant()
  if (!tenant) return denied('not_found', 'tenantId: tenant not found.', 'tenantId')
  const reservation = account.store.reservations.find(run.requestId)
  if (!reservation) return denied('not_found', requestMissing, 'requestId')
  const fault = countsFault(run.counts, widestBounds)
  if (fault !== undefined) return denied('invalid_value', `${fault}. Send counts that are possible.`, 'counts')
  const rates = account.rates(run.model, reservation.openedAt)
  if (!rates)
    return denied(
      'conflict',
      `model: this tenant had no rate card for ${cleanText(run.model, 64)} at that time.`,
      'model',
    )
  const cost = run.outcome === 'failed' ? 0 : costNano(run.counts, rates)
  const { tenantId } = tenant
  const settlement = { ...run, tenantId, keyId: reservation.keyId, costNano: cost, estimated: true }
  const answer = account.settle(settlement, now, 'settled by the operator')
  if (answer === 'impossible') {
    const message =
      'dispatchId: not a dispatch of this request. Dismiss the receipt, or add a correction to the account.'
    return denied('conflict', message, 'dispatchId')
  }
  const entry = account.store.entries.ofRequest(run.requestId).find((row) => row.ref === run.dispatchId)
  return {
    ok: true,
    value: { answer, costNano: int(entry ?? {}, 'cost_nano'), shortNano: int(entry ?? {}, 'short_nano') },
  }
}
