/**
 * The watchdog: a thread outside of the worker's event loop, which ends the process when that loop has stood still for
 * longer than a bound. A worker whose loop is blocked answers no call and cannot end itself; systemd, or `npm start`,
 * starts it again, and the next process reports why; see life.ts.
 *
 *   event loop ── counts every quarter of a second ──▶ shared memory ◀── looks as often ── thread
 *
 * A process that was stopped, or a machine that slept, stopped the thread as well: such a pause counts for nothing.
 */
import { url as inspectorUrl } from 'node:inspector'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { budgets } from '../backends/model/budgets.ts'
import { endNoteName } from './life.ts'
import { childPidsMax, type Watched, watchdogEveryMs, watchedBytes } from './watchdog-core.ts'

export interface WatchdogOptions {
  workerId: string
  /** Where the note for the next process is left. */
  folder: string
  /** Processes that are to end with this one: a child that hangs does not see that its parent is gone. */
  childPids: () => readonly number[]
}

/** Returns the function that ends the watch. A process that a debugger may hold still is not watched. */
export function startWatchdog({ workerId, folder, childPids }: WatchdogOptions): () => void {
  if (inspectorUrl() !== undefined) return () => undefined
  const shared = new SharedArrayBuffer(watchedBytes)
  const counts = new Int32Array(shared)
  const watched: Watched = {
    shared,
    workerId,
    pid: process.pid,
    notePath: join(folder, endNoteName),
    silentMs: budgets.workerSilentMs.value,
  }
  const thread = new Worker(new URL('./watchdog-thread.ts', import.meta.url), { workerData: watched })
  thread.on('error', (error) => process.stderr.write(`worker ${workerId}: the watchdog ended: ${error.message}\n`))
  thread.unref()
  const timer = setInterval(() => {
    const pids = childPids()
    for (let index = 0; index < childPidsMax; index++) Atomics.store(counts, 1 + index, pids[index] ?? 0)
    Atomics.add(counts, 0, 1)
  }, watchdogEveryMs)
  timer.unref()
  return () => {
    clearInterval(timer)
    void thread.terminate()
  }
}
