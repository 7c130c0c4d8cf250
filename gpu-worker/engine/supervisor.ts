/**
 * Supervises one engine in a separate program: starts it, waits until it is ready, checks its health, restarts it when
 * it dies or falls silent, and gives up with a reason. The lifecycle core decides; this shell owns the clock and the
 * process. An attached engine is watched in the same way and never started.
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

/** The result of one health check. A check that rejects counts as a miss. */
export type Look =
  | { kind: 'ready' }
  /** The engine answers and is not ready yet. */
  | { kind: 'loading' }
  /** The engine failed an everyday chat, perhaps because it still starts. This counts towards its load time. */
  | { kind: 'failing'; reason: string }
  /** The engine refuses an everyday chat. A restart would change nothing, so the check is only repeated. */
  | { kind: 'unfit'; reason: string }
  /** The engine answers and can never be used. */
  | { kind: 'refused'; reason: string }

export interface SupervisorOptions {
  rules: LifeRules
  start: () => EngineProcess
  /** Must settle when the signal aborts. */
  look: (signal: AbortSignal) => Promise<Look>
  times: SupervisorTimes
  /** Fails every open run with this reason. */
  failRuns: (reason: string) => void
  log: (line: string) => void
}

/** In milliseconds, except `missesMax`. */
export interface SupervisorTimes {
  /** Limits from the start until the engine is ready, and until its first answer. */
  loadMs: number
  silentMs: number
  /** Between two health checks while the engine loads, and while it is ready. */
  loadingEveryMs: number
  everyMs: number
  /** Time limit of one health check. */
  lookMs: number
  /** Missed health checks in a row until the engine counts as silent. */
  missesMax: number
  /** The pause before an everyday chat that failed is sent again. It doubles up to the maximum. */
  retryFirstMs: number
  retryMaxMs: number
}

/** A large model takes many minutes to load; a busy engine may be late with an answer to a health check. */
export const supervisorTimes: SupervisorTimes = {
  loadMs: 30 * 60_000,
  silentMs: 30 * 60_000,
  loadingEveryMs: 250,
  everyMs: 2_000,
  lookMs: 5_000,
  missesMax: 3,
  retryFirstMs: 1_000,
  retryMaxMs: 30_000,
}

export class Supervisor {
  readonly #options: SupervisorOptions
  readonly #started = Promise.withResolvers<void>()
  #life: EngineLife = initial.life
  #process: EngineProcess | undefined
  #spawnTimer: NodeJS.Timeout | undefined
  #lookTimer: NodeJS.Timeout | undefined
  /** Counts processes, so that a health check of an earlier process is ignored. */
  #generation = 0
  #startedAt = 0
  #answered = false
  #misses = 0
  /** Everyday chats in a row that failed, and why the last one did. */
  #failedChats = 0
  #unfit: string | undefined
  #restarts = 0

  constructor(options: SupervisorOptions) {
    this.#options = options
    // A caller that does not await `start` sees a failure in `state`.
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

  /** Why the engine cannot be used now. */
  get reason(): string {
    if (this.#life.kind === 'failed') return this.#life.reason
    return this.#unfit === undefined ? `the engine is ${this.state}` : `the engine is not ready: ${this.#unfit}`
  }

  /** Resolves when the engine is first ready. Rejects with one sentence if the supervisor gives up before that. */
  start(): Promise<void> {
    if (this.#life === initial.life) for (const effect of initial.effects) this.#perform(effect)
    return this.#started.promise
  }

  /** Called when a request has ended regularly. */
  finished(): void {
    this.#happened({ kind: 'finished' })
  }

  /** Called for each sign of life: a busy engine may answer a health check late. */
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
    this.#failedChats = 0
    process.exited.then((death) => {
      if (this.#process === process) this.#process = undefined
      clearTimeout(this.#lookTimer)
      const unexpected = this.#life.kind !== 'ending' && this.#life.kind !== 'closed' && this.#life.kind !== 'failed'
      if (unexpected) log(`engine: it ended (${death.signal ?? `exit code ${death.code}`})`)
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
    this.#notePassed(seen)
    if (seen?.kind === 'ready') this.#happened({ kind: 'loaded' })
    this.#misses = seen || this.#life.kind !== 'ready' ? 0 : this.#misses + 1
    const stalled = seen?.kind === 'unfit' ? undefined : this.#stalled()
    if (stalled) {
      this.#options.log(`engine: it ${stalled} and is being stopped`)
      return this.#happened({ kind: 'stalled', reason: stalled })
    }
    this.#lookAfter(this.#pauseMs(), generation)
  }

  /** Logs each cause once. A cause remains known until the engine is ready, also while its process restarts. */
  #notePassed(seen: Look | undefined): void {
    if (seen?.kind === 'ready') {
      this.#unfit = undefined
      this.#failedChats = 0
    }
    if (seen?.kind !== 'unfit' && seen?.kind !== 'failing') return
    if (seen.reason !== this.#unfit) this.#options.log(`engine: not ready: ${seen.reason} The worker tries it again.`)
    this.#unfit = seen.reason
    this.#failedChats += 1
  }

  #pauseMs(): number {
    const { times } = this.#options
    if (this.#life.kind === 'ready') return times.everyMs
    if (this.#failedChats === 0) return times.loadingEveryMs
    return Math.min(times.retryMaxMs, times.retryFirstMs * 2 ** (this.#failedChats - 1))
  }

  /** The predicate of a sentence that begins with "the engine", or undefined. */
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
