import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fullBucket, refund, type TokenBucket, take, unitsLeft } from '../../../src/tenant/limits/token-bucket.ts'

describe('bucket', () => {
  it('[LIM1] a refusal states the exact wait: refused one millisecond earlier, accepted at that time', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5_000 }),
        fc.integer({ min: 0, max: 5_000 }),
        fc.nat(200_000),
        (perMinute, spent, now) => {
          const units = Math.min(spent, perMinute)
          const drained = take(fullBucket(perMinute, now), perMinute, units, now)
          if (!drained.ok) throw new Error('a full bucket refused')
          const wanted = Math.max(1, Math.ceil(perMinute / 2))
          const refused = take(drained.bucket, perMinute, wanted, now)
          if (refused.ok) return
          expect(take(drained.bucket, perMinute, wanted, now + refused.retryAfterMs).ok).toBe(true)
          expect(take(drained.bucket, perMinute, wanted, now + refused.retryAfterMs - 1).ok).toBe(false)
        },
      ),
    )
  })

  it('[LIM2] a bucket grants at most its capacity and what it refilled', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100 }), fc.array(fc.nat(2_000), { maxLength: 200 }), (perMinute, steps) => {
        let bucket: TokenBucket = fullBucket(perMinute, 0)
        let now = 0
        let taken = 0
        for (const step of steps) {
          now += step
          const answer = take(bucket, perMinute, 1, now)
          if (answer.ok) {
            bucket = answer.bucket
            taken += 1
          }
        }
        expect(taken).toBeLessThanOrEqual(perMinute + Math.floor((now * perMinute) / 60_000))
      }),
    )
  })

  it('[LIM3] a clock that runs backwards refills nothing, and a return never exceeds the capacity', () => {
    const drained = take(fullBucket(60, 10_000), 60, 60, 10_000)
    if (!drained.ok) throw new Error('a full bucket refused')
    expect(take(drained.bucket, 60, 1, 5_000).ok).toBe(false)
    expect(unitsLeft(refund(drained.bucket, 60, 500, 10_000), 60, 10_000)).toBe(60)
  })
})
