import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { inOrder, pickSequence, planPrefill } from '../../../gpu-worker/engine/plan.ts'

const limits = { batchTokens: 512, prefillChunkTokens: 128 }

describe('plan', () => {
  it('[ENG6] the sequence with the longest common prefix is picked, among equals the least recently used one', () => {
    const free = [
      { id: 0, tokens: [1, 2, 9], owner: 'a', usedAt: 1 },
      { id: 1, tokens: [1, 2, 3, 4, 9], owner: 'a', usedAt: 9 },
      { id: 2, tokens: [1, 2, 3, 4, 8], owner: 'a', usedAt: 5 },
    ]
    expect(pickSequence(free, [1, 2, 3, 4, 5, 6], 'a')).toEqual({ id: 2, reuse: 4 })
    expect(pickSequence(free, [7, 7], 'a')).toEqual({ id: 0, reuse: 0 })
    expect(pickSequence([], [1], 'a')).toBeUndefined()
  })

  it('[ENG6] at least one token is computed, even if all of them are cached', () => {
    expect(pickSequence([{ id: 0, tokens: [1, 2, 3, 4], owner: 'a', usedAt: 0 }], [1, 2, 3], 'a')).toEqual({
      id: 0,
      reuse: 2,
    })
  })

  it('[ENG21] tokens of another owner in a sequence are never reused', () => {
    const free = [
      { id: 0, tokens: [1, 2, 3, 4, 5], owner: 'b', usedAt: 1 },
      { id: 1, tokens: [1, 2], owner: 'a', usedAt: 9 },
    ]
    expect(pickSequence(free, [1, 2, 3, 4, 5, 6], 'a')).toEqual({ id: 1, reuse: 2 })
    expect(pickSequence(free.slice(0, 1), [1, 2, 3], 'a')).toEqual({ id: 0, reuse: 0 })
  })

  const plan = (decoding: number, left: number[], priority = left.map(() => 0)) =>
    planPrefill(
      decoding,
      left.map((tokens, index) => ({ left: tokens, priority: priority[index] ?? 0 })),
      limits,
    )

  it('[ENG4] while a run decodes, all prompts together get one chunk per step', () => {
    expect(plan(1, [300])).toEqual([128])
    expect(plan(1, [300, 300])).toEqual([64, 64])
    expect(plan(0, [300, 300, 300, 300, 300])).toEqual([128, 128, 128, 128, 0])
  })

  it('[ENG4] a short prompt passes long ones, and the first prompt is never starved', () => {
    expect(plan(1, [9_000, 9_000, 20])).toEqual([64, 44, 20])
    expect(plan(1, [9_000, 20, 10])).toEqual([98, 20, 10])
    expect(plan(1, [20, 9_000])).toEqual([20, 108])
  })

  it('[ENG20] a priority class gets the tokens that the classes before it do not use', () => {
    expect(plan(1, [100, 10, 10], [0, 1, 1])).toEqual([100, 10, 10])
    expect(plan(1, [9_000, 10], [0, 1])).toEqual([128, 0])
  })

  it('[ENG4] no plan exceeds the batch, the chunk or the prompt, and the first prompt always advances', () => {
    const prompts = fc.array(fc.tuple(fc.integer({ min: 1, max: 2_000 }), fc.nat(2)), { minLength: 1, maxLength: 20 })
    fc.assert(
      fc.property(fc.nat(64), prompts, (decoding, list) => {
        const sorted = list.toSorted((a, b) => a[1] - b[1])
        const counts = plan(
          decoding,
          sorted.map(([left]) => left),
          sorted.map(([, priority]) => priority),
        )
        const total = counts.reduce((sum, count) => sum + count, 0)
        const wanted = sorted.reduce((sum, [left]) => sum + Math.min(left, limits.prefillChunkTokens), 0)
        const budget = decoding > 0 ? limits.prefillChunkTokens : limits.batchTokens
        expect(total).toBe(Math.min(wanted, budget))
        counts.forEach((count, index) => {
          expect(count).toBeGreaterThanOrEqual(0)
          expect(count).toBeLessThanOrEqual(Math.min(sorted[index]?.[0] ?? 0, limits.prefillChunkTokens))
        })
        expect(counts[0]).toBeGreaterThan(0)
      }),
    )
  })

  it('[ENG20] prompts are ordered by priority, then by arrival', () => {
    const sorted = [
      { priority: 1, arrival: 1 },
      { priority: 0, arrival: 3 },
      { priority: 0, arrival: 2 },
    ].sort(inOrder)
    expect(sorted.map(({ arrival }) => arrival)).toEqual([2, 3, 1])
  })
})
