/** Which replicas of Mistral Small 4 fit into a host's GPUs, and how much context they hold next to the weights. */
import { type Checkpoint, cacheBytesPerToken, type GgufQuantisation, ggufSize, smallFourLayers } from './checkpoints.ts'
import type { Gpu } from './gpus.ts'

/** The part of each GPU that vLLM may use; the launch line sets it, so that the plan's numbers are the engine's. */
export const gpuMemoryUtilisation = 0.9
/** Activations, CUDA graphs and communication buffers of each GPU. Estimated; the engine measures them at its start. */
const reserveBytes = 4e9
/** Compute buffers and the vision projector of llama.cpp. Estimated. */
const llamaReserveBytes = 2.5e9

/** The sizes of a replica among so many GPUs: those that divide the model's 32 attention heads. */
export function sizesOf(gpus: number): number[] {
  return [1, 2, 4, 8].filter((size) => size <= gpus)
}

/** Mistral's recipe, for GPUs that are not known. */
export const tensorParallelDefault = 2

/**
 * Tokens of context that fit next to the weights when `size` such GPUs hold one replica; negative if the weights do not
 * fit. Every GPU holds the whole cache, so more GPUs help only because each has a smaller part of the weights.
 */
export function cacheTokens(checkpoint: Checkpoint, size: number, gpu: Gpu): number {
  if (size * gpu.memoryBytes < checkpoint.floorBytes) return -1
  const cacheBytes = gpu.memoryBytes * gpuMemoryUtilisation - reserveBytes - checkpoint.weightsBytes / size
  return Math.floor(cacheBytes / cacheBytesPerToken)
}

/** The GPU with the least memory: it limits the group. */
export function smallestOf(gpus: readonly Gpu[]): Gpu | undefined {
  return gpus.toSorted((one, other) => one.memoryBytes - other.memoryBytes)[0]
}

export type Replica =
  | { kind: 'fits'; size: number; cacheTokens: number }
  /** The weights fit, but not one request of this context. */
  | { kind: 'short'; size: number; cacheTokens: number }
  | { kind: 'too-large' }

/** The smallest replica that holds one request of `contextTokens`; otherwise the largest. */
export function replicaOf(checkpoint: Checkpoint, gpus: readonly Gpu[], contextTokens: number): Replica {
  const gpu = smallestOf(gpus)
  if (!gpu) return { kind: 'too-large' }
  const rows = sizesOf(gpus.length).map((size) => ({ size, cacheTokens: cacheTokens(checkpoint, size, gpu) }))
  const fits = rows.find((row) => row.cacheTokens >= contextTokens)
  if (fits) return { kind: 'fits', ...fits }
  const best = rows.at(-1)
  return best && best.cacheTokens > 0 ? { kind: 'short', ...best } : { kind: 'too-large' }
}

export interface Offload {
  /** Layers whose experts stay in the memory of the CPU (`--n-cpu-moe`). */
  cpuLayers: number
  cpuBytes: number
  gpuBytes: number
}

/**
 * Splits a GGUF between the GPUs and the memory of the CPU, the experts of as many layers as possible on the GPUs.
 * @returns undefined if the rest of the model and the cache do not fit into the GPUs
 */
export function offloadOf(
  quantisation: GgufQuantisation,
  gpus: readonly Gpu[],
  cacheTokensTotal: number,
): Offload | undefined {
  const { expertBytesPerLayer, otherBytes } = ggufSize(quantisation)
  const fixedBytes = otherBytes + cacheTokensTotal * cacheBytesPerToken
  const memoryBytes = gpus.reduce((sum, gpu) => sum + gpu.memoryBytes - llamaReserveBytes, 0)
  if (fixedBytes > memoryBytes) return undefined
  const gpuLayers = Math.min(smallFourLayers, Math.floor((memoryBytes - fixedBytes) / expertBytesPerLayer))
  const cpuLayers = smallFourLayers - gpuLayers
  return {
    cpuLayers,
    cpuBytes: cpuLayers * expertBytesPerLayer,
    gpuBytes: fixedBytes + gpuLayers * expertBytesPerLayer,
  }
}
