/** The thread of child-watch.ts: checks every watched child at intervals, and kills those that exceed their limits. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { slot, verdicts, type WatchTarget } from './child-watch.ts'
import { look, type WatchSample, type WatchState, watching } from './watch-verdict.ts'

/** A child that grows by 200 MB per second exceeds its limit by at most 50 MB. */
const everyMs = 250
/** `ps` starts a process, so it runs less often. */
const psEveryMs = 2_000

const { listener } = workerData as { listener: Int32Array }
const watched = new Map<Float64Array, { target: WatchTarget; state: WatchState }>()
/** When `ps` last ran for each process. */
const checkedAt = new Map<number, number>()

parentPort?.on('message', (target: WatchTarget) => {
  watched.set(target.shared, { target, state: watching(sampleOf(target)) })
})

setInterval(() => {
  for (const [shared, { target, state }] of watched) {
    if (shared[slot.over] === 1) {
      watched.delete(shared)
      checkedAt.delete(target.pid)
      continue
    }
    const looked = look(state, sampleOf(target), target.limits)
    watched.set(shared, { target, state: looked.state })
    const { verdict } = looked
    if (!verdict) continue
    shared[slot.value] = verdict.kind === 'memory' ? verdict.bytes : verdict.ms
    shared[slot.limit] = verdict.kind === 'memory' ? verdict.bytesMax : 0
    shared[slot.verdict] = verdicts.indexOf(verdict.kind) + 1
    watched.delete(shared)
    end(target.pid)
  }
}, everyMs)

function sampleOf({ pid, shared }: WatchTarget): WatchSample {
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

/** Private memory of the process. On Linux a model that is mapped from its file is not counted. */
function memoryOf(pid: number): number | undefined {
  try {
    if (process.platform === 'linux') {
      const kilobytes = /^RssAnon:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
      return kilobytes === undefined ? undefined : Number(kilobytes) * 1024
    }
    if (process.platform === 'win32' || performance.now() - (checkedAt.get(pid) ?? 0) < psEveryMs) return undefined
    checkedAt.set(pid, performance.now())
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
    // The process has already ended.
  }
}
