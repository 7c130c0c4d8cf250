/** The table `pruned`, which has one row: where the remaining entries start, and the sums of the pruned ones. */
import { chainStart } from '../ledger/hash-chain.ts'
import { eachLabel } from '../usage/labels.ts'
import type { OpenReservations } from './open-reservations.ts'
import { readTags } from './request-rows.ts'
import { int, maybeText, type Sql, type SqlRow, text } from './sql.ts'

export interface Pruned {
  /** Number and hash of the last pruned entry. */
  seq: number
  hash: string
  /** Sums of the pruned entries. */
  costNano: number
  creditNano: number
}

export class PrunedRows {
  readonly #sql: Sql
  readonly #open: OpenReservations

  constructor(sql: Sql, open: OpenReservations) {
    this.#sql = sql
    this.#open = open
  }

  find(): Pruned {
    const row = this.#sql.all('SELECT * FROM pruned WHERE id = 1')[0]
    if (!row) return { seq: 0, hash: chainStart, costNano: 0, creditNano: 0 }
    return {
      seq: int(row, 'seq'),
      hash: text(row, 'hash'),
      costNano: int(row, 'cost_nano'),
      creditNano: int(row, 'credit_nano'),
    }
  }

  /**
   * Deletes entries and closed reservations older than `before`, at most `limit` of each, and stores the start of the
   * remaining chain and the sums. Returns the number of deleted rows. Only the oldest entries go, so no gap can hide a
   * loss.
   */
  prune(before: number, limit: number): number {
    const start = this.find()
    const old = this.#oldest(start.seq, before, limit)
    const last = old.at(-1)
    if (!last) return 0
    const sum = (column: string) => old.reduce((total, row) => total + int(row, column), 0)
    this.#put({
      seq: int(last, 'seq'),
      hash: text(last, 'hash'),
      costNano: start.costNano + sum('cost_nano'),
      creditNano: start.creditNano + sum('credit_nano'),
    })
    this.#sql.run('DELETE FROM entries WHERE seq <= ?', int(last, 'seq'))
    const closed = new Map(old.filter((row) => row.state !== null).map((row) => [text(row, 'request_id'), row]))
    for (const [requestId, row] of closed) {
      this.#sql.run('DELETE FROM bookings WHERE request_id = ?', requestId)
      for (const [label, value] of eachLabel({ endUser: maybeText(row, 'end_user'), tags: readTags(row) })) {
        const query = 'DELETE FROM request_labels WHERE label = ? AND value = ? AND request_id = ?'
        this.#sql.run(query, label, value, requestId)
      }
    }
    return old.length + closed.size
  }

  /** The entries to prune, with their closed reservations. */
  #oldest(afterSeq: number, before: number, limit: number): SqlRow[] {
    const rows = this.#sql.all(
      `SELECT seq, hash, entries.cost_nano, credit_nano, at, request_id, state, opened_at, end_user, tags FROM entries
        LEFT JOIN bookings USING (request_id) WHERE seq > ? ORDER BY seq LIMIT ?`,
      ...[afterSeq, limit],
    )
    // Stops at the first young entry or request: a repeated receipt must find both its entry and reservation, or
    // neither.
    const young = rows.findIndex(
      (row) =>
        int(row, 'at') >= before ||
        this.#open.get(String(row.request_id)) !== undefined ||
        (row.opened_at !== null && int(row, 'opened_at') >= before),
    )
    return young < 0 ? rows : rows.slice(0, young)
  }

  #put({ seq, hash, costNano, creditNano }: Pruned): void {
    this.#sql.run('INSERT OR REPLACE INTO pruned VALUES (1, ?, ?, ?, ?)', seq, hash, costNano, creditNano)
  }
}
