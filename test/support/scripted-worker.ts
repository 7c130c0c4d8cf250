/** A real worker of a running product with a scripted engine. */
import type { Chat } from '../../backends/model/chat.ts'
import type { ServedCapabilities } from '../../backends/wire/heartbeat.ts'
import { readConfig } from '../../gpu-worker/config.ts'
import type { EngineEvent } from '../../gpu-worker/engine/engine.ts'
import { createWorker } from '../../gpu-worker/worker.ts'
import { eventually, metricsKey, type Product } from './product.ts'
import { ScriptedEngine } from './scripted-engine.ts'

export interface ScriptedWorker {
  engine: ScriptedEngine
  /** Revokes the product's own workers, so that only this worker serves. */
  alone(): Promise<void>
  stop(): Promise<void>
}

export interface Script {
  reasoning?: string
  text?: string
  calls?: { name: string; arguments: object }[]
}

/** Resolves when the edge has accepted the worker's heartbeat. */
export async function startScriptedWorker(
  product: Product,
  options: {
    workerId?: string
    vision?: boolean
    /** Default: all of the embedded engine. */
    capabilities?: ServedCapabilities
    slots?: number
    script?: (chat: Chat) => Script
  },
): Promise<ScriptedWorker> {
  const { workerId = 'scripted', slots: slotsMax = 16, script } = options
  const config = readConfig(await workerEnvironment(product, workerId, slotsMax))
  const engine = new ScriptedEngine()
  engine.description = { ...engine.description, vision: options.vision ?? false, contextTokens: 262_144, slotsMax }
  if (options.capabilities) engine.description.capabilities = options.capabilities
  engine.outputTokensFit = 32_768
  if (script) engine.script = (chat) => eventsOf(script(chat))
  let calls = 0
  const callId = () => `call${String(calls++).padStart(5, '0')}`
  const worker = await createWorker(config, { engine, now: () => Date.now(), callId, log: () => undefined })
  await worker.start()
  return {
    engine,
    alone: () => withoutOwnWorkers(product),
    stop: () => worker.stop(),
  }
}

/** Enrols a worker, and returns its environment variables. */
export async function workerEnvironment(product: Product, workerId: string, slots: number) {
  const { workerKey } = await product.admin<{ workerKey: string }>('POST', '/admin/workers', {
    workerId,
    url: 'http://127.0.0.1:*',
    slotsMax: slots,
  })
  return {
    TRAMONTANE_WORKER_KEY: workerKey,
    TRAMONTANE_EDGE_URL: `http://127.0.0.1:${product.port}`,
    TRAMONTANE_HOME: product.home,
    TRAMONTANE_METRICS_KEY: metricsKey,
    TRAMONTANE_MODEL_ID: product.demo().model,
    TRAMONTANE_SLOTS: String(slots),
  }
}

/** Revokes the product's own workers and waits until they are gone. */
export async function withoutOwnWorkers(product: Product): Promise<void> {
  for (const own of ['local-latency', 'local-throughput']) {
    await product.admin('POST', `/admin/workers/${own}/revoke`)
  }
  const pools = () => product.admin<Record<string, { workers: { workerId: string }[] }>>('GET', '/admin/pools')
  const isOwn = ({ workerId }: { workerId: string }) => workerId.startsWith('local-')
  await eventually(pools, (views) => !Object.values(views).some(({ workers }) => workers.some(isOwn)))
}

function eventsOf({ reasoning, text, calls = [] }: Script): EngineEvent[] {
  return [
    ...(reasoning ? [{ kind: 'text', channel: 'reasoning', text: reasoning } as const] : []),
    ...(text ? [{ kind: 'text', channel: 'content', text } as const] : []),
    ...calls.map((call) => ({ kind: 'tool', name: call.name, arguments: JSON.stringify(call.arguments) }) as const),
    { kind: 'end', finishReason: calls.length > 0 ? 'tool_calls' : 'stop' },
  ]
}
