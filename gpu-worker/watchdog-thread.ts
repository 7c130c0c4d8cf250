/** The thread of watchdog.ts. It shares only a few integers with the event loop that it watches. */
import { writeFileSync, writeSync } from 'node:fs'
import { workerData } from 'node:worker_threads'
import { looked, type Silence, type Watched, watchdogEveryMs } from './watchdog-core.ts'

const { shared, workerId, pid, notePath, silentMs } = workerData as Watched
const counts = new Int32Array(shared)
let silence: Silence = { beats: 0, silentMs: 0 }
let lastLookAt = performance.now()

setInterval(() => {
  const now = performance.now()
  silence = looked(silence, Atomics.load(counts, 0), now - lastLookAt)
  lastLookAt = now
  if (silence.silentMs > silentMs) end()
}, watchdogEveryMs)

/** Kills the process by SIGKILL, which needs no event loop. No failure before that may prevent the signal. */
function end(): void {
  const since = new Date(Date.now() - silence.silentMs).toISOString()
  const reason = `its event loop was blocked since ${since}, for more than ${silentMs / 1_000} s`
  try {
    writeFileSync(notePath, JSON.stringify({ reason, at: Date.now() }), { mode: 0o600 })
  } catch {
    // The disk is full or gone: the text on stderr remains.
  }
  for (let index = 1; index < counts.length; index++) kill(Atomics.load(counts, index))
  try {
    writeSync(2, `worker ${workerId}: ${reason}. Its watchdog kills process ${pid}\n`)
  } catch {
    // The pipe is full or closed.
  }
  process.kill(pid, 'SIGKILL')
}

function kill(childPid: number): void {
  if (childPid <= 0) return
  try {
    process.kill(childPid, 'SIGKILL')
  } catch {
    // The process has already ended.
  }
}
