/** The goodput simulation in small: one trace of each kind, the whole of it is `npm run goodput`. */
import { describe, expect, it } from 'vitest'
import { play } from './goodput/play.ts'
import { policies } from './goodput/policies.ts'
import { generate, isAbuser, type Trace, traces } from './goodput/traces.ts'

const traceOf = (name: string) => traces.find((trace) => trace.name === name) as Trace
const [ours] = policies as [(typeof policies)[number]]

describe('goodput', () => {
  it('[GDP1] a simulated fleet plays the same seed to the same figures, and loses no request', () => {
    const trace = traceOf('a worker lost')
    const asked = generate(trace, 7)
    const figures = play(trace, ours, asked)
    expect(play(trace, ours, generate(trace, 7))).toEqual(figures)
    expect(figures.share.latency).toBeGreaterThan(0.9)
    expect(figures.open).toBe(0)
  })

  it('[GDP2] on a mixed trace placement by effort is worth more than any mixed pool, and an abuser’s neighbours keep their share', () => {
    const mixed = traceOf('mixed 50/50')
    const asked = generate(mixed, 7)
    const best = Math.max(
      ...policies
        .filter((policy) => policy.name === 'mixed fifo' || policy.name === 'prefix only')
        .map((policy) => play(mixed, policy, asked).goodput),
    )
    expect(play(mixed, ours, asked).goodput / best).toBeGreaterThan(1.3)
    const abused = traceOf('one abuser')
    const crowd = generate(abused, 7)
    const alone = crowd.filter(({ tenantId }) => !isAbuser(tenantId))
    const kept = play(abused, ours, crowd).neighbours / play(abused, ours, alone).neighbours
    expect(kept).toBeGreaterThan(0.85)
  })
})
