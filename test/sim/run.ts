/**
 * `npm run sim`: runs simulated worlds by seed, and prints how often each fault and each path occurred.
 *
 *   npm run sim -- --seeds N [--from S]      run N worlds, starting at seed S (default 0)
 *   npm run sim -- --seed N [--trace]        run one world; --trace prints every step
 *   --violations N                           stop after N violations; --json prints one report
 *   npm run sim -- --mutations [--seeds N]   break the product on purpose; see mutations.ts
 */
import { parseArgs } from 'node:util'
import { Coverage } from './coverage.ts'
import { runMutations } from './mutations.ts'
import { describeOutcome } from './outcome.ts'
import { withDisks } from './worker-disks.ts'
import type { Outcome } from './world.ts'

const { values } = parseArgs({
  options: {
    seeds: { type: 'string' },
    from: { type: 'string', default: '0' },
    seed: { type: 'string', multiple: true, default: [] },
    trace: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    mutations: { type: 'boolean', default: false },
    only: { type: 'string' },
    violations: { type: 'string' },
  },
})

/** Print at most this many failures: more of the same add nothing. */
const failuresShown = 5
const seedsDefault = 1_000
const seedsPerMutation = 150

/** What one run found, for another program. */
export interface SimulationReport {
  seeds: number
  requests: number
  steps: number
  counts: Record<string, number>
  /** Paths that must occur and did not. */
  missing: string[]
  violations: { seed: number; invariant: string; text: string }[]
  /** Of the trace of each seed, if asked for. */
  lines?: string[]
}

async function main(): Promise<number> {
  const from = Number(values.from)
  const count = Number(values.seeds ?? (values.mutations ? seedsPerMutation : seedsDefault))
  const seeds = values.seed.length > 0 ? values.seed.map(Number) : Array.from({ length: count }, (_, at) => from + at)
  if (!Number.isSafeInteger(count) || count < 1 || !seeds.every(Number.isSafeInteger)) {
    console.error(
      '--seeds, --from, --seed: must be whole numbers, and --seeds at least 1. Example: npm run sim -- --seeds 1000 --from 0',
    )
    return 2
  }
  if (values.mutations) return runMutations(count, values.only)
  const report = await runAll(seeds)
  if (values.json) process.stdout.write(JSON.stringify(report))
  else console.log(table(report))
  return report.violations.length > 0 ? 1 : 0
}

async function runAll(seeds: readonly number[]): Promise<SimulationReport> {
  // The product is loaded on the simulated platform, which the mutations do not need.
  const { runSeed } = await import('./world.ts')
  const coverage = new Coverage()
  const report: SimulationReport = { seeds: 0, requests: 0, steps: 0, counts: {}, missing: [], violations: [] }
  const startedAt = performance.now()
  let reportedAt = startedAt
  const lines: string[] = []
  const violationsMax = Number(values.violations ?? Number.POSITIVE_INFINITY)
  const trace = values.trace
    ? (line: string) => (values.json ? lines.push(line) : process.stdout.write(`${line}\n`))
    : undefined
  await withDisks(async (root) => {
    for (const seed of seeds) {
      const outcome = await runSeed(seed, root, trace)
      coverage.add(outcome.coverage.counts)
      report.seeds += 1
      report.steps += outcome.steps
      report.requests += outcome.requests
      if (outcome.violation) noteViolation(report, outcome)
      if (report.violations.length >= violationsMax) break
      if (performance.now() - reportedAt < 5_000 || values.json) continue
      reportedAt = performance.now()
      const rate = report.seeds / ((reportedAt - startedAt) / 1_000)
      process.stderr.write(`${report.seeds} of ${seeds.length} seeds, ${rate.toFixed(0)} seeds/s\n`)
    }
  })
  const counts = Object.fromEntries([...coverage.counts].sort(([a], [b]) => (a < b ? -1 : 1)))
  return { ...report, counts, missing: coverage.missing(report.seeds), ...(values.trace && { lines }) }
}

function noteViolation({ violations }: SimulationReport, outcome: Outcome): void {
  const { seed, violation } = outcome
  const text = describeOutcome(outcome)
  violations.push({ seed, invariant: violation?.invariant ?? '', text })
  if (violations.length <= failuresShown && !values.json) console.error(text)
}

/** One row for each group of paths. */
function table({ seeds, requests, steps, counts, missing, violations }: SimulationReport): string {
  const groups = Map.groupBy(Object.entries(counts), ([path]) => path.slice(0, path.indexOf(':')))
  const rows = [...groups].flatMap(([group, paths]) => [
    `${group}`,
    ...paths.map(([path, times]) => `  ${path.slice(group.length + 2).padEnd(36)}${String(times).padStart(9)}`),
  ])
  return [
    ...rows,
    missing.length > 0 ? `never occurred: ${missing.join(', ')}` : 'every listed path occurred',
    `sim: ${seeds} seeds, ${requests} requests, ${steps} steps, ${violations.length} violations`,
    ...(violations.length > 0 ? [`seeds: ${violations.map(({ seed }) => seed).join(' ')}`] : []),
  ].join('\n')
}

process.exitCode = await main()
