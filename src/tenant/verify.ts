/**
 * Verifies one tenant's ledger: the hash chain is complete, the sums of the entries equal the account's balances, the
 * open reservations add up to the reserved amount, and the receipts of each request posted at most its bound. Used by
 * the running object, by `ledger:verify` on a state folder, and by tests.
 */
import { chainHash } from './ledger/hash-chain.ts'
import type { Reservation } from './ledger/ledger.ts'
import type { Tenant } from './store/account-rows.ts'
import type { EntryRows, StoredEntry } from './store/entry-rows.ts'
import type { Pruned } from './store/pruned-rows.ts'
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
  const chain = readChain(store.pruned.find(), store.entries)
  const open = store.reservations.open()
  const overBound = store.entries.overBound(overBoundMax).map(({ requestId, boundNano, postedNano }) => {
    return `request ${requestId}: receipts posted ${postedNano} nano-dollars, but its bound is ${boundNano}`
  })
  return { entries: chain.entries, faults: [...chain.faults, ...balanceFaults(tenant, chain, open), ...overBound] }
}

interface EntryChain extends Pruned {
  entries: number
  faults: string[]
}

/** Follows the hash chain to its end and adds up the entries. */
function readChain(start: Pruned, rows: EntryRows): EntryChain {
  const chain: EntryChain = { ...start, entries: 0, faults: [] }
  for (;;) {
    const some = rows.after(chain.seq, page)
    for (const row of some) addLink(chain, row)
    if (some.length < page) return chain
  }
}

function addLink(chain: EntryChain, { seq, hash, entry }: StoredEntry): void {
  if (seq !== chain.seq + 1) chain.faults.push(`entries ${chain.seq + 1} to ${seq - 1} are missing`)
  if (chainHash(chain.hash, seq, entry) !== hash) chain.faults.push(`entry ${seq} was changed, or an earlier entry was`)
  chain.seq = seq
  chain.hash = hash
  chain.costNano += entry.costNano
  chain.creditNano += entry.creditNano
  chain.entries += 1
}

/** Compares the account with the sums of the entries and of the open reservations. */
function balanceFaults(tenant: Tenant, chain: EntryChain, open: readonly Reservation[]): string[] {
  const { postedNano, creditNano, reservedNano, state } = tenant
  const heldNano = open.reduce((sum, { boundNano }) => sum + boundNano, 0)
  const faults = [
    (chain.seq !== tenant.chainSeq || chain.hash !== tenant.chainHash) &&
      `the account is at entry ${tenant.chainSeq}, but the entries end at ${chain.seq}: the last entries are missing or foreign`,
    sumFault('posted', chain.costNano, postedNano),
    sumFault('credit', chain.creditNano, creditNano),
    sumFault('reserved', heldNano, reservedNano),
    state.running !== open.length && `${open.length} reservations are open, but the account counts ${state.running}`,
    postedNano + reservedNano > creditNano && 'posted plus reserved cost exceeds the credit',
  ]
  return faults.filter((fault) => typeof fault === 'string')
}

function sumFault(name: string, entriesNano: number, accountNano: number): string | undefined {
  if (entriesNano === accountNano) return undefined
  return `${name}: the entries add up to ${entriesNano} nano-dollars, the account has ${accountNano}`
}
