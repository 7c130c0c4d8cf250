/**
 * The table `money_entries`: credits, reversals, corrections, and every other entry that is no usage. Unlike the
 * ledger's entries they are never pruned, so that a statement of any month adds up. An operator posts each one.
 */
import type { LedgerEntry } from '../ledger/ledger.ts'
import type { Period } from '../limits/calendar.ts'
import { exactSum, int, maybeText, type Sql, type SqlRow, text } from './sql.ts'

export interface MoneyEntryRow {
  /** Number of the entry in the ledger; 0 for the sum of those that were pruned before this table existed. */
  entry: number
  at: number
  kind: string
  /** Negative for a reversal. */
  creditNano: number
  /** Negative for a refund. */
  costNano: number
  requestId: string | null
  note: string | null
  /** The operator's id. */
  id: string | null
}

export interface MoneySums {
  /** Sum of positive and of negative credits, and of charges and refunds by correction. */
  creditsNano: number
  reversalsNano: number
  chargesNano: number
  refundsNano: number
}

export class MoneyRows {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  /** Adds the entry if it is no usage of a request. */
  add(seq: number, { at, kind, creditNano, costNano, requestId }: LedgerEntry, note: string | null): void {
    if (kind !== 'correction' && creditNano === 0) return
    this.#sql.run(
      'INSERT INTO money_entries VALUES (?, ?, ?, ?, ?, ?, ?)',
      ...[seq, at, kind, creditNano, costNano, requestId, note],
    )
  }

  sums({ from, to }: Period): MoneySums {
    const sum = (column: string, sign: string) => exactSum(`CASE WHEN ${column} ${sign} 0 THEN ${column} ELSE 0 END`)
    const query = `SELECT ${sum('credit_nano', '>')} AS credits, ${sum('credit_nano', '<')} AS reversals,
      ${sum('cost_nano', '>')} AS charges, ${sum('cost_nano', '<')} AS refunds
      FROM money_entries WHERE at >= ? AND at < ?`
    const row = this.#sql.all(query, from, to)[0] ?? {}
    return {
      creditsNano: int(row, 'credits'),
      reversalsNano: int(row, 'reversals'),
      chargesNano: int(row, 'charges'),
      refundsNano: int(row, 'refunds'),
    }
  }

  /** In order; one more than `limit` if there are more. */
  list({ from, to }: Period, limit: number): MoneyEntryRow[] {
    const query = `SELECT money_entries.*, order_id FROM money_entries LEFT JOIN orders ON orders.seq = entry
      WHERE at >= ? AND at < ? ORDER BY at, entry LIMIT ?`
    return this.#sql.all(query, from, to, limit + 1).map(readMoney)
  }
}

function readMoney(row: SqlRow): MoneyEntryRow {
  return {
    entry: int(row, 'entry'),
    at: int(row, 'at'),
    kind: text(row, 'kind'),
    creditNano: int(row, 'credit_nano'),
    costNano: int(row, 'cost_nano'),
    requestId: maybeText(row, 'request_id'),
    note: maybeText(row, 'note'),
    id: maybeText(row, 'order_id'),
  }
}
