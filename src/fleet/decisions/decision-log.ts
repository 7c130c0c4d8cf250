/**
 * Decisions on disk, many per row, because each row costs a page. Lookup uses the row's range of request ids. Ids begin
 * with the time, so few ranges contain a given id. At the limit the oldest rows are deleted.
 */
import type { Decision } from './decisions.ts'

/** About a kilobyte each. */
const decisionsMax = 50_000
/** A row is limited to two megabytes. */
const perRowMax = 500

export class DecisionBook {
  readonly #sql: SqlStorage
  #count: number

  constructor(sql: SqlStorage) {
    this.#sql = sql
    sql.exec(`CREATE TABLE IF NOT EXISTS decisions (seq INTEGER PRIMARY KEY, from_id TEXT NOT NULL, to_id TEXT NOT NULL,
      count INTEGER NOT NULL, decisions TEXT NOT NULL)`)
    sql.exec('CREATE INDEX IF NOT EXISTS decision_ids ON decisions (to_id, from_id)')
    this.#count = Number(sql.exec('SELECT coalesce(sum(count), 0) AS n FROM decisions').one().n)
  }

  add(decisions: readonly Decision[]): void {
    for (let from = 0; from < decisions.length; from += perRowMax) {
      const some = decisions.slice(from, from + perRowMax)
      const ids = some.map(({ requestId }) => requestId).sort()
      this.#sql.exec(
        'INSERT INTO decisions (from_id, to_id, count, decisions) VALUES (?, ?, ?, ?)',
        ...[ids[0], ids.at(-1), some.length, JSON.stringify(some)],
      )
      this.#count += some.length
    }
    while (this.#count > decisionsMax) {
      const query = 'DELETE FROM decisions WHERE seq = (SELECT min(seq) FROM decisions) RETURNING count'
      this.#count -= Number(this.#sql.exec(query).one().count)
    }
  }

  /** Returns the newest version if a request was retried after its decision was stored. */
  find(requestId: string): Decision | undefined {
    const query = 'SELECT decisions FROM decisions WHERE to_id >= ? AND from_id <= ? ORDER BY seq DESC'
    for (const row of this.#sql.exec(query, requestId, requestId)) {
      const decisions = JSON.parse(String(row.decisions)) as Decision[]
      const found = decisions.find((decision) => decision.requestId === requestId)
      if (found) return found
    }
    return undefined
  }
}
