/**
 * The ledger's core: one account, one reservation per request, append-only entries.
 *
 *            reserve                post
 *   (none) ───────────▶ reserved ───────────▶ posted
 *                          │  └── void ─────▶ voided
 *                          └───── expire ───▶ expired        a closed reservation + a receipt ──▶ late entry
 *
 * Every operation takes the rows that it needs and returns the rows to write, so the caller can read and write in one
 * transaction. A repeated operation changes nothing and reports the repetition. Invariants of all operations:
 * `postedNano + reservedNano <= creditNano`, and the receipts of one request together post at most its bound.
 */
import { countsFault, widestBounds } from '../../../backends/model/counts.ts'
import { type Counts, nanoMax } from '../../../backends/model/money.ts'
import { isDispatchOf } from '../../../backends/wire/dispatch.ts'

export interface Account {
  /** Sum of prepaid credits, in nano-dollars: the most that the tenant may spend in total. */
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
  /** Null for a request that an older version admitted. */
  details?: RequestDetails | null
}

/** Facts of a request that its receipt does not repeat. */
export interface RequestDetails {
  model: string
  endUser: string | null
  tags: readonly string[]
  /** A worker failed at it. */
  failed: boolean
  /** Sum of the corrections while it ran. */
  correctedNano?: number
}

/** A `reversal` takes back a credit. It is not usage, so it costs nothing and no billing system gets it. */
export const entryKinds = ['post', 'void', 'expire', 'late', 'waste', 'credit', 'reversal', 'correction'] as const
export type EntryKind = (typeof entryKinds)[number]

export interface LedgerEntry {
  /** Null for entries that belong to no request: credits, and corrections of the whole account. */
  requestId: string | null
  /** The receipt's dispatch; null for entries without a receipt. At most one entry per dispatch. */
  dispatchId: string | null
  kind: EntryKind
  /** Amount added to the posted sum; negative for a refund. */
  costNano: number
  /** Amount added to the credit; negative for a reversal, and 0 for the other kinds. */
  creditNano: number
  /** Cost that exceeded the bound, or for a late receipt the remaining account and budgets. The operator bears it. */
  shortNano: number
  counts: Counts | null
  estimated: boolean
  at: number
}

/** The part of a receipt that the ledger uses. */
export interface Charge {
  requestId: string
  dispatchId: string
  costNano: number
  counts: Counts
  estimated: boolean
  /** The engine or worker failed, or another dispatch is paid for. The charge is recorded as waste and never billed. */
  failed: boolean
}

/** Effects of earlier receipts of the same request. */
export interface EarlierReceipts {
  /** Whether this dispatch already has an entry. */
  known: boolean
  /** Sum that all receipts of the request have posted. */
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
  /** No worker can have counted this charge; see `chargeFault`. */
  | { answer: 'impossible'; reason: string }

export type Closed =
  | { answer: 'voided' | 'expired'; account: Account; reservation: Reservation; entry: LedgerEntry }
  | { answer: 'already-posted' | 'already-voided' | 'already-expired' | 'unknown' }

export function leftNano(account: Account): number {
  return account.creditNano - account.postedNano - account.reservedNano
}

/** Reserves `request.boundNano` for a request until it is posted, voided or expired. */
export function reserve(
  account: Account,
  existing: Reservation | undefined,
  request: Pick<Reservation, 'requestId' | 'keyId' | 'boundNano' | 'boundTokens' | 'expiresAt'>,
  now: number,
): Reserved {
  if (existing) {
    return { answer: existing.boundNano === request.boundNano ? 'exists' : 'exists-with-different-amount' }
  }
  const left = leftNano(account)
  if (request.boundNano > left) return { answer: 'insufficient', leftNano: left }
  return {
    answer: 'reserved',
    account: { ...account, reservedNano: account.reservedNano + request.boundNano },
    reservation: { ...request, state: 'reserved', openedAt: now },
  }
}

/** Raises an open reservation to `boundNano`, if the worker's exact prompt count exceeds the estimate. */
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
 * Settles a receipt. The first receipt of a reserved request closes its reservation. Any other receipt (of a second
 * attempt, or after void or expiry) becomes an entry of its own. It charges at most the rest of the request's bound,
 * the remaining credit, and `lateNano`, the rest of the key's and tenant's budgets. A failed attempt leaves the
 * reservation open for the next attempt; the edge closes it if there is none.
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
 * Why a charge is impossible for any sender; undefined if it is possible. The numbered dispatch id also bounds the
 * number of entries of one request, because each dispatch has one entry.
 */
function chargeFault({ requestId, dispatchId, costNano, counts }: Charge): string | undefined {
  if (!isDispatchOf(requestId, dispatchId)) return 'dispatchId: not a dispatch of this request'
  if (!Number.isSafeInteger(costNano) || costNano < 0) return `costNano: must be a whole number from 0 to ${nanoMax}`
  return countsFault(counts, widestBounds)
}

function entryOf(charge: Charge, kind: LedgerEntry['kind'], costNano: number, at: number): LedgerEntry {
  const { requestId, dispatchId, counts, estimated } = charge
  const shortNano = charge.failed ? 0 : charge.costNano - costNano
  return { requestId, dispatchId, kind, costNano, creditNano: 0, shortNano, counts, estimated, at }
}

/** Closes a reservation for which nothing was generated (void), or for which no receipt arrived in time (expire). */
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

/** Takes back prepaid credit: at most the part that is neither spent nor reserved. */
export function reverse(
  account: Account,
  creditNano: number,
  now: number,
): { answer: 'reversed'; account: Account; entry: LedgerEntry } | { answer: 'too-much' } {
  if (creditNano > leftNano(account)) return { answer: 'too-much' }
  return {
    answer: 'reversed',
    account: { ...account, creditNano: account.creditNano - creditNano },
    entry: { ...plainEntry, kind: 'reversal', creditNano: -creditNano, at: now },
  }
}

/** A request whose cost is corrected, with the sum of its charges and corrections so far. */
export interface ChargedRequest {
  requestId: string
  chargedNano: number
}

/**
 * Corrects the posted sum with a new entry; entries are never edited. `costNano` is added, negative for a refund. It
 * can neither refund more than its request was charged, or without a request more than was posted, nor charge more than
 * the remaining credit.
 */
export function correct(
  account: Account,
  request: ChargedRequest | null,
  costNano: number,
  now: number,
): { answer: 'corrected'; account: Account; entry: LedgerEntry } | { answer: 'too-much'; leftNano: number } {
  const refundable = Math.min(account.postedNano, request?.chargedNano ?? account.postedNano)
  const left = costNano < 0 ? refundable : leftNano(account)
  if (Math.abs(costNano) > left) return { answer: 'too-much', leftNano: left }
  return {
    answer: 'corrected',
    account: { ...account, postedNano: account.postedNano + costNano },
    entry: { ...plainEntry, requestId: request?.requestId ?? null, kind: 'correction', costNano, at: now },
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
