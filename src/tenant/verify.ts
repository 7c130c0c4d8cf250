/**
 * Verifies one tenant's ledger: the hash chain is complete, the sums of the entries equal the account's balances, the
 * open reservations add up to the reserved amount, and the receipts of each request posted at most its bound. Used by
 * the running object, by `ledger:verify` on a state folder, and by tests.
 */
import { chainHash } from './ledger/hash-chain.ts'
import type { Store } from './store/store.ts'

export interface VerificationReport {
  entries: number
  /** One sentence per fault; empty if the ledger is valid. */
  faults: string[]
}

const page = 1_000
const overBoundMax = 20

export function verifyBooks(store: Pick<Store, 'account' | 'pruned' | 'entries' | 'reservations'>): VerificationReport {
  const tenant = store.account.find()
  if (!tenant) return { entries: 0, faults: ['the account is missing'] }
  const faults: string[] = []
  let { seq, hash, costNano, creditNano } = store.pruned.find()
  let entries = 0
  for (;;) {
    const rows = store.entries.after(seq, page)
    for (const row of rows) {
      if (row.seq !== seq + 1) faults.push(`entries ${seq + 1} to ${row.seq - 1} are missing`)
      const expected = chainHash(hash, row.seq, row.entry)
      if (expected !== row.hash) faults.push(`entry ${row.seq} was changed, or an earlier entry was`)
      seq = row.seq
      hash = row.hash
      costNano += row.entry.costNano
      creditNano += row.entry.creditNano
      entries += 1
    }
    if (rows.length < page) break
  }
  if (seq !== tenant.chainSeq || hash !== tenant.chainHash) {
    faults.push(
      `the account is at entry ${tenant.chainSeq}, but the entries end at ${seq}: the last entries are missing or foreign`,
    )
  }
  const compare = (name: string, entriesNano: number, accountNano: number) => {
    if (entriesNano !== accountNano)
      faults.push(`${name}: the entries add up to ${entriesNano} nano-dollars, the account has ${accountNano}`)
  }
  compare('posted', costNano, tenant.postedNano)
  compare('credit', creditNano, tenant.creditNano)
  const open = store.reservations.open()
  compare(
    'reserved',
    open.reduce((sum, reservation) => sum + reservation.boundNano, 0),
    tenant.reservedNano,
  )
  if (tenant.state.running !== open.length)
    faults.push(`${open.length} reservations are open, but the account counts ${tenant.state.running}`)
  if (tenant.postedNano + tenant.reservedNano > tenant.creditNano)
    faults.push('posted plus reserved cost exceeds the credit')
  for (const { requestId, boundNano, postedNano } of store.entries.overBound(overBoundMax))
    faults.push(`request ${requestId}: receipts posted ${postedNano} nano-dollars, but its bound is ${boundNano}`)
  return { entries, faults }
}
