/**
 * `npm start`: the complete product on this machine. Starts the edge on workerd and one GPU worker per pool, creates
 * the demo tenant, prints how to use it, and stops all of its processes on a signal.
 */
import { once } from 'node:events'
import { existsSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type PoolName, poolNames } from '../../backends/wire/dispatch.ts'
import { sha256Hex } from '../auth/secret.ts'
import { bundle } from './bundle.ts'
import type { EdgeOptions } from './edge-host.ts'
import { enrolLocalWorkers, localWorkerKey } from './enrol.ts'
import { readStartEnvironment } from './environment.ts'
import { greeting } from './greeting.ts'
import { lockHome, openState, type State, writePrivate, writeState } from './home.ts'
import { SupervisedProcess } from './process.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const host = '127.0.0.1'
/** One million dollars, so that the demo tenant does not reach its budget. */
const demoCreditNano = 1_000_000 * 1e9
const edgeDrainMs = 10_000

interface EdgeReady {
  url: string
  workerdPid: number | null
}

async function start(): Promise<void> {
  const environment = readStartEnvironment(process.env)
  const home = resolve(environment.TRAMONTANE_HOME ?? join(root, '.tramontane'))
  const port = environment.PORT
  const modelId = environment.TRAMONTANE_MODEL_ID ?? (servesToy() ? 'tramontane-tiny' : 'mistral-small-4')
  if (takesFiles()) checkModelFile(environment.TRAMONTANE_MODEL)
  const unlock = lockHome(home)
  process.on('exit', unlock)
  const state = openState(home)
  await checkPortFree(port)
  const log = (line: string) => process.stderr.write(line)
  const fail = (reason: string) => void stop(1, reason)

  const baseUrl = `http://${host}:${port}`
  const operatorKeyHash = await sha256Hex(state.operatorKey)
  const hostOptions = (build: string): EdgeOptions => ({
    root,
    home,
    build,
    host,
    port,
    bindings: {
      KEY_SECRET: state.keySecret,
      FLEET_SECRET: state.fleetSecret,
      OPERATOR_KEY_SHA256: operatorKeyHash,
      MODELS: modelId,
      METER_LOOPBACK: 'allow',
      ...hostedBindings(),
      ...(environment.TRAMONTANE_SPILL === 'off' && { SPILL: 'off' }),
    },
    inspectorPort: environment.TRAMONTANE_INSPECTOR_PORT,
  })
  let workerdPid: number | null = null
  const edgeOptions = (build: string): ConstructorParameters<typeof SupervisedProcess<EdgeReady>>[0] => ({
    name: 'the edge',
    module: fileURLToPath(new URL('./edge-host.ts', import.meta.url)),
    env: { TRAMONTANE_EDGE_ORDER: JSON.stringify(hostOptions(build)) },
    ready: (message) => (isReady(message) ? (message as unknown as EdgeReady) : undefined),
    onReady: (ready) => {
      workerdPid = ready.workerdPid
      noteProcesses()
    },
    // A dead host leaves its workerd running, and two workerd processes must not write the same folder.
    beforeRestart: () => {
      if (workerdPid !== null) killIfAlive(workerdPid)
    },
    onGaveUp: fail,
    stop: (child) => void child.send('drain'),
    stopMs: edgeDrainMs,
    log,
  })
  let edge: SupervisedProcess<EdgeReady> | undefined
  const workers = new Map<PoolName, SupervisedProcess<{ url: string }>>()
  const workerOf = (pool: PoolName, workerKey: string) =>
    new SupervisedProcess<{ url: string }>({
      name: `the ${pool} worker`,
      module: join(root, 'gpu-worker', 'main.ts'),
      env: {
        TRAMONTANE_WORKER_KEY: workerKey,
        TRAMONTANE_EDGE_URL: baseUrl,
        TRAMONTANE_MODEL_ID: modelId,
        TRAMONTANE_POOL: pool,
        TRAMONTANE_HOME: home,
        TRAMONTANE_WORKER_HOST: host,
        TRAMONTANE_WORKER_PORT: '0',
      },
      passed: ['TRAMONTANE_ENGINE_KEY', 'TRAMONTANE_METRICS_KEY'],
      ready: (message) => (isReady(message) ? (message as unknown as { url: string }) : undefined),
      onReady: () => noteProcesses(),
      onGaveUp: fail,
      stop: (child) => child.kill('SIGTERM'),
      stopMs: 40_000,
      log,
    })
  const startWorker = async (pool: PoolName, epoch: number) => {
    const worker = workerOf(pool, await localWorkerKey(state, pool, epoch))
    workers.set(pool, worker)
    return worker.start()
  }
  /**
   * Engines load while the edge is built: a worker starts with its previous key, which is nearly always still valid.
   */
  const startEnrolled = async (pool: PoolName, enrolled: Promise<Record<PoolName, number>>) => {
    const guessed = state.workerEpochs[pool]
    const started = startWorker(pool, guessed)
    const epochs = await Promise.race([enrolled, started.then(() => enrolled)])
    if (epochs[pool] === guessed) return started
    await workers.get(pool)?.stop()
    return startWorker(pool, epochs[pool])
  }

  let stopping = false
  async function stop(code: number, reason?: string): Promise<void> {
    if (stopping) return
    stopping = true
    if (reason) process.stderr.write(`${reason}\n`)
    // Workers first, so that the edge can still accept their receipts.
    await Promise.all([...workers.values()].map((worker) => worker.stop()))
    await edge?.stop()
    if (workerdPid !== null) killIfAlive(workerdPid)
    rmSync(join(home, 'demo.json'), { force: true })
    process.exit(code)
  }
  process.on('SIGINT', () => void stop(0))
  process.on('SIGTERM', () => void stop(0))
  process.on('SIGHUP', () => void stop(0))
  whenNpmExits(() => void stop(0))

  const noteProcesses = () => {
    if (!state.apiKey || stopping) return
    const pids = {
      start: process.pid,
      edgeHost: edge?.pid ?? null,
      workerd: workerdPid,
      ...Object.fromEntries(poolNames.map((pool) => [pool, workers.get(pool)?.pid ?? null])),
    }
    const demo = {
      baseUrl: `${baseUrl}/v1`,
      model: modelId,
      apiKey: state.apiKey,
      operatorKey: state.operatorKey,
      pids,
    }
    writePrivate(join(home, 'demo.json'), JSON.stringify(demo, null, 2))
  }

  try {
    const edgeReady = bundle(root, home).then((build) => {
      edge = new SupervisedProcess(edgeOptions(build))
      return edge.start()
    })
    const enrolled = edgeReady.then(async () => {
      state.workerEpochs = await enrolLocalWorkers({ baseUrl, host, modelId, state })
      await ensureDemoTenant(baseUrl, state, home)
      writeState(home, state)
      return state.workerEpochs
    })
    // A worker is ready when the edge has accepted its heartbeat.
    await Promise.all(poolNames.map((pool) => startEnrolled(pool, enrolled)))
  } catch (error) {
    return stop(1, error instanceof Error ? error.message : String(error))
  }
  noteProcesses()
  process.stdout.write(
    greeting({ baseUrl, modelId, apiKey: state.apiKey ?? '', home, toy: modelId === 'tramontane-tiny' }),
  )
}

/**
 * npm and its shell exit on SIGTERM without forwarding the signal, which would leave this process running. Only under
 * npm, because a process that is started by hand may outlive its shell.
 */
function whenNpmExits(stop: () => void): void {
  if (process.env.npm_lifecycle_event !== 'start') return
  const shell = process.ppid
  setInterval(() => {
    if (process.ppid !== shell) stop()
  }, 250).unref()
}

/** The settings of a hosted API, if the environment has them. */
function hostedBindings(): Record<string, string> {
  const names = ['HOSTED_URL', 'HOSTED_MODEL', 'HOSTED_KEY']
  return Object.fromEntries(names.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])))
}

async function ensureDemoTenant(baseUrl: string, state: State, home: string): Promise<void> {
  if (state.apiKey) return
  await post(baseUrl, '/admin/tenants', state, { tenantId: state.tenantId, name: 'Demo', creditNano: demoCreditNano })
  const created = await post(baseUrl, `/admin/tenants/${state.tenantId}/keys`, state, {
    name: 'demo key',
    mode: 'test',
  })
  state.apiKey = String((created as { apiKey: unknown }).apiKey)
  writeState(home, state)
}

async function post(baseUrl: string, path: string, state: State, body: unknown): Promise<unknown> {
  const response = await fetch(new URL(path, baseUrl), {
    method: 'POST',
    headers: { authorization: `Bearer ${state.operatorKey}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  const answer: unknown = await response.json()
  const exists = response.status === 400 && path === '/admin/tenants'
  if (!response.ok && !exists) throw new Error(`cannot create the demo tenant: ${JSON.stringify(answer)}`)
  return answer
}

function isReady(message: unknown): boolean {
  return typeof message === 'object' && message !== null && 'kind' in message && message.kind === 'ready'
}

function killIfAlive(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // The process has already exited.
  }
}

/** Whether the engine takes a model file. Other engines also take a model id, and report a missing model themselves. */
function takesFiles(): boolean {
  return ['embedded', 'llama-cpp'].includes(process.env.TRAMONTANE_BACKEND ?? 'embedded')
}

/** The worker's own rule, so that the edge offers the model that the workers serve. */
function servesToy(): boolean {
  return takesFiles() && !process.env.TRAMONTANE_MODEL && !process.env.TRAMONTANE_ENGINE_URL
}

function checkModelFile(path: string | undefined): void {
  if (path !== undefined && !existsSync(path))
    throw new Error(`TRAMONTANE_MODEL: file ${path} not found. Correct the path.`)
}

async function checkPortFree(port: number): Promise<void> {
  const probe = createServer()
  try {
    probe.listen(port, host)
    await once(probe, 'listening')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    throw new Error(
      `port ${port} is in use. Stop the process that uses it, or choose another port: PORT=8788 npm start`,
      {
        cause: error,
      },
    )
  }
  await new Promise((resolve) => probe.close(resolve))
}

start().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`)
  process.exit(1)
})
