/**
 * `npm run goodput`: what routing is worth. Every trace under every policy, three seeds each; a mixed pool is given each
 * of five profiles, and counts with its best. Goodput is requests a second that met both of their targets.
 *
 *   --trace NAME   only traces whose name has this in it
 *   --seeds N      so many seeds instead of three
 *   --real         the mixed traces on two real engines: see real.ts
 *
 * The last line: our goodput over that of the best mixed pool, of any router and profile, the worst and the median.
 */
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import { spread } from '../../bench/figures.ts'
import { type Figures, play } from './play.ts'
import { policies } from './policies.ts'
import { runReal } from './real-run.ts'
import { meanOf, print, rowOf, two } from './table.ts'
import { generate, isAbuser, traces } from './traces.ts'

interface Job {
  trace: number
  policy: number
  seed: number
  /** Without the abuser's requests: what its neighbours would get. */
  alone: boolean
}

interface Played extends Job {
  figures: Figures
}

function run({ trace: at, policy, seed, alone }: Job): Figures {
  const trace = traces[at]
  const chosen = policies[policy]
  if (!trace || !chosen) throw new Error('no such job')
  const asked = generate(trace, seed)
  return play(trace, chosen, alone ? asked.filter((each) => !isAbuser(each.tenantId)) : asked)
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { trace: { type: 'string' }, seeds: { type: 'string' }, real: { type: 'boolean', default: false } },
  })
  if (values.real) return runReal(values.trace ?? '', Number(values.seeds ?? 3))
  const seeds = Array.from({ length: Number(values.seeds ?? 3) }, (_, index) => index + 1)
  const wanted = traces.flatMap(({ name }, index) => (name.includes(values.trace ?? '') ? [index] : []))
  const jobs = wanted.flatMap((trace) =>
    seeds.flatMap((seed) => [
      ...policies.map((_, policy) => ({ trace, policy, seed, alone: false })),
      ...(traces[trace]?.abuse ? [{ trace, policy: 0, seed, alone: true }] : []),
    ]),
  )
  const played = await playAll(jobs)
  const ratios = wanted.map((trace) => show(trace, seeds, played))
  const all = ratios.flat()
  const mixed = ratios.filter((_, index) => traces[wanted[index] ?? 0]?.mixed).flat()
  const { min, median } = spread(all)
  const ofMixed =
    mixed.length > 0
      ? `; on the mixed traces, worst ×${two(Math.min(...mixed))}, median ×${two(spread(mixed).median)}`
      : ''
  console.log(`goodput over the best mixed pool: worst ×${two(min)}, median ×${two(median)}${ofMixed}`)
}

async function playAll(jobs: Job[]): Promise<Played[]> {
  const waiting = [...jobs]
  const played: Played[] = []
  const threads = Math.max(1, Math.min(availableParallelism(), 8))
  await Promise.all(
    Array.from({ length: threads }, async () => {
      const thread = new Worker(fileURLToPath(import.meta.url))
      for (let job = waiting.shift(); job; job = waiting.shift()) {
        thread.postMessage(job)
        played.push(
          await new Promise<Played>((resolve, reject) => {
            thread.once('message', resolve)
            thread.once('error', reject)
          }),
        )
        thread.removeAllListeners('error')
        if (process.stderr.isTTY) process.stderr.write(`\r${played.length} of ${jobs.length} `)
      }
      await thread.terminate()
    }),
  )
  if (process.stderr.isTTY) process.stderr.write('\r')
  return played
}

/** @returns the ratio of each seed */
function show(at: number, seeds: number[], played: Played[]): number[] {
  const trace = traces[at]
  const here = played.filter((each) => each.trace === at && !each.alone)
  const of = (policy: number) =>
    seeds.map((seed) => here.find((each) => each.policy === policy && each.seed === seed)?.figures)
  const names = [...new Set(policies.map(({ name }) => name))]
  console.log(
    `${trace?.name}: ${two(meanOf(of(0).map((each) => (each?.asked ?? 0) / countedSeconds)))} requests a second`,
  )
  const rows = names.map((name) => {
    const tries = policies.flatMap((policy, index) => (policy.name === name ? [{ policy, figures: of(index) }] : []))
    const best = tries.sort((a, b) => meanOf(b.figures.map(goodOf)) - meanOf(a.figures.map(goodOf)))[0]
    return rowOf(name, best?.policy.profile?.name ?? '', best?.figures.filter((each) => each !== undefined) ?? [])
  })
  print(rows)
  const ratios = seeds.map((seed) => {
    const ofSeed = here.filter((each) => each.seed === seed)
    const best = Math.max(
      ...ofSeed.filter((each) => policies[each.policy]?.mixedPool).map((each) => each.figures.goodput),
    )
    return (ofSeed.find((each) => each.policy === 0)?.figures.goodput ?? 0) / best
  })
  console.log(`  ours over the best mixed pool: ${ratios.map((ratio) => `×${two(ratio)}`).join(' ')}`)
  if (trace?.abuse) console.log(`  ${neighbours(at, seeds, played)}`)
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
  return `the abuser’s neighbours keep ${kept.map((each) => `${(100 * each).toFixed(0)} %`).join(', ')} of what they get without it`
}

const countedSeconds = 280

function goodOf(figures: Figures | undefined): number {
  return figures?.goodput ?? 0
}

if (isMainThread) await main()
else parentPort?.on('message', (job: Job) => parentPort?.postMessage({ ...job, figures: run(job) }))
