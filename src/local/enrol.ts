/**
 * Enrols the workers of `npm start` as an operator enrols any worker: each gets a row, an address on this machine, and
 * the one model that is served. An id that is enrolled already keeps its row; a revoked one gets a new key.
 */
import { z } from 'zod'
import { budgets } from '../../backends/model/budgets.ts'
import { type PoolName, poolNames } from '../../backends/wire/dispatch.ts'
import { slotsPerWorkerMax } from '../../backends/wire/heartbeat.ts'
import { newWorkerKey } from '../auth/fleet.ts'
import { Secret } from '../auth/secret.ts'
import type { State } from './home.ts'

export interface LocalWorkers {
  baseUrl: string
  /** Where the workers listen, on any port. */
  host: string
  modelId: string
  state: State
}

const Row = z.object({
  epoch: z.int(),
  status: z.string(),
  url: z.string().nullable(),
  models: z.array(z.string()).nullable(),
  slotsMax: z.int().nullable(),
})

/** The epoch of the key of each pool's worker. Rejects with one sentence where the edge refuses one. */
export async function enrolLocalWorkers(local: LocalWorkers): Promise<Record<PoolName, number>> {
  const epochs = await Promise.all(
    poolNames.map(async (pool) => [pool, await enrol(local, localWorkerId(pool))] as const),
  )
  return Object.fromEntries(epochs) as Record<PoolName, number>
}

/** The edge shows a key once; this process has the secret that keys are derived from. */
export function localWorkerKey(state: State, pool: PoolName, epoch: number): Promise<string> {
  return newWorkerKey(new Secret(state.fleetSecret), localWorkerId(pool), epoch)
}

function localWorkerId(pool: PoolName): string {
  return `local-${pool}`
}

async function enrol(local: LocalWorkers, workerId: string): Promise<number> {
  const { host, modelId } = local
  const wanted = { url: `http://${host}:*`, models: [modelId], slotsMax: slotsMax() }
  const known = await call(local, 'GET', `/admin/workers/${workerId}`)
  const row = known.status === 404 ? undefined : Row.parse(known.body)
  if (row?.status !== 'enrolled') {
    const added = await call(local, 'POST', '/admin/workers', { workerId, ...wanted })
    return Row.parse(added.body).epoch
  }
  const same = row.url === wanted.url && row.slotsMax === wanted.slotsMax && row.models?.join() === modelId
  if (!same) await call(local, 'PATCH', `/admin/workers/${workerId}`, wanted)
  return row.epoch
}

/** The worker checks the variable, and names it where it is wrong. */
function slotsMax(): number {
  const asked = Number(process.env.TRAMONTANE_SLOTS)
  const least = budgets.workerSlotsDefault.value
  return Number.isInteger(asked) ? Math.min(slotsPerWorkerMax, Math.max(least, asked)) : least
}

async function call({ baseUrl, state }: LocalWorkers, method: string, path: string, body?: unknown) {
  const response = await fetch(new URL(path, baseUrl), {
    method,
    headers: { authorization: `Bearer ${state.operatorKey}`, 'content-type': 'application/json' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  const answer: unknown = await response.json()
  if (!response.ok && response.status !== 404)
    throw new Error(`the local workers cannot be enrolled: ${method} ${path} answered ${JSON.stringify(answer)}`)
  return { status: response.status, body: answer }
}
