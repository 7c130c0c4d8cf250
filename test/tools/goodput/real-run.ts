import { targets } from '../../../src/fleet/placement/tuning.ts'
import { spread } from '../bench/figures.ts'
import { machine, Neighbours } from './neighbours.ts'
import { type Figures, figuresOf } from './play.ts'
import type { Learnt, Policy, Run } from './policies.ts'
import {
  capacityFor,
  Engines,
  isDecided,
  learntLengths,
  type Measured,
  measure,
  playReal,
  realPolicies,
  realProfiles,
  smallTrace,
  timesOf,
} from './real.ts'
import { meanOf, print, rowOf, two } from './table.ts'
import { type Trace, traces } from './traces.ts'

/** Share of the measured capacity of two engines. */
const load = 0.7

interface Length {
  /** Real seconds: before counting starts, and of arrivals that are counted. */
  fill: number
  counted: number
}

const trial: Length = { fill: 1, counted: 2.5 }
const whole: Length = { fill: 1.5, counted: 5 }

export async function runReal(name: string, seeds: number): Promise<void> {
  const wanted = traces.filter((trace) => trace.name.startsWith('mixed ') && trace.name.includes(name))
  if (wanted.length === 0)
    throw new Error(`--trace: there is no real-engine trace ${name}. Use mixed 10/90, mixed 50/50 or mixed 90/10`)
  if (!Number.isSafeInteger(seeds) || seeds < 1) throw new Error('--seeds: must be a whole number of at least 1')
  const engines = new Engines()
  await engines.open(Object.values(realProfiles))
  try {
    console.log(`two embedded engines, one thread each, on ${machine()}\n`)
    const ratios: number[] = []
    for (const trace of wanted) {
      const measured = await measure(engines)
      printMeasured(trace, measured)
      ratios.push(...(await playTrace(engines, measured, trace, seeds)))
    }
    const { min, median } = spread(ratios)
    console.log(`goodput on real engines, relative to the best mixed pool: worst ×${two(min)}, median ×${two(median)}`)
  } finally {
    await engines.close()
  }
}

function printMeasured(trace: Trace, measured: Measured): void {
  const { loneTokenMs, tokenMs, promptTokensPerMs } = measured
  const times = timesOf(measured)
  const real = (ms: number) => (ms / times).toFixed(ms / times < 10 ? 1 : 0)
  const parts = (ms: number) => `×${two(ms / times / loneTokenMs)}`
  const { latency, throughput } = targets
  const batches = tokenMs.map(({ batch, ms }) => `${batch}: ${two(ms)}`).join(', ')
  console.log(`${trace.name}
  single request: ${two(loneTokenMs)} ms per token; prompts: ${two(promptTokensPerMs)} tokens/ms
  both engines with a batch of this size, ms per token: ${batches}
  the fleet’s clock runs ${two(times)} times as fast as real time; targets in real time, none and high: first token
  ${real(latency.firstTokenMs)} and ${real(throughput.firstTokenMs)} ms; per token ${real(latency.tokenMs)} and ${real(throughput.tokenMs)} ms, ${parts(latency.tokenMs)} and ${parts(throughput.tokenMs)} of a single request’s`)
}

interface Played {
  policy: Policy
  /** By seed. */
  figures: Figures[]
}

/** @returns our goodput divided by the best mixed pool's, by seed */
async function playTrace(engines: Engines, measured: Measured, trace: Trace, seeds: number): Promise<number[]> {
  const times = timesOf(measured)
  const perSecond = load * capacityFor(trace, measured)
  const learnt = new Map<Policy, Learnt>()
  const play = async (policy: Policy, seed: number, { fill, counted }: Length): Promise<Figures> => {
    const from = fill * 1_000 * times
    const to = from + counted * 1_000 * times
    const counts = ({ asked }: Run) => asked.at >= from && asked.at < to
    const over = (runs: Run[], now: number) => now >= to && runs.every((run) => !counts(run) || isDecided(run, now))
    const asked = smallTrace(trace, seed, perSecond / times)
    const before = learnt.get(policy) ?? learntLengths(trace)
    const { runs, fleet } = await playReal(engines, policy, asked, times, over, before)
    if (fleet) learnt.set(policy, { lengths: fleet.pool.lengths, speeds: fleet.pool.speeds })
    return figuresOf(runs.filter(counts), counted * 1_000)
  }
  const tried: { policy: Policy; goodput: number }[] = []
  for (const policy of realPolicies) tried.push({ policy, goodput: (await play(policy, 0, trial)).goodput })
  const best = [...Map.groupBy(tried, ({ policy }) => policy.name).values()].flatMap((tries) =>
    tries.toSorted((a, b) => b.goodput - a.goodput).slice(0, 1),
  )
  const neighbours = new Neighbours(engines.pids())
  const played = best.map(({ policy }): Played => ({ policy, figures: [] }))
  for (let seed = 1; seed <= seeds; seed++) {
    for (let turn = 0; turn < played.length; turn++) {
      const each = played[(turn + seed) % played.length]
      each?.figures.push(await play(each.policy, seed, whole))
    }
  }
  return show(perSecond, played, neighbours.share())
}

function show(perSecond: number, played: Played[], others: number | undefined): number[] {
  const asked = meanOf(played.flatMap(({ figures }) => figures.map((each) => each.asked / whole.counted)))
  const used = others === undefined ? '' : `; other processes used ${(100 * others).toFixed(0)} % of the machine`
  console.log(`  ${two(asked)} requests/s sent, ${two(perSecond)} planned${used}`)
  print(played.map(({ policy, figures }) => rowOf(policy.name, policy.profile?.name ?? '', figures)))
  const [ours] = played
  const ratios = (ours?.figures ?? []).map(
    ({ goodput }, index) =>
      goodput /
      Math.max(...played.filter(({ policy }) => policy.mixedPool).map(({ figures }) => figures[index]?.goodput ?? 0)),
  )
  console.log(`  ours / best mixed pool: ${ratios.map((ratio) => `×${two(ratio)}`).join(' ')}\n`)
  return ratios
}
