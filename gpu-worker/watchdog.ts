/**
 * The watchdog: a thread that kills the process when the worker's event loop is blocked for longer than a limit. Such a
 * worker answers no call and cannot end itself. systemd or `npm start` restarts it, and the next process reports why;
 * see life.ts.
 *
 *   event loop ── counts every 250 ms ──▶ shared memory ◀── checks every 250 ms ── thread
 *
 * A stopped process or a sleeping machine stops the thread too, so such a pause does not count.
 */
import { url as inspectorUrl } from 'node:inspector'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { budgets } from '../backends/model/budgets.ts'
import { endNoteName } from './life.ts'
import { childPidsMax, type Watched, watchdogEveryMs, watchedBytes } from './watchdog-core.ts'

export interface WatchdogOptions {
  workerId: string
  /** Folder of the note for the next process. */
  folder: string
  /** Processes to kill with this one: a child that hangs does not notice that its parent is gone. */
  childPids: () => readonly number[]
}

/** Returns the function that stops the watchdog. It does not watch a process under a debugger, which may pause it. */
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
  thread.on('error', (error) => process.stderr.write(`worker ${workerId}: the watchdog failed: ${error.message}\n`))
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
