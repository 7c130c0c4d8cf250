/** The thread of child-watch.ts: looks at every watched child from time to time, and ends those that must be ended. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { slot, verdicts, type WatchTarget } from './child-watch.ts'
import { look, type Sight, type WatchState, watching } from './watch-verdict.ts'

/** A child that grows by 200 MB a second is seen within 50 MB. */
const everyMs = 250
/** Asking the system through a program of its own is dearer. */
const psEveryMs = 2_000

const { listener } = workerData as { listener: Int32Array }
const watched = new Map<Float64Array, { order: WatchTarget; state: WatchState }>()
/** When each process was last asked about. */
const askedAt = new Map<number, number>()

parentPort?.on('message', (order: WatchTarget) => {
  watched.set(order.shared, { order, state: watching(silenceOf(order)) })
})

setInterval(() => {
  for (const [shared, { order, state }] of watched) {
    if (shared[slot.over] === 1) {
      watched.delete(shared)
      askedAt.delete(order.pid)
      continue
    }
    const looked = look(state, silenceOf(order), order.limits)
    watched.set(shared, { order, state: looked.state })
    const { verdict } = looked
    if (!verdict) continue
    shared[slot.value] = verdict.kind === 'memory' ? verdict.bytes : verdict.ms
    shared[slot.limit] = verdict.kind === 'memory' ? verdict.bytesMax : 0
    shared[slot.verdict] = verdicts.indexOf(verdict.kind) + 1
    watched.delete(shared)
    end(order.pid)
  }
}, everyMs)

function silenceOf({ pid, shared }: WatchTarget): Sight {
  return {
    now: performance.now(),
    listener: Atomics.load(listener, 0),
    beats: shared[slot.beats] ?? 0,
    steps: shared[slot.steps] ?? 0,
    loading: shared[slot.loaded] !== 1,
    busy: shared[slot.busy] === 1,
    memoryBytes: memoryOf(pid),
  }
}

/** What the process holds for itself; a model that is mapped from its file is not counted where the system reports it. */
function memoryOf(pid: number): number | undefined {
  try {
    if (process.platform === 'linux') {
      const kilobytes = /^RssAnon:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
      return kilobytes === undefined ? undefined : Number(kilobytes) * 1024
    }
    if (process.platform === 'win32' || performance.now() - (askedAt.get(pid) ?? 0) < psEveryMs) return undefined
    askedAt.set(pid, performance.now())
    const kilobytes = Number(
      execFileSync('ps', ['-o', 'rss=', '-p', String(pid)], { encoding: 'utf8', timeout: 1_000 }),
    )
    return Number.isFinite(kilobytes) ? kilobytes * 1024 : undefined
  } catch {
    return undefined
  }
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended by itself.
  }
}
