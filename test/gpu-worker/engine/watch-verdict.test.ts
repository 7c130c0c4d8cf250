import { describe, expect, it } from 'vitest'
import { engineMemoryMax } from '../../../gpu-worker/engine/memory-limit.ts'
import {
  look,
  sentenceOf,
  type WatchSample,
  type WatchVerdict,
  watching,
} from '../../../gpu-worker/engine/watch-verdict.ts'

const limits = { memoryBytesMax: 1_000, silentMs: 10_000, loadSilentMs: 60_000, stuckMs: 30_000 }
const born: WatchSample = { now: 0, listener: 0, beats: 0, steps: 0, loading: false, busy: false, memoryBytes: 10 }

/** Takes one sample per second; returns the first verdict and its second. */
function watch(
  seconds: number,
  at: (second: number) => Partial<WatchSample>,
): { second: number; verdict: WatchVerdict } | undefined {
  let state = watching({ ...born, ...at(0) })
  for (let second = 1; second <= seconds; second++) {
    const sample = { ...born, now: second * 1_000, listener: second, ...at(second) }
    const looked = look(state, sample, limits)
    if (looked.verdict) return { second, verdict: looked.verdict }
    state = looked.state
  }
  return undefined
}

describe('the watchdog', () => {
  it('[EGS20] a process that is silent for longer than its limit is killed, with a separate limit while it loads', () => {
    expect(watch(100, (second) => ({ beats: second }))).toBeUndefined()
    expect(watch(100, (second) => ({ beats: Math.floor(second / 9) }))).toBeUndefined()
    expect(watch(100, () => ({}))).toEqual({ second: 10, verdict: { kind: 'silent', ms: 10_000 } })
    expect(watch(100, () => ({ loading: true }))).toEqual({ second: 60, verdict: { kind: 'silent', ms: 60_000 } })
  })

  it('[EGS20] silence does not count while the listener itself is blocked', () => {
    expect(watch(100, (second) => ({ listener: Math.min(second, 5) }))).toBeUndefined()
    expect(watch(100, (second) => ({ listener: second < 50 ? 0 : second }))?.second).toBe(59)
  })

  it('[EGS20] a process that has work and finishes no step is killed', () => {
    const alive = (second: number) => ({ beats: second })
    expect(watch(100, (second) => ({ ...alive(second), busy: true, steps: 7 }))?.verdict.kind).toBe('stuck')
    expect(watch(100, (second) => ({ ...alive(second), busy: true, steps: Math.floor(second / 20) }))).toBeUndefined()
    expect(watch(100, (second) => ({ ...alive(second), busy: second % 20 > 0, steps: 7 }))).toBeUndefined()
  })

  it('[EGS20] a process above its memory limit is killed at the first sample that shows it', () => {
    const grows = watch(100, (second) => ({ beats: second, memoryBytes: second * 300 }))
    expect(grows).toEqual({ second: 4, verdict: { kind: 'memory', bytes: 1_200, bytesMax: 1_000 } })
    expect(watch(100, (second) => ({ beats: second, memoryBytes: undefined }))).toBeUndefined()
  })

  it('[EGS20] the reason is a predicate of "the engine", with its numbers', () => {
    expect(sentenceOf({ kind: 'memory', bytes: 2.1e9, bytesMax: 1.4e9 })).toBe(
      'used 2.1 GB, more than its limit of 1.4 GB, and was killed',
    )
    expect(sentenceOf({ kind: 'silent', ms: 10_100 })).toBe('was silent for 10 s and was killed')
    expect(sentenceOf({ kind: 'stuck', ms: 60_000 })).toBe('finished no step in 60 s and was killed')
  })

  it('[EGS20] the memory limit of the engine grows with the model, its cache and its slots', () => {
    const tiny = {
      fileBytes: 30e6,
      cacheBytesPerToken: 4_096,
      vocabulary: 2_048,
      slotsMax: 8,
      contextTokens: 4_096,
      batchTokens: 256,
    }
    const gibibyte = 1024 ** 3
    expect(engineMemoryMax(tiny)).toBeLessThan(1.5 * gibibyte)
    expect(engineMemoryMax({ ...tiny, slotsMax: 32 })).toBeGreaterThan(engineMemoryMax(tiny))
    const large = {
      fileBytes: 70e9,
      cacheBytesPerToken: 41_472,
      vocabulary: 131_072,
      slotsMax: 8,
      contextTokens: 131_072,
      batchTokens: 512,
    }
    expect(engineMemoryMax(large)).toBeGreaterThan(70e9 + 8 * 131_072 * 41_472)
    expect(engineMemoryMax(large)).toBeLessThan(160e9)
  })
})
