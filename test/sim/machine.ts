/**
 * A simulated machine: an isolate, an object, or a worker process. The code that runs on it uses its clock, its timers
 * and its network. A paused machine does later what it missed. A dead machine does nothing more.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import type { Clock, Planned, Timeline } from './timeline.ts'

const running = new AsyncLocalStorage<Machine>()

export class Machine {
  readonly name: string
  readonly clock: Clock
  state: 'up' | 'paused' | 'down' = 'up'
  readonly #timeline: Timeline
  #missed: (() => void)[] = []

  constructor(name: string, clock: Clock, timeline: Timeline) {
    this.name = name
    this.clock = clock
    this.#timeline = timeline
  }

  /** The machine whose code runs now. */
  static get current(): Machine | undefined {
    return running.getStore()
  }

  /** Runs the work here: now, after the pause, or never. */
  run(work: () => void): void {
    if (this.state === 'down') return
    if (this.state === 'paused') this.#missed.push(work)
    else running.run(this, work)
  }

  /** Runs the work here and returns its result in any state of the machine. */
  call<Result>(work: () => Result): Result {
    return running.run(this, work)
  }

  after(ms: number, what: string, work: () => void): Planned {
    return this.#timeline.after(ms, `${this.name}: ${what}`, () => this.run(work))
  }

  pause(): void {
    if (this.state === 'up') this.state = 'paused'
  }

  resume(): void {
    if (this.state !== 'paused') return
    this.state = 'up'
    const missed = this.#missed
    this.#missed = []
    for (const work of missed) this.after(0, 'resumes', work)
  }

  kill(): void {
    this.state = 'down'
    this.#missed = []
  }
}
