/**
 * The process between the worker and a launched engine: the engine never outlives its worker. It starts the engine in a
 * separate process group, because engines start processes themselves. When the worker ends, even by SIGKILL, the guard
 * kills the whole group, which frees the GPU's memory and the port.
 *
 *   node guard.ts <grace in milliseconds> <command> [arguments …]
 *
 * On the message `end` it sends SIGTERM to the group, and SIGKILL after the grace period. It sends its parent `{ pid }`
 * once and `{ code, signal }` at the end.
 */
import { spawn } from 'node:child_process'

const [graceMs = '0', command = '', ...args] = process.argv.slice(2)
const engine = spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit'], detached: true })

function signalAll(signal: 'SIGTERM' | 'SIGKILL'): void {
  if (engine.pid === undefined) return
  try {
    process.kill(-engine.pid, signal)
  } catch {
    // The group has no process any more.
  }
}

function end(): void {
  signalAll('SIGTERM')
  setTimeout(() => signalAll('SIGKILL'), Number(graceMs))
}

function report(death: { code: number | null; signal: string | null }): void {
  // Processes that the engine left behind would hold the GPU's memory.
  signalAll('SIGKILL')
  if (process.connected) process.send?.(death, () => process.exit(0))
  else process.exit(0)
}

// Ctrl-C reaches every process of the terminal; the worker decides when the engine ends.
process.on('SIGINT', () => undefined)
process.on('SIGTERM', end)
process.on('message', (message) => {
  if (message === 'end') end()
})
function leave(): void {
  signalAll('SIGKILL')
  process.exit(0)
}
process.on('disconnect', leave)
process.on('uncaughtException', leave)
engine.on('exit', (code, signal) => report({ code, signal }))
engine.on('error', (error) => {
  process.stderr.write(`${error.message}\n`)
  if (engine.pid === undefined) report({ code: 127, signal: null })
})
// If the worker died while this process started, there is no `disconnect` event.
if (process.connected) process.send?.({ pid: engine.pid ?? null }, (error) => error && leave())
else leave()
