/**
 * `npm run plan`: prints what the GPUs of this host, or of `--gpus`, hold of Mistral Small 4, and the commands to run.
 * Exits with 0 if something fits, with 1 if nothing does, with 2 if an argument is invalid or the GPUs are unknown.
 *
 *   npm run plan -- [--gpus 4xH100-80|RTX4090-24|none] [--memory GIGABYTES]
 */
import { totalmem } from 'node:os'
import { parseArgs } from 'node:util'
import { detectGpus } from '../gpu/detect-gpus.ts'
import { type Gpu, readGpuList } from '../gpu/gpus.ts'
import { hardwarePlan } from './hardware-plan.ts'
import { planText } from './plan-text.ts'

const usage = 'usage: npm run plan -- [--gpus 4xH100-80|RTX4090-24|none] [--memory GIGABYTES]'
const gibibyte = 1_073_741_824
const memoryGibMax = 65_536

function gpusOf(list: string | undefined): readonly Gpu[] {
  if (list !== undefined) {
    const read = readGpuList(list)
    if (read.ok) return read.gpus
    throw new Error(`--gpus: ${read.message}`)
  }
  const detected = detectGpus(process.env)
  if (detected) return detected
  throw new Error(
    '--gpus: is missing, and nvidia-smi does not report the GPUs of this host. Name them, for example --gpus 4xH100-80, or --gpus none.',
  )
}

function memoryOf(gigabytes: string | undefined): number {
  if (gigabytes === undefined) return totalmem()
  const value = Number(gigabytes)
  if (/^\d+(\.\d+)?$/.test(gigabytes) && value >= 1 && value <= memoryGibMax) return value * gibibyte
  throw new Error(
    `--memory: "${gigabytes}" is not a number of gigabytes from 1 to ${memoryGibMax}. Write for example 64.`,
  )
}

function readArguments() {
  const text = { type: 'string' } as const
  try {
    return parseArgs({ options: { gpus: text, memory: text } }).values
  } catch (cause) {
    throw new Error(`${(cause as Error).message}\n${usage}`, { cause })
  }
}

try {
  const values = readArguments()
  const host = { gpus: gpusOf(values.gpus), memoryBytes: memoryOf(values.memory) }
  const plan = hardwarePlan(host)
  process.stdout.write(planText(host, plan))
  process.exitCode = plan.rows.length > 0 ? 0 : 1
} catch (error) {
  process.stderr.write(`plan: ${(error as Error).message}\n`)
  process.exitCode = 2
}
