/**
 * `/admin/workers`: the enrolled workers, what each may serve, and the epochs of their keys. D1 has the list. These
 * routes push the enforced values to the fleet object, so the heartbeat of a known worker needs no D1 query.
 */

import { z } from 'zod'
import { budgets } from '../../backends/model/budgets.ts'
import { models as catalogue, findModel } from '../../backends/model/model.ts'
import { PoolName } from '../../backends/wire/dispatch.ts'
import { slotsPerWorkerMax } from '../../backends/wire/heartbeat.ts'
import {
  formatWorkerAddress,
  readWorkerAddress,
  workerAddressCharactersMax,
} from '../../backends/wire/worker-address.ts'
import { newWorkerKey } from '../auth/worker-key.ts'
import { settings } from '../config.ts'
import { fleetOf } from '../fleet/client.ts'
import { anyPool } from '../fleet/enrolment.ts'
import type { WorkerReport } from '../fleet/fleet-report.ts'
import type { KeyFence } from '../fleet/key-fence.ts'
import { enrolmentOf, fenceOf, findWorker, type WorkerRow, workerColumns } from '../fleet/worker-rows.ts'
import { GatewayError } from '../http/errors.ts'
import { onePage, Page } from '../http/page.ts'
import type { Route } from '../http/route.ts'
import { EnrolledWorker, NewWorkerKey, WorkerAnswer, WorkerList } from './answers/workers.ts'
import { RotateBody } from './bodies.ts'
import { type AdminBindings, type AdminContext, note } from './context.ts'
import { operatorRoute } from './operator-route.ts'
import { WorkerId } from './parameters.ts'

const epochMax = 999_999
const offered = catalogue.map(({ id }) => id).join(', ')
const modelsMax = budgets.workerModels.value

const Url = z
  .string()
  .max(workerAddressCharactersMax, `is longer than ${workerAddressCharactersMax} characters. Give a shorter address.`)
  .superRefine((text, context) => {
    const read = readWorkerAddress(text, 'any-port')
    if (!read.ok) context.addIssue({ code: 'custom', message: read.message })
  })
  .describe(
    `Address at which the gateway reaches the worker, at most ${workerAddressCharactersMax} characters. The port may be *, as in http://127.0.0.1:*`,
  )
  .meta({ pattern: '^https?://', examples: ['https://gpu-1.example.com:8443'] })
const AllowedPools = z
  .array(PoolName)
  .min(1, 'is empty. Name latency, throughput or both.')
  .max(2)
  .describe('Pools in which the worker may serve, 1 or 2.')
  .meta({ examples: [['latency']] })
const Models = z
  .array(
    z
      .string()
      .refine((id) => findModel(id) !== undefined, `is not in the catalogue. Use one of ${offered}.`)
      .meta({ enum: catalogue.map(({ id }) => id) }),
  )
  .min(1, 'is empty. Name at least one model.')
  .max(modelsMax, `has more than ${modelsMax} models. Name fewer.`)
  .describe(`Models that the worker may serve, 1 to ${modelsMax}: ${offered}.`)
  .meta({ examples: [['mistral-small-4']] })
const slotsSentence = `must be a whole number from 1 to ${slotsPerWorkerMax}. Use the engine's number of slots.`
const SlotsMax = z
  .int(slotsSentence)
  .min(1, slotsSentence)
  .max(slotsPerWorkerMax, slotsSentence)
  .describe(`Requests that the worker may run at the same time, 1 to ${slotsPerWorkerMax}.`)
  .meta({ examples: [32] })

const EnrolWorker = z
  .strictObject({
    workerId: WorkerId,
    url: Url,
    pools: AllowedPools.exactOptional().describe('Pools in which the worker may serve, 1 or 2. Default: both.'),
    models: Models.exactOptional().describe(
      `Models that the worker may serve, 1 to ${modelsMax}. Default: the models that this gateway offers.`,
    ),
    slotsMax: SlotsMax.default(budgets.workerSlotsDefault.value),
    epoch: z
      .int()
      .min(1)
      .max(epochMax)
      .default(1)
      .describe(`Number of the worker’s first key, 1 to ${epochMax.toLocaleString('en-US')}.`)
      .meta({ examples: [1] }),
  })
  .meta({ id: 'EnrolWorker' })

/** A field that is left out does not change. */
const ChangeWorker = z
  .strictObject({
    url: Url.exactOptional(),
    pools: AllowedPools.exactOptional(),
    models: Models.exactOptional(),
    slotsMax: SlotsMax.exactOptional(),
  })
  .refine((change) => Object.keys(change).length > 0, 'is empty. Name url, pools, models or slots_max.')
  .meta({ id: 'UpdateWorker', minProperties: 1 })

export const workers: readonly Route[] = [
  operatorRoute(
    {
      method: 'get',
      path: '/admin/workers',
      id: 'listWorkers',
      tag: 'Workers',
      summary: 'List enrolled workers',
      scope: 'workers:read',
      query: Page,
      answer: WorkerList,
    },
    async (context, { query }) => {
      const { limit, after } = query
      const { results } = await context.env.DB.prepare(
        `SELECT ${workerColumns} FROM workers WHERE worker_id > ? ORDER BY worker_id LIMIT ?`,
      )
        .bind(after, limit + 1)
        .all<WorkerRow>()
      return onePage(await withReports(context.env, results), limit, (row) => row.workerId)
    },
  ),
  operatorRoute(
    {
      method: 'get',
      path: '/admin/workers/{workerId}',
      params: { workerId: WorkerId },
      id: 'retrieveWorker',
      tag: 'Workers',
      summary: 'Retrieve a worker, its state, and why it gets no requests',
      scope: 'workers:read',
      answer: WorkerAnswer,
    },
    async (context, { params }) => {
      const row = await findWorker(context.env.DB, params.workerId)
      if (!row) throw notEnrolled()
      return (await withReports(context.env, [row]))[0]
    },
  ),
  /** Enrols a new worker, or one whose keys were revoked; that one gets a key of a newer epoch. */
  operatorRoute(
    {
      method: 'post',
      path: '/admin/workers',
      id: 'enrolWorker',
      tag: 'Workers',
      summary: 'Enrol a worker',
      description: 'The worker key is shown only once.',
      scope: 'workers:write',
      body: EnrolWorker,
      status: 201,
      answer: NewWorkerKey,
    },
    async (context, { body }) => {
      const { workerId, epoch, url, pools = anyPool, slotsMax } = body
      note(context, { target: workerId })
      const { models = (await settings(context.env)).models } = body
      const row = await context.env.DB.prepare(
        `INSERT INTO workers (worker_id, epoch, enrolled_at, url, pools, models, slots_max)
      SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7
        WHERE (SELECT count(*) FROM workers) < ?8 OR EXISTS (SELECT 1 FROM workers WHERE worker_id = ?1)
      ON CONFLICT DO UPDATE SET epoch = max(?2, epoch + 1), enrolled_at = ?3, rotated_at = NULL, revoked_at = NULL,
          url = ?4, pools = ?5, models = ?6, slots_max = ?7, revision = revision + 1
        WHERE revoked_at IS NOT NULL
      RETURNING ${workerColumns}`,
      )
        .bind(
          ...[workerId, epoch, Date.now(), written(url), list(pools), list(models), slotsMax],
          budgets.workersEnrolled.value,
        )
        .first<WorkerRow>()
      if (!row) throw await notAdded(context.env, workerId)
      await fleetOf(context.env).enrol(
        enrolmentOf(row),
        row.epoch > 1 ? { ...fenceOf(row), epochMin: row.epoch } : undefined,
      )
      return showKey(context, row)
    },
  ),
  /** Changes what a worker may serve. Its key stays. A process that exceeds the new limits gets no more requests. */
  operatorRoute(
    {
      method: 'patch',
      path: '/admin/workers/{workerId}',
      params: { workerId: WorkerId },
      id: 'updateWorker',
      tag: 'Workers',
      summary: 'Update the allowed address, pools, models or slots of a worker',
      scope: 'workers:write',
      body: ChangeWorker,
      answer: WorkerAnswer,
    },
    async (context, { params, body }) => {
      const { workerId } = params
      const { url, pools, models, slotsMax } = body
      note(context, { target: workerId })
      const before = await findWorker(context.env.DB, workerId)
      const row = await context.env.DB.prepare(
        `UPDATE workers SET url = coalesce(?2, url), pools = coalesce(?3, pools), models = coalesce(?4, models),
        slots_max = coalesce(?5, slots_max), revision = revision + 1
      WHERE worker_id = ?1 AND revoked_at IS NULL RETURNING ${workerColumns}`,
      )
        .bind(
          ...[workerId, url === undefined ? null : written(url), pools ? list(pools) : null],
          ...[models ? list(models) : null, slotsMax ?? null],
        )
        .first<WorkerRow>()
      if (!row || !before) throw notEnrolled()
      note(context, { before: view(before), after: view(row) })
      await fleetOf(context.env).enrol(enrolmentOf(row), undefined)
      return (await withReports(context.env, [row]))[0]
    },
  ),
  /** Creates a key of the next epoch. After the overlap, heartbeats with the old key are refused; its receipts never. */
  operatorRoute(
    {
      method: 'post',
      path: '/admin/workers/{workerId}/rotate',
      params: { workerId: WorkerId },
      id: 'rotateWorkerKey',
      tag: 'Workers',
      summary: 'Rotate the key of a worker',
      scope: 'workers:write',
      body: RotateBody,
      status: 201,
      answer: NewWorkerKey,
    },
    async (context, { params, body }) => {
      const { workerId } = params
      const { overlapSeconds } = body
      note(context, { target: workerId })
      const now = Date.now()
      const row = await context.env.DB.prepare(
        `UPDATE workers SET epoch = epoch + 1, rotated_at = ? WHERE worker_id = ? AND revoked_at IS NULL AND epoch < ?
      RETURNING ${workerColumns}`,
      )
        .bind(now, workerId, epochMax)
        .first<WorkerRow>()
      if (!row) throw notEnrolled()
      const fence = { ...fenceOf(row), nextMin: row.epoch, nextAt: now + overlapSeconds * 1_000 }
      await pushFence(context.env, overlapSeconds === 0 ? { ...fence, epochMin: row.epoch } : fence)
      return showKey(context, row)
    },
  ),
  /** Refuses the worker's heartbeats and receipts immediately. Repeating it repeats the push to the fleet. */
  operatorRoute(
    {
      method: 'post',
      path: '/admin/workers/{workerId}/revoke',
      params: { workerId: WorkerId },
      id: 'revokeWorker',
      tag: 'Workers',
      summary: 'Revoke the keys of a worker',
      description: 'The gateway refuses its heartbeats and receipts immediately.',
      scope: 'workers:write',
      answer: EnrolledWorker,
    },
    async (context, { params }) => {
      const { workerId } = params
      note(context, { target: workerId })
      const row = await context.env.DB.prepare(
        `UPDATE workers SET epoch_revoked = epoch, revoked_at = coalesce(revoked_at, ?) WHERE worker_id = ? RETURNING ${workerColumns}`,
      )
        .bind(Date.now(), workerId)
        .first<WorkerRow>()
      if (!row) throw notEnrolled()
      await pushFence(context.env, fenceOf(row))
      note(context, { after: view(row) })
      return view(row)
    },
  ),
]

async function showKey(context: AdminContext, row: WorkerRow) {
  const { fleet } = await settings(context.env)
  note(context, { after: view(row) })
  const { workerId, epoch } = row
  return { ...view(row), workerKey: await newWorkerKey(fleet, workerId, epoch) }
}

async function pushFence(env: AdminBindings, fence: KeyFence): Promise<void> {
  await fleetOf(env).fence(fence)
}

/** The rows with their current state in the fleet. */
async function withReports(env: AdminBindings, rows: WorkerRow[]) {
  const reports = await fleetOf(env).workers(rows.map(({ workerId }) => workerId))
  return rows.map((row, index) => ({ ...view(row), ...seen(reports[index]) }))
}

/** The current state, and the enforced enrolment if a heartbeat has set values that the row leaves open. */
function seen(report: WorkerReport | undefined) {
  if (!report) return {}
  const { enrolment, ...now } = report
  return { ...(enrolment?.pinned && enrolment), ...now }
}

function view({ epochRevoked: _, revision: __, ...row }: WorkerRow) {
  const { pools, models } = enrolmentOf({ ...row, epochRevoked: 0, revision: 0 })
  return { ...row, pools, models, pinned: false, status: row.revokedAt === null ? 'enrolled' : 'revoked' }
}

/** Normalises an address, like those of heartbeats, so that the two compare equal. */
function written(url: string): string {
  const read = readWorkerAddress(url, 'any-port')
  return read.ok ? formatWorkerAddress(read.address) : url
}

function list(values: readonly string[]): string {
  return JSON.stringify([...new Set(values)])
}

async function notAdded(env: AdminBindings, workerId: string): Promise<GatewayError> {
  if (await findWorker(env.DB, workerId)) {
    const message = `workerId: ${workerId} is already enrolled. Change it with PATCH /admin/workers/${workerId}, or replace its key with POST /admin/workers/${workerId}/rotate.`
    return new GatewayError('conflict', message, { param: 'workerId' })
  }
  const message = `workerId: ${budgets.workersEnrolled.value} workers are enrolled, the maximum. Reuse the id of a revoked worker.`
  return new GatewayError('conflict', message, { param: 'workerId' })
}

function notEnrolled(): GatewayError {
  return new GatewayError('not_found', 'Worker not found. Enrol it with POST /admin/workers.')
}
