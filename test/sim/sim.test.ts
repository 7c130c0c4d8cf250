/** A few hundred worlds, and the seeds that once broke. `npm run sim -- --seeds N` runs any number. */
import { afterAll, describe, expect, it } from 'vitest'
import { faultKinds } from './faults.ts'
import { describeOutcome } from './outcome.ts'
import onceFailed from './seeds.json' with { type: 'json' }
import { Shelf } from './shelf.ts'
import { runSeed } from './world.ts'

const outboxes = new Shelf()
afterAll(() => outboxes.close())

describe('simulation', () => {
  it('[SIM1] under any faults budgets hold, reservations end once, and the ledger has every token', async () => {
    const unseen = new Set<string>(faultKinds)
    for (let seed = 0; seed < 300; seed++) {
      const outcome = await runSeed(seed, outboxes)
      expect(outcome.violation && describeOutcome(outcome)).toBeUndefined()
      for (const kind of faultKinds) if (outcome.faults[kind] > 0) unseen.delete(kind)
    }
    // A fault that never occurs tests nothing.
    expect([...unseen]).toEqual([])
  })

  it('[SIM2] seeds that once broke an invariant keep it', async () => {
    for (const { seed } of onceFailed) {
      const outcome = await runSeed(seed, outboxes)
      expect(outcome.violation && describeOutcome(outcome)).toBeUndefined()
    }
  })

  it('[SIM3] the same seed gives the same run', async () => {
    const traces = await Promise.all(
      [0, 1].map(async () => {
        const lines: string[] = []
        await runSeed(7, outboxes, (line) => lines.push(line))
        return lines
      }),
    )
    expect(traces[0]?.length).toBeGreaterThan(100)
    expect(traces[0]).toEqual(traces[1])
  })
})
