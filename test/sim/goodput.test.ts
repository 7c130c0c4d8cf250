/** A small version of the goodput comparison: one trace of each kind. `npm run goodput` runs all. */
import { describe, expect, it } from 'vitest'
import { view } from '../../src/fleet/views.ts'
import { carriedLoad, carries, highest } from '../tools/goodput/capacity.ts'
import { play } from '../tools/goodput/play.ts'
import { policies } from '../tools/goodput/policies.ts'
import { allEnded, Engines, playReal, realPolicies, realProfiles, smallTrace } from '../tools/goodput/real.ts'
import { generate, isAbuser, type Trace, traces } from '../tools/goodput/traces.ts'

const traceOf = (name: string) => traces.find((trace) => trace.name === name) as Trace
const [ours] = policies as [(typeof policies)[number]]

describe('goodput', () => {
  it('[GDP1] a simulated fleet gives the same figures for the same seed and loses no request', () => {
    const trace = traceOf('a worker lost')
    const asked = generate(trace, 7)
    const figures = play(trace, ours, asked)
    expect(play(trace, ours, generate(trace, 7))).toEqual(figures)
    expect(figures.share.latency).toBeGreaterThan(0.9)
    expect(figures.open).toBe(0)
  })

  it('[GDP10] a fleet with misleading first measurements serves long prompts as well as a mixed pool', () => {
    const long = traceOf('long prompts')
    const asked = generate(long, 1)
    const best = Math.max(
      ...policies.filter(({ mixedPool }) => mixedPool).map((policy) => play(long, policy, asked).goodput),
    )
    expect(play(long, ours, asked).goodput / best).toBeGreaterThan(1)
  })

  it('[GDP11] a carried load meets the target for nine tenths of each class, and gives up none', () => {
    const passing = (max: number) => highest(-1, 200, [1, 3], (at) => at <= max)
    expect([-1, 0, 1, 57, 199].map(passing)).toEqual([-1, 0, 1, 57, 199])
    // A result that is not better than the previous best is not accepted.
    expect(highest(60, 200, [1, 3], (at) => at <= 60)).toBe(60)
    const share = (latency: number, throughput: number) => ({ share: { latency, throughput } })
    expect(carries(share(0.9, 0.9))).toBe(true)
    expect(carries(share(0.89, 1))).toBe(false)
    expect(carries(share(Number.NaN, 0.95))).toBe(true)
    const trace = traceOf('two workers')
    const load = carriedLoad(trace, [ours], 7)
    expect(carries(play(trace, ours, generate({ ...trace, load }, 7)))).toBe(true)
    const mixed = policies.filter(({ name, profile }) => name === 'mixed fifo' && profile?.name === 'throughput')
    expect(load / carriedLoad(trace, mixed, 7)).toBeGreaterThan(1.3)
  })

  it('[GDP2] placement by effort beats mixed pools on a mixed trace, and an abuser’s neighbours keep their share', () => {
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
    expect(kept).toBeGreaterThan(0.95)
  })

  it('[GDP3] on real engines every request ends with exactly its tokens and frees its slot', async () => {
    const engines = new Engines()
    await engines.open([realProfiles.latency, realProfiles.throughput])
    try {
      const asked = smallTrace(traceOf('mixed 50/50'), 7, 8).slice(0, 12)
      const routers = realPolicies.filter(
        ({ name, profile }) => name === 'ours' || (name === 'round robin' && profile?.name === 'latency'),
      )
      expect(routers).toHaveLength(2)
      for (const policy of routers) {
        const { runs, replicas, fleet } = await playReal(engines, policy, asked, 8, allEnded)
        expect(runs.map(({ fate }) => fate)).toEqual(asked.map(() => 'done'))
        const total = (count: (each: (typeof asked)[number]) => number) =>
          asked.reduce((sum, each) => sum + count(each), 0)
        const written = replicas.map(({ promptTokensTotal, outputTokensTotal }) => [
          promptTokensTotal,
          outputTokensTotal,
        ])
        expect(written[0]?.map((tokens, index) => tokens + (written[1]?.[index] ?? 0))).toEqual([
          total(({ promptTokens }) => promptTokens),
          total(({ outputTokens }) => outputTokens),
        ])
        expect(replicas.map(({ load }) => load)).toEqual([0, 0])
        if (policy.name === 'ours') expect(fleet && view(fleet.pool)).toMatchObject({ leased: 0, waiting: 0 })
      }
      expect([...engines.hosts.values()].flat().map(({ engine }) => engine.load().running)).toEqual([0, 0, 0, 0])
    } finally {
      await engines.close()
    }
  })
})
