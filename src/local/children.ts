/** The child processes of `npm start`: the host of the edge, and one GPU worker per pool. */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { PoolName } from '../../backends/wire/dispatch.ts'
import type { EdgeOptions } from './edge-host.ts'
import { type ProcessOptions, SupervisedProcess } from './process.ts'
import type { LocalSettings } from './settings.ts'

export interface EdgeReady {
  url: string
  workerdPid: number | null
}

export interface WorkerReady {
  url: string
}

const edgeDrainMs = 10_000
const workerStopMs = 40_000

/** The parent's reactions to a child that becomes ready or dies. */
type ChildReactions<Ready> = Pick<ProcessOptions<Ready>, 'onReady' | 'onGaveUp' | 'beforeRestart'>

/** @param build folder of the bundle */
export function edgeProcess(
  settings: LocalSettings,
  build: string,
  secrets: Record<string, string>,
  reactions: ChildReactions<EdgeReady>,
): SupervisedProcess<EdgeReady> {
  const { root, home, host, port, modelId, inspectorPort } = settings
  const bindings = { ...secrets, MODELS: modelId, METER_LOOPBACK: 'allow', ...settings.bindings }
  const order: EdgeOptions = { root, home, build, host, port, bindings, inspectorPort }
  return new SupervisedProcess({
    name: 'the edge',
    module: fileURLToPath(new URL('./edge-host.ts', import.meta.url)),
    env: { TRAMONTANE_EDGE_ORDER: JSON.stringify(order) },
    ready: readyOf<EdgeReady>,
    stop: (child) => void child.send('drain'),
    stopMs: edgeDrainMs,
    log,
    ...reactions,
  })
}

export function workerProcess(
  settings: LocalSettings,
  pool: PoolName,
  workerKey: string,
  reactions: ChildReactions<WorkerReady>,
): SupervisedProcess<WorkerReady> {
  return new SupervisedProcess({
    name: `the ${pool} worker`,
    module: join(settings.root, 'gpu-worker', 'main.ts'),
    env: {
      TRAMONTANE_WORKER_KEY: workerKey,
      TRAMONTANE_EDGE_URL: settings.baseUrl,
      TRAMONTANE_MODEL_ID: settings.modelId,
      TRAMONTANE_POOL: pool,
      TRAMONTANE_HOME: settings.home,
      TRAMONTANE_WORKER_HOST: settings.host,
      TRAMONTANE_WORKER_PORT: '0',
    },
    passed: ['TRAMONTANE_ENGINE_KEY', 'TRAMONTANE_METRICS_KEY'],
    ready: readyOf<WorkerReady>,
    stop: (child) => child.kill('SIGTERM'),
    stopMs: workerStopMs,
    log,
    ...reactions,
  })
}

/** A child is of this repository, so its message has the fields. */
function readyOf<Ready>(message: unknown): Ready | undefined {
  const isReady = typeof message === 'object' && message !== null && 'kind' in message && message.kind === 'ready'
  return isReady ? (message as Ready) : undefined
}

function log(line: string): void {
  process.stderr.write(line)
}
