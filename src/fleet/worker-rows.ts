/** A worker in the operator's books (D1), and what the fleet object is to enforce of it. */
import type { PoolName } from '../../backends/wire/dispatch.ts'
import type { Enrolment } from './enrolment.ts'
import type { KeyFence } from './key-fence.ts'

/** As `workerColumns` reads it. */
export interface WorkerRow {
  workerId: string
  epoch: number
  epochRevoked: number
  enrolledAt: number
  rotatedAt: number | null
  revokedAt: number | null
  url: string | null
  /** JSON, as `models`. */
  pools: string
  models: string | null
  slotsMax: number | null
  revision: number
}

export const workerColumns = `worker_id AS workerId, epoch, epoch_revoked AS epochRevoked, enrolled_at AS enrolledAt,
  rotated_at AS rotatedAt, revoked_at AS revokedAt, url, pools, models, slots_max AS slotsMax, revision`

export function findWorker(db: D1Database, workerId: string): Promise<WorkerRow | null> {
  return db.prepare(`SELECT ${workerColumns} FROM workers WHERE worker_id = ?`).bind(workerId).first<WorkerRow>()
}

export function enrolmentOf({ workerId, revision, url, pools, models, slotsMax }: WorkerRow): Enrolment {
  return {
    ...{ workerId, revision, url, slotsMax, pinned: false },
    pools: JSON.parse(pools) as PoolName[],
    models: models === null ? null : (JSON.parse(models) as string[]),
  }
}

/** What the row alone says: nothing older than the key before the newest, nothing revoked. */
export function fenceOf({ workerId, epoch, epochRevoked }: WorkerRow): KeyFence {
  return { workerId, epochMin: Math.max(epoch - 1, epochRevoked + 1), nextMin: 0, nextAt: 0, epochRevoked }
}
