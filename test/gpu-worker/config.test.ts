/** Settings: errors name the variable, and profiles become settings of each engine. */
import { describe, expect, it } from 'vitest'
import { httpBackends } from '../../backends/engines/registry.ts'
import { poolNames } from '../../backends/wire/dispatch.ts'
import { EngineEnvironment, readConfig, readEngineConfig, WorkerEnvironment } from '../../gpu-worker/config.ts'
import { type Gpu, readGpuList } from '../../gpu-worker/gpu/gpus.ts'
import { launchLine } from '../../gpu-worker/print-launch.ts'
import { profileOf } from '../../gpu-worker/profile.ts'

const read = (environment: Record<string, string>) => readEngineConfig(environment)
const engine = (environment: Record<string, string>) => read(environment).engine

function gpusOf(text: string): Gpu[] {
  const list = readGpuList(text)
  if (!list.ok) throw new Error(list.message)
  return list.gpus
}

/** The settings of the engine that a worker launches on these GPUs; undefined: not known. */
function launchedOn(gpus: string | undefined, environment: Record<string, string>) {
  const { engine } = readEngineConfig(environment, () => (gpus === undefined ? null : gpusOf(gpus)))
  if (engine.kind !== 'launched') throw new Error('expected a launched engine')
  return engine.settings
}

describe('settings', () => {
  it('[CFG12] the printed launch command has no key and no password', () => {
    const secret = 'sk-secret-value'
    const vllm = { TRAMONTANE_BACKEND: 'vllm', TRAMONTANE_ENGINE_KEY: secret }
    const launched = launchLine(readEngineConfig(vllm))
    expect(launched).toContain('vllm')
    expect(launched).not.toContain(secret)
    for (const backend of ['sglang', 'llama-cpp'])
      expect(
        launchLine(read({ TRAMONTANE_BACKEND: backend, TRAMONTANE_ENGINE_KEY: secret, TRAMONTANE_MODEL: 'o/m' })),
      ).not.toContain(secret)
    const attached = launchLine(
      read({ TRAMONTANE_BACKEND: 'vllm', TRAMONTANE_ENGINE_URL: `http://u:${secret}@127.0.0.1:8000` }),
    )
    expect(attached).toContain('127.0.0.1:8000')
    expect(attached).not.toContain(secret)
  })

  it('[CFG13] the gateway’s URL keeps its path without `/v1`, and one with a query or a password is refused', () => {
    const key = `tw_gpu-1_1_${'A'.repeat(43)}`
    const edge = (url: string) => readConfig({ TRAMONTANE_WORKER_KEY: key, TRAMONTANE_EDGE_URL: url }).edgeUrl.href
    expect(edge('https://ai.example/gateway/')).toBe('https://ai.example/gateway')
    expect(edge('https://ai.example/v1')).toBe('https://ai.example/')
    for (const wrong of ['https://ai.example/?a=1', 'https://ai.example/#x', 'https://u:p@ai.example'])
      expect(() => edge(wrong)).toThrow(/^TRAMONTANE_EDGE_URL: must have no query, fragment or password/)
  })

  it('[CFG15] a number of a setting has decimal digits only, in every setting that is a number', () => {
    const worker = {
      TRAMONTANE_WORKER_KEY: `tw_gpu-1_1_${'A'.repeat(43)}`,
      TRAMONTANE_EDGE_URL: 'https://ai.example',
      TRAMONTANE_BACKEND: 'llama-cpp',
    }
    const fields = { ...WorkerEnvironment.shape, ...EngineEnvironment.shape }
    const numbers = Object.entries(fields).filter(
      ([, field]) => field.safeParse('4096').data === 4_096 || field.safeParse('7').data === 7,
    )
    expect(numbers.map(([name]) => name)).toEqual(
      expect.arrayContaining([
        'TRAMONTANE_WORKER_PORT',
        'TRAMONTANE_METRICS_PORT',
        'TRAMONTANE_SLOTS',
        'TRAMONTANE_DRAIN_MS',
      ]),
    )
    expect(numbers).toHaveLength(11)
    for (const [name] of numbers)
      for (const wrong of ['0x2000', '1e3', '8.0', ' 80', '+80', '-1', '', 'abc', '9'.repeat(400)])
        expect(() => readConfig({ ...worker, [name]: wrong }), `${name}=${wrong}`).toThrow(
          `${name}: must be a whole number`,
        )
    expect(readConfig({ ...worker, TRAMONTANE_WORKER_PORT: '8192' }).port).toBe(8_192)
    expect(() => readConfig({ ...worker, TRAMONTANE_WORKER_PORT: '65536' })).toThrow(
      /^TRAMONTANE_WORKER_PORT: must be at most 65535/,
    )
  })

  it.each([
    [{ TRAMONTANE_BACKEND: 'vlm' }, /^TRAMONTANE_BACKEND: unknown engine "vlm"\. Use one of embedded, /],
    [
      { TRAMONTANE_ENGINE_URL: 'http://127.0.0.1:8000' },
      /^TRAMONTANE_ENGINE_URL: does not apply to the embedded engine/,
    ],
    [{ TRAMONTANE_DRAFT_MODEL: 'eagle' }, /^TRAMONTANE_DRAFT_MODEL: does not apply to the embedded engine/],
    [{ TRAMONTANE_BACKEND: 'llama-cpp', TRAMONTANE_ENGINE_URL: 'nowhere' }, /^TRAMONTANE_ENGINE_URL: must be the URL/],
    [{ TRAMONTANE_BACKEND: 'llama-cpp', TRAMONTANE_ENGINE_PROGRAM: '/no/such' }, /^TRAMONTANE_ENGINE_PROGRAM: no file/],
    [{ TRAMONTANE_POOL: 'fast' }, /^TRAMONTANE_POOL: /],
    [{ TRAMONTANE_SLOTS: '0' }, /^TRAMONTANE_SLOTS: /],
    [
      { TRAMONTANE_SLOTS: 'abc' },
      /^TRAMONTANE_SLOTS: must be a whole number from 1 to \d+ in decimal digits, not "abc"\.$/,
    ],
    [{ TRAMONTANE_CONTEXT: '99999999' }, /^TRAMONTANE_CONTEXT: must be at most \d+, the context of /],
    [{ TRAMONTANE_ENGINE_MEMORY_MB: '100' }, /^TRAMONTANE_ENGINE_MEMORY_MB: is too small/],
    [{ TRAMONTANE_ENGINE_KEY: '' }, /^TRAMONTANE_ENGINE_KEY: is empty/],
    [{ TRAMONTANE_MODEL_ID: 'gpt' }, /^TRAMONTANE_MODEL_ID: gpt is not in the catalogue/],
    [{ TRAMONTANE_QUANT: 'nvfp4' }, /^TRAMONTANE_QUANT: does not apply to the embedded engine/],
    [{ TRAMONTANE_TENSOR_PARALLEL: '2' }, /^TRAMONTANE_TENSOR_PARALLEL: does not apply to the embedded engine/],
    [{ TRAMONTANE_BACKEND: 'vllm', TRAMONTANE_TENSOR_PARALLEL: '0' }, /^TRAMONTANE_TENSOR_PARALLEL: /],
  ])('[CFG1] an invalid setting causes an error that starts with its variable: %j', (environment, message) => {
    expect(() => read(environment)).toThrow(message)
  })

  it.each([
    [
      { TRAMONTANE_BACKEND: 'llama-cpp', TRAMONTANE_TENSOR_PARALLEL: '2' },
      /^TRAMONTANE_TENSOR_PARALLEL: does not apply to llama-cpp\. Remove it, or set TRAMONTANE_BACKEND to vllm or sglang\./,
    ],
    [
      { TRAMONTANE_BACKEND: 'vllm', TRAMONTANE_CPU_EXPERT_LAYERS: '2' },
      /^TRAMONTANE_CPU_EXPERT_LAYERS: does not apply to vllm\. .* to llama-cpp\./,
    ],
    [{ TRAMONTANE_BACKEND: 'ollama', TRAMONTANE_QUANT: 'fp8' }, /^TRAMONTANE_QUANT: does not apply to ollama/],
    [
      { TRAMONTANE_BACKEND: 'vllm', TRAMONTANE_ENGINE_URL: 'http://127.0.0.1:1', TRAMONTANE_QUANT: 'nvfp4' },
      /^TRAMONTANE_QUANT: applies only to an engine that the worker launches/,
    ],
  ])('[CFG11] a setting without an effect is refused with the engines that have it: %j', (environment, message) => {
    expect(() => read(environment)).toThrow(message)
  })

  it('[WPT4] the metrics key and port are read, and a short key is refused', () => {
    const base = {
      TRAMONTANE_WORKER_KEY: `tw_w1_1_${'A'.repeat(43)}`,
      TRAMONTANE_EDGE_URL: 'http://127.0.0.1:1',
    }
    const settingsWith = (more: Record<string, string>) => {
      const { metricsKey, metricsAt } = readConfig({ ...base, ...more })
      return { metricsKey, metricsAt }
    }
    expect(settingsWith({})).toEqual({ metricsKey: null, metricsAt: null })
    expect(settingsWith({ TRAMONTANE_METRICS_KEY: 'k'.repeat(16) }).metricsKey).toBe('k'.repeat(16))
    expect(settingsWith({ TRAMONTANE_METRICS_PORT: '9100' }).metricsAt).toEqual({ host: '127.0.0.1', port: 9_100 })
    const wide = { TRAMONTANE_METRICS_PORT: '9100', TRAMONTANE_METRICS_HOST: '0.0.0.0' }
    expect(settingsWith(wide).metricsAt).toEqual({ host: '0.0.0.0', port: 9_100 })
    for (const key of ['', 'short', `${'k'.repeat(16)} `])
      expect(() => settingsWith({ TRAMONTANE_METRICS_KEY: key })).toThrow(/^TRAMONTANE_METRICS_KEY: must have 16/)
  })

  it('[CFG2] a worker without a key or a gateway URL names the missing variable', () => {
    expect(() => readConfig({})).toThrow(/^TRAMONTANE_WORKER_KEY: is missing\. Enrol the worker/)
    expect(() => readConfig({ TRAMONTANE_WORKER_KEY: 'k', TRAMONTANE_EDGE_URL: 'x' })).toThrow(/^TRAMONTANE_EDGE_URL: /)
  })

  it('[CFG3] an engine is embedded, launched, or attached to by its URL', () => {
    expect(engine({})).toMatchObject({ kind: 'embedded', batchTokens: 256, memoryBytesMax: null })
    expect(engine({ TRAMONTANE_ENGINE_MEMORY_MB: '1000' })).toMatchObject({ memoryBytesMax: 1_048_576_000 })
    const launched = { TRAMONTANE_BACKEND: 'llama-cpp', TRAMONTANE_ENGINE_ARGS: `--jinja "two words" '--x=y z'` }
    expect(engine(launched)).toMatchObject({
      kind: 'launched',
      settings: { extra: ['--jinja', 'two words', '--x=y z'] },
    })
    const attached = { ...launched, TRAMONTANE_ENGINE_URL: 'http://gpu:8000/v1/', TRAMONTANE_ENGINE_KEY: 'k' }
    expect(engine(attached)).toMatchObject({ kind: 'attached', url: 'http://gpu:8000', apiKey: 'k' })
    expect(read({}).model.id).toBe('tramontane-tiny')
    expect(read(attached).model.id).toBe('mistral-small-4')
  })

  it('[CFG4] for every engine, latency has fewer slots, smaller steps and at least as much speculation as throughput', () => {
    for (const name of ['embedded', ...httpBackends.map((backend) => backend.name)]) {
      const [latency, throughput] = poolNames.map((pool) => profileOf(name, pool))
      if (!latency || !throughput) throw new Error('expected two pools')
      expect(latency.slotsMax).toBeLessThan(throughput.slotsMax)
      expect(latency.batchTokens).toBeLessThan(throughput.batchTokens)
      expect(latency.prefillChunkTokens).toBeLessThan(throughput.prefillChunkTokens)
      expect(latency.speculationTokens).toBeGreaterThanOrEqual(throughput.speculationTokens)
      expect(latency.prefillChunkTokens).toBeLessThanOrEqual(latency.batchTokens)
    }
  })

  it('[CFG5] a profile prints the command that starts its engine, without a key and without a GPU', () => {
    for (const backend of ['vllm', 'sglang', 'llama-cpp']) {
      const lines = poolNames.map((pool) => launchLine(read({ TRAMONTANE_BACKEND: backend, TRAMONTANE_POOL: pool })))
      expect(new Set(lines).size).toBe(2)
      for (const line of lines) {
        expect(line).toContain('Mistral-Small-4-119B-2603')
        expect(line).not.toContain('tiny')
        // Everything but the command itself is a comment of the shell.
        expect(line.split('\n').filter((each) => !each.startsWith('# '))).toHaveLength(1)
      }
    }
    const model = "/models/Small 4's.gguf"
    const line = launchLine(read({ TRAMONTANE_BACKEND: 'llama-cpp', TRAMONTANE_MODEL: model, TRAMONTANE_SLOTS: '6' }))
    expect(line).toContain(`--model '/models/Small 4'\\''s.gguf'`)
    expect(line).toContain('--parallel 6')
    expect(launchLine(read({}))).toContain('8 slots of 4096 tokens, batch 256, prefill chunk 128')
  })

  it('[CFG6] tensor parallelism is the smallest that holds the weights and one request, 2 if the GPUs are unknown', () => {
    const rows: [gpus: string | undefined, environment: Record<string, string>, size: number][] = [
      [undefined, {}, 2],
      ['4xH100-80', {}, 2],
      ['8xA100-40', {}, 8],
      ['4xA100-48', {}, 4],
      ['8xB200-180', {}, 1],
      ['1xB200-180', { TRAMONTANE_QUANT: 'nvfp4' }, 1],
      ['2xH100-80', { TRAMONTANE_QUANT: 'nvfp4' }, 2],
      ['4xH100-80', { TRAMONTANE_TENSOR_PARALLEL: '4' }, 4],
      ['none', { TRAMONTANE_TENSOR_PARALLEL: '2' }, 2],
      ['1xL4-24', { TRAMONTANE_MODEL: 'owner/another' }, 1],
    ]
    for (const name of ['vllm', 'sglang']) {
      for (const [gpus, environment, size] of rows) {
        const { tensorParallel } = launchedOn(gpus, { TRAMONTANE_BACKEND: name, ...environment })
        expect(tensorParallel, `${name} ${gpus} ${JSON.stringify(environment)}`).toBe(size)
      }
    }
  })

  it('[CFG7] known GPUs that cannot hold the model cause an error with the setting, the GPUs and the size', () => {
    const vllm = { TRAMONTANE_BACKEND: 'vllm' }
    expect(() => launchedOn('1xH100-80', vllm)).toThrow(
      /^TRAMONTANE_TENSOR_PARALLEL: 1 × H100 \(80 GB\) cannot hold .*119 GB of weights.*npm run plan/,
    )
    expect(() => launchedOn('1xH200-141', vllm)).toThrow(/^TRAMONTANE_TENSOR_PARALLEL: /)
    expect(() => launchedOn('none', vllm)).toThrow(/^TRAMONTANE_TENSOR_PARALLEL: no GPU cannot hold/)
    const small = { ...vllm, TRAMONTANE_QUANT: 'nvfp4' }
    expect(() => launchedOn('1xH100-80', small)).toThrow(/^TRAMONTANE_CONTEXT: .* fewer than 262144\. Set/)
    expect(launchedOn('1xH100-80', { ...small, TRAMONTANE_CONTEXT: '32768' }).tensorParallel).toBe(1)
  })

  it('[CFG8] a draft model is used only if it is named, and the EAGLE draft is refused where it crashes', () => {
    const drafted = (gpus: string | undefined, more: Record<string, string>) =>
      launchedOn(gpus, { TRAMONTANE_BACKEND: 'vllm', ...more }).speculation
    const eagle = { TRAMONTANE_DRAFT_MODEL: 'eagle' }
    expect(drafted('2xH100-80', {})).toBeNull()
    expect(drafted('2xH100-80', { TRAMONTANE_DRAFT_MODEL: 'off' })).toBeNull()
    for (const pool of poolNames)
      expect(drafted(undefined, { ...eagle, TRAMONTANE_POOL: pool })).toEqual({
        draftModel: 'mistralai/Mistral-Small-4-119B-2603-eagle',
        tokens: 3,
        contextTokens: 65_536,
      })
    expect(drafted('2xH100-80', { TRAMONTANE_DRAFT_MODEL: '/my/draft' })).toMatchObject({ draftModel: '/my/draft' })
    const crashes = /^TRAMONTANE_DRAFT_MODEL: speculation with the EAGLE draft crashes/
    expect(() => drafted('2xB200-180', eagle)).toThrow(crashes)
    expect(() => drafted('2xH100-80', { ...eagle, TRAMONTANE_QUANT: 'nvfp4' })).toThrow(crashes)
    const other = { ...eagle, TRAMONTANE_MODEL: 'owner/another' }
    expect(() => drafted(undefined, other)).toThrow(/^TRAMONTANE_DRAFT_MODEL: eagle is the draft model of/)
  })

  it('[CFG9] TRAMONTANE_QUANT selects a published form, and an unknown one is refused with the known ones', () => {
    const model = (name: string, more: Record<string, string>) =>
      launchedOn(undefined, { TRAMONTANE_BACKEND: name, ...more }).model
    expect(model('vllm', {})).toBe('mistralai/Mistral-Small-4-119B-2603')
    expect(model('sglang', { TRAMONTANE_QUANT: 'nvfp4' })).toBe('mistralai/Mistral-Small-4-119B-2603-NVFP4')
    expect(model('llama-cpp', { TRAMONTANE_QUANT: 'Q2_K' })).toBe('unsloth/Mistral-Small-4-119B-2603-GGUF:Q2_K')
    expect(() => model('vllm', { TRAMONTANE_QUANT: 'Q2_K' })).toThrow(/^TRAMONTANE_QUANT: .* Use one of fp8, nvfp4\.$/)
    expect(() => model('llama-cpp', { TRAMONTANE_QUANT: 'fp8' })).toThrow(/^TRAMONTANE_QUANT: .* Use one of Q8_0, /)
    expect(() => model('vllm', { TRAMONTANE_QUANT: 'nvfp4', TRAMONTANE_MODEL: 'm' })).toThrow(/^TRAMONTANE_QUANT: /)
  })

  it('[CFG10] llama-server on one known GPU keeps the experts of as many layers on the CPU as do not fit', () => {
    const layers = (gpus: string | undefined, more: Record<string, string> = {}) =>
      launchedOn(gpus, { TRAMONTANE_BACKEND: 'llama-cpp', ...more }).cpuExpertLayers
    expect(layers(undefined)).toBeNull()
    const at24 = layers('1xRTX4090-24') ?? 0
    expect(at24).toBeGreaterThan(20)
    expect(at24).toBeLessThan(36)
    // A smaller quantisation and a smaller cache leave more memory for experts.
    expect(layers('1xRTX4090-24', { TRAMONTANE_QUANT: 'Q2_K' })).toBeLessThan(at24)
    expect(layers('1xRTX4090-24', { TRAMONTANE_SLOTS: '1' })).toBeLessThan(at24)
    expect(layers('1xB200-180')).toBe(0)
    expect(layers('2xRTX4090-24')).toBeNull()
    expect(layers('1xRTX4090-24', { TRAMONTANE_CPU_EXPERT_LAYERS: '30' })).toBe(30)
  })
})
