/** Enrolments and key fences on disk: they are the operator's decisions, which no heartbeat repeats. */
import type { PoolName } from '../../backends/wire/dispatch.ts'
import type { Enrolment } from './enrolment.ts'
import type { KeyFence } from './key-fence.ts'

export class EnrolmentRows {
  readonly #sql: SqlStorage

  constructor(sql: SqlStorage) {
    this.#sql = sql
    sql.exec(`CREATE TABLE IF NOT EXISTS fences (worker_id TEXT PRIMARY KEY, epoch_min INTEGER NOT NULL,
      next_min INTEGER NOT NULL, next_at INTEGER NOT NULL, epoch_revoked INTEGER NOT NULL) WITHOUT ROWID`)
    sql.exec(`CREATE TABLE IF NOT EXISTS enrolments (worker_id TEXT PRIMARY KEY, revision INTEGER NOT NULL, url TEXT,
      pools TEXT NOT NULL, models TEXT, slots_max INTEGER, pinned INTEGER NOT NULL) WITHOUT ROWID`)
  }

  fences(): KeyFence[] {
    const query = `SELECT worker_id AS workerId, epoch_min AS epochMin, next_min AS nextMin, next_at AS nextAt,
      epoch_revoked AS epochRevoked FROM fences`
    return this.#sql.exec<KeyFence & Record<string, SqlStorageValue>>(query).toArray()
  }

  enrolments(): Enrolment[] {
    return this.#sql
      .exec('SELECT * FROM enrolments')
      .toArray()
      .map((row) => ({
        workerId: String(row.worker_id),
        revision: Number(row.revision),
        url: row.url === null ? null : String(row.url),
        pools: JSON.parse(String(row.pools)) as PoolName[],
        models: row.models === null ? null : (JSON.parse(String(row.models)) as string[]),
        slotsMax: row.slots_max === null ? null : Number(row.slots_max),
        pinned: row.pinned === 1,
      }))
  }

  keepFence({ workerId, epochMin, nextMin, nextAt, epochRevoked }: KeyFence): void {
    const values = [workerId, epochMin, nextMin, nextAt, epochRevoked]
    this.#sql.exec('INSERT OR REPLACE INTO fences VALUES (?, ?, ?, ?, ?)', ...values)
  }

  keepEnrolment({ workerId, revision, url, pools, models, slotsMax, pinned }: Enrolment): void {
    const values = [workerId, revision, url, JSON.stringify(pools), models && JSON.stringify(models), slotsMax]
    this.#sql.exec('INSERT OR REPLACE INTO enrolments VALUES (?, ?, ?, ?, ?, ?, ?)', ...values, pinned ? 1 : 0)
  }
}
