/**
 * Verification of one tenant's books: the chain is whole, the sums of the entries are the account's balances, the open
 * reservations add up to what is held, and the receipts of each request posted at most its bound. One function for the running object, for a state folder, and for tests.
 */
import { chainHash } from './ledger/hash-chain.ts'
import type { Store } from './store.ts'

export interface VerificationReport {
  entries: number
  /** What is wrong, each in one sentence. Empty when the books are sound. */
  faults: string[]
}

const page = 1_000
const overBoundMax = 20

export function verifyBooks(store: Store): VerificationReport {
  const tenant = store.tenant()
  if (!tenant) return { entries: 0, faults: ['there is no account'] }
  const faults: string[] = []
  let { seq, hash, costNano, creditNano } = store.pruned()
  let entries = 0
  for (;;) {
    const rows = store.entriesAfter(seq, page)
    for (const row of rows) {
      if (row.seq !== seq + 1) faults.push(`entries ${seq + 1} to ${row.seq - 1} are missing`)
      const expected = chainHash(hash, row.seq, row.entry)
      if (expected !== row.hash) faults.push(`entry ${row.seq} was changed, or one before it`)
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
      `the account stands at entry ${tenant.chainSeq}, the entries end at ${seq}: the last ones are missing or foreign`,
    )
  }
  const compare = (what: string, entriesSay: number, accountSays: number) => {
    if (entriesSay !== accountSays)
      faults.push(`${what}: the entries say ${entriesSay}, the account ${accountSays} nano-dollars`)
  }
  compare('posted', costNano, tenant.postedNano)
  compare('credit', creditNano, tenant.creditNano)
  const open = store.openReservations()
  compare(
    'reserved',
    open.reduce((sum, reservation) => sum + reservation.boundNano, 0),
    tenant.reservedNano,
  )
  if (tenant.state.running !== open.length)
    faults.push(`${open.length} reservations are open, ${tenant.state.running} are counted`)
  if (tenant.postedNano + tenant.reservedNano > tenant.creditNano) faults.push('posted and reserved exceed the credit')
  for (const { requestId, boundNano, postedNano } of store.overBound(overBoundMax))
    faults.push(`request ${requestId}: its receipts posted ${postedNano} nano-dollars, its bound is ${boundNano}`)
  return { entries, faults }
}
