/** Reads a worker's settings from its environment. An error names the missing or invalid variable in one sentence. */

import { existsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import type { HttpBackend, LaunchSettings } from '../backends/contract/backend.ts'
import { rootOf } from '../backends/contract/root.ts'
import { httpBackends } from '../backends/engines/registry.ts'
import { faultText, readFields } from '../backends/model/field-fault.ts'
import { findModel, type Model } from '../backends/model/model.ts'
import { PoolName } from '../backends/wire/dispatch.ts'
import { slotsPerWorkerMax } from '../backends/wire/heartbeat.ts'
import { parseWorkerKey, type WorkerKey } from '../backends/wire/worker-key.ts'
import { smallFour } from './gpu/checkpoints.ts'
import type { Gpu } from './gpu/gpus.ts'
import { profileOf } from './profile.ts'
import { publishedForm } from './published-form.ts'
import { replicaFor, servesSmallFour } from './replica.ts'
import { checkEffects } from './setting-effects.ts'
import { speculationOf } from './speculation.ts'
import { wholeNumber } from './whole-number.ts'

export interface Config extends EngineConfig {
  key: WorkerKey
  edgeUrl: URL
  host: string
  port: number
  /** URL at which the edge reaches this worker; null means http://host:port. */
  publicUrl: string | null
  home: string
  /** Milliseconds that open requests have to finish after SIGTERM. */
  drainMs: number
  /** Scope of the engine's prefix cache: per tenant, or shared by all, as an engine with a single tenant may do. */
  prefixes: 'per-tenant' | 'shared'
  /** Bearer key for `/metrics` and the details of `/healthz` on the main port. */
  metricsKey: string | null
  /** A second port that serves both without a key; null for no second port. */
  metricsAt: { host: string; port: number } | null
}

/** The engine that runs the model, and its limits. */
export interface EngineConfig {
  pool: PoolName
  model: Model
  slotsMax: number
  contextTokens: number
  engine: EngineChoice
}

export type EngineChoice =
  | {
      kind: 'embedded'
      modelPath: string
      batchTokens: number
      prefillChunkTokens: number
      threads: number
      gpu: false | 'auto'
      /** Memory limit of the engine process; null derives it from the model and the slots. */
      memoryBytesMax: number | null
    }
  /**
   * `silentMs`: the longest pause in an answer before it counts as broken. `program` replaces the adapter's own
   * command. Port 0 is any free port. `notes`: the origin of what the worker chose.
   */
  | {
      kind: 'launched'
      backend: HttpBackend
      silentMs: number
      program: string | null
      settings: LaunchSettings
      notes: string[]
    }
  | { kind: 'attached'; backend: HttpBackend; silentMs: number; url: string; apiKey: string | null }

export const tinyModelPath = fileURLToPath(new URL('./model/tiny.gguf', import.meta.url))
const tinyModelId = 'tramontane-tiny'

const port = wholeNumber({ min: 0, max: 65_535 })
const httpUrl = (error: string) => z.url({ protocol: /^https?$/, error })
const nonEmpty = (schema: z.ZodString) => schema.min(1, 'is empty. Set a value or remove the variable.').optional()

/** The descriptions are the text of the settings guide. */
export const EngineEnvironment = z.object({
  TRAMONTANE_POOL: PoolName.default('latency').describe(
    'The pool that the worker belongs to. It selects the profile of batch sizes.',
  ),
  TRAMONTANE_BACKEND: z
    .string()
    .default('embedded')
    .describe(
      'The engine: `embedded`, `vllm`, `sglang`, `llama-cpp`, `transformers`, `lm-studio`, `ollama` or `openai-compatible`.',
    ),
  TRAMONTANE_MODEL: nonEmpty(z.string()).describe(
    'Path of a model file, or an id as the engine takes it. Default: the toy on `embedded` and with `npm start`, Mistral Small 4 on the others.',
  ),
  TRAMONTANE_MODEL_ID: nonEmpty(z.string()).describe(
    'The id under which the model is served. Default: `tramontane-tiny` for the toy, otherwise `mistral-small-4`.',
  ),
  TRAMONTANE_SLOTS: wholeNumber({ min: 1, max: slotsPerWorkerMax })
    .optional()
    .describe('Concurrent requests. Default: the profile’s.'),
  TRAMONTANE_CONTEXT: wholeNumber({ min: 256 })
    .optional()
    .describe('Tokens of one request, prompt and output together. Default: the profile’s, at most the model’s.'),
  TRAMONTANE_THREADS: wholeNumber({ min: 1 })
    .optional()
    .describe('CPU threads of the engine. Default on `embedded`: all but one.'),
  TRAMONTANE_GPU: z
    .enum(['off', 'auto'])
    .default('off')
    .describe(
      '`auto` uses the GPU on `embedded`, after `npm run gpu -- cuda` or `vulkan` has downloaded the binaries.',
    ),
  TRAMONTANE_ENGINE_MEMORY_MB: wholeNumber({
    min: 256,
    tooSmall: 'is too small. Set at least 256: the engine process needs 256 MB before it loads a model.',
  })
    .optional()
    .describe(
      'Megabytes. The engine process is ended above this. Default: derived from the model file, the KV cache and the slots.',
    ),
  TRAMONTANE_ENGINE_URL: httpUrl('must be the URL of a running engine, for example http://127.0.0.1:8000')
    .optional()
    .describe('Attach to the engine at this URL instead of launching one.'),
  TRAMONTANE_ENGINE_KEY: nonEmpty(z.string()).describe('Secret. The API key of the engine.'),
  TRAMONTANE_ENGINE_PROGRAM: nonEmpty(z.string()).describe('A program to launch in place of the engine’s own command.'),
  TRAMONTANE_ENGINE_PORT: port.prefault('0').describe('Port of the launched engine. 0 is any free port.'),
  TRAMONTANE_ENGINE_SILENT_MS: wholeNumber({ min: 100 })
    .prefault('60000')
    .describe('Milliseconds. The longest pause in an answer before it counts as broken.'),
  TRAMONTANE_ENGINE_ARGS: z
    .string()
    .default('')
    .describe('More arguments for the launched engine, separated by spaces; quotes keep a value together.'),
  TRAMONTANE_DRAFT_MODEL: nonEmpty(z.string()).describe(
    'Draft model for speculation. `eagle`: the published draft of Mistral Small 4, on vLLM and SGLang. Default: `off`.',
  ),
  TRAMONTANE_QUANT: nonEmpty(z.string()).describe(
    'Quantisation of Mistral Small 4: `fp8` (default) or `nvfp4` on vLLM and SGLang; on `llama-cpp` that of a GGUF, such as `Q4_K_M` (default) or `Q2_K`.',
  ),
  TRAMONTANE_TENSOR_PARALLEL: wholeNumber({ min: 1, max: 64 })
    .optional()
    .describe(
      'GPUs for one replica of the model. Default for Mistral Small 4 on vLLM and SGLang: as few as hold it, by `nvidia-smi`, or 2.',
    ),
  TRAMONTANE_CPU_EXPERT_LAYERS: wholeNumber({ min: 0, max: 256 })
    .optional()
    .describe(
      'Layers whose experts stay in the memory of the CPU, on `llama-cpp`. Default: as few as one GPU needs, by `nvidia-smi`.',
    ),
})
export type EngineEnvironment = z.infer<typeof EngineEnvironment>

export const WorkerEnvironment = z.object({
  TRAMONTANE_WORKER_KEY: z
    .string({ error: 'is missing. Enrol the worker with POST /admin/workers.' })
    .describe('Secret. The worker’s key, from `POST /admin/workers`.'),
  TRAMONTANE_EDGE_URL: httpUrl('must be the URL of the gateway')
    .refine((text) => !/[?#@]/.test(text), 'must have no query, fragment or password. Use the base URL of the gateway.')
    .describe('URL of the gateway, with its path if it has one. A `/v1` at its end is left out.'),
  TRAMONTANE_WORKER_HOST: z.string().default('127.0.0.1').describe('Address on which the worker listens.'),
  TRAMONTANE_WORKER_PORT: port.prefault('0').describe('Port on which the worker listens. 0 is any free port.'),
  TRAMONTANE_WORKER_URL: httpUrl('must be a URL that the gateway can reach')
    .optional()
    .describe('URL at which the gateway reaches the worker. Default: made from host and port.'),
  TRAMONTANE_HOME: z.string().default('.tramontane').describe('Folder of the worker’s receipts.'),
  TRAMONTANE_PREFIXES: z
    .enum(['per-tenant', 'shared'])
    .default('per-tenant')
    .describe('`shared` lets prompts of all tenants share the engine’s prefix cache.'),
  TRAMONTANE_DRAIN_MS: wholeNumber({ min: 0 })
    .prefault('30000')
    .describe('Milliseconds that open requests have to finish after SIGTERM.'),
  TRAMONTANE_METRICS_KEY: z
    .string()
    .regex(/^[\x21-\x7e]{16,256}$/, 'must have 16 to 256 printable characters without spaces')
    .optional()
    .describe('Secret. The bearer key that `/metrics` and the details of `/healthz` require on the worker’s port.'),
  TRAMONTANE_METRICS_PORT: wholeNumber({ min: 1, max: 65_535 })
    .optional()
    .describe('A second port that serves `/metrics` without a key.'),
  TRAMONTANE_METRICS_HOST: z.string().min(1).default('127.0.0.1').describe('Address of the second port.'),
})

type Variables = Record<string, string | undefined>
/** Null: the GPUs are not known. */
type DetectGpus = (environment: Variables) => readonly Gpu[] | null
const unknownGpus: DetectGpus = () => null

/** @param detectGpus called only for an engine that the worker launches */
export function readConfig(environment: Variables, detectGpus = unknownGpus): Config {
  const env = parse(WorkerEnvironment, environment)
  const key = parseWorkerKey(env.TRAMONTANE_WORKER_KEY)
  if (!key) throw new Error('TRAMONTANE_WORKER_KEY: not a worker key. Enrol the worker with POST /admin/workers.')
  return {
    key,
    edgeUrl: new URL(rootOf(env.TRAMONTANE_EDGE_URL)),
    host: env.TRAMONTANE_WORKER_HOST,
    port: env.TRAMONTANE_WORKER_PORT,
    publicUrl: env.TRAMONTANE_WORKER_URL ?? null,
    home: env.TRAMONTANE_HOME,
    drainMs: env.TRAMONTANE_DRAIN_MS,
    prefixes: env.TRAMONTANE_PREFIXES,
    metricsKey: env.TRAMONTANE_METRICS_KEY ?? null,
    metricsAt:
      env.TRAMONTANE_METRICS_PORT === undefined
        ? null
        : { host: env.TRAMONTANE_METRICS_HOST, port: env.TRAMONTANE_METRICS_PORT },
    ...readEngineConfig(environment, detectGpus),
  }
}

/** Reads the settings that need neither a gateway nor a key. */
export function readEngineConfig(environment: Variables, detectGpus = unknownGpus): EngineConfig {
  const env = parse(EngineEnvironment, environment)
  const backend = backendOf(env)
  checkEffects(env.TRAMONTANE_BACKEND, env)
  const modelId = env.TRAMONTANE_MODEL_ID ?? (serves(env, backend) === tinyModelPath ? tinyModelId : 'mistral-small-4')
  const model = findModel(modelId)
  if (!model)
    throw new Error(`TRAMONTANE_MODEL_ID: ${modelId} is not in the catalogue. Use a model of backends/model/model.ts.`)
  if (env.TRAMONTANE_CONTEXT !== undefined && env.TRAMONTANE_CONTEXT > model.contextTokens)
    throw new Error(`TRAMONTANE_CONTEXT: must be at most ${model.contextTokens}, the context of ${model.id}.`)
  const profile = profileOf(env.TRAMONTANE_BACKEND, env.TRAMONTANE_POOL)
  const common = {
    pool: env.TRAMONTANE_POOL,
    model,
    slotsMax: env.TRAMONTANE_SLOTS ?? profile.slotsMax,
    contextTokens: env.TRAMONTANE_CONTEXT ?? Math.min(model.contextTokens, profile.contextTokensMax),
  }
  return { ...common, engine: choose(env, backend, common, () => detectGpus(environment)) }
}

function choose(
  env: EngineEnvironment,
  backend: HttpBackend | null,
  { model, slotsMax, contextTokens }: Omit<EngineConfig, 'engine'>,
  detectGpus: () => readonly Gpu[] | null,
): EngineChoice {
  const { batchTokens, prefillChunkTokens, speculationTokens } = profileOf(env.TRAMONTANE_BACKEND, env.TRAMONTANE_POOL)
  const served = serves(env, backend)
  if (!backend) {
    return {
      kind: 'embedded',
      modelPath: served,
      ...{ batchTokens, prefillChunkTokens },
      threads: env.TRAMONTANE_THREADS ?? Math.max(1, availableParallelism() - 1),
      gpu: env.TRAMONTANE_GPU === 'auto' ? 'auto' : false,
      memoryBytesMax:
        env.TRAMONTANE_ENGINE_MEMORY_MB === undefined ? null : env.TRAMONTANE_ENGINE_MEMORY_MB * 1024 ** 2,
    }
  }
  const apiKey = env.TRAMONTANE_ENGINE_KEY ?? null
  const silentMs = env.TRAMONTANE_ENGINE_SILENT_MS
  const url = env.TRAMONTANE_ENGINE_URL
  if (url !== undefined) return { kind: 'attached', backend, silentMs, url: rootOf(url), apiKey }
  if (!backend.launch) {
    throw new Error(
      `TRAMONTANE_ENGINE_URL: is missing. The worker cannot launch ${backend.name}. Start it and set this to its URL.`,
    )
  }
  const program = env.TRAMONTANE_ENGINE_PROGRAM ?? null
  if (program?.includes('/') && !existsSync(program))
    throw new Error(`TRAMONTANE_ENGINE_PROGRAM: no file ${program}. Set the path of an existing program.`)
  const replica = replicaFor({
    engine: backend.name,
    model: served,
    ...{ slotsMax, contextTokens },
    tensorParallel: env.TRAMONTANE_TENSOR_PARALLEL,
    cpuExpertLayers: env.TRAMONTANE_CPU_EXPERT_LAYERS,
    gpus: servesSmallFour(served) ? detectGpus() : null,
  })
  const drafted = speculationOf(env.TRAMONTANE_DRAFT_MODEL, speculationTokens, served, replica)
  return {
    kind: 'launched',
    backend,
    silentMs,
    program,
    notes: replica.notes,
    settings: {
      model: served,
      servedAs: model.id,
      host: '127.0.0.1',
      port: env.TRAMONTANE_ENGINE_PORT,
      ...{ contextTokens, slotsMax, batchTokens, prefillChunkTokens, apiKey },
      performance: env.TRAMONTANE_POOL,
      speculation: drafted,
      tensorParallel: replica.tensorParallel,
      gpuCapability: replica.gpuCapability,
      gpuMemoryUtilisation: replica.gpuMemoryUtilisation,
      quantisation: replica.quantisation,
      cpuExpertLayers: replica.cpuExpertLayers,
      threads: env.TRAMONTANE_THREADS ?? null,
      extra: words(env.TRAMONTANE_ENGINE_ARGS),
    },
  }
}

function backendOf(env: EngineEnvironment): HttpBackend | null {
  const name = env.TRAMONTANE_BACKEND
  if (name === 'embedded') return null
  const backend = httpBackends.find((each) => each.name === name)
  if (backend) return backend
  const names = ['embedded', ...httpBackends.map((each) => each.name)].join(', ')
  throw new Error(`TRAMONTANE_BACKEND: unknown engine "${name}". Use one of ${names}.`)
}

/** The model to serve: a path, or an id in the engine's own notation. */
function serves(env: EngineEnvironment, backend: HttpBackend | null): string {
  const path = env.TRAMONTANE_MODEL
  const quantisation = env.TRAMONTANE_QUANT
  if (path !== undefined) {
    if (quantisation === undefined) return path
    throw new Error(
      'TRAMONTANE_QUANT: selects a published form of Mistral Small 4, and TRAMONTANE_MODEL names another. Set only one of them.',
    )
  }
  if (env.TRAMONTANE_ENGINE_URL !== undefined) return smallFour
  // `npm start` names the toy; it offers no other model without a path.
  if (backend === null || (backend.name === 'llama-cpp' && env.TRAMONTANE_MODEL_ID === tinyModelId))
    return tinyModelPath
  return publishedForm(backend.name, quantisation)
}

/** Splits at white space. Single or double quotes keep a value together. */
function words(text: string): string[] {
  return [...text.matchAll(/'([^']*)'|"([^"]*)"|\S+/g)].map((match) => match[1] ?? match[2] ?? match[0])
}

function parse<Schema extends z.ZodType>(schema: Schema, environment: Variables): z.infer<Schema> {
  const read = readFields(schema, environment)
  if (read.ok) return read.data
  throw new Error(faultText(read.fault))
}
