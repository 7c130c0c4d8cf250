/** Sizes a replica of Mistral Small 4 for the GPUs of the host, where the operator has not done so. */
import type { LaunchSettings } from '../backends/contract/backend.ts'
import { checkpointOf, type GgufQuantisation, isGgufQuantisation, smallFourGguf } from './gpu/checkpoints.ts'
import { gpuMemoryUtilisation, offloadOf, replicaOf, smallestOf, tensorParallelDefault } from './gpu/fit.ts'
import { type Gpu, gpusText } from './gpu/gpus.ts'

interface ReplicaRequest {
  engine: string
  /** As the engine takes it. */
  model: string
  slotsMax: number
  contextTokens: number
  /** The operator's own; undefined: choose. */
  tensorParallel: number | undefined
  cpuExpertLayers: number | undefined
  /** Null: not known. */
  gpus: readonly Gpu[] | null
}

type SizedReplica = Pick<
  LaunchSettings,
  'tensorParallel' | 'gpuCapability' | 'gpuMemoryUtilisation' | 'quantisation' | 'cpuExpertLayers'
> & { notes: string[] }

const checkpointEngines = ['vllm', 'sglang']

export function servesSmallFour(model: string): boolean {
  return checkpointOf(model) !== undefined || ggufOf(model) !== undefined
}

/** Throws an error that begins with the name of a setting if the GPUs are known and do not hold the model. */
export function replicaFor(request: ReplicaRequest): SizedReplica {
  const { engine, gpus } = request
  const gguf = engine === 'llama-cpp' ? ggufOf(request.model) : undefined
  const gpuCapability = gpus ? (smallestOf(gpus)?.capability ?? null) : null
  const quantisation = gguf ?? checkpointOf(request.model)?.quantisation ?? null
  const { tensorParallel, notes } = tensorParallelOf(request)
  return {
    tensorParallel,
    gpuCapability,
    quantisation,
    gpuMemoryUtilisation: quantisation !== null && engine === 'vllm' ? gpuMemoryUtilisation : null,
    cpuExpertLayers: request.cpuExpertLayers ?? (gguf ? cpuLayersOf(gguf, request) : null),
    notes,
  }
}

function tensorParallelOf(request: ReplicaRequest): { tensorParallel: number; notes: string[] } {
  const { engine, model, gpus, contextTokens, tensorParallel: chosen } = request
  const checkpoint = checkpointEngines.includes(engine) ? checkpointOf(model) : undefined
  if (chosen !== undefined || !checkpoint) return { tensorParallel: chosen ?? 1, notes: [] }
  if (!gpus)
    return {
      tensorParallel: tensorParallelDefault,
      notes: [
        `The GPUs are not known here (no nvidia-smi): tensor parallelism ${tensorParallelDefault} is that of Mistral’s recipe. npm run plan -- --gpus 4xH100-80 computes it for others.`,
      ],
    }
  const replica = replicaOf(checkpoint, gpus, contextTokens)
  if (replica.kind === 'fits')
    return {
      tensorParallel: replica.size,
      notes: [
        `${gpusText(gpus)}: ${replica.size} of them hold the weights (${gigabytes(checkpoint.weightsBytes)}) and about ${replica.cacheTokens.toLocaleString('en-US')} tokens of context.`,
      ],
    }
  if (replica.kind === 'short')
    throw new Error(
      `TRAMONTANE_CONTEXT: ${gpusText(gpus)} hold ${model}, but only about ${replica.cacheTokens} tokens of context, fewer than ${contextTokens}. Set TRAMONTANE_CONTEXT to less, or ask npm run plan.`,
    )
  throw new Error(
    `TRAMONTANE_TENSOR_PARALLEL: ${gpusText(gpus)} cannot hold ${model} (${gigabytes(checkpoint.weightsBytes)} of weights). Ask npm run plan what fits, or set the variable to launch it nevertheless.`,
  )
}

/** For one GPU: on several, llama.cpp divides the layers evenly, and its own --fit is the better choice. */
function cpuLayersOf(quantisation: GgufQuantisation, { gpus, slotsMax, contextTokens }: ReplicaRequest): number | null {
  if (gpus?.length !== 1) return null
  return offloadOf(quantisation, gpus, slotsMax * contextTokens)?.cpuLayers ?? null
}

function ggufOf(model: string): GgufQuantisation | undefined {
  const [repository, quantisation = ''] = model.split(':')
  return repository === smallFourGguf && isGgufQuantisation(quantisation) ? quantisation : undefined
}

function gigabytes(bytes: number): string {
  return `${Math.round(bytes / 1e9)} GB`
}
