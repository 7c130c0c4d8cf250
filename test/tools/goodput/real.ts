/**
 * `npm run goodput -- --real`: the same routers over two real embedded engines, on real time. What a simulation cannot
 * show is in it: processes, messages, an engine's own scheduler, and a machine that others use too.
 *
 * The fleet's clock runs so much faster than the wall's that a lone request gets the tokens a second that it gets of
 * Small 4. So the targets, the heartbeats and all that the production code knows of time stay as they are, and the toy
 * meets them as hard or as easily as its own batches let it. The traces are those of the simulation, with lengths divided
 * by `promptPart` and `outputPart`, at a rate that two such engines can serve, as they are measured before each trace.
 *
 * Of every mixed pool's profiles one round with a seed of its own finds the best for the trace; it plays the others. The
 * routers take turns within each seed. What our fleet has learnt of lengths and speeds it keeps between rounds.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { profileOf } from '../../../gpu-worker/profile.ts'
import { homeOf, targets } from '../../../src/fleet/placement/latency-targets.ts'
import { newLengths, observeLength, observeWritten } from '../../../src/fleet/placement/output-length.ts'
import { spread } from '../bench/figures.ts'
import { contextTokens, EmbeddedReplica, type EngineHost, openHost } from './embedded.ts'
import { loneMs } from './engine.ts'
import { openRun } from './play.ts'
import { Fleet, type Learnt, type Policy, policiesOver, type Run } from './policies.ts'
import type { Profile, Site } from './replica.ts'
import { type Asked, generate, requestsPerSecond, type Trace } from './traces.ts'

const embedded = (name: 'latency' | 'throughput'): Profile => {
  const { slotsMax, batchTokens } = profileOf('embedded', name)
  return { name, slots: slotsMax, stepTokens: batchTokens }
}

/** The embedded engine's own, and for one mixed pool besides: as many as meet the target of short answers here. */
export const realProfiles = {
  latency: embedded('latency'),
  throughput: embedded('throughput'),
  narrow: { name: 'narrow', slots: 4, stepTokens: 256 },
} satisfies Record<string, Profile>

export const realPolicies = policiesOver(realProfiles)

/** Two of each profile: as many as any router uses. */
export class Engines {
  readonly hosts = new Map<string, EngineHost[]>()

  async open(profiles: readonly Profile[]): Promise<void> {
    for (const profile of profiles) {
      this.hosts.set(profile.name, await Promise.all([openHost(profile), openHost(profile)]))
    }
  }

  pids(): number[] {
    return [...this.hosts.values()].flat().flatMap(({ pid }) => (pid === undefined ? [] : [pid]))
  }

  async close(): Promise<void> {
    await Promise.all([...this.hosts.values()].flat().map(({ engine }) => engine.close()))
  }
}

/** Fleet time: it begins at zero, and goes `times` as fast as the wall's until it is stopped. */
class FleetClock {
  readonly #times: number
  readonly #startedAt = performance.now()
  readonly #timers = new Set<NodeJS.Timeout>()

  constructor(times: number) {
    this.#times = times
  }

  get now(): number {
    return (performance.now() - this.#startedAt) * this.#times
  }

  after(ms: number, _: string, run: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      run()
    }, ms / this.#times)
    this.#timers.add(timer)
  }

  stop(): void {
    for (const timer of this.#timers) clearTimeout(timer)
  }
}

export interface Round {
  runs: Run[]
  replicas: EmbeddedReplica[]
  fleet: Fleet | undefined
}

let rounds = 0

/**
 * Everything that is asked, as it comes, until `over`. What runs then is broken off; the engines are free afterwards.
 * @param times how much faster the fleet's clock is
 */
export async function playReal(
  engines: Engines,
  policy: Policy,
  asked: readonly Asked[],
  times: number,
  over: (runs: Run[], now: number) => boolean,
  learnt?: Learnt,
): Promise<Round> {
  const clock = new FleetClock(times)
  const owner = `round ${rounds++}`
  const replicas: EmbeddedReplica[] = []
  const open = (profile: Profile) => {
    const opened = replicas.filter((each) => each.profile === profile).length
    const host = engines.hosts.get(profile.name)?.[opened]
    if (!host) throw new Error(`no engine of profile ${profile.name} is left`)
    const replica = new EmbeddedReplica(host, clock, owner)
    replicas.push(replica)
    return replica
  }
  const router = policy.build({ clock, open } satisfies Site, { latencyWorkers: 1, throughputWorkers: 1 }, learnt)
  const runs = asked.map(openRun)
  for (const run of runs) clock.after(run.asked.at, 'arrival', () => router.arrive(run))
  while (!over(runs, clock.now)) await delay(20)
  clock.stop()
  const round = { runs, replicas, fleet: router instanceof Fleet ? router : undefined }
  for (const replica of replicas) if (replica.load > 0) replica.kill()
  await Promise.all(replicas.map((replica) => replica.idle()))
  return round
}

export function allEnded(runs: Run[]): boolean {
  return runs.every((run) => run.fate !== 'open')
}

/** Whether nothing that comes now can make it good or bad. */
export function isDecided({ asked, firstAt, fate }: Run, now: number): boolean {
  const { firstTokenMs, tokenMs } = targets[homeOf(asked.effort)]
  const late = (firstAt ?? now) > asked.at + firstTokenMs
  return fate !== 'open' || late || now > asked.at + firstTokenMs + tokenMs * asked.outputTokens
}

export interface Measured {
  /** Between two tokens of a request that is alone on the machine, in real milliseconds. */
  loneTokenMs: number
  /** Both engines with so many each. */
  tokenMs: { batch: number; ms: number }[]
  promptTokensPerMs: number
}

const warmTokens = 32
const answerTokens = 48
const longPrompt = 512

/** About ten seconds; medians, because the machine as it is now is what the rounds will have. */
export async function measure(engines: Engines): Promise<Measured> {
  const [one, other] = engines.hosts.get('throughput') ?? []
  if (!one || !other) throw new Error('engines of profile throughput are measured')
  await burst([one, other], 4, warmTokens, answerTokens)
  const lone: number[] = []
  for (let count = 0; count < 9; count++) lone.push((await burst([one], 1, warmTokens, answerTokens)).tokenMs)
  const tokenMs: Measured['tokenMs'] = []
  for (const batch of [1, 2, 3, 4, 6, 8, 12, 16, 24, 32]) {
    const tries: number[] = []
    for (let count = 0; count < 5; count++)
      tries.push((await burst([one, other], batch, warmTokens, answerTokens)).tokenMs)
    tokenMs.push({ batch, ms: spread(tries).median })
  }
  const read: number[] = []
  for (let count = 0; count < 5; count++) read.push((await burst([one, other], 1, longPrompt, 2)).firstMs)
  return { loneTokenMs: spread(lone).median, tokenMs, promptTokensPerMs: longPrompt / spread(read).median }
}

/** So many at once on each; means over all. */
async function burst(hosts: EngineHost[], batch: number, promptTokens: number, outputTokens: number) {
  const clock = new FleetClock(1)
  const name = `burst ${rounds++}`
  const replicas = hosts.map((host) => new EmbeddedReplica(host, clock, name))
  const firstMs: number[] = []
  const tokenMs: number[] = []
  for (const replica of replicas) {
    for (let index = 0; index < batch; index++) {
      const hash = rounds * 1_000 + index
      const startedAt = clock.now
      let firstAt = startedAt
      replica.submit({
        ...{ id: `${name} ${index}`, tenantId: name, promptTokens, outputTokens },
        ...{ prefix: [{ hash, tokens: promptTokens }], whole: { hash, tokens: promptTokens + outputTokens } },
        onFirst: (now) => {
          firstAt = now
          firstMs.push(now - startedAt)
        },
        onEnd: (now) => tokenMs.push((now - firstAt) / (outputTokens - 1)),
      })
    }
  }
  await Promise.all(replicas.map((replica) => replica.idle()))
  return { firstMs: mean(firstMs), tokenMs: mean(tokenMs) }
}

/** Of the simulation's lengths. */
const promptPart = 32
const outputPart = 16
const outputMost = 256

/** The trace with lengths for a toy, and so many requests a second of the fleet's time. */
export function smallTrace(trace: Trace, seed: number, perSecond: number): Asked[] {
  const two = { ...trace, latencyWorkers: 1, throughputWorkers: 1, tenants: 4 }
  const load = perSecond / requestsPerSecond({ ...two, load: 1 })
  const shrink = <Length extends { tokens: number }>(each: Length) => ({
    ...each,
    tokens: Math.ceil(each.tokens / promptPart),
  })
  return generate({ ...two, load }, seed)
    .map((each) => ({
      ...each,
      promptTokens: Math.ceil(each.promptTokens / promptPart),
      outputTokens: Math.min(outputMost, Math.ceil(each.outputTokens / outputPart)),
      prefix: each.prefix.map(shrink),
      whole: shrink(each.whole),
    }))
    .filter(({ promptTokens, outputTokens }) => promptTokens + outputTokens < contextTokens)
}

/** Requests a real second that two engines serve, at the largest batches within the targets and without loss to chance. */
export function roomFor(trace: Trace, measured: Measured): number {
  const times = timesOf(measured)
  const sample = smallTrace(trace, 0, 1)
  const workerMs = sample.map(({ effort, promptTokens, outputTokens }) => {
    const target = targets[homeOf(effort)].tokenMs / times
    const { batch, ms } = measured.tokenMs.findLast((each) => each.ms <= target) ?? {
      batch: 1,
      ms: measured.loneTokenMs,
    }
    return (outputTokens * ms) / batch + promptTokens / measured.promptTokensPerMs
  })
  return 2_000 / mean(workerMs)
}

export function timesOf({ loneTokenMs }: Measured): number {
  return loneMs / loneTokenMs
}

/** A fleet that has served such answers before. */
export function learntLengths(trace: Trace): Learnt {
  const lengths = newLengths()
  for (const { effort, outputTokens } of smallTrace(trace, 0, 3)) {
    observeWritten(lengths, 'm', homeOf(effort), outputTokens)
    observeLength(lengths, 'm', effort, outputTokens)
  }
  return { lengths, speeds: new Map() }
}

function mean(values: number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}
