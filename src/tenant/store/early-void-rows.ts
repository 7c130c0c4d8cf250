/**
 * The table `early_voids`: requests that were voided before their admission arrived, because the admitting call was
 * delayed and its caller gave up. An admission after its void is refused, because no later call would close it.
 */
import { budgets } from '../../../backends/model/budgets.ts'
import { type Sql, text } from './sql.ts'

export class EarlyVoidRows {
  readonly #sql: Sql
  /** They are few, so all are in memory. */
  readonly #known = new Set<string>()

  constructor(sql: Sql) {
    this.#sql = sql
    this.reload()
  }

  reload(): void {
    this.#known.clear()
    const rows = this.#sql.all('SELECT request_id FROM early_voids ORDER BY seq')
    for (const row of rows) this.#known.add(text(row, 'request_id'))
  }

  has(requestId: string): boolean {
    return this.#known.has(requestId)
  }

  add(requestId: string): void {
    if (this.#known.has(requestId)) return
    this.#known.add(requestId)
    this.#sql.run('INSERT INTO early_voids (request_id) VALUES (?)', requestId)
    const [oldest] = this.#known
    if (this.#known.size <= budgets.earlyVoids.value || oldest === undefined) return
    this.#known.delete(oldest)
    this.#sql.run('DELETE FROM early_voids WHERE request_id = ?', oldest)
  }
}
