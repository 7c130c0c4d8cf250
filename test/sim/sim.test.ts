/** Some worlds, and the seeds that once broke. `npm run sim -- --seeds N` runs any number. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import type { SimulationReport } from './run.ts'
import onceFailed from './seeds.json' with { type: 'json' }

/** In a process of its own: the simulated platform replaces clocks and timers. */
async function simulate(...args: string[]): Promise<SimulationReport> {
  const program = fileURLToPath(new URL('./run.ts', import.meta.url))
  const options = { maxBuffer: 64 * 1024 * 1024 }
  const ran = promisify(execFile)(process.execPath, [program, '--json', ...args], options)
  const { stdout } = await ran.catch((error: unknown) => error as { stdout: string })
  return JSON.parse(stdout)
}

describe('simulation', () => {
  it('[SIM1] under any faults budgets hold, reservations end once, and the ledger has every token', async () => {
    const { seeds, violations, missing } = await simulate('--seeds', '250')
    expect(violations.map(({ text }) => text)).toEqual([])
    expect(seeds).toBe(250)
    // A fault or a path that never occurs tests nothing.
    expect(missing).toEqual([])
  }, 120_000)

  it('[SIM2] seeds that once broke an invariant keep it', async () => {
    const { violations } = await simulate(...onceFailed.flatMap(({ seed }) => ['--seed', String(seed)]))
    expect(violations.map(({ text }) => text)).toEqual([])
  })

  it('[SIM3] the same seed gives the same run', async () => {
    const [one, other] = await Promise.all([0, 1].map(() => simulate('--seed', '11', '--trace')))
    expect(one?.lines?.length).toBeGreaterThan(100)
    expect(one?.lines).toEqual(other?.lines)
  })
})
