/**
 * Upgrades of the protocol between real processes: an edge of this version and one of a later release, with workers of
 * the same, the previous and other versions. Another version is this source with another `protocolVersion`.
 */
import { type ChildProcess, execFile, fork } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { protocolVersion } from '../../backends/wire/protocol.ts'
import { eventually, freePort, type Product, startProduct, temporaryHome } from '../support/product.ts'
import { withoutOwnWorkers, workerEnvironment } from '../support/scripted-worker.ts'
import type { Report } from '../support/worker-process.ts'

const pathOf = (name: string) => fileURLToPath(new URL(name, import.meta.url))
const preload = new URL('../support/protocol-version.ts', import.meta.url)
const speaking = (version: number) => `--import=${preload}?version=${version}`

interface WorkerOfVersion {
  child: ChildProcess
  operator: string
  output: () => string
  ready: () => boolean
}

let product: Product
let workers: WorkerOfVersion[] = []

/** The environment of a worker, enrolled at its first start. */
const environments = new Map<string, Record<string, string>>()
async function enrolled(workerId: string): Promise<Record<string, string>> {
  const known = environments.get(workerId) ?? (await workerEnvironment(product, workerId, 4))
  environments.set(workerId, known)
  return known
}

/** Starts a worker process of a protocol version. It may never become ready. */
async function startWorker(workerId: string, version: number): Promise<WorkerOfVersion> {
  const port = await freePort()
  const env = {
    ...process.env,
    ...(await enrolled(workerId)),
    TRAMONTANE_METRICS_PORT: String(port),
  }
  const child = fork(pathOf('../support/worker-process.ts'), [], {
    env,
    execArgv: version === protocolVersion ? [] : [speaking(version)],
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  })
  let output = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  let ready = false
  child.on('message', (message) => {
    if ((message as Report).kind === 'ready') ready = true
  })
  const worker = { child, operator: `http://127.0.0.1:${port}`, output: () => output, ready: () => ready }
  workers.push(worker)
  return worker
}

interface Row {
  workerId: string
  state: string
  reason: string | null
  slots: number
}

async function inPools(workerId: string): Promise<Row | undefined> {
  const pools = await product.admin<Record<string, { workers: Row[] }>>('GET', '/admin/pools')
  return Object.values(pools)
    .flatMap((pool) => pool.workers)
    .find((each) => each.workerId === workerId)
}

async function ask(): Promise<{ status: number; worker: string | null; text: string }> {
  const { baseUrl, apiKey, model } = product.demo()
  const response = await fetch(`${baseUrl}/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model, max_tokens: 5, messages: [{ role: 'user', content: 'hi' }] }),
  })
  return {
    status: response.status,
    worker: response.headers.get('x-tramontane-worker'),
    text: await response.text(),
  }
}

function doctor(url: string): Promise<{ code: unknown; out: string }> {
  return new Promise((resolve) =>
    execFile(process.execPath, [pathOf('../../gpu-worker/doctor/main.ts'), url], (error, out) =>
      resolve({ code: error?.code ?? 0, out }),
    ),
  )
}

/** The worker serves a request, and its receipt settles. */
async function serves(workerId: string, worker: WorkerOfVersion): Promise<void> {
  await eventually(async () => worker.ready(), Boolean, 20_000)
  const row = await eventually(
    () => inPools(workerId),
    (each) => each?.state === 'ready',
  )
  expect(row, worker.output()).toMatchObject({ state: 'ready', reason: null, slots: 4 })
  expect(await ask()).toMatchObject({ status: 200, worker: workerId })
  await settled()
}

async function settled(): Promise<void> {
  const books = await eventually(
    () => product.tenant('demo'),
    ({ openReservations }) => openReservations === 0,
  )
  expect(books).toMatchObject({ openReservations: 0, reservedNano: 0 })
}

/** Both sides name the mismatch, and no request reaches the worker. */
async function isRefused(workerId: string, worker: WorkerOfVersion, reasons: { edge: string; worker: string }) {
  const row = await eventually(
    () => inPools(workerId),
    (each) => each?.reason !== undefined,
    20_000,
  )
  expect(row).toMatchObject({ state: 'incompatible', reason: reasons.edge, slots: 0 })
  await eventually(async () => worker.output().includes('heartbeat refused'), Boolean)
  expect(worker.output().match(/heartbeat refused: .*/g)).toEqual([`heartbeat refused: ${reasons.worker}`])
  const health = await fetch(`${worker.operator}/healthz`)
  expect([health.status, await health.json()]).toMatchObject([503, { status: 'incompatible', reason: reasons.worker }])
  const examined = await doctor(worker.operator)
  expect(examined).toMatchObject({ code: 1, out: expect.stringContaining(`incompatible. ${reasons.worker}`) })
  expect(worker.ready()).toBe(false)
  // The fleet knows an earlier test's worker for some seconds.
  const refused = await eventually(ask, ({ status }) => status === 503)
  expect(refused).toMatchObject({ status: 503, worker: null })
}

async function stopWorkers(): Promise<void> {
  for (const { child } of workers) {
    if (child.exitCode === null && child.signalCode === null) {
      const ended = new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGKILL')
      await ended
    }
  }
  workers = []
}

afterEach(stopWorkers)

const home = temporaryHome()

describe('an edge of this version', () => {
  beforeAll(async () => {
    product = await startProduct({ home })
    await withoutOwnWorkers(product)
  })
  afterAll(() => product?.stop())

  it('[WPV8] a worker process of the previous version serves', async () => {
    await serves('before', await startWorker('before', protocolVersion - 1))
  })

  it('[WPV9] a worker process of a later version is refused by name on both sides, and gets no request', async () => {
    await isRefused('after', await startWorker('after', protocolVersion + 1), {
      edge: 'worker after writes protocol version 3, and this edge reads versions 1 and 2. Upgrade this edge.',
      // A worker that is one version ahead reads this edge, so it repeats the edge's reason.
      worker: 'worker after writes protocol version 3, and this edge reads versions 1 and 2. Upgrade this edge.',
    })
  })
})

describe('an edge of a later version', () => {
  beforeAll(async () => {
    const later = protocolVersion + 2
    const bundle = join(home, 'build', 'index.js')
    const source = readFileSync(bundle, 'utf8')
    const constant = `var protocolVersion = ${protocolVersion};`
    expect(source.split(constant)).toHaveLength(2)
    writeFileSync(bundle, source.replace(constant, `var protocolVersion = ${later};`))
    product = await startProduct({ home, env: { NODE_OPTIONS: speaking(later) } })
    expect(await ask()).toMatchObject({ status: 200, worker: expect.stringMatching(/^local-/) })
    await settled()
    await withoutOwnWorkers(product)
  })
  afterAll(() => product?.stop())

  it('[WPV8] after the edge is upgraded, workers of the previous version serve until they are upgraded too', async () => {
    await serves('upgrading', await startWorker('upgrading', protocolVersion + 1))
    await stopWorkers()
    await serves('upgrading', await startWorker('upgrading', protocolVersion + 2))
  })

  it('[WPV9] a worker process of this version is refused by name on both sides, and gets no request', async () => {
    await isRefused('outdated', await startWorker('outdated', protocolVersion), {
      edge: 'worker outdated writes protocol version 2, and this edge reads versions 3 and 4. Upgrade worker outdated.',
      worker: 'the gateway writes protocol version 4, and this worker reads versions 1 and 2. Upgrade this worker.',
    })
  })
})
