/**
 * A watchdog over child processes, in a separate thread (child-watch-thread.ts): it works even if this process's event
 * loop or the child's is blocked. It kills a child that is silent, stuck or uses too much memory, and reports why.
 *
 * One thread serves the whole process. The state of a child is in shared memory, so that the reason is available as
 * soon as the child's exit is noticed. Call `end` when the child has ended.
 */
import { Worker } from 'node:worker_threads'
import { sentenceOf, type WatchLimits, type WatchVerdict } from './watch-verdict.ts'

export interface ChildWatch {
  /** Records a sign of life; `steps` is the child's total number of steps. */
  beat(steps?: number): void
  /** Records that the child has loaded. */
  loaded(): void
  /** Records whether the child has work to do. */
  busy(busy: boolean): void
  /** Stops watching. If the watchdog killed the child, returns the predicate of a sentence about "the engine". */
  end(): string | undefined
}

/** Indexes into the shared memory of one child. */
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
/** Children that are being watched, for the thread that replaces a failed one. */
const targets = new Set<WatchTarget>()
let ticking = false
const listener = new Int32Array(new SharedArrayBuffer(4))

export function watchChild(pid: number | undefined, limits: WatchLimits): ChildWatch {
  const shared = new Float64Array(new SharedArrayBuffer(slot.count * 8))
  const target = pid === undefined ? undefined : { pid, limits, shared }
  if (target) {
    const running = watcher()
    targets.add(target)
    running.postMessage(target)
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
      if (target) targets.delete(target)
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
    // The watchdog shares nothing with the processes that it watches, including environment variables.
    env: { PATH: process.env.PATH },
  })
  started.unref()
  started.on('error', (error) => {
    process.stderr.write(`the watchdog over child processes failed (${error.message}) and is restarted\n`)
    thread = undefined
    setTimeout(() => watcher(), againMs).unref()
  })
  if (!ticking) setInterval(() => Atomics.add(listener, 0, 1), tickMs).unref()
  ticking = true
  for (const target of targets) started.postMessage(target)
  thread = started
  return started
}
