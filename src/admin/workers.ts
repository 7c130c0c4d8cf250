/**
 * `/admin/workers`: which workers there are and how new their keys are. D1 keeps the list; the pools keep what is enforced,
 * pushed to them here, so that no heartbeat asks D1.
 */
import { Hono } from 'hono'
import { z } from 'zod'
import { workerIdPattern } from '../../backends/protocol/worker-key.ts'
import { mintWorkerKey } from '../auth/fleet.ts'
import { type Env, settings } from '../env.ts'
import { GatewayError } from '../errors.ts'
import type { Fence } from '../routing/fence.ts'
import { fleetOf } from '../routing/fleet.ts'
import { type AdminContext, type AdminEnv, note, onePage, read, readPage } from './context.ts'
import { needs } from './guard.ts'
import { RotateOrder } from './orders.ts'

const epochMax = 999_999
export const EnrolWorker = z.strictObject({
  workerId: z.string().regex(workerIdPattern, 'must be 1 to 40 lower-case letters, digits or dashes'),
  epoch: z.int().min(1).max(epochMax).default(1),
})

interface WorkerRow {
  workerId: string
  epoch: number
  epochRevoked: number
  enrolledAt: number
  rotatedAt: number | null
  revokedAt: number | null
}

const columns = `worker_id AS workerId, epoch, epoch_revoked AS epochRevoked, enrolled_at AS enrolledAt,
  rotated_at AS rotatedAt, revoked_at AS revokedAt`

export const workers = new Hono<AdminEnv>()

workers.get('/', needs('workers:read'), async (context) => {
  const { limit, after } = readPage(context)
  const { results } = await context.env.DB.prepare(
    `SELECT ${columns} FROM workers WHERE worker_id > ? ORDER BY worker_id LIMIT ?`,
  )
    .bind(after, limit + 1)
    .all<WorkerRow>()
  return context.json(onePage(results.map(view), limit, (row) => row.workerId))
})

/** Enrols a new worker, or one whose keys were revoked, which gets a key of a newer epoch. */
workers.post('/', needs('workers:write'), async (context) => {
  const { workerId, epoch } = await read(context.req.raw, EnrolWorker)
  note(context, { target: workerId })
  const row = await context.env.DB.prepare(
    `INSERT INTO workers (worker_id, epoch, enrolled_at) VALUES (?1, ?2, ?3)
      ON CONFLICT DO UPDATE SET epoch = max(?2, epoch + 1), enrolled_at = ?3, rotated_at = NULL, revoked_at = NULL
        WHERE revoked_at IS NOT NULL
      RETURNING ${columns}`,
  )
    .bind(workerId, epoch, Date.now())
    .first<WorkerRow>()
  if (!row) {
    const message = `workerId: ${workerId} is enrolled: POST /admin/workers/${workerId}/rotate gives it a new key`
    throw new GatewayError('conflict', message, { param: 'workerId' })
  }
  if (row.epoch > 1) await pushFence(context.env, { ...fenceOf(row), epochMin: row.epoch })
  return showKey(context, row)
})

/** A key of the next epoch. The old one's heartbeats are refused from the end of the overlap on, its receipts never. */
workers.post('/:workerId/rotate', needs('workers:write'), async (context) => {
  const workerId = context.req.param('workerId')
  const { overlapSeconds } = await read(context.req.raw, RotateOrder)
  note(context, { target: workerId })
  const now = Date.now()
  const row = await context.env.DB.prepare(
    `UPDATE workers SET epoch = epoch + 1, rotated_at = ? WHERE worker_id = ? AND revoked_at IS NULL AND epoch < ?
      RETURNING ${columns}`,
  )
    .bind(now, workerId, epochMax)
    .first<WorkerRow>()
  if (!row) throw notEnrolled()
  const fence = { ...fenceOf(row), nextMin: row.epoch, nextAt: now + overlapSeconds * 1_000 }
  await pushFence(context.env, overlapSeconds === 0 ? { ...fence, epochMin: row.epoch } : fence)
  return showKey(context, row)
})

/** Refuses the worker's heartbeats and its receipts, at once. Repeating it repeats the push to the pools. */
workers.post('/:workerId/revoke', needs('workers:write'), async (context) => {
  const workerId = context.req.param('workerId')
  note(context, { target: workerId })
  const row = await context.env.DB.prepare(
    `UPDATE workers SET epoch_revoked = epoch, revoked_at = coalesce(revoked_at, ?) WHERE worker_id = ? RETURNING ${columns}`,
  )
    .bind(Date.now(), workerId)
    .first<WorkerRow>()
  if (!row) throw notEnrolled()
  await pushFence(context.env, fenceOf(row))
  note(context, { after: view(row) })
  return context.json(view(row))
})

async function showKey(context: AdminContext, row: WorkerRow): Promise<Response> {
  const { fleet } = await settings(context.env)
  note(context, { after: view(row) })
  const { workerId, epoch } = row
  return context.json({ ...view(row), workerKey: await mintWorkerKey(fleet, workerId, epoch) }, 201)
}

/** What the row alone says: nothing older than the key before the newest, nothing revoked. */
function fenceOf({ workerId, epoch, epochRevoked }: WorkerRow): Fence {
  return { workerId, epochMin: Math.max(epoch - 1, epochRevoked + 1), nextMin: 0, nextAt: 0, epochRevoked }
}

async function pushFence(env: Env, fence: Fence): Promise<void> {
  await fleetOf(env).fence(fence)
}

function view({ epochRevoked: _, ...row }: WorkerRow) {
  return { ...row, status: row.revokedAt === null ? 'enrolled' : 'revoked' }
}

function notEnrolled(): GatewayError {
  return new GatewayError('not_found', 'no such worker is enrolled: POST /admin/workers enrols it')
}
