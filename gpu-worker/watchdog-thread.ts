/** The thread of watchdog.ts. It shares nothing with the event loop that it watches but two numbers. */
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

/** The process is ended by a signal that needs no event loop. Nothing before that may keep it from being sent. */
function end(): void {
  const since = new Date(Date.now() - silence.silentMs).toISOString()
  const reason = `its event loop stood still since ${since}, longer than ${silentMs / 1_000} s`
  try {
    writeFileSync(notePath, JSON.stringify({ reason, at: Date.now() }), { mode: 0o600 })
  } catch {
    // The disk is full or gone: the text on stderr remains.
  }
  for (let index = 1; index < counts.length; index++) kill(Atomics.load(counts, index))
  try {
    writeSync(2, `worker ${workerId}: ${reason}: its watchdog ends process ${pid}\n`)
  } catch {
    // A pipe that takes no more.
  }
  process.kill(pid, 'SIGKILL')
}

function kill(childPid: number): void {
  if (childPid <= 0) return
  try {
    process.kill(childPid, 'SIGKILL')
  } catch {
    // It has ended.
  }
}
