/** The table `orders`: credits and corrections by the operator's own id, so that a repeated one is applied once. */
import { int, type Sql, type SqlRow } from './sql.ts'

export interface MoneyOrder {
  orderId: string
  kind: 'credit' | 'correction'
  requestId: string | null
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

  add({ orderId, kind, requestId, amountNano }: MoneyOrder, seq: number): void {
    this.#sql.run('INSERT INTO orders VALUES (?, ?, ?, ?, ?)', orderId, kind, requestId, amountNano, seq)
  }
}

function isSame(row: SqlRow, { kind, requestId, amountNano }: MoneyOrder): boolean {
  return row.kind === kind && row.amount_nano === amountNano && row.request_id === requestId
}
