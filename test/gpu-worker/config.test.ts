/** Settings: errors name the variable, and profiles become settings of each engine. */
import { describe, expect, it } from 'vitest'
import { httpBackends } from '../../backends/engines/registry.ts'
import { poolNames } from '../../backends/wire/dispatch.ts'
import { readConfig, readEngineConfig } from '../../gpu-worker/config.ts'
import { launchLine } from '../../gpu-worker/print-launch.ts'
import { profileOf } from '../../gpu-worker/profile.ts'

const read = (environment: Record<string, string>) => readEngineConfig(environment)
const engine = (environment: Record<string, string>) => read(environment).engine

describe('settings', () => {
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
    [{ TRAMONTANE_ENGINE_MEMORY_MB: '100' }, /^TRAMONTANE_ENGINE_MEMORY_MB: is too small/],
    [{ TRAMONTANE_ENGINE_KEY: '' }, /^TRAMONTANE_ENGINE_KEY: is empty/],
    [{ TRAMONTANE_MODEL_ID: 'gpt' }, /^TRAMONTANE_MODEL_ID: gpt is not in the catalogue/],
  ])('[CFG1] an invalid setting causes an error that starts with its variable: %j', (environment, message) => {
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
    }
    const model = "/models/Small 4's.gguf"
    const line = launchLine(read({ TRAMONTANE_BACKEND: 'llama-cpp', TRAMONTANE_MODEL: model, TRAMONTANE_SLOTS: '6' }))
    expect(line).toContain(`--model '/models/Small 4'\\''s.gguf'`)
    expect(line).toContain('--parallel 6')
    expect(launchLine(read({}))).toContain('8 slots of 4096 tokens, batch 256, prefill chunk 128')
  })
})
