/** A worker's settings, from its environment. What is missing or wrong is named in one sentence. */
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { PoolName } from '../backends/protocol/dispatch.ts'
import { slotsPerWorkerMax } from '../backends/protocol/heartbeat.ts'
import { findModel, type Model } from '../backends/protocol/model.ts'
import { parseWorkerKey, type WorkerKey } from '../backends/protocol/worker-key.ts'
import { profiles } from './profile.ts'

export interface Config {
  key: WorkerKey
  edgeUrl: URL
  host: string
  port: number
  /** Where the edge reaches this worker; null means http://host:port. */
  publicUrl: string | null
  home: string
  pool: PoolName
  model: Model
  modelPath: string
  slotsMax: number
  contextTokens: number
  batchTokens: number
  prefillChunkTokens: number
  threads: number
  gpu: false | 'auto'
  /** How long open requests may go on after SIGTERM, in milliseconds. */
  drainMs: number
}

export const tinyModelPath = fileURLToPath(new URL('./model/tiny.gguf', import.meta.url))
const tinyModelId = 'tramontane-tiny'

const port = z.coerce.number().int().min(0).max(65_535)

const Environment = z.object({
  TRAMONTANE_WORKER_KEY: z.string({ error: 'is missing: enrol the worker with POST /admin/workers' }),
  TRAMONTANE_EDGE_URL: z.url({ protocol: /^https?$/, error: 'must be the URL of the gateway' }),
  TRAMONTANE_WORKER_HOST: z.string().default('127.0.0.1'),
  TRAMONTANE_WORKER_PORT: port.default(0),
  TRAMONTANE_WORKER_URL: z.url({ protocol: /^https?$/, error: 'must be a URL that the gateway can reach' }).optional(),
  TRAMONTANE_HOME: z.string().default('.tramontane'),
  TRAMONTANE_POOL: PoolName.default('latency'),
  TRAMONTANE_MODEL: z.string().optional(),
  TRAMONTANE_MODEL_ID: z.string().optional(),
  TRAMONTANE_SLOTS: z.coerce.number().int().min(1).max(slotsPerWorkerMax).optional(),
  TRAMONTANE_CONTEXT: z.coerce.number().int().min(256).optional(),
  TRAMONTANE_THREADS: z.coerce.number().int().min(1).optional(),
  TRAMONTANE_GPU: z.enum(['off', 'auto']).default('off'),
  TRAMONTANE_DRAIN_MS: z.coerce.number().int().min(0).default(30_000),
})

export function readConfig(environment: Record<string, string | undefined>): Config {
  const parsed = Environment.safeParse(environment)
  if (!parsed.success) {
    const issue = parsed.error.issues[0]
    throw new Error(`${String(issue?.path[0])}: ${issue?.message}`)
  }
  const env = parsed.data
  const key = parseWorkerKey(env.TRAMONTANE_WORKER_KEY)
  if (!key) throw new Error('TRAMONTANE_WORKER_KEY: not a worker key; enrol the worker with POST /admin/workers')
  const modelId = env.TRAMONTANE_MODEL_ID ?? (env.TRAMONTANE_MODEL ? 'mistral-small-4' : tinyModelId)
  const model = findModel(modelId)
  if (!model) throw new Error(`TRAMONTANE_MODEL_ID: ${modelId} is not in the catalogue (backends/protocol/model.ts)`)
  const profile = profiles[env.TRAMONTANE_POOL]
  return {
    key,
    edgeUrl: new URL(env.TRAMONTANE_EDGE_URL),
    host: env.TRAMONTANE_WORKER_HOST,
    port: env.TRAMONTANE_WORKER_PORT,
    publicUrl: env.TRAMONTANE_WORKER_URL ?? null,
    home: env.TRAMONTANE_HOME,
    pool: env.TRAMONTANE_POOL,
    model,
    modelPath: env.TRAMONTANE_MODEL ?? tinyModelPath,
    slotsMax: env.TRAMONTANE_SLOTS ?? profile.slotsMax,
    contextTokens: env.TRAMONTANE_CONTEXT ?? Math.min(model.contextTokens, 32_768),
    batchTokens: profile.batchTokens,
    prefillChunkTokens: profile.prefillChunkTokens,
    threads: env.TRAMONTANE_THREADS ?? Math.max(1, availableParallelism() - 1),
    gpu: env.TRAMONTANE_GPU === 'auto' ? 'auto' : false,
    drainMs: env.TRAMONTANE_DRAIN_MS,
  }
}
