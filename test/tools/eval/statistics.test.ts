import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { f1, mean, quantile, wilson } from './statistics.ts'

describe('statistics', () => {
  it.each([
    [0, 10, 0, 0.2775],
    [5, 10, 0.2366, 0.7634],
    [10, 10, 0.7225, 1],
    [81, 263, 0.2553, 0.3662],
  ])('[EVL5] %i right of %i has the Wilson interval', (right, asked, low, high) => {
    expect(wilson(right, asked).low).toBeCloseTo(low, 4)
    expect(wilson(right, asked).high).toBeCloseTo(high, 4)
  })

  it('[EVL6] an interval contains its share, stays within 0 and 1, and narrows with more cases', () => {
    const counts = fc
      .integer({ min: 1, max: 5_000 })
      .chain((asked) => fc.tuple(fc.integer({ min: 0, max: asked }), fc.constant(asked)))
    fc.assert(
      fc.property(counts, ([right, asked]) => {
        const { low, high } = wilson(right, asked)
        const tenfold = wilson(right * 10, asked * 10)
        expect(low).toBeGreaterThanOrEqual(0)
        expect(high).toBeLessThanOrEqual(1)
        expect(low).toBeLessThanOrEqual(right / asked + 1e-9)
        expect(high).toBeGreaterThanOrEqual(right / asked - 1e-9)
        expect(tenfold.high - tenfold.low).toBeLessThan(high - low)
      }),
    )
    expect(wilson(0, 0)).toEqual({ low: 0, high: 1 })
  })

  it('[EVL7] the mean and quantiles of no values are unknown, not zero', () => {
    expect([mean([]), quantile([], 0.5)]).toEqual([null, null])
    expect([mean([1, 2, 6]), quantile([9, 1, 2, 4], 0.5), quantile([1, 2], 0.95), quantile([7], 0.95)]).toEqual([
      3, 3, 1.95, 7,
    ])
  })

  it('[EVL8] F1 counts each word as often as it is expected', () => {
    expect(f1(['a', 'b'], ['a', 'b'])).toBe(1)
    expect(f1(['a', 'a', 'a'], ['a', 'b'])).toBeCloseTo(0.4)
    expect(f1([], ['a'])).toBe(0)
  })
})
