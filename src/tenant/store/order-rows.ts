/** The table `orders`: credits, reversals and corrections by the operator's own id, so that a repeated one is applied once. */
import { exactSum, int, type Sql, type SqlRow } from './sql.ts'

export interface MoneyOrder {
  orderId: string
  kind: 'credit' | 'reversal' | 'correction'
  /** Of a correction: the request that it corrects. */
  requestId: string | null
  /** Of a reversal: the order id of its credit. */
  creditId: string | null
  /** Added to the credit or to the cost; of a reversal, the positive amount that it takes back. */
  amountNano: number
}

export class OrderRows {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  /** The number of the entry that this id posted, and whether `order` equals the earlier one. */
  find(order: MoneyOrder): { seq: number; same: boolean } | undefined {
    const row = this.#sql.all('SELECT * FROM orders WHERE order_id = ?', order.orderId)[0]
    return row && { seq: int(row, 'seq'), same: isSame(row, order) }
  }

  /** The amount of a credit that is not reversed; undefined if this id posted no credit. */
  unreversedNano(creditId: string): number | undefined {
    const credit = this.#sql.all("SELECT amount_nano FROM orders WHERE order_id = ? AND kind = 'credit'", creditId)[0]
    if (!credit) return undefined
    const query = `SELECT ${exactSum('amount_nano')} AS reversed FROM orders WHERE kind = 'reversal' AND credit_id = ?`
    return int(credit, 'amount_nano') - int(this.#sql.all(query, creditId)[0] ?? { reversed: 0 }, 'reversed')
  }

  /** The sum of the reversals whose order ids begin with `sourceId` and a colon. */
  reversedFor(sourceId: string): number {
    const query = `SELECT ${exactSum('amount_nano')} AS reversed FROM orders WHERE kind = 'reversal' AND order_id >= ? AND order_id < ?`
    return int(this.#sql.all(query, `${sourceId}:`, `${sourceId};`)[0] ?? { reversed: 0 }, 'reversed')
  }

  add({ orderId, kind, requestId, creditId, amountNano }: MoneyOrder, seq: number): void {
    const values = [orderId, kind, requestId, creditId, amountNano, seq]
    this.#sql.run(
      'INSERT INTO orders (order_id, kind, request_id, credit_id, amount_nano, seq) VALUES (?, ?, ?, ?, ?, ?)',
      ...values,
    )
  }
}

function isSame(row: SqlRow, { kind, requestId, creditId, amountNano }: MoneyOrder): boolean {
  const { request_id, credit_id, amount_nano } = row
  return row.kind === kind && amount_nano === amountNano && request_id === requestId && credit_id === creditId
}
