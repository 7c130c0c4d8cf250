/** Asks `nvidia-smi` for the GPUs of this host. */
import { spawnSync } from 'node:child_process'
import { type Gpu, nvidiaSmiArguments, readNvidiaSmi } from './gpus.ts'

const timeoutMs = 10_000

/** Null if unknown: no `nvidia-smi`, or a driver that does not answer. Blocks for at most ten seconds. */
export function detectGpus(environment: Readonly<Record<string, string | undefined>>): Gpu[] | null {
  const { status, stdout } = spawnSync('nvidia-smi', nvidiaSmiArguments, {
    encoding: 'utf8',
    timeout: timeoutMs,
    maxBuffer: 1_048_576,
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  return status === 0 ? readNvidiaSmi(stdout, environment.CUDA_VISIBLE_DEVICES) : null
}
