/**
 * Enrols the workers of `npm start` like any other worker: each gets a row, an address on this machine, and the one
 * served model. An enrolled id keeps its row; a revoked one gets a new key.
 */
import { z } from 'zod'
import { budgets } from '../../backends/model/budgets.ts'
import { type PoolName, poolNames } from '../../backends/wire/dispatch.ts'
import { slotsPerWorkerMax } from '../../backends/wire/heartbeat.ts'
import { Secret } from '../auth/secret.ts'
import { newWorkerKey } from '../auth/worker-key.ts'
import type { State } from './home.ts'

export interface LocalWorkers {
  baseUrl: string
  /** The workers' host; any port. */
  host: string
  modelId: string
  state: State
}

const Row = z.object({
  epoch: z.int(),
  status: z.string(),
  url: z.string().nullable(),
  models: z.array(z.string()).nullable(),
  slots_max: z.int().nullable(),
})

/** The key epoch of each pool's worker. Rejects when the edge refuses one. */
export async function enrolLocalWorkers(local: LocalWorkers): Promise<Record<PoolName, number>> {
  const epochs = await Promise.all(
    poolNames.map(async (pool) => [pool, await enrol(local, localWorkerId(pool))] as const),
  )
  return Object.fromEntries(epochs) as Record<PoolName, number>
}

/** Derives the key from the fleet secret, because the edge shows a key only once. */
export function localWorkerKey(state: State, pool: PoolName, epoch: number): Promise<string> {
  return newWorkerKey(new Secret(state.fleetSecret), localWorkerId(pool), epoch)
}

function localWorkerId(pool: PoolName): string {
  return `local-${pool}`
}

async function enrol(local: LocalWorkers, workerId: string): Promise<number> {
  const { host, modelId } = local
  const wanted = { url: `http://${host}:*`, models: [modelId], slots_max: slotsMax() }
  const known = await call(local, 'GET', `/admin/workers/${workerId}`)
  const row = known.status === 404 ? undefined : Row.parse(known.body)
  if (row?.status !== 'enrolled') {
    const added = await call(local, 'POST', '/admin/workers', { worker_id: workerId, ...wanted })
    return Row.parse(added.body).epoch
  }
  const same = row.url === wanted.url && row.slots_max === wanted.slots_max && row.models?.join() === modelId
  if (!same) await call(local, 'PATCH', `/admin/workers/${workerId}`, wanted)
  return row.epoch
}

/** The default for an invalid value: the worker itself checks the variable and reports the error. */
function slotsMax(): number {
  const slots = Number(process.env.TRAMONTANE_SLOTS)
  const slotsMin = budgets.workerSlotsDefault.value
  return Number.isInteger(slots) ? Math.min(slotsPerWorkerMax, Math.max(slotsMin, slots)) : slotsMin
}

async function call({ baseUrl, state }: LocalWorkers, method: string, path: string, body?: unknown) {
  const response = await fetch(new URL(path, baseUrl), {
    method,
    headers: { authorization: `Bearer ${state.operatorKey}`, 'content-type': 'application/json' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  const answer: unknown = await response.json()
  if (!response.ok && response.status !== 404)
    throw new Error(`cannot enrol the local workers: ${method} ${path} returned ${JSON.stringify(answer)}`)
  return { status: response.status, body: answer }
}
