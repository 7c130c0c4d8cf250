/**
 * The ledger's core: one account, one booking per request, entries that are only ever added.
 *
 *            reserve                post
 *   (none) ───────────▶ reserved ───────────▶ posted
 *                          │  └── void ─────▶ voided
 *                          └───── expire ───▶ expired        any closed booking + a receipt ──▶ late entry
 *
 * Every operation is given the rows it needs and returns the rows to write, so that the caller can do both in one
 * transaction. A repeated operation changes nothing and says so. The invariants that all of them keep:
 * `postedNano + reservedNano <= creditNano`, and the receipts of one request together post at most its bound.
 */
import { countsFault, widestBounds } from '../../../backends/model/counts.ts'
import { type Counts, nanoMax } from '../../../backends/model/money.ts'
import { isDispatchOf } from '../../../backends/wire/dispatch.ts'

export interface Account {
  /** What the tenant may spend in all, in nano-dollars: prepaid credits. */
  creditNano: number
  postedNano: number
  /** Bounds of the open reservations. */
  reservedNano: number
}

export interface Reservation {
  requestId: string
  keyId: string
  state: 'reserved' | 'posted' | 'voided' | 'expired'
  boundNano: number
  /** Tokens taken from the rate limits, prompt and output together. */
  boundTokens: number
  /** Unix milliseconds. */
  openedAt: number
  expiresAt: number
}

export interface LedgerEntry {
  /** Null for entries that belong to no request: credits, and corrections of the whole account. */
  requestId: string | null
  /** The receipt's dispatch; null for entries that no worker stands behind. An entry per dispatch, at most. */
  dispatchId: string | null
  kind: 'post' | 'void' | 'expire' | 'late' | 'waste' | 'credit' | 'correction'
  /** What it adds to the posted sum; a correction may take away. */
  costNano: number
  /** What it adds to the credit; only a credit does. */
  creditNano: number
  /** What a late receipt asked for beyond what the account still held; carried by the operator, never by the budget. */
  shortNano: number
  counts: Counts | null
  estimated: boolean
  at: number
}

/** What a receipt says, as far as the ledger cares. */
export interface Charge {
  requestId: string
  dispatchId: string
  costNano: number
  counts: Counts
  estimated: boolean
  /** The engine or worker died over it, or another dispatch is paid for: counted as waste, never billed. */
  failed: boolean
}

/** What earlier receipts of the same request have left. */
export interface EarlierReceipts {
  /** This dispatch has its entry. */
  known: boolean
  /** What all receipts of the request have posted. */
  postedNano: number
}

export type Reserved =
  | { answer: 'reserved'; account: Account; reservation: Reservation }
  | { answer: 'exists' | 'exists-with-different-amount' }
  | { answer: 'insufficient'; leftNano: number }

export type Raised =
  | { answer: 'raised'; account: Account; reservation: Reservation }
  | { answer: 'not-reserved' }
  | { answer: 'insufficient'; leftNano: number }

export type SettleResult =
  | { answer: 'posted' | 'late' | 'wasted'; account: Account; reservation: Reservation; entry: LedgerEntry }
  | { answer: 'already-posted' }
  | { answer: 'unknown' }
  /** No worker can have counted this; see `chargeFault`. */
  | { answer: 'impossible'; reason: string }

export type Closed =
  | { answer: 'voided' | 'expired'; account: Account; reservation: Reservation; entry: LedgerEntry }
  | { answer: 'already-posted' | 'already-voided' | 'already-expired' | 'unknown' }

export function leftNano(account: Account): number {
  return account.creditNano - account.postedNano - account.reservedNano
}

/** Holds `order.boundNano` for a request until it is posted, voided or expired. */
export function reserve(
  account: Account,
  existing: Reservation | undefined,
  order: Pick<Reservation, 'requestId' | 'keyId' | 'boundNano' | 'boundTokens' | 'expiresAt'>,
  now: number,
): Reserved {
  if (existing) {
    return { answer: existing.boundNano === order.boundNano ? 'exists' : 'exists-with-different-amount' }
  }
  const left = leftNano(account)
  if (order.boundNano > left) return { answer: 'insufficient', leftNano: left }
  return {
    answer: 'reserved',
    account: { ...account, reservedNano: account.reservedNano + order.boundNano },
    reservation: { ...order, state: 'reserved', openedAt: now },
  }
}

/** Raises an open reservation to `boundNano`, when the worker's exact count says that the first bound was too small. */
export function raise(account: Account, reservation: Reservation | undefined, boundNano: number): Raised {
  if (reservation?.state !== 'reserved') return { answer: 'not-reserved' }
  const extra = Math.max(0, boundNano - reservation.boundNano)
  const left = leftNano(account)
  if (extra > left) return { answer: 'insufficient', leftNano: left }
  return {
    answer: 'raised',
    account: { ...account, reservedNano: account.reservedNano + extra },
    reservation: { ...reservation, boundNano: reservation.boundNano + extra },
  }
}

/**
 * Settles a receipt. The first receipt of a reserved request closes it. Any other (a second attempt's, or one that comes
 * after void or expiry) is an entry of its own. It takes at most the rest of the request's bound, the rest
 * of the account, and `lateNano`: what other budgets than the account's still hold. A failed attempt leaves the reservation open,
 * for the attempt that follows it; the edge closes it when none does.
 */
export function settle(
  account: Account,
  reservation: Reservation | undefined,
  past: EarlierReceipts,
  charge: Charge,
  lateNano: number,
  now: number,
): SettleResult {
  if (!reservation) return { answer: 'unknown' }
  const reason = chargeFault(charge)
  if (reason !== undefined) return { answer: 'impossible', reason }
  if (past.known) return { answer: 'already-posted' }
  if (charge.failed) return { answer: 'wasted', account, reservation, entry: entryOf(charge, 'waste', 0, now) }
  const wanted = Math.min(charge.costNano, Math.max(0, reservation.boundNano - past.postedNano))
  const open = reservation.state === 'reserved'
  const costNano = open ? wanted : Math.min(wanted, Math.max(0, Math.min(lateNano, leftNano(account))))
  const entry = entryOf(charge, open ? 'post' : 'late', costNano, now)
  return {
    answer: open ? 'posted' : 'late',
    account: {
      ...account,
      postedNano: account.postedNano + costNano,
      reservedNano: account.reservedNano - (open ? reservation.boundNano : 0),
    },
    reservation: { ...reservation, state: open ? 'posted' : reservation.state },
    entry,
  }
}

/**
 * What makes a charge impossible from any sender. The numbered dispatch id also bounds the entries of one request: there
 * is one per dispatch.
 */
function chargeFault({ requestId, dispatchId, costNano, counts }: Charge): string | undefined {
  if (!isDispatchOf(requestId, dispatchId)) return 'dispatchId: is no dispatch of this request'
  if (!Number.isSafeInteger(costNano) || costNano < 0) return `costNano: must be a whole number from 0 to ${nanoMax}`
  return countsFault(counts, widestBounds)
}

function entryOf(charge: Charge, kind: LedgerEntry['kind'], costNano: number, at: number): LedgerEntry {
  const { requestId, dispatchId, counts, estimated } = charge
  const shortNano = charge.failed ? 0 : charge.costNano - costNano
  return { requestId, dispatchId, kind, costNano, creditNano: 0, shortNano, counts, estimated, at }
}

/** Closes a reservation of which nothing was generated (void), or of which nothing was heard in time (expire). */
export function close(
  account: Account,
  reservation: Reservation | undefined,
  kind: 'void' | 'expire',
  now: number,
): Closed {
  if (!reservation) return { answer: 'unknown' }
  if (reservation.state !== 'reserved') return { answer: `already-${reservation.state}` }
  const entry: LedgerEntry = { ...plainEntry, requestId: reservation.requestId, kind, at: now }
  const state = kind === 'void' ? 'voided' : 'expired'
  return {
    answer: state,
    account: { ...account, reservedNano: account.reservedNano - reservation.boundNano },
    reservation: { ...reservation, state },
    entry,
  }
}

/** Adds prepaid credit. */
export function credit(account: Account, creditNano: number, now: number): { account: Account; entry: LedgerEntry } {
  return {
    account: { ...account, creditNano: account.creditNano + creditNano },
    entry: { ...plainEntry, kind: 'credit', creditNano, at: now },
  }
}

/**
 * Corrects what was posted, by a new entry: entries are never edited. `costNano` is what is added, negative for a
 * refund; it can neither refund more than was posted nor charge more than is left.
 */
export function correct(
  account: Account,
  requestId: string | null,
  costNano: number,
  now: number,
): { answer: 'corrected'; account: Account; entry: LedgerEntry } | { answer: 'too-much' } {
  if (costNano > leftNano(account) || account.postedNano + costNano < 0) return { answer: 'too-much' }
  return {
    answer: 'corrected',
    account: { ...account, postedNano: account.postedNano + costNano },
    entry: { ...plainEntry, requestId, kind: 'correction', costNano, at: now },
  }
}

const plainEntry = {
  requestId: null,
  dispatchId: null,
  costNano: 0,
  creditNano: 0,
  shortNano: 0,
  counts: null,
  estimated: false,
} as const
