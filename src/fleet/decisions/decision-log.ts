/**
 * Decisions on disk, many per row, because each row costs a page. Lookup uses the row's range of request ids. Ids begin
 * with the time, so few ranges contain a given id. At the limit the oldest rows are deleted.
 */
import type { Decision, Decisions } from './decisions.ts'

/** About a kilobyte each. */
const decisionsMax = 50_000
/** Each takes a few milliseconds to read, in the object that leases all slots. */
const blocksMax = 8
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

  /**
   * Decisions in the order in which they were stored, newest first, from at most `blocksMax` rows.
   *
   * @param after the cursor of the last decision of the page before; empty for the newest
   */
  list(after: string, limit: number): { data: Decision[]; next: string | null } {
    const [seq = Number.MAX_SAFE_INTEGER, place = 0] = after === '' ? [] : after.split('.').map(Number)
    const query = 'SELECT seq, decisions FROM decisions WHERE seq <= ? ORDER BY seq DESC LIMIT ?'
    const rows = this.#sql.exec(query, seq, blocksMax).toArray()
    const data: Decision[] = []
    let next: string | null = null
    for (const row of rows) {
      const block = (JSON.parse(String(row.decisions)) as Decision[]).reverse()
      const from = row.seq === seq ? place : 0
      const some = block.slice(from, from + limit - data.length)
      data.push(...some)
      next = `${row.seq}.${from + some.length}`
      if (data.length >= limit) return { data, next }
    }
    return { data, next: rows.length < blocksMax ? null : next }
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

/** Decisions in memory, newest first, then those on disk. @param after the `next` of the page before; empty at first */
export function listDecisions(
  decisions: Decisions,
  book: DecisionBook,
  after: string,
  limit: number,
): { data: Decision[]; next: string | null } {
  if (/^\d/.test(after)) return book.list(after, limit)
  const kept = decisions.list(after)
  if (kept.length >= limit) return { data: kept.slice(0, limit), next: kept[limit - 1]?.requestId ?? null }
  const { data, next } = book.list('', limit - kept.length)
  return { data: [...kept, ...data], next }
}
