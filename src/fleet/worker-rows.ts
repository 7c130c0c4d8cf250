/** A worker's row in the operator's database (D1), and the enrolment and fence that the fleet object enforces. */
import type { PoolName } from '../../backends/wire/dispatch.ts'
import type { Enrolment } from './enrolment.ts'
import type { KeyFence } from './key-fence.ts'

/** The columns of `workerColumns`. */
export interface WorkerRow {
  workerId: string
  epoch: number
  epochRevoked: number
  enrolledAt: number
  rotatedAt: number | null
  revokedAt: number | null
  url: string | null
  /** JSON; so is `models`. */
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

/** The fence that follows from the row alone: allows the newest key and the one before it, unless revoked. */
export function fenceOf({ workerId, epoch, epochRevoked }: WorkerRow): KeyFence {
  return { workerId, epochMin: Math.max(epoch - 1, epochRevoked + 1), nextMin: 0, nextAt: 0, epochRevoked }
}
