/**
 * A watchdog over child processes, in a thread of its own (child-watch-thread.ts): it works when this process's event
 * loop is blocked, and when the child's is. It ends a child that is silent, stuck or too large, and says why.
 *
 * One thread serves the whole process. What both sides know of a child is in shared memory, so that the reason is there
 * as soon as the child's end is noticed. `end` must be called when the child has ended.
 */
import { Worker } from 'node:worker_threads'
import { sentenceOf, type WatchLimits, type WatchVerdict } from './watch-verdict.ts'

export interface ChildWatch {
  /** The child gave a sign of life; `steps` is how many it has done in all. */
  beat(steps?: number): void
  /** It has loaded. */
  loaded(): void
  /** Whether it has work to do. */
  busy(busy: boolean): void
  /** The child has ended, or is no longer watched. Returns why the watchdog ended it, to go on after "the engine". */
  end(): string | undefined
}

/** Places in the shared memory of one child. */
export const slot = {
  beats: 0,
  steps: 1,
  loaded: 2,
  busy: 3,
  over: 4,
  verdict: 5,
  value: 6,
  limit: 7,
  count: 8,
} as const
export const verdicts = ['memory', 'silent', 'stuck'] as const

export interface WatchTarget {
  pid: number
  limits: WatchLimits
  shared: Float64Array<SharedArrayBuffer>
}

const tickMs = 200
const againMs = 1_000

let thread: Worker | undefined
/** Those that have not ended, for a thread that takes over from one that failed. */
const orders = new Set<WatchTarget>()
let ticking = false
const listener = new Int32Array(new SharedArrayBuffer(4))

export function watchChild(pid: number | undefined, limits: WatchLimits): ChildWatch {
  const shared = new Float64Array(new SharedArrayBuffer(slot.count * 8))
  const order = pid === undefined ? undefined : { pid, limits, shared }
  if (order) {
    const running = watcher()
    orders.add(order)
    running.postMessage(order)
  }
  const set = (place: number, value: number) => {
    shared[place] = value
  }
  return {
    beat(steps) {
      set(slot.beats, (shared[slot.beats] ?? 0) + 1)
      if (steps !== undefined) set(slot.steps, steps)
    },
    loaded: () => set(slot.loaded, 1),
    busy: (busy) => set(slot.busy, busy ? 1 : 0),
    end() {
      set(slot.over, 1)
      if (order) orders.delete(order)
      const verdict = verdictIn(shared)
      return verdict && sentenceOf(verdict)
    },
  }
}

function verdictIn(shared: Float64Array): WatchVerdict | undefined {
  const [value = 0, bytesMax = 0] = [shared[slot.value], shared[slot.limit]]
  const kind = verdicts[(shared[slot.verdict] ?? 0) - 1]
  if (kind === undefined) return undefined
  return kind === 'memory' ? { kind, bytes: value, bytesMax } : { kind, ms: value }
}

function watcher(): Worker {
  if (thread) return thread
  const started = new Worker(new URL('./child-watch-thread.ts', import.meta.url), {
    workerData: { listener },
    execArgv: [],
    // A watchdog shares nothing with what it watches over, its settings included.
    env: { PATH: process.env.PATH },
  })
  started.unref()
  started.on('error', (error) => {
    process.stderr.write(`the watchdog over child processes failed (${error.message}) and is started again\n`)
    thread = undefined
    setTimeout(() => watcher(), againMs).unref()
  })
  if (!ticking) setInterval(() => Atomics.add(listener, 0, 1), tickMs).unref()
  ticking = true
  for (const order of orders) started.postMessage(order)
  thread = started
  return started
}
