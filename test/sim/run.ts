/**
 * `npm run sim`: runs simulated worlds by seed and prints one summary line.
 *
 *   npm run sim -- --seeds N [--from S]      run N worlds, starting at seed S (default 0)
 *   npm run sim -- --seed N [--trace]        run one world; --trace prints every step
 */
import { parseArgs } from 'node:util'
import { type FaultCounts, faultKinds, noFaults } from './faults.ts'
import { describeOutcome } from './outcome.ts'
import { Shelf } from './shelf.ts'
import { type Outcome, runSeed } from './world.ts'

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    from: { type: 'string', default: '0' },
    seed: { type: 'string' },
    trace: { type: 'boolean', default: false },
  },
})

/** Print at most this many failures: more of the same add nothing. */
const failuresShown = 5

async function main(): Promise<number> {
  const from = Number(values.seed ?? values.from)
  const count = values.seed === undefined ? Number(values.seeds) : 1
  if (!Number.isSafeInteger(from) || !Number.isSafeInteger(count) || count < 1) {
    console.error(
      '--seeds, --from, --seed: must be whole numbers, and --seeds at least 1. Example: npm run sim -- --seeds 1000 --from 0',
    )
    return 2
  }
  const outboxes = new Shelf()
  process.on('exit', () => outboxes.close())
  const total = { steps: 0, requests: 0, faults: noFaults(), failed: [] as Outcome[] }
  const startedAt = performance.now()
  let reportedAt = startedAt
  for (let seed = from; seed < from + count; seed++) {
    const outcome = await runSeed(seed, outboxes, values.trace ? console.log : undefined)
    total.steps += outcome.steps
    total.requests += outcome.requests
    for (const kind of faultKinds) total.faults[kind] += outcome.faults[kind]
    if (outcome.violation) {
      total.failed.push(outcome)
      if (total.failed.length <= failuresShown) console.error(describeOutcome(outcome))
    }
    if (performance.now() - reportedAt > 2_000) {
      reportedAt = performance.now()
      const rate = (seed - from + 1) / ((reportedAt - startedAt) / 1_000)
      process.stderr.write(`${seed - from + 1} of ${count} seeds, ${rate.toFixed(0)} seeds/s\n`)
    }
  }
  console.log(summary(count, total))
  return total.failed.length > 0 ? 1 : 0
}

function summary(
  count: number,
  total: { steps: number; requests: number; faults: FaultCounts; failed: Outcome[] },
): string {
  const injected = faultKinds.map((kind) => `${kind} ${total.faults[kind]}`).join(', ')
  const all = Object.values(total.faults).reduce((sum, number) => sum + number, 0)
  return `sim: ${count} seeds, ${total.requests} requests, ${total.steps} steps, ${all} faults (${injected}), ${total.failed.length} violations`
}

process.exitCode = await main()
