/** The hardware plan: what fits, what does not, and commands that the worker accepts. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readEngineConfig } from '../../../gpu-worker/config.ts'
import { type Gpu, readGpuList } from '../../../gpu-worker/gpu/gpus.ts'
import { hardwarePlan } from '../../../gpu-worker/plan/hardware-plan.ts'
import type { HardwarePlan, Host, PlanRow } from '../../../gpu-worker/plan/plan-row.ts'

const program = fileURLToPath(new URL('../../../gpu-worker/plan/main.ts', import.meta.url))

function hostOf(gpus: string, memoryGib = 64): Host {
  const list = readGpuList(gpus)
  if (!list.ok) throw new Error(list.message)
  return { gpus: list.gpus, memoryBytes: memoryGib * 2 ** 30 }
}

function rowsOf(plan: HardwarePlan, engine: PlanRow['engine'], form?: string): PlanRow[] {
  return plan.rows.filter((row) => row.engine === engine && (form === undefined || row.form === form))
}

const names = ['H100', 'H200', 'B200', 'A100', 'RTX4090', 'RTX PRO 6000', 'MI300X', 'T4', 'V100', 'Unheard']
const anyKind = fc.tuple(fc.integer({ min: 1, max: 9 }), fc.constantFrom(...names), fc.integer({ min: 4, max: 288 }))
const anyHost = fc
  .tuple(fc.array(anyKind, { maxLength: 3 }), fc.integer({ min: 2, max: 2_000 }))
  .map(([kinds, memory]) =>
    hostOf(kinds.map(([count, name, gib]) => `${count}x${name}-${gib}`).join(',') || 'none', memory),
  )

describe('the hardware plan', () => {
  it('[PLN6] four H100 hold two replicas of FP8 with the whole context, one for each pool', () => {
    const [row] = hardwarePlan(hostOf('4xH100-80')).rows
    expect(row).toMatchObject({
      ...{ engine: 'vllm', form: 'FP8', gpus: 2, replicas: 2, offload: null },
      weightsBytes: { value: 119e9, origin: 'recipe' },
      contextTokens: { value: 262_144, origin: 'recipe' },
      slots: { latency: { value: 32, origin: 'profile' }, throughput: { value: 146, origin: 'estimated' } },
    })
    expect(row?.cacheTokens.value).toBeGreaterThan(262_144)
    expect(row?.commands).toEqual([
      'CUDA_VISIBLE_DEVICES=0,1 TRAMONTANE_BACKEND=vllm TRAMONTANE_POOL=latency TRAMONTANE_TENSOR_PARALLEL=2 npm run worker',
      'CUDA_VISIBLE_DEVICES=2,3 TRAMONTANE_BACKEND=vllm TRAMONTANE_POOL=throughput TRAMONTANE_TENSOR_PARALLEL=2 TRAMONTANE_SLOTS=146 npm run worker',
    ])
  })

  it('[PLN6] 24 GB hold GGUFs with experts on the CPU, each with memory, speed and loss of quality', () => {
    const plan = hardwarePlan(hostOf('RTX4090-24'))
    expect(plan.rows.map(({ engine, form }) => `${engine} ${form}`)).toEqual([
      'llama-cpp Q4_K_M',
      'llama-cpp Q3_K_M',
      'llama-cpp Q2_K',
      'llama-cpp IQ2_XXS',
    ])
    for (const [index, row] of plan.rows.entries()) {
      const { offload, remarks } = row
      expect(remarks[0]).toMatch(/perplexity \+|not published/)
      const before = plan.rows[index - 1]?.offload
      if (!offload) throw new Error(`${row.form} has no experts on the CPU`)
      if (before) {
        expect(offload.cpuBytes.value).toBeLessThan(before.cpuBytes.value)
        expect(offload.tokensPerSecondMax.value).toBeGreaterThan(before.tokensPerSecondMax.value)
      }
    }
    // 32 GB of memory are too little for the larger ones.
    const little = hardwarePlan(hostOf('RTX4090-24', 32)).rows.map(({ form }) => form)
    expect(little).toEqual(['IQ2_XXS'])
    // Four bits with experts on the CPU come before two bits without.
    const twice = hardwarePlan(hostOf('2xRTX5090-32', 128)).rows.map(({ form, offload }) => [form, offload !== null])
    expect(twice).toEqual([
      ['Q4_K_M', true],
      ['Q3_K_M', true],
      ['Q2_K', false],
    ])
    // A GPU that holds a form whole needs no smaller one.
    expect(rowsOf(hardwarePlan(hostOf('RTX PRO 6000-96')), 'llama-cpp')).toMatchObject([
      { form: 'Q5_K_M', offload: null },
    ])
  })

  it('[PLN7] everything that does not fit is listed with its reason, and hardware that holds nothing has no row', () => {
    const forms = ['vLLM, FP8', 'SGLang, FP8', 'vLLM, NVFP4', 'SGLang, NVFP4']
    for (const gpus of ['4xH100-80', 'RTX4090-24', '8xT4-16', '2xMI300X-192', 'V100-32', 'H200-141', 'Unheard-300']) {
      const { rows, misfits } = hardwarePlan(hostOf(gpus))
      for (const form of forms) {
        const fits = rows.some(({ engine, form: own }) => form === `${engine === 'vllm' ? 'vLLM' : 'SGLang'}, ${own}`)
        expect(
          misfits.some((line) => line.startsWith(`${form}: `)),
          `${gpus}: ${form}`,
        ).toBe(!fits)
      }
    }
    const reasons = (gpus: string) => hardwarePlan(hostOf(gpus)).misfits.join('\n')
    expect(reasons('H200-141')).toMatch(/vLLM, FP8: 1 × H200 \(141 GB\) cannot hold .* requires 143 GB/)
    expect(reasons('V100-32')).toContain('V100 is too old')
    expect(reasons('2xMI300X-192')).toContain('MI300X has no NVFP4')
    expect(reasons('none')).toContain('there is no GPU')
    const nothing = hardwarePlan(hostOf('RTX3060-4', 16))
    expect(nothing.rows).toEqual([])
    expect(nothing.misfits.at(-1)).toMatch(
      /^llama\.cpp: 1 × RTX3060 \(4 GB\) and 16 GB of memory cannot hold even IQ2_XXS/,
    )
  })

  it('[PLN8] no row claims more than the host has', () => {
    fc.assert(
      fc.property(anyHost, (host) => {
        const total = host.gpus.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0)
        for (const row of hardwarePlan(host).rows) {
          const { weightsBytes, gpus, replicas, cacheTokens, contextTokens, slots, offload } = row
          expect(gpus * replicas).toBeLessThanOrEqual(host.gpus.length)
          const named = row.commands.flatMap(
            (command) => /VISIBLE_DEVICES=([\d,]+)/.exec(command)?.[1]?.split(',') ?? [],
          )
          expect(new Set(named).size).toBe(named.length)
          const onCpu = offload?.cpuBytes.value ?? 0
          expect(onCpu).toBeLessThanOrEqual(host.memoryBytes)
          // Each GPU of a tensor-parallel replica holds the whole cache.
          const perReplica = row.engine === 'llama-cpp' ? 1 : gpus
          const needed = replicas * (weightsBytes.value + perReplica * cacheTokens.value * 23_040)
          expect(needed).toBeLessThanOrEqual(total + onCpu + 1)
          expect(contextTokens.value).toBeGreaterThanOrEqual(8_192)
          expect(contextTokens.value).toBeLessThanOrEqual(cacheTokens.value)
          expect(slots.latency?.value).toBeGreaterThanOrEqual(1)
          for (const figure of [
            weightsBytes,
            contextTokens,
            cacheTokens,
            slots.latency,
            ...Object.values(offload ?? {}),
          ])
            expect(figure?.origin).toMatch(/^(recipe|computed|estimated|profile)$/)
        }
      }),
      { numRuns: 300 },
    )
  })

  it('[PLN9] the worker accepts every command on the GPUs that it names, and chooses the same sizes', () => {
    fc.assert(
      fc.property(anyHost, (host) => {
        const plan = hardwarePlan(host)
        for (const row of plan.rows) for (const command of row.commands) checkCommand(plan, row, command, host.gpus)
      }),
      { numRuns: 100 },
    )
  })

  const run = (...args: string[]) => {
    const folder = mkdtempSync(join(tmpdir(), 'tramontane-plan-'))
    const script = "#!/bin/sh\necho '0, GPU-1, NVIDIA B200, 183359, 10.0'\n"
    if (args[0] === 'smi') writeFileSync(join(folder, 'nvidia-smi'), script, { mode: 0o755 })
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [program, ...args.filter((each) => each !== 'smi')],
      {
        encoding: 'utf8',
        env: { PATH: `${folder}:/usr/bin:/bin` },
      },
    )
    return { status, text: stdout + stderr }
  }

  it('[PLN10] the command exits by what fits, and an invalid argument is refused by its flag', () => {
    expect(run('smi')).toMatchObject({ status: 0, text: expect.stringMatching(/^Mistral Small 4 on 1 × NVIDIA B200 /) })
    const fits = run('--gpus', '4xH100-80', '--memory', '256')
    expect(fits).toMatchObject({ status: 0, text: expect.stringContaining('CUDA_VISIBLE_DEVICES=2,3 ') })
    expect(fits.text).toContain('256 GB of memory')
    expect(fits.text).toContain('uv pip install "vllm>=0.33" "mistral_common>=1.11.6,<1.13"')
    expect(run('--gpus', 'GT-2', '--memory', '4')).toMatchObject({
      status: 1,
      text: expect.stringContaining('Nothing fits.'),
    })
    expect(run()).toMatchObject({ status: 2, text: expect.stringMatching(/^plan: --gpus: is missing, and nvidia-smi/) })
    expect(run('--gpus', 'H100')).toMatchObject({
      status: 2,
      text: expect.stringMatching(/^plan: --gpus: "H100" is not/),
    })
    for (const memory of ['much', '0', '-1', '1e3'])
      expect(run('--gpus', 'none', `--memory=${memory}`)).toMatchObject({
        status: 2,
        text: expect.stringMatching(/^plan: --memory: ".*" is not a number of gigabytes from 1/),
      })
  }, 120_000)
})

/** Reads a printed command as the worker does, on the GPUs that it leaves visible. */
function checkCommand(plan: HardwarePlan, row: PlanRow, command: string, gpus: readonly Gpu[]): void {
  const words = command.split(' ')
  expect(words.slice(-3)).toEqual(['npm', 'run', 'worker'])
  const environment = Object.fromEntries(words.slice(0, -3).map((word) => word.split('=') as [string, string]))
  const { CUDA_VISIBLE_DEVICES, HIP_VISIBLE_DEVICES, ...settings } = environment
  const visible = (CUDA_VISIBLE_DEVICES ?? HIP_VISIBLE_DEVICES)?.split(',').map(Number) ?? gpus.map((_, index) => index)
  const mine = visible.map((index) => gpus[index] as Gpu)
  expect(mine).toHaveLength(row.gpus)
  const launched = (more: Record<string, string | undefined>) => {
    const { engine, slotsMax, contextTokens } = readEngineConfig({ ...settings, ...more }, () => mine)
    if (engine.kind !== 'launched') throw new Error(command)
    return { ...engine.settings, slotsMax, contextTokens }
  }
  const config = launched({})
  const pool = settings.TRAMONTANE_POOL === 'throughput' ? row.slots.throughput : row.slots.latency
  expect(config).toMatchObject({ slotsMax: pool?.value, contextTokens: row.contextTokens.value })
  const [first] = plan.rows.filter(({ engine, form }) => engine === row.engine && form === row.form)
  if (row.engine !== 'llama-cpp') {
    expect(config.tensorParallel).toBe(row.gpus)
    // The worker chooses the smallest replica; a plan may list a larger one too.
    if (first === row) expect(launched({ TRAMONTANE_TENSOR_PARALLEL: undefined }).tensorParallel).toBe(row.gpus)
  } else if (gpus.length === 1) {
    const layers = row.offload?.layers.value ?? 0
    expect(config.cpuExpertLayers).toBe(layers)
    expect(launched({ TRAMONTANE_CPU_EXPERT_LAYERS: undefined }).cpuExpertLayers).toBe(layers)
  }
}
