/**
 * What a host's GPUs and memory hold of Mistral Small 4: engine, form, tensor parallelism, context, slots, and the
 * commands that start it. Every figure has an origin; nothing was measured on a GPU.
 */
import type { PoolName } from '../../backends/wire/dispatch.ts'
import { type Checkpoint, checkpoints } from '../gpu/checkpoints.ts'
import { cacheTokens, replicaOf, sizesOf } from '../gpu/fit.ts'
import { type Gpu, gpusText } from '../gpu/gpus.ts'
import { profileOf } from '../profile.ts'
import { ggufRows } from './gguf-rows.ts'
import { type Figure, type HardwarePlan, type Host, type PlanRow, titles, workerCommand } from './plan-row.ts'

const contextWanted = 262_144
/** A replica with less context than this is no use for agents. */
const contextMin = 8_192
const contextStep = 8_192
/** Tokens of an average request, prompt and output: more slots than the cache holds of these only wait. Estimated. */
const requestTokens = 4_096

export function hardwarePlan(host: Host): HardwarePlan {
  const plan: HardwarePlan = { rows: [], misfits: [] }
  for (const kind of kindsOf(host.gpus)) {
    for (const checkpoint of checkpoints) {
      for (const engine of ['vllm', 'sglang'] as const) addCheckpoint(plan, engine, checkpoint, kind, host.gpus)
    }
  }
  if (host.gpus.length === 0) plan.misfits.push('vLLM, SGLang: there is no GPU.')
  const gguf = ggufRows(host)
  return { rows: [...plan.rows, ...gguf.rows], misfits: [...plan.misfits, ...gguf.misfits] }
}

/** Equal GPUs together: tensor parallelism needs equals. */
function kindsOf(gpus: readonly Gpu[]): Gpu[][] {
  const kinds = new Map<string, Gpu[]>()
  for (const gpu of gpus) {
    const key = `${gpu.name} ${gpu.memoryBytes}`
    kinds.set(key, [...(kinds.get(key) ?? []), gpu])
  }
  return [...kinds.values()]
}

function addCheckpoint(
  plan: HardwarePlan,
  engine: 'vllm' | 'sglang',
  checkpoint: Checkpoint,
  kind: Gpu[],
  all: readonly Gpu[],
): void {
  const title = `${titles[engine]}, ${checkpoint.quantisation.toUpperCase()}`
  const unfit = unfitGpu(engine, checkpoint, kind)
  if (unfit) return void plan.misfits.push(`${title}: ${unfit}.`)
  const replica = replicaOf(checkpoint, kind, contextWanted)
  const context = replica.kind === 'too-large' ? 0 : contextOf(replica.cacheTokens)
  if (replica.kind === 'too-large' || context < contextMin) {
    const wanted = Math.round(checkpoint.floorBytes / 2 ** 30)
    return void plan.misfits.push(
      `${title}: ${gpusText(kind)} cannot hold the weights of ${Math.round(checkpoint.weightsBytes / 1e9)} GB. The recipe requires ${wanted} GB.`,
    )
  }
  addReplicas(plan, { engine, checkpoint, kind, all }, replica.size, context)
  const largest = sizesOf(kind.length).at(-1) ?? 1
  // One large replica instead of several: a longer cache and faster tokens for fewer requests.
  if (engine === 'vllm' && checkpoint.quantisation === 'fp8' && largest > replica.size)
    addReplicas(plan, { engine, checkpoint, kind, all }, largest, contextWanted)
}

interface Candidate {
  engine: 'vllm' | 'sglang'
  checkpoint: Checkpoint
  /** Equal GPUs, of all those of the host. */
  kind: readonly Gpu[]
  all: readonly Gpu[]
}

function addReplicas(plan: HardwarePlan, candidate: Candidate, size: number, context: number): void {
  const { engine, checkpoint, kind } = candidate
  const replicas = Math.floor(kind.length / size)
  const tokens = cacheTokens(checkpoint, size, kind[0] as Gpu)
  const row: PlanRow = {
    engine,
    form: checkpoint.quantisation.toUpperCase(),
    weightsBytes: { value: checkpoint.weightsBytes, origin: 'recipe' },
    gpus: size,
    tensorParallel: { value: size, origin: 'computed' },
    replicas,
    contextTokens: { value: context, origin: context === contextWanted ? 'recipe' : 'estimated' },
    slots: {
      latency: slotsOf(engine, 'latency', tokens),
      throughput: replicas > 1 ? slotsOf(engine, 'throughput', tokens) : null,
    },
    cacheTokens: { value: tokens, origin: 'estimated' },
    offload: null,
    remarks: remarksOf(candidate, replicas),
    commands: [],
  }
  plan.rows.push({ ...row, commands: commandsOf(row, candidate) })
}

/** As much as the recipe says, or what the cache holds of one request. */
function contextOf(cacheTokens: number): number {
  return Math.min(contextWanted, Math.floor(cacheTokens / contextStep) * contextStep)
}

function slotsOf(engine: string, pool: PoolName, cacheTokens: number): Figure {
  const { slotsMax } = profileOf(engine, pool)
  const held = Math.max(1, Math.floor(cacheTokens / requestTokens))
  return held < slotsMax ? { value: held, origin: 'estimated' } : { value: slotsMax, origin: 'profile' }
}

const isAmd = ([gpu]: readonly Gpu[]) => /\bMI\d{2,3}/i.test(gpu?.name ?? '')

/** Compute capabilities: vLLM 0.33.0 loads FP8 from 7.5 (by Marlin below 8.9), SGLang NVFP4 from 10. */
function unfitGpu(engine: string, { quantisation }: Checkpoint, kind: readonly Gpu[]): string | undefined {
  const capability = kind[0]?.capability ?? null
  const name = kind[0]?.name ?? ''
  if (quantisation === 'nvfp4' && isAmd(kind)) return `${name} has no NVFP4`
  if (quantisation === 'nvfp4' && engine === 'sglang' && (capability ?? 0) < 10)
    return `NVFP4 needs a Blackwell GPU there, and ${name} is none or not known`
  if (capability !== null && capability < 7.5)
    return `${name} is too old (compute capability ${capability}, needed 7.5)`
  return undefined
}

function remarksOf({ engine, checkpoint: { quantisation }, kind }: Candidate, replicas: number): string[] {
  const capability = kind[0]?.capability ?? null
  return [
    ...(capability === null && !isAmd(kind) ? ['this GPU is not known here: its kernels are not checked'] : []),
    ...(quantisation === 'fp8' && capability !== null && capability < 8.9
      ? ['no FP8 arithmetic: weights are unpacked (Marlin), outside the recipe']
      : []),
    ...(quantisation === 'nvfp4' && capability !== null && capability < 10
      ? ['no FP4 arithmetic: weights are unpacked (Marlin)']
      : []),
    ...(engine === 'sglang' ? ['SGLang reserves more than vLLM: take the cache as an upper bound'] : []),
    ...(replicas === 1 ? ['one replica serves both efforts'] : []),
  ]
}

/** Half of the replicas for each pool, the latency pool first. */
function commandsOf(row: PlanRow, { checkpoint: { quantisation }, kind, all }: Candidate): string[] {
  const places = all.flatMap((gpu, index) => (sameKind(gpu, kind) ? [index] : []))
  return Array.from({ length: row.replicas }, (_, replica) => {
    const pool: PoolName = replica < Math.ceil(row.replicas / 2) ? 'latency' : 'throughput'
    const profile = profileOf(row.engine, pool)
    const slots = (row.slots[pool] ?? row.slots.latency)?.value ?? profile.slotsMax
    const mine = places.slice(replica * row.gpus, (replica + 1) * row.gpus)
    const visible = isAmd(kind) ? 'HIP_VISIBLE_DEVICES' : 'CUDA_VISIBLE_DEVICES'
    return workerCommand({
      ...(all.length > row.gpus && { [visible]: mine.join(',') }),
      ...(isAmd(kind) && row.engine === 'vllm' && { VLLM_ROCM_USE_AITER: '1', SAFETENSORS_FAST_GPU: '1' }),
      TRAMONTANE_BACKEND: row.engine,
      ...(quantisation !== 'fp8' && { TRAMONTANE_QUANT: quantisation }),
      TRAMONTANE_POOL: pool,
      TRAMONTANE_TENSOR_PARALLEL: String(row.gpus),
      ...(row.contextTokens.value !== contextWanted && { TRAMONTANE_CONTEXT: String(row.contextTokens.value) }),
      ...(slots !== profile.slotsMax && { TRAMONTANE_SLOTS: String(slots) }),
      ...(isAmd(kind) && row.engine === 'vllm' && { TRAMONTANE_ENGINE_ARGS: '--no-enable-prefix-caching' }),
    })
  })
}

function sameKind(gpu: Gpu, [first]: readonly Gpu[]): boolean {
  return gpu.name === first?.name && gpu.memoryBytes === first.memoryBytes
}
