/** Presence on disk and in memory. */
import type { Presence } from './presence.ts'

export class PresenceRows {
  readonly #sql: SqlStorage
  readonly #rows = new Map<string, Presence>()

  constructor(sql: SqlStorage) {
    this.#sql = sql
    sql.exec(`CREATE TABLE IF NOT EXISTS presence (worker_id TEXT PRIMARY KEY, missed_at INTEGER,
      lost INTEGER NOT NULL) WITHOUT ROWID`)
    for (const row of sql.exec('SELECT * FROM presence').toArray()) {
      const workerId = String(row.worker_id)
      const missedAt = row.missed_at === null ? null : Number(row.missed_at)
      this.#rows.set(workerId, { workerId, missedAt, lost: row.lost === 1 })
    }
  }

  all(): Presence[] {
    return [...this.#rows.values()]
  }

  has(workerId: string): boolean {
    return this.#rows.has(workerId)
  }

  put(row: Presence): void {
    const { workerId, missedAt, lost } = row
    this.#sql.exec('INSERT OR REPLACE INTO presence VALUES (?, ?, ?)', workerId, missedAt, lost ? 1 : 0)
    this.#rows.set(workerId, row)
  }

  remove(workerId: string): void {
    if (!this.#rows.delete(workerId)) return
    this.#sql.exec('DELETE FROM presence WHERE worker_id = ?', workerId)
  }
}
