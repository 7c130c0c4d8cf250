/** What llama.cpp holds: the best GGUF that fits into the GPUs, and GGUFs whose experts stay in the memory of the CPU. */
import {
  cacheBytesPerToken,
  expertsRead,
  type GgufQuantisation,
  ggufPerplexity,
  ggufQuantisations,
  ggufSize,
  smallFourLayers,
} from '../gpu/checkpoints.ts'
import { type Offload, offloadOf } from '../gpu/fit.ts'
import { gpusText } from '../gpu/gpus.ts'
import { profileOf } from '../profile.ts'
import { type HardwarePlan, type Host, type PlanRow, workerCommand } from './plan-row.ts'

/** With experts on the CPU, smaller forms are faster; larger ones than these are too slow to be of use. */
const offloaded: readonly GgufQuantisation[] = ['Q4_K_M', 'Q3_K_M', 'Q2_K', 'IQ2_XXS']
/** For the operating system, the gateway's worker and buffers. Estimated. */
const systemBytes = 8e9
/**
 * Upper bounds of speed. A token reads its weights, from two channels of DDR5 at 60 GB/s and from a GPU at 1 TB/s;
 * servers with more channels are faster. A prompt is read in batches of 512 tokens, which use nearly all experts: with a
 * GPU they are copied to it, 25 GB/s by PCIe 4.0 × 16; without one the CPU computes 12 GFLOP a token, at about 1 TFLOP/s.
 * Estimated.
 */
const memoryBytesPerSecond = 60e9
const gpuBytesPerSecond = 1e12
const copyBytesPerSecond = 25e9
const promptBatchTokens = 512
const cpuPromptTokensPerSecond = 1e12 / 12.2e9

const { slotsMax, contextTokensMax } = profileOf('llama-cpp', 'latency')
/** Slots and context, from the profile's own to the least that is of use. */
type SlotShape = [slots: number, contextTokens: number]
const shapes: readonly SlotShape[] = [
  [slotsMax, contextTokensMax],
  [2, contextTokensMax],
  [1, contextTokensMax],
  [1, 16_384],
  [1, 8_192],
]

interface Placement {
  quantisation: GgufQuantisation
  slots: number
  contextTokens: number
  offload: Offload
}

export function ggufRows(host: Host): HardwarePlan {
  // A smaller form with all slots is better than a larger one with fewer.
  const whole = first(shapes, (shape) =>
    first(ggufQuantisations, (form) => placed(form, host, [shape], ({ cpuLayers }) => cpuLayers === 0)),
  )
  const smaller = whole ? ggufQuantisations.slice(0, ggufQuantisations.indexOf(whole.quantisation)) : offloaded
  const split = offloaded
    .filter((form) => smaller.includes(form))
    .flatMap((form) => placed(form, host, shapes, (offload) => holds(host, offload)) ?? [])
  const placements = whole && isFine(whole.quantisation) ? [whole, ...split] : [...split, ...(whole ? [whole] : [])]
  return {
    rows: placements.map((placement) => rowOf(placement, host)),
    misfits: placements.length > 0 ? [] : [misfit(host)],
  }
}

/** Four bits or more lose little; below, some experts on the CPU are the better price. */
function isFine(quantisation: GgufQuantisation): boolean {
  return ggufQuantisations.indexOf(quantisation) <= ggufQuantisations.indexOf('IQ4_XS')
}

function first<Item, Found>(items: readonly Item[], find: (item: Item) => Found | undefined): Found | undefined {
  for (const item of items) {
    const found = find(item)
    if (found !== undefined) return found
  }
  return undefined
}

function placed(
  quantisation: GgufQuantisation,
  { gpus }: Host,
  among: readonly SlotShape[],
  fits: (offload: Offload) => boolean,
): Placement | undefined {
  return first(among, ([slots, contextTokens]) => {
    const cacheTokens = slots * contextTokens
    const offload = gpus.length === 0 ? onCpu(quantisation, cacheTokens) : offloadOf(quantisation, gpus, cacheTokens)
    return offload && fits(offload) ? { quantisation, slots, contextTokens, offload } : undefined
  })
}

function onCpu(quantisation: GgufQuantisation, cacheTokens: number): Offload {
  const cpuBytes = ggufSize(quantisation).totalBytes + cacheTokens * cacheBytesPerToken
  return { cpuLayers: smallFourLayers, cpuBytes, gpuBytes: 0 }
}

function holds({ memoryBytes }: Host, { cpuBytes }: Offload): boolean {
  return cpuBytes + systemBytes <= memoryBytes
}

function rowOf({ quantisation, slots, contextTokens, offload }: Placement, { gpus }: Host): PlanRow {
  const { expertBytesPerLayer, otherBytes, totalBytes } = ggufSize(quantisation)
  const { cpuLayers, cpuBytes } = offload
  const readOnCpu = cpuLayers * expertBytesPerLayer * expertsRead + (gpus.length === 0 ? otherBytes : 0)
  const readOnGpu = (smallFourLayers - cpuLayers) * expertBytesPerLayer * expertsRead + otherBytes
  const secondsPerToken = readOnCpu / memoryBytesPerSecond + (gpus.length === 0 ? 0 : readOnGpu / gpuBytesPerSecond)
  const promptTokensPerSecond =
    gpus.length === 0
      ? cpuPromptTokensPerSecond
      : (copyBytesPerSecond * promptBatchTokens) / (cpuLayers * expertBytesPerLayer)
  const own = slots === slotsMax && contextTokens === contextTokensMax
  return {
    engine: 'llama-cpp',
    form: quantisation,
    weightsBytes: { value: totalBytes, origin: 'estimated' },
    gpus: gpus.length,
    tensorParallel: { value: 1, origin: 'computed' },
    replicas: 1,
    contextTokens: { value: contextTokens, origin: own ? 'profile' : 'estimated' },
    slots: { latency: { value: slots, origin: own ? 'profile' : 'estimated' }, throughput: null },
    cacheTokens: { value: slots * contextTokens, origin: 'computed' },
    offload:
      cpuLayers === 0
        ? null
        : {
            layers: { value: cpuLayers, origin: 'estimated' },
            cpuBytes: { value: cpuBytes, origin: 'estimated' },
            tokensPerSecondMax: { value: 1 / secondsPerToken, origin: 'estimated' },
            promptTokensPerSecondMax: { value: promptTokensPerSecond, origin: 'estimated' },
          },
    remarks: remarksOf(quantisation, gpus.length),
    commands: [
      workerCommand({
        TRAMONTANE_BACKEND: 'llama-cpp',
        TRAMONTANE_QUANT: quantisation,
        ...(slots !== slotsMax && { TRAMONTANE_SLOTS: String(slots) }),
        ...(contextTokens !== contextTokensMax && { TRAMONTANE_CONTEXT: String(contextTokens) }),
        ...(gpus.length === 1 && { TRAMONTANE_CPU_EXPERT_LAYERS: String(cpuLayers) }),
      }),
    ],
  }
}

function remarksOf(quantisation: GgufQuantisation, gpuCount: number): string[] {
  const perplexity = ggufPerplexity[quantisation]
  return [
    perplexity === undefined
      ? 'loss of quality not published'
      : `perplexity +${perplexity.toFixed(2)} (llama.cpp, for Llama 3 8B)`,
    ...(gpuCount > 1 ? ['layers are divided among the GPUs, which work in turn'] : []),
    ...(gpuCount === 0 ? ['CPU only'] : []),
  ]
}

function misfit({ gpus, memoryBytes }: Host): string {
  const smallest = ggufQuantisations.at(-1) ?? 'IQ2_XXS'
  const gigabytes = (bytes: number) => `${Math.round(bytes / 1e9)} GB`
  const memory = `${Math.round(memoryBytes / 2 ** 30)} GB`
  return `llama.cpp: ${gpusText(gpus)} and ${memory} of memory cannot hold even ${smallest} (${gigabytes(ggufSize(smallest).totalBytes)}, and ${gigabytes(systemBytes)} for the system).`
}
