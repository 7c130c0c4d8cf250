/**
 * The routers that the comparison plays. Ours is the production code, fed as the fleet's object is: requests,
 * heartbeats once a second, receipts. The others are the usual alternatives over one pool of equal workers: a FIFO
 * queue in front of all, or a choice at arrival with each engine's own queue behind it.
 */
import type { PoolName } from '../../../backends/wire/dispatch.ts'
import type { Heartbeat } from '../../../backends/wire/heartbeat.ts'
import { lease, requestEnded, workerFailed } from '../../../src/fleet/fleet.ts'
import { heartbeat, probeDue, probed } from '../../../src/fleet/registry.ts'
import { emptyFleet, type FleetState, type LeaseOutcome, type Notification } from '../../../src/fleet/state.ts'
import type { Profile, Replica, Site } from './replica.ts'
import type { Asked, Trace } from './traces.ts'

/** The profiles of the two pools; for one mixed pool both of them, vLLM's published default, and one in between. */
const profiles = {
  latency: { name: 'latency', slots: 256, stepTokens: 2_048 },
  throughput: { name: 'throughput', slots: 512, stepTokens: 8_192 },
  narrow: { name: 'narrow', slots: 48, stepTokens: 2_048 },
  recipe: { name: 'recipe', slots: 128, stepTokens: 16_384 },
  middle: { name: 'middle', slots: 128, stepTokens: 2_048 },
} satisfies Record<string, Profile>

export interface Run {
  asked: Asked
  firstAt: number | undefined
  endAt: number | undefined
  fate: 'open' | 'done' | 'refused' | 'lost'
  workerId: string | undefined
  attempts: number
}

interface Router {
  arrive(run: Run): void
  /** Kills the worker with this index. */
  kill(index: number): void
}

export interface Policy {
  name: string
  mixedPool: boolean
  profile: Profile | undefined
  build: (site: Site, homes: Homes, learnt?: Learnt) => Router
}

/** What a fleet has learnt about its workers and answers. Routers of mixed pools learn nothing. */
export type Learnt = Pick<FleetState, 'lengths' | 'speeds'>

/** How many workers each pool has. */
type Homes = Pick<Trace, 'latencyWorkers' | 'throughputWorkers'>

type Choose = (engines: Replica[], run: Run, turn: number) => Replica | undefined

const leastLoaded: Choose = (engines) => engines.reduce((min, each) => (each.load < min.load ? each : min))

const choices: Record<string, Choose> = {
  // Only workers with a free slot; other requests wait in front.
  'mixed fifo': (engines) => {
    const free = engines.filter((engine) => engine.load < engine.profile.slots)
    return free.length > 0 ? leastLoaded(free, {} as Run, 0) : undefined
  },
  'round robin': (engines, _, turn) => engines[turn % engines.length],
  'least loaded': leastLoaded,
  'prefix only': (engines, run) => {
    const held = engines.map((engine) => engine.holds(run.asked.prefix))
    const most = Math.max(...held)
    return leastLoaded(
      engines.filter((_, index) => held[index] === most),
      run,
      0,
    )
  },
}

/** Our router with its two pools, and every other router with each of the profiles. */
export function policiesOver(profiles: Record<PoolName, Profile> & Record<string, Profile>): Policy[] {
  const ours = (name: string, spill: boolean): Policy => {
    const build = (site: Site, homes: Homes, learnt?: Learnt) => new Fleet(site, homes, profiles, spill, learnt)
    return { name, mixedPool: false, profile: undefined, build }
  }
  return [
    ours('ours', true),
    ours('pools, no spill', false),
    ...Object.entries(choices).flatMap(([name, choose]) =>
      Object.values(profiles).map((profile) => {
        const build = (site: Site, homes: Homes) => new MixedPool(site, homes, profile, choose)
        return { name, mixedPool: true, profile, build }
      }),
    ),
  ]
}

export const policies = policiesOver(profiles)

function submit(engine: Replica, run: Run, ended: (now: number) => void): void {
  const { id, tenantId, promptTokens, outputTokens, prefix, whole } = run.asked
  run.attempts += 1
  engine.submit({
    ...{ id, tenantId, promptTokens, outputTokens, prefix, whole },
    onFirst: (now) => {
      run.firstAt = now
    },
    onEnd: (now) => {
      run.endAt = now
      run.fate = 'done'
      ended(now)
    },
  })
}

/** Requests without a byte yet may go to another worker; the others are lost with their worker. */
function orphans(engine: Replica, runs: Map<string, Run>): Run[] {
  return engine.kill().flatMap(({ id }) => {
    const run = runs.get(id)
    if (!run) return []
    if (run.firstAt === undefined) return [run]
    run.fate = 'lost'
    return []
  })
}

class MixedPool implements Router {
  readonly #engines: Replica[]
  readonly #choose: Choose
  readonly #waiting: Run[] = []
  readonly #runs = new Map<string, Run>()
  #turn = 0

  constructor(site: Site, { latencyWorkers, throughputWorkers }: Homes, profile: Profile, choose: Choose) {
    this.#engines = Array.from({ length: latencyWorkers + throughputWorkers }, () => site.open(profile))
    this.#choose = choose
  }

  arrive(run: Run): void {
    this.#runs.set(run.asked.id, run)
    this.#waiting.push(run)
    this.#go()
  }

  kill(index: number): void {
    const engine = this.#engines[index]
    if (!engine) return
    const back = orphans(engine, this.#runs)
    this.#engines.splice(index, 1)
    this.#waiting.unshift(...back)
    this.#go()
  }

  #go(): void {
    for (let next = this.#waiting[0]; next; next = this.#waiting[0]) {
      const engine = this.#choose(this.#engines, next, this.#turn)
      if (!engine) return
      this.#turn += 1
      this.#waiting.shift()
      submit(engine, next, () => this.#go())
    }
  }
}

const beatEveryMs = 1_000

export class Fleet implements Router {
  readonly #clock: Site['clock']
  readonly pool: FleetState
  readonly #engines = new Map<string, Replica>()
  readonly #runs = new Map<string, Run>()

  constructor(
    site: Site,
    { latencyWorkers, throughputWorkers }: Homes,
    profiles: Record<PoolName, Profile>,
    spill: boolean,
    learnt?: Learnt,
  ) {
    this.#clock = site.clock
    this.pool = { ...emptyFleet(spill), ...learnt }
    for (let index = 0; index < latencyWorkers + throughputWorkers; index++) {
      const home = index < latencyWorkers ? 'latency' : 'throughput'
      const workerId = `${home}-${index}`
      this.#engines.set(workerId, site.open(profiles[home]))
      this.#beat(workerId, home)
    }
  }

  arrive(run: Run): void {
    this.#runs.set(run.asked.id, run)
    this.#ask(run, [])
  }

  kill(index: number): void {
    const entry = [...this.#engines][index]
    if (!entry) return
    const [workerId, engine] = entry
    for (const run of orphans(engine, this.#runs)) this.#failed(run, workerId)
  }

  #ask(run: Run, exclude: string[]): void {
    const { asked } = run
    const outcome = lease(
      this.pool,
      {
        requestId: asked.id,
        tenantId: asked.tenantId,
        model: 'm',
        effort: asked.effort,
        promptTokens: asked.promptTokens,
        // The answer's length is unknown in advance.
        outputTokensMax: 32_768,
        prefix: asked.prefix.filter((_, at) => at === 0 || at === asked.prefix.length - 1 || at % 2 === 1),
        effortUnderLoad: null,
        weight: 100,
        priorityClass: 'interactive',
        costTokens: asked.promptTokens + 32_768,
        exclude,
        again: exclude.length > 0,
      },
      this.#clock.now,
      (notification) => this.#notify([notification]),
    )
    if (outcome) this.#decided(run, outcome)
  }

  #notify(notifications: Notification[]): void {
    for (const { requestId, outcome } of notifications) {
      const run = this.#runs.get(requestId)
      if (run) this.#decided(run, outcome)
    }
  }

  #decided(run: Run, outcome: LeaseOutcome): void {
    if (outcome.kind !== 'granted') {
      run.fate = 'refused'
      return
    }
    const { workerId } = outcome.endpoint
    const engine = this.#engines.get(workerId)
    if (!engine || engine.dead) {
      this.#failed(run, workerId)
      return
    }
    run.workerId = workerId
    const startedAt = this.#clock.now
    submit(engine, run, (now) => {
      const { id, effort, promptTokens, outputTokens } = run.asked
      const end = {
        ...{ requestId: id, workerId, effort, promptTokens, outputTokens, outcome: 'finished', finished: true },
        cachedTokens: engine.cachedOf(id),
        firstTokenMs: (run.firstAt ?? now) - startedAt,
        ms: now - startedAt,
      }
      this.#notify(requestEnded(this.pool, end, now))
    })
  }

  #failed(run: Run, workerId: string): void {
    this.#notify(workerFailed(this.pool, workerId, run.asked.id, this.#clock.now))
    if (run.attempts < 2) this.#ask(run, [workerId])
    else run.fate = 'lost'
  }

  #beat(workerId: string, home: Heartbeat['pool']): void {
    const engine = this.#engines.get(workerId)
    if (!engine || engine.dead) return
    const { now } = this.#clock
    const beat: Heartbeat = {
      workerId,
      protocol: 2,
      pool: home,
      url: 'http://127.0.0.1:1',
      model: 'm',
      engine: 'model',
      state: 'ready',
      slotsMax: engine.profile.slots,
      contextTokens: 262_144,
      vision: false,
      running: [...engine.running.keys()],
      kvTokens: engine.cacheTokens,
      kvTokensMax: engine.cacheTokensMax,
      promptTokensTotal: engine.promptTokensTotal,
      cachedTokensTotal: engine.cachedTokensTotal,
      outputTokensTotal: engine.outputTokensTotal,
      sentAt: now,
      ...{ instance: workerId, startedAt: 0, replaces: null, lastEnd: null },
    }
    this.#notify(heartbeat(this.pool, beat, 1, now))
    // A live engine is always reachable.
    const probe = { workerId, instance: workerId, fault: undefined }
    if (probeDue(this.pool, workerId, now)) this.#notify(probed(this.pool, probe, now))
    const phase = now === 0 ? (this.#engines.size * 137) % beatEveryMs : 0
    this.#clock.after(beatEveryMs + phase, 'beat', () => this.#beat(workerId, home))
  }
}
