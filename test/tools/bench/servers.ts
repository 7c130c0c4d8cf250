/** The servers that the bench measures: the edge, a pass-through hosted in the same way, and the worker behind both. */
import { mkdirSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { dispatchPath } from '../../../backends/wire/dispatch.ts'
import { slotsPerWorkerMax } from '../../../backends/wire/heartbeat.ts'
import { sha256Hex } from '../../../src/auth/secret.ts'
import { toCamel, toSnake } from '../../../src/http/snake-case.ts'
import type { EdgeOptions } from '../../../src/local/edge-host.ts'
import { metricsKey } from '../../support/product.ts'
import { alsoEnds, type Child, home, startChild } from './children.ts'
import { cpuMicro } from './cpu.ts'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const edgeHost = '../../../src/local/edge-host.ts'
const host = '127.0.0.1'
const operatorKey = `tmop_${'o'.repeat(32)}`
const fleetSecret = 'f'.repeat(32)
export const tenantId = 'bench'

export interface Hosted {
  url: string
  workerdPid: number | null
  hostPid: number
}

export interface Edge extends Hosted {
  apiKey: string
}

/** CPU time so far of a hosted Worker's two processes, in microseconds. */
export function hostedMicro({ workerdPid, hostPid }: Hosted): { workerd: number; host: number } {
  const workerd = workerdPid === null ? undefined : cpuMicro(workerdPid)
  return { workerd: workerd ?? Number.NaN, host: cpuMicro(hostPid) ?? Number.NaN }
}

export async function startEdge(build: string, core?: number): Promise<Edge> {
  const bindings = {
    KEY_SECRET: 'k'.repeat(32),
    FLEET_SECRET: fleetSecret,
    OPERATOR_KEY_SHA256: await sha256Hex(operatorKey),
    MODELS: 'tramontane-tiny',
  }
  const hosted = await startHosted({ build, name: 'tramontane', bindings, core })
  await operate(hosted.url, '/admin/tenants', { tenantId, name: 'Bench', creditNano: 1_000_000 * 1e9 })
  // Limits that are never reached, so that the figures include the limiter's work.
  const order = { name: 'bench', mode: 'test', limits: { requestsPerMinute: 1_000_000 } }
  const { apiKey } = await operate(hosted.url, `/admin/tenants/${tenantId}/keys`, order)
  return { ...hosted, apiKey: String(apiKey) }
}

export async function startPassThrough(workerUrl: string, core?: number): Promise<Hosted> {
  const build = fileURLToPath(new URL('./pass-through', import.meta.url))
  const bindings = { WORKER_URL: `${workerUrl}${dispatchPath}` }
  return startHosted({ build, name: 'pass-through', bindings, core })
}

/** The tenant object behind the bench's own entry module, hosted as the edge is. */
export async function startTenantObject(build: string): Promise<string> {
  const bindings = {
    KEY_SECRET: 'k'.repeat(32),
    FLEET_SECRET: fleetSecret,
    OPERATOR_KEY_SHA256: await sha256Hex(operatorKey),
  }
  return (await startHosted({ build, name: 'tenant-object', bindings, core: undefined })).url
}

export async function startWorker(
  module: string,
  workerId: string,
  edgeUrl: string,
  env: Record<string, string>,
  core?: number,
): Promise<{ child: Child<{ url: string }>; url: string; workerKey: string }> {
  const enrolment = { workerId, url: `http://${host}:*`, slotsMax: slotsPerWorkerMax }
  const workerKey = String((await operate(edgeUrl, '/admin/workers', enrolment)).workerKey)
  const own = {
    TRAMONTANE_WORKER_KEY: workerKey,
    TRAMONTANE_EDGE_URL: edgeUrl,
    TRAMONTANE_HOME: home,
    TRAMONTANE_METRICS_KEY: metricsKey,
  }
  const child = await startChild<{ url: string }>(module, {
    // The real worker reads its environment and rejects unknown arguments.
    args: module.endsWith('/main.ts') ? [] : [edgeUrl, home, workerKey],
    env: { ...own, TRAMONTANE_WORKER_PORT: '0', ...env },
    core,
  })
  return { child, url: child.ready.url, workerKey }
}

/** Resolves when the edge knows this worker only; a worker without heartbeats is dropped after seconds. */
export async function onlyWorker(edge: Edge, workerId: string): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const pools = Object.values(await operate(edge.url, '/admin/pools')) as { workers: { workerId: string }[] }[]
    if (pools.flatMap((pool) => pool.workers).every((worker) => worker.workerId === workerId)) return
    await delay(100)
  }
  throw new Error('a worker that was stopped is still in its pool after 10 s')
}

/** The ledger's totals for everything that went through the edge. */
export async function ledger(edge: Edge): Promise<{ openReservations: number; entries: number; outputTokens: number }> {
  const summary = await operate(edge.url, `/admin/tenants/${tenantId}?totals=true`)
  const totals = summary.totals as Record<string, number>
  return {
    openReservations: Number(summary.openReservations),
    entries: Number(totals.entries),
    outputTokens: Number(totals.outputTokens),
  }
}

async function startHosted(order: {
  build: string
  name: string
  bindings: Record<string, string>
  core: number | undefined
}): Promise<Hosted> {
  const { name, build, bindings, core } = order
  const own = join(home, name)
  mkdirSync(own)
  const edgeOrder: EdgeOptions = { root, home: own, build, host, port: await freePort(), bindings }
  const child = await startChild<{ url: string; workerdPid: number | null }>(edgeHost, {
    env: { TRAMONTANE_EDGE_ORDER: JSON.stringify(edgeOrder) },
    core,
  })
  const { url, workerdPid } = child.ready
  alsoEnds(workerdPid)
  return { url, workerdPid, hostPid: child.pid }
}

/** A request with the operator key; a GET without a body. */
export async function operate(edgeUrl: string, path: string, body?: unknown): Promise<Record<string, unknown>> {
  const response = await fetch(new URL(path, edgeUrl), {
    method: body === undefined ? 'GET' : 'POST',
    headers: { authorization: `Bearer ${operatorKey}`, 'content-type': 'application/json' },
    ...(body !== undefined && { body: JSON.stringify(toSnake(body)) }),
  })
  if (!response.ok) throw new Error(`${path}: HTTP ${response.status} ${await response.text()}`)
  return toCamel(await response.json()) as Record<string, unknown>
}

async function freePort(): Promise<number> {
  const probe = createServer()
  await new Promise<void>((resolve) => probe.listen(0, host, resolve))
  const { port } = probe.address() as AddressInfo
  await new Promise((resolve) => probe.close(resolve))
  return port
}
