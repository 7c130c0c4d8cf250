/**
 * `npm run bench:tenant`: the admissions per second of one tenant object, at several history sizes, compared with an
 * object that writes one row per call.
 *
 *   node test/tools/bench/tenant.ts [--quick]
 *
 * Throughput is measured with 64 callers inside workerd, by workerd's clock; voids, which release the admissions, are
 * not timed. That clock counts whole milliseconds, so a single caller is timed in two ways: the mean of many calls in a
 * row inside workerd, and each call from outside over one kept connection, for the spread. The outside figure includes
 * the round trip, which a call that does nothing measures. Objects alternate within a round; ratios compare neighbours
 * in one round; medians are over rounds. An object reads a key at its first use after waking: that is timed separately,
 * and every key has been used once before the other measurements.
 */
import { execFile } from 'node:child_process'
import { cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { home } from './children.ts'
import { quantile, type Spread, spread } from './figures.ts'
import { startTenantObject } from './servers.ts'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const quick = process.argv.includes('--quick')
const rounds = quick ? 3 : 7
const concurrency = 64
const sharedCalls = concurrency * (quick ? 10 : 30)
const aloneCalls = quick ? 60 : 150
/** Turns per kind, of equally many calls; an even number, so that each kind runs first equally often. */
const inRowTurns = quick ? 4 : 10

/** The product's targets for admission, relative to one row's write in the same run. */
const throughputMin = 3
const aloneMax = 1.3

interface Tenant {
  name: string
  rows: number
  keys: number
}

const tenants: Tenant[] = [
  { name: 'small', rows: 10, keys: 1 },
  { name: 'keys', rows: 10, keys: 10_000 },
  { name: 'thousand', rows: 1_000, keys: 1 },
  { name: 'tens', rows: 10_000, keys: 1 },
  { name: 'hundreds', rows: 100_000, keys: 1 },
  { name: 'million', rows: 1_000_000, keys: 1 },
  { name: 'both', rows: 1_000_000, keys: 10_000 },
]

interface Sample {
  perSecond: number
  /** Mean of one call in a row of calls, with no other load. */
  inRowMs: number
  sharedMs: number[]
  aloneMs: number[]
}

type Call = 'admit' | 'row' | 'nothing'

async function main(): Promise<void> {
  const cores = cpus()
  console.log(`${cores.length} cores (${cores[0]?.model.trim()}), ${process.platform}, Node ${process.version}.`)
  const url = await startTenantObject(await build())
  const ask = async <Answer>(path: string, query: Record<string, string | number>, body?: unknown): Promise<Answer> => {
    const address = new URL(path, url)
    for (const [name, value] of Object.entries(query)) address.searchParams.set(name, String(value))
    const options = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }
    const answer = await fetch(address, options)
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`)
    return (await answer.json()) as Answer
  }
  for (const tenant of tenants) {
    const { name, rows, keys } = tenant
    const bytes = await ask<number>('/seed', { name, rows, keys })
    const first = keys > aloneCalls ? `, first use of a key: ${(await useKeys(tenant)).toFixed(2)} ms` : ''
    console.log(`${rows} rows, ${keys} keys: ${(bytes / 1e6).toFixed(1)} MB${first}`)
  }

  /** Uses every key once, some twice. Returns the mean of the first calls, made in a row. */
  async function useKeys({ name, keys }: Tenant): Promise<number> {
    const use = async (count: number, callers: number) => {
      const query = { name, keys, call: 'admit', count, concurrency: callers }
      const { answers, tookMs } = await ask<{ answers: unknown[]; tookMs: number }>('/run', query)
      await ask('/void', { name }, answers)
      return tookMs / count
    }
    const first = await use(aloneCalls, 1)
    for (let used = aloneCalls; used < Math.max(keys, 2 * sharedCalls); used += sharedCalls)
      await use(sharedCalls, concurrency)
    return first
  }

  const run = (call: Call, { name, keys }: Tenant, count: number, callers: number) =>
    ask<{ answers: unknown[]; latencyMs: number[]; tookMs: number }>('/run', {
      ...{ name, keys, call, count, concurrency: callers },
    })

  async function free(call: Call, { name }: Tenant, answers: unknown[]): Promise<void> {
    if (call === 'admit') await ask('/void', { name }, answers)
  }

  async function take(call: Call, tenant: Tenant, inRowMs: number): Promise<Sample> {
    const aloneMs: number[] = []
    for (let index = 0; index < aloneCalls; index++) {
      const startedAt = performance.now()
      const { answers } = await run(call, tenant, 1, 1)
      aloneMs.push(performance.now() - startedAt)
      await free(call, tenant, answers)
    }
    const { answers, latencyMs, tookMs } = await run(call, tenant, sharedCalls, concurrency)
    await free(call, tenant, answers)
    return { perSecond: (sharedCalls / tookMs) * 1_000, inRowMs, sharedMs: latencyMs, aloneMs }
  }

  /** Calls of each kind in a row, in turns so short that a disturbance affects both kinds. */
  async function takeInRow(tenant: Tenant): Promise<Record<'admit' | 'row', number>> {
    const tookMs = { admit: 0, row: 0 }
    for (let turn = 0; turn < inRowTurns; turn++) {
      for (const call of turn % 2 === 0 ? (['admit', 'row'] as const) : (['row', 'admit'] as const)) {
        const taken = await run(call, tenant, aloneCalls, 1)
        await free(call, tenant, taken.answers)
        tookMs[call] += taken.tookMs
      }
    }
    const calls = inRowTurns * aloneCalls
    return { admit: tookMs.admit / calls, row: tookMs.row / calls }
  }

  const samples = new Map<Tenant, { admit: Sample[]; row: Sample[] }>(
    tenants.map((each) => [each, { admit: [], row: [] }]),
  )
  const nothing: Sample[] = []
  for (let round = -1; round < rounds; round++) {
    for (const [tenant, taken] of samples) {
      // After ten seconds without a call an object is evicted. On waking it reads its keys and starts a log that is
      // slower to write until it has its full length. Do that untimed; the row's object never sleeps.
      await useKeys(tenant)
      const inRow = await takeInRow(tenant)
      const admit = await take('admit', tenant, inRow.admit)
      const row = await take('row', tenant, inRow.row)
      // The first round is a warm-up.
      if (round < 0) continue
      taken.admit.push(admit)
      taken.row.push(row)
    }
    const [first] = tenants
    if (!first || round < 0) continue
    const { tookMs } = await run('nothing', first, aloneCalls, 1)
    nothing.push(await take('nothing', first, tookMs / aloneCalls))
  }
  console.log(`\n${table(samples)}\n`)
  const way = spread(nothing.map((sample) => quantile(sample.aloneMs, 0.5)))
  const callsPerSecond = spread(nothing.map((sample) => sample.perSecond))
  const bare = spread(nothing.map((sample) => sample.inRowMs))
  const load = loadavg().map((each) => each.toFixed(1))
  console.log(
    `A call that does nothing: ${show(callsPerSecond, 0)}/s with ${concurrency} callers, ${show(bare, 2)} ms alone, ${show(way, 2)} ms from outside. Load average ${load.join(' ')}.`,
  )
}

/** Builds as the product does, with the bench's entry module. */
async function build(): Promise<string> {
  const wrangler = join(root, 'node_modules', 'wrangler', 'bin', 'wrangler.js')
  const entry = join(root, 'test', 'tools', 'bench', 'tenant-object', 'index.js')
  const out = join(home, 'tenant-build')
  const env = { ...process.env, WRANGLER_SEND_METRICS: 'false', WRANGLER_LOG_PATH: join(home, 'wrangler.log') }
  await promisify(execFile)(process.execPath, [wrangler, 'deploy', entry, '--dry-run', '--outdir', out], {
    cwd: root,
    env,
  })
  return out
}

function table(samples: Map<Tenant, { admit: Sample[]; row: Sample[] }>): string {
  const rows = [...samples].map(([{ rows, keys }, { admit, row }]) => {
    const p = (all: Sample[], read: (sample: Sample) => number[], q: number) =>
      show(spread(all.map((sample) => quantile(read(sample), q))), q === 0.5 ? 2 : 1)
    const shared = (sample: Sample) => sample.sharedMs
    const alone = (sample: Sample) => sample.aloneMs
    const throughput = ratios(admit, row, (sample) => sample.perSecond)
    const latency = ratios(admit, row, (sample) => sample.inRowMs)
    const met = throughput.median >= throughputMin && latency.median <= aloneMax
    return [
      ...[`${rows}`, `${keys}`],
      ...[
        show(spread(admit.map((sample) => sample.perSecond)), 0),
        show(spread(row.map((sample) => sample.perSecond)), 0),
      ],
      `×${show(throughput, 2)}`,
      `${p(admit, shared, 0.5)} / ${p(admit, shared, 0.99)}`,
      `${p(admit, alone, 0.5)} / ${p(admit, alone, 0.99)}`,
      `${p(row, alone, 0.5)} / ${p(row, alone, 0.99)}`,
      ...[admit, row].map((all) => show(spread(all.map((sample) => sample.inRowMs)), 2)),
      `×${show(latency, 2)}`,
      met ? 'met' : 'missed',
    ]
  })
  const head = [
    ...['rows', 'keys', 'admissions/s, 64 callers', 'row writes/s, 64 callers', 'ratio', 'p50 / p99, 64 callers, ms'],
    ...[
      'p50 / p99 from outside, ms',
      'row write from outside, ms',
      'one caller, ms',
      'row write, one caller, ms',
      'ratio',
      `≥ ×${throughputMin}, ≤ ×${aloneMax}`,
    ],
  ]
  const line = (cells: string[]) => `| ${cells.join(' | ')} |`
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(line)].join('\n')
}

function ratios(one: Sample[], other: Sample[], read: (sample: Sample) => number): Spread {
  return spread(one.flatMap((sample, round) => (other[round] ? [read(sample) / read(other[round])] : [])))
}

function show({ median, min, max }: Spread, digits: number): string {
  return `${median.toFixed(digits)} (${min.toFixed(digits)}–${max.toFixed(digits)})`
}

try {
  await main()
  process.exit(0)
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exit(1)
}
