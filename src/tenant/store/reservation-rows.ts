/** Reservations: open ones in memory and in the table `reservations`, closed ones in the table `bookings`. */
import { z } from 'zod'
import type { RequestDetails, Reservation } from '../ledger/ledger.ts'
import type { OpenReservations } from './open-reservations.ts'
import { type RequestRows, readTags } from './request-rows.ts'
import { int, maybeText, type Sql, type SqlRow, text } from './sql.ts'

export class ReservationRows {
  readonly #sql: Sql
  readonly #open: OpenReservations
  readonly #requests: RequestRows
  #lastClosed: string

  constructor(sql: Sql, open: OpenReservations, requests: RequestRows) {
    this.#sql = sql
    this.#open = open
    this.#requests = requests
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
    const { requestId, keyId, state, boundNano, boundTokens, openedAt, expiresAt, details } = reservation
    if (this.#open.get(requestId)) this.#requests.addLabels(reservation)
    this.#open.remove(requestId)
    if (requestId > this.#lastClosed) this.#lastClosed = requestId
    // A posted one gets its outcome from its receipt.
    const outcome = details?.failed ? 'failed' : state
    this.#sql.run(
      `INSERT INTO bookings (request_id, key_id, state, bound_nano, bound_tokens, opened_at, expires_at, model, end_user,
        tags, outcome, cost_nano) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET key_id = excluded.key_id, state = excluded.state, bound_nano = excluded.bound_nano,
          bound_tokens = excluded.bound_tokens, opened_at = excluded.opened_at, expires_at = excluded.expires_at`,
      ...[requestId, keyId, state, boundNano, boundTokens, openedAt, expiresAt, details?.model ?? null],
      ...[details?.endUser ?? null, details?.tags.length ? JSON.stringify(details.tags) : null],
      ...[state === 'posted' ? null : outcome, details?.correctedNano ?? null],
    )
  }
}

/** The greatest request id of a closed reservation. SQLite compares text byte by byte. */
function lastClosed(sql: Sql): string {
  return String(sql.all('SELECT max(request_id) AS id FROM bookings')[0]?.id ?? '')
}

const ClosedState = z.enum(['posted', 'voided', 'expired'])

function readDetails(row: SqlRow): RequestDetails | null {
  const model = maybeText(row, 'model')
  if (model === null) return null
  return { model, endUser: maybeText(row, 'end_user'), tags: readTags(row), failed: false }
}

function readClosed(row: SqlRow): Reservation {
  return {
    requestId: text(row, 'request_id'),
    keyId: text(row, 'key_id'),
    state: ClosedState.parse(row.state),
    boundNano: int(row, 'bound_nano'),
    boundTokens: int(row, 'bound_tokens'),
    openedAt: int(row, 'opened_at'),
    expiresAt: int(row, 'expires_at'),
    details: readDetails(row),
  }
}
