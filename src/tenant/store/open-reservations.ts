/**
 * The table `reservations`: open reservations, with the balances that their admissions changed. All are in memory too.
 *
 * The cost of a commit is the number of pages that it writes. An admission adds a reservation, and changes the
 * account's balances and its key's counts: with one row each, three pages, and one more per key in a shared commit. So
 * an admission writes one row: the new reservation carries the newest balances and its key's newest state. Closing a
 * reservation writes the rows of account and key.
 *
 * Numbers decide which copy is newer. Reservations are numbered in order of arrival, and the `version` of an account or
 * key row is the number of the last reservation that it includes.
 */
import { z } from 'zod'
import type { Account, RequestDetails, Reservation } from '../ledger/ledger.ts'
import type { LimitState } from '../limits/limits.ts'
import { LimitStateColumn, StoredInt } from './limit-columns.ts'
import { int, type Sql, type SqlRow, text } from './sql.ts'

export interface Balances extends Account {
  chainSeq: number
  chainHash: string
  state: LimitState
}

export interface KeyState {
  state: LimitState
  lastUsedAt: number | null
}

const BalancesColumn = z.object({
  creditNano: StoredInt,
  postedNano: StoredInt,
  reservedNano: StoredInt,
  chainSeq: StoredInt,
  chainHash: z.string(),
  state: LimitStateColumn,
}) satisfies z.ZodType<Balances>
const KeyStateColumn = z.object({
  state: LimitStateColumn,
  lastUsedAt: z.number().nullable(),
}) satisfies z.ZodType<KeyState>

const DetailsColumn = z.object({
  model: z.string(),
  endUser: z.string().nullable(),
  tags: z.array(z.string()),
  failed: z.boolean(),
  correctedNano: z.number().exactOptional(),
}) satisfies z.ZodType<RequestDetails>

interface Carried<Value> {
  seq: number
  value: Value
}

interface AddedReservation {
  reservation: Reservation
  balances?: Balances
  keyState?: KeyState
}

export class OpenReservations {
  readonly #sql: Sql
  readonly #open = new Map<string, { seq: number; reservation: Reservation }>()
  /** Number of the last reservation. */
  #last = 0
  #balances: Carried<Balances> | undefined
  readonly #keyStates = new Map<string, Carried<KeyState>>()
  /** Added in this transaction and written at its end, by `seq`. */
  readonly #added = new Map<number, AddedReservation>()
  /** `seq` of the last one added for each key. */
  readonly #addedFor = new Map<string, number>()

  constructor(sql: Sql) {
    this.#sql = sql
    this.reload()
  }

  /** Reads the table again, after a transaction was rolled back. */
  reload(): void {
    for (const each of [this.#open, this.#keyStates, this.#added, this.#addedFor]) each.clear()
    this.#balances = undefined
    const account = this.#sql.all('SELECT version FROM account')[0]
    this.#last = account ? int(account, 'version') : 0
    for (const row of this.#sql.all('SELECT * FROM reservations ORDER BY seq')) this.#load(row)
  }

  get(requestId: string): Reservation | undefined {
    return this.#open.get(requestId)?.reservation
  }

  all(): Reservation[] {
    return [...this.#open.values()].map(({ reservation }) => reservation)
  }

  put(reservation: Reservation): void {
    const { requestId, keyId, boundNano, boundTokens, openedAt, expiresAt, details } = reservation
    const known = this.#open.get(requestId)
    const seq = known?.seq ?? ++this.#last
    this.#open.set(requestId, { seq, reservation })
    if (!known || this.#added.has(seq)) {
      this.#added.set(seq, { reservation })
      this.#addedFor.set(keyId, seq)
      return
    }
    this.#sql.run(
      `UPDATE reservations SET bound_nano = ?, bound_tokens = ?, opened_at = ?, expires_at = ?, details = ?
        WHERE seq = ?`,
      ...[boundNano, boundTokens, openedAt, expiresAt, details ? JSON.stringify(details) : null, seq],
    )
  }

  /** The caller must write the account and the key afterwards, or the carried state is lost. */
  remove(requestId: string): void {
    const known = this.#open.get(requestId)
    if (!known) return
    this.#open.delete(requestId)
    if (!this.#added.delete(known.seq)) this.#sql.run('DELETE FROM reservations WHERE seq = ?', known.seq)
  }

  /** The `version` to store in a row of account or key. */
  version(): number {
    return this.#last
  }

  /** The account from its row, or from a newer reservation that carries it. */
  account<Row extends Balances>(row: Row, version: number): Row {
    return newest(row, version, this.#balances)
  }

  key<Row extends KeyState & { keyId: string }>(row: Row, version: number): Row {
    return newest(row, version, this.#keyStates.get(row.keyId))
  }

  /** Returns false if this transaction added no reservation that can carry the account. Then the caller writes it. */
  carryAccount({ creditNano, postedNano, reservedNano, chainSeq, chainHash, state }: Balances): boolean {
    this.#balances = undefined
    const seq = [...this.#addedFor.values()].at(-1)
    const row = seq === undefined ? undefined : this.#added.get(seq)
    if (seq === undefined || !row) return false
    row.balances = { creditNano, postedNano, reservedNano, chainSeq, chainHash, state }
    this.#balances = { seq, value: row.balances }
    return true
  }

  carryKey({ keyId, state, lastUsedAt }: KeyState & { keyId: string }): boolean {
    this.#keyStates.delete(keyId)
    const seq = this.#addedFor.get(keyId)
    const row = seq === undefined ? undefined : this.#added.get(seq)
    if (seq === undefined || !row) return false
    row.keyState = { state, lastUsedAt }
    this.#keyStates.set(keyId, { seq, value: row.keyState })
    return true
  }

  /** Call at the end of a transaction: writes the added reservations with the state that they carry. */
  write(): void {
    for (const [seq, added] of this.#added) this.#insert(seq, added)
    this.#added.clear()
    this.#addedFor.clear()
  }

  #insert(seq: number, { reservation, balances, keyState }: AddedReservation): void {
    const { requestId, keyId, boundNano, boundTokens, openedAt, expiresAt, details } = reservation
    this.#sql.run(
      'INSERT INTO reservations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
      ...[seq, requestId, keyId, boundNano, boundTokens, openedAt, expiresAt],
      ...[balances ? JSON.stringify(balances) : null, keyState ? JSON.stringify(keyState) : null],
      details ? JSON.stringify(details) : null,
    )
  }

  #load(row: SqlRow): void {
    const seq = int(row, 'seq')
    this.#last = Math.max(this.#last, seq)
    const reservation = readOpen(row)
    this.#open.set(reservation.requestId, { seq, reservation })
    if (row.balances !== null) this.#balances = { seq, value: BalancesColumn.parse(JSON.parse(text(row, 'balances'))) }
    if (row.key_state !== null)
      this.#keyStates.set(reservation.keyId, { seq, value: KeyStateColumn.parse(JSON.parse(text(row, 'key_state'))) })
  }
}

function newest<Row extends Value, Value>(row: Row, version: number, carried: Carried<Value> | undefined): Row {
  return carried && carried.seq > version ? { ...row, ...carried.value } : row
}

function readOpen(row: SqlRow): Reservation {
  return {
    requestId: text(row, 'request_id'),
    keyId: text(row, 'key_id'),
    state: 'reserved',
    boundNano: int(row, 'bound_nano'),
    boundTokens: int(row, 'bound_tokens'),
    openedAt: int(row, 'opened_at'),
    expiresAt: int(row, 'expires_at'),
    details: row.details === null ? null : DetailsColumn.parse(JSON.parse(text(row, 'details'))),
  }
}
