/**
 * `npm run goodput`: measures the value of routing. Plays every trace under every policy with three seeds; a mixed pool
 * gets five profiles and counts with its best one for that seed.
 *
 *   --trace NAME   only traces whose name contains NAME
 *   --seeds N      number of seeds (default 3)
 *   --threads N    maximum number of threads (default: one per core)
 *   --real         the mixed traces on two real engines: see real.ts
 *
 * Two measures of goodput are printed, because each hides something:
 *
 * - Counted: requests per second that met both of their targets, at the same load for all. It does not show which class
 *   they belong to: where a tenth of the requests has no reasoning, a mixed pool in the throughput profile that serves
 *   none of those on time still counts nine tenths. It cannot exceed the offered load (row "offered"), so a pool that
 *   serves most of it can hardly be beaten. Last line: our goodput divided by the best mixed pool's.
 * - Carried: the highest load at which nine tenths of each class are on time, as in the literature (see capacity.ts).
 *   It does not show behaviour beyond that load, and a class with 89 % on time counts as not served. Second to last
 *   line. Traces with a fixed load do not have it.
 */
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import { spread } from '../bench/figures.ts'
import { carriedLoad, loadLeast } from './capacity.ts'
import { type Figures, play } from './play.ts'
import { policies } from './policies.ts'
import { runReal } from './real-run.ts'
import { meanOf, print, printUnder, rowOf, two } from './table.ts'
import { countedFromMs, generate, isAbuser, requestsPerSecond, type Trace, traceMs, traces } from './traces.ts'

interface Counted {
  kind: 'counted'
  trace: number
  policy: number
  seed: number
  /** Without the abuser's requests: what its neighbours would get. */
  alone: boolean
}

interface Carried {
  kind: 'carried'
  trace: number
  router: string
  seed: number
}

type Job = Counted | Carried
type Played = Counted & { figures: Figures }
type Found = Carried & { load: number }

function run(job: Job): Played | Found {
  const trace = traces[job.trace]
  if (!trace) throw new Error('no such trace')
  if (job.kind === 'carried') {
    const tries = policies.filter(({ name }) => name === job.router)
    return { ...job, load: carriedLoad(trace, tries, job.seed) }
  }
  const { policy, seed, alone } = job
  const chosen = policies[policy]
  if (!chosen) throw new Error('no such policy')
  const asked = generate(trace, seed)
  return { ...job, figures: play(trace, chosen, alone ? asked.filter((each) => !isAbuser(each.tenantId)) : asked) }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      trace: { type: 'string' },
      seeds: { type: 'string' },
      threads: { type: 'string' },
      real: { type: 'boolean', default: false },
    },
  })
  if (values.real) return runReal(values.trace ?? '', Number(values.seeds ?? 3))
  const seeds = Array.from({ length: Number(values.seeds ?? 3) }, (_, index) => index + 1)
  const wanted = traces.flatMap(({ name }, index) => (name.includes(values.trace ?? '') ? [index] : []))
  if (wanted.length === 0)
    throw new Error(`--trace: there is no ${values.trace}. Use one of ${traces.map(({ name }) => name).join(', ')}`)
  const searched = wanted.filter((trace) => !traces[trace]?.loadGiven)
  const done = await runAll(jobsOf(wanted, searched, seeds), Number(values.threads ?? availableParallelism()))
  const played = done.filter((each) => each.kind === 'counted')
  const found = done.filter((each) => each.kind === 'carried')
  const counted = wanted.flatMap((trace) => show(trace, seeds, played).map((ratio) => ({ trace, ratio })))
  const carried = showCarried(searched, seeds, found)
  if (carried.length > 0) console.log(`highest carried load, relative to the best mixed pool: ${summary(carried)}`)
  console.log(`goodput, relative to the best mixed pool: ${summary(counted)}`)
}

/** The longest jobs first, so that all threads end together. */
function jobsOf(wanted: number[], searched: number[], seeds: number[]): Job[] {
  const carried = searched.flatMap((trace) =>
    seeds.flatMap((seed) => routers.map((router): Job => ({ kind: 'carried', trace, router, seed }))),
  )
  const counted = wanted.flatMap((trace) =>
    seeds.flatMap((seed): Job[] => [
      ...policies.map((_, policy): Job => ({ kind: 'counted', trace, policy, seed, alone: false })),
      ...(traces[trace]?.abuse ? [{ kind: 'counted', trace, policy: 0, seed, alone: true } as const] : []),
    ]),
  )
  return [...carried, ...counted]
}

interface Ratio {
  trace: number
  ratio: number
}

function summary(ratios: Ratio[]): string {
  const of = (among: Ratio[]) => {
    const { min, median } = spread(among.map(({ ratio }) => ratio))
    return `worst ×${two(min)}, median ×${two(median)}`
  }
  const mixed = ratios.filter(({ trace }) => traces[trace]?.mixed)
  return mixed.length > 0 ? `${of(ratios)}; on the mixed traces, ${of(mixed)}` : of(ratios)
}

async function runAll(jobs: Job[], threads: number): Promise<(Played | Found)[]> {
  const waiting = [...jobs]
  const done: (Played | Found)[] = []
  await Promise.all(
    Array.from({ length: Math.max(1, Math.min(threads, 8)) }, async () => {
      const thread = new Worker(fileURLToPath(import.meta.url))
      for (let job = waiting.shift(); job; job = waiting.shift()) {
        thread.postMessage(job)
        done.push(
          await new Promise<Played | Found>((resolve, reject) => {
            thread.once('message', resolve)
            thread.once('error', reject)
          }),
        )
        thread.removeAllListeners('error')
        if (process.stderr.isTTY) process.stderr.write(`\r${done.length} of ${jobs.length} `)
      }
      await thread.terminate()
    }),
  )
  if (process.stderr.isTTY) process.stderr.write('\r')
  return done
}

/** @returns the ratio of each seed */
function show(at: number, seeds: number[], played: Played[]): number[] {
  const trace = traces[at]
  const here = played.filter((each) => each.trace === at && !each.alone)
  const of = (policy: number) =>
    seeds.map((seed) => here.find((each) => each.policy === policy && each.seed === seed)?.figures)
  console.log(`${trace?.name}: ${two(meanOf(of(0).map((each) => (each?.asked ?? 0) / countedSeconds)))} requests/s`)
  const rows = routers.map((name) => {
    const tries = policies.flatMap((policy, index) => (policy.name === name ? [{ policy, figures: of(index) }] : []))
    const best = tries.sort((a, b) => meanOf(b.figures.map(goodOf)) - meanOf(a.figures.map(goodOf)))[0]
    return rowOf(name, best?.policy.profile?.name ?? '', best?.figures.filter((each) => each !== undefined) ?? [])
  })
  const offered = of(0).map((each) => (each?.asked ?? 0) / countedSeconds)
  print([...rows, ['offered', '', `${two(meanOf(offered))} (${offered.map(two).join(' ')})`]])
  const best = seeds.map((seed) =>
    Math.max(
      ...here
        .filter((each) => each.seed === seed && policies[each.policy]?.mixedPool)
        .map((each) => each.figures.goodput),
    ),
  )
  const over = (goodputs: number[]) => goodputs.map((goodput, index) => goodput / (best[index] ?? 0))
  const ratios = over(of(0).map(goodOf))
  console.log(`  ours / best mixed pool: ${times(ratios)}; offered / best mixed pool: ${times(over(offered))}`)
  if (trace?.abuse) console.log(`  ${neighbours(at, seeds, played)}`)
  console.log()
  return ratios
}

/** @returns the ratio of each trace and seed */
function showCarried(searched: number[], seeds: number[], found: Found[]): Ratio[] {
  if (searched.length === 0) return []
  const mixedPools = new Set(policies.filter(({ mixedPool }) => mixedPool).map(({ name }) => name))
  const loadOf = (trace: number, seed: number, router: string) =>
    found.find((each) => each.trace === trace && each.seed === seed && each.router === router)?.load ?? 0
  const rows: string[][] = []
  const ratios: Ratio[] = []
  for (const trace of searched) {
    const ofSeeds = seeds.map((seed) => {
      const best = Math.max(...[...mixedPools].map((router) => loadOf(trace, seed, router)))
      return loadOf(trace, seed, 'ours') / Math.max(best, loadLeast)
    })
    ratios.push(...ofSeeds.map((ratio) => ({ trace, ratio })))
    const given = traces[trace] as Trace
    const loads = routers.map((router) => seeds.map((seed) => two(loadOf(trace, seed, router))).join(' '))
    rows.push([given.name, two(requestsPerSecond({ ...given, load: 1 })), ...loads, times(ofSeeds)])
  }
  console.log('highest carried load (nine tenths of each class on time), by seed')
  printUnder(['', 'load 1, requests/s', ...routers, 'ours / best mixed pool'], rows)
  console.log()
  return ratios
}

function neighbours(at: number, seeds: number[], played: Played[]): string {
  const kept = seeds.map((seed) => {
    const share = (alone: boolean) =>
      played.find((each) => each.trace === at && each.policy === 0 && each.seed === seed && each.alone === alone)
        ?.figures.neighbours ?? 0
    return share(false) / share(true)
  })
  return `the abuser’s neighbours keep ${kept.map((each) => `${(100 * each).toFixed(0)} %`).join(', ')} of their goodput without it`
}

const countedSeconds = (traceMs - countedFromMs) / 1_000
const routers = [...new Set(policies.map(({ name }) => name))]

function times(ratios: number[]): string {
  return ratios.map((ratio) => `×${two(ratio)}`).join(' ')
}

function goodOf(figures: Figures | undefined): number {
  return figures?.goodput ?? 0
}

if (isMainThread) await main()
else parentPort?.on('message', (job: Job) => parentPort?.postMessage(run(job)))
