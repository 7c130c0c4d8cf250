/** Reservations: open ones in memory and in the table `reservations`, closed ones in the table `bookings`. */
import { z } from 'zod'
import type { Reservation } from '../ledger/ledger.ts'
import type { OpenReservations } from './open-reservations.ts'
import { int, type Sql, type SqlRow, text } from './sql.ts'

export class ReservationRows {
  readonly #sql: Sql
  readonly #open: OpenReservations
  #lastClosed: string

  constructor(sql: Sql, open: OpenReservations) {
    this.#sql = sql
    this.#open = open
    this.#lastClosed = lastClosed(sql)
  }

  reload(): void {
    this.#open.reload()
    this.#lastClosed = lastClosed(this.#sql)
  }

  find(requestId: string): Reservation | undefined {
    const open = this.#open.get(requestId)
    if (open) return open
    // Ids begin with the time, so a new request needs no lookup among the closed ones.
    if (requestId > this.#lastClosed) return undefined
    const row = this.#sql.all('SELECT * FROM bookings WHERE request_id = ?', requestId)[0]
    return row && readClosed(row)
  }

  open(): Reservation[] {
    return this.#open.all()
  }

  /** Open reservations that are due, the longest overdue first. */
  overdue(now: number, limit: number): Reservation[] {
    const due = this.open().filter((reservation) => reservation.expiresAt <= now)
    return due.sort((a, b) => a.expiresAt - b.expiresAt).slice(0, limit)
  }

  /** When the next open reservation is due; undefined if none is open. */
  nextDue(): number | undefined {
    const earlier = (due: number | undefined, { expiresAt }: Reservation) => Math.min(due ?? expiresAt, expiresAt)
    return this.open().reduce<number | undefined>(earlier, undefined)
  }

  put(reservation: Reservation): void {
    if (reservation.state === 'reserved') this.#open.put(reservation)
    else this.#putClosed(reservation)
  }

  #putClosed(reservation: Reservation): void {
    const { requestId, keyId, state, boundNano, boundTokens, openedAt, expiresAt } = reservation
    this.#open.remove(requestId)
    if (requestId > this.#lastClosed) this.#lastClosed = requestId
    this.#sql.run(
      'INSERT OR REPLACE INTO bookings VALUES (?, ?, ?, ?, ?, ?, ?)',
      ...[requestId, keyId, state, boundNano, boundTokens, openedAt, expiresAt],
    )
  }
}

/** The greatest request id of a closed reservation. SQLite compares text byte by byte. */
function lastClosed(sql: Sql): string {
  return String(sql.all('SELECT max(request_id) AS id FROM bookings')[0]?.id ?? '')
}

const ClosedState = z.enum(['posted', 'voided', 'expired'])

function readClosed(row: SqlRow): Reservation {
  return {
    requestId: text(row, 'request_id'),
    keyId: text(row, 'key_id'),
    state: ClosedState.parse(row.state),
    boundNano: int(row, 'bound_nano'),
    boundTokens: int(row, 'bound_tokens'),
    openedAt: int(row, 'opened_at'),
    expiresAt: int(row, 'expires_at'),
  }
}
