/** The rows of a hardware plan. Every figure has an origin. */
import type { PoolName } from '../../backends/wire/dispatch.ts'
import type { Gpu } from '../gpu/gpus.ts'

export interface Host {
  gpus: readonly Gpu[]
  /** Memory of the CPU. */
  memoryBytes: number
}

/**
 * `recipe`: published by Mistral, vLLM or SGLang. `computed`: from the model's configuration. `estimated`: from sizes
 * that differ by some percent, or from reserves that the engine measures at its start. `profile`: Tramontane's choice.
 */
export type FigureOrigin = 'recipe' | 'computed' | 'estimated' | 'profile'

export interface Figure {
  value: number
  origin: FigureOrigin
}

export interface PlanRow {
  engine: 'vllm' | 'sglang' | 'llama-cpp'
  /** Such as FP8, NVFP4 or Q4_K_M. */
  form: string
  weightsBytes: Figure
  /** GPUs of one replica. */
  gpus: number
  /** GPUs among which the engine divides each layer; llama.cpp divides by layers and has 1. */
  tensorParallel: Figure
  replicas: number
  /** Tokens of one request. */
  contextTokens: Figure
  /** Requests at once in one replica; null: no replica serves this pool. */
  slots: Record<PoolName, Figure | null>
  /** Tokens of all requests of one replica together. */
  cacheTokens: Figure
  /** Experts in the memory of the CPU; null: all on the GPUs. */
  offload: { layers: Figure; cpuBytes: Figure; tokensPerSecondMax: Figure; promptTokensPerSecondMax: Figure } | null
  remarks: string[]
  /** Environment variables and command, one for each worker. */
  commands: string[]
}

export interface HardwarePlan {
  /** Best first. */
  rows: PlanRow[]
  /** What does not fit, in one sentence each. */
  misfits: string[]
}

export const titles = { vllm: 'vLLM', sglang: 'SGLang', 'llama-cpp': 'llama.cpp' }

export function workerCommand(variables: Record<string, string>): string {
  return [...Object.entries(variables).map(([name, value]) => `${name}=${value}`), 'npm run worker'].join(' ')
}
