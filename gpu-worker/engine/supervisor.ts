/**
 * Watches over one engine that is a program of its own: starts it, waits until it is ready, looks at it from time to
 * time, starts it again when it dies or falls silent, and gives up with a reason. The lifecycle core decides; this
 * shell has the clock and the process. An engine elsewhere is watched in the same way, and not started.
 */
import type { EngineProcess } from './launch.ts'
import {
  type EngineLife,
  initial,
  type LifeEffect,
  type LifeEvent,
  type LifeRules,
  live,
  stateOf,
} from './lifecycle.ts'

/** What one look at an engine showed. A look that rejects showed nothing. */
export type Look =
  | { kind: 'ready' }
  /** It answers, and cannot be used yet. */
  | { kind: 'loading' }
  /** It answers, and can never be used. */
  | { kind: 'refused'; reason: string }

export interface SupervisorOptions {
  rules: LifeRules
  start: () => EngineProcess
  /** Ends with the signal. */
  look: (signal: AbortSignal) => Promise<Look>
  times: SupervisorTimes
  /** Every open run fails with this reason. */
  failRuns: (reason: string) => void
  log: (line: string) => void
}

/** All in milliseconds but `missesMax`. */
export interface SupervisorTimes {
  /** From its start until it is ready, at the most; and until it answers at all. */
  loadMs: number
  silentMs: number
  /** Between two looks while it loads, and while it is ready. */
  loadingEveryMs: number
  everyMs: number
  /** One look takes no longer. */
  lookMs: number
  /** Looks in a row that show nothing before it counts as silent. */
  missesMax: number
}

/** A large model takes many minutes to load; a busy engine may be late with an answer to a health check. */
export const supervisorTimes: SupervisorTimes = {
  loadMs: 30 * 60_000,
  silentMs: 30 * 60_000,
  loadingEveryMs: 250,
  everyMs: 2_000,
  lookMs: 5_000,
  missesMax: 3,
}

export class Supervisor {
  readonly #options: SupervisorOptions
  readonly #started = Promise.withResolvers<void>()
  #life: EngineLife = initial.life
  #process: EngineProcess | undefined
  #spawnTimer: NodeJS.Timeout | undefined
  #lookTimer: NodeJS.Timeout | undefined
  /** Looks that belong to an earlier process are not believed. */
  #generation = 0
  #startedAt = 0
  #answered = false
  #misses = 0
  #restarts = 0

  constructor(options: SupervisorOptions) {
    this.#options = options
    // Whoever does not ask for the start hears of a failure by the state.
    this.#started.promise.catch(() => undefined)
  }

  get state(): ReturnType<typeof stateOf> {
    return stateOf(this.#life)
  }

  get restartsTotal(): number {
    return this.#restarts
  }

  get pid(): number | undefined {
    return this.#process?.pid
  }

  /** Why nothing can be asked of it now. */
  get reason(): string {
    return this.#life.kind === 'failed' ? this.#life.reason : `the engine is ${this.state}`
  }

  /** Resolves when it is ready for the first time; rejects with one sentence when it is given up before. */
  start(): Promise<void> {
    if (this.#life === initial.life) for (const effect of initial.effects) this.#perform(effect)
    return this.#started.promise
  }

  /** A request came to its regular end. */
  finished(): void {
    this.#happened({ kind: 'finished' })
  }

  /** The engine gave a sign of life: a busy one may be late with its health check. */
  heard(): void {
    this.#misses = 0
  }

  /** Ends the process and starts another. Open runs fail. */
  restart(): void {
    this.#happened({ kind: 'restart' })
  }

  /** Resolves when the process has ended. */
  async close(): Promise<void> {
    const process = this.#process
    this.#happened({ kind: 'close' })
    await process?.exited
  }

  #happened(event: LifeEvent): void {
    const before = this.#life
    const { life, effects } = live(before, event, this.#options.rules)
    this.#life = life
    if (life.kind === 'restarting' && before.kind !== 'restarting') this.#restarts += 1
    if (life.kind === 'failed' && before.kind !== 'failed') this.#options.log(`engine: ${life.reason}`)
    for (const effect of effects) this.#perform(effect)
  }

  #perform(effect: LifeEffect): void {
    switch (effect.kind) {
      case 'spawn':
        this.#spawnTimer = setTimeout(() => this.#spawn(), effect.afterMs)
        return
      case 'kill':
        clearTimeout(this.#spawnTimer)
        clearTimeout(this.#lookTimer)
        this.#process?.end()
        return
      case 'failRuns':
        this.#options.failRuns(effect.reason)
        return
      case 'started':
        this.#started.resolve()
        return
      case 'startFailed':
        this.#started.reject(new Error(effect.reason))
    }
  }

  #spawn(): void {
    const { start, log } = this.#options
    const process = start()
    const generation = ++this.#generation
    this.#process = process
    this.#startedAt = performance.now()
    this.#answered = false
    this.#misses = 0
    process.exited.then((death) => {
      if (this.#process === process) this.#process = undefined
      clearTimeout(this.#lookTimer)
      const itself = this.#life.kind !== 'ending' && this.#life.kind !== 'closed' && this.#life.kind !== 'failed'
      if (itself) log(`engine: it ended (${death.signal ?? `exit code ${death.code}`})`)
      this.#happened({ kind: 'exited', death })
    })
    this.#lookAfter(0, generation)
  }

  #lookAfter(ms: number, generation: number): void {
    this.#lookTimer = setTimeout(() => void this.#lookOnce(generation), ms)
  }

  async #lookOnce(generation: number): Promise<void> {
    const { look, times } = this.#options
    const seen = await look(AbortSignal.timeout(times.lookMs)).catch(() => undefined)
    if (generation !== this.#generation || !this.#process) return
    if (seen?.kind === 'refused') return this.#happened({ kind: 'refused', reason: seen.reason })
    if (seen) this.#answered = true
    if (seen?.kind === 'ready') this.#happened({ kind: 'loaded' })
    this.#misses = seen || this.#life.kind !== 'ready' ? 0 : this.#misses + 1
    const stalled = this.#stalled()
    if (stalled) {
      this.#options.log(`engine: it ${stalled}; it is ended`)
      return this.#happened({ kind: 'stalled', reason: stalled })
    }
    this.#lookAfter(this.#life.kind === 'ready' ? times.everyMs : times.loadingEveryMs, generation)
  }

  /** What it fails to do, to go on after "the engine", or undefined. */
  #stalled(): string | undefined {
    const { times } = this.#options
    if (this.#misses >= times.missesMax) return `did not answer ${this.#misses} health checks in a row`
    if (this.#life.kind === 'ready') return undefined
    const ms = performance.now() - this.#startedAt
    const within = (bound: number) => `within ${Math.max(1, Math.round(bound / 1_000))} s`
    if (!this.#answered && ms > times.silentMs) return `did not answer ${within(times.silentMs)}`
    return ms > times.loadMs ? `was not ready ${within(times.loadMs)}` : undefined
  }
}
