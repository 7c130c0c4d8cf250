/**
 * `npm run goodput -- --real`: the same routers over two real embedded engines, in real time. It covers what a
 * simulation cannot: processes, messages, an engine's own scheduler, and a shared machine.
 *
 * The fleet's clock runs faster than real time, so that a single request gets the tokens per second that Small 4 gives
 * it. So targets, heartbeats and all times in the production code stay unchanged, and the toy's own batches decide how
 * hard the targets are. The traces are those of the simulation, with lengths divided by `promptPart` and `outputPart`,
 * at a rate that two such engines can serve, measured before each trace.
 *
 * One round with its own seed finds each mixed pool's best profile for the trace; the other rounds use it. The routers
 * take turns within each seed. Our fleet keeps its learnt lengths and speeds between rounds.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { profileOf } from '../../../gpu-worker/profile.ts'
import { preferredPoolOf } from '../../../src/fleet/placement/latency-targets.ts'
import { newLengths, observeLength, observeWritten } from '../../../src/fleet/placement/output-length.ts'
import { targets } from '../../../src/fleet/placement/tuning.ts'
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

/** The embedded engine's profiles, and one for a mixed pool: the largest batch that meets the short target here. */
export const realProfiles = {
  latency: embedded('latency'),
  throughput: embedded('throughput'),
  narrow: { name: 'narrow', slots: 4, stepTokens: 256 },
} satisfies Record<string, Profile>

export const realPolicies = policiesOver(realProfiles)

/** Two engines of each profile: as many as any router uses. */
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

/** Fleet time: starts at zero and runs `times` as fast as real time until it is stopped. */
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
 * Sends the requests as they arrive, until `over`. Aborts the requests that still run; the engines are free afterwards.
 * @param times speed of the fleet's clock relative to real time
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
    if (!host) throw new Error(`no engine of profile ${profile.name} is available`)
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

/** Whether later events can no longer change the request's result. */
export function isDecided({ asked, firstAt, fate }: Run, now: number): boolean {
  const { firstTokenMs, tokenMs } = targets[preferredPoolOf(asked.effort)]
  const late = (firstAt ?? now) > asked.at + firstTokenMs
  return fate !== 'open' || late || now > asked.at + firstTokenMs + tokenMs * asked.outputTokens
}

export interface Measured {
  /** Between two tokens of a single request on the machine, in real milliseconds. */
  loneTokenMs: number
  /** Both engines with a batch of this size each. */
  tokenMs: { batch: number; ms: number }[]
  promptTokensPerMs: number
}

const warmTokens = 32
const answerTokens = 48
const longPrompt = 512

/** Takes about ten seconds. Uses medians, because the rounds will run on the machine in its present state. */
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

/** Sends `batch` requests to each engine at once; returns means over all. */
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

/** Divisors of the simulation's lengths. */
const promptPart = 32
const outputPart = 16
const outputMax = 256

/** The trace with lengths for the toy model, at `perSecond` requests per second of fleet time. */
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
      outputTokens: Math.min(outputMax, Math.ceil(each.outputTokens / outputPart)),
      prefix: each.prefix.map(shrink),
      whole: shrink(each.whole),
    }))
    .filter(({ promptTokens, outputTokens }) => promptTokens + outputTokens < contextTokens)
}

/** Requests per real second that two engines serve, at the largest batches within the targets and ideal arrivals. */
export function capacityFor(trace: Trace, measured: Measured): number {
  const times = timesOf(measured)
  const sample = smallTrace(trace, 0, 1)
  const workerMs = sample.map(({ effort, promptTokens, outputTokens }) => {
    const target = targets[preferredPoolOf(effort)].tokenMs / times
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

/** The lengths of a fleet that has served such answers before. */
export function learntLengths(trace: Trace): Learnt {
  const lengths = newLengths()
  for (const { effort, outputTokens } of smallTrace(trace, 0, 3)) {
    observeWritten(lengths, 'm', preferredPoolOf(effort), outputTokens)
    observeLength(lengths, 'm', effort, outputTokens)
  }
  return { lengths, speeds: new Map() }
}

function mean(values: number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}
