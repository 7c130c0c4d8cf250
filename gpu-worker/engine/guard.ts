/**
 * The process between the worker and an engine that it launched: the engine never outlives its worker. It starts the
 * engine in a process group of its own, since engines start processes themselves; when the worker goes, however it
 * goes, the whole group goes too, and with it the GPU's memory and the port.
 *
 *   node guard.ts <grace in milliseconds> <command> [arguments …]
 *
 * Told to end by the message `end`: SIGTERM to the group, SIGKILL after the grace. Tells its parent `{ pid }` once and
 * `{ code, signal }` at the end.
 */
import { spawn } from 'node:child_process'

const [graceMs = '0', command = '', ...args] = process.argv.slice(2)
const engine = spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit'], detached: true })

function signalAll(signal: 'SIGTERM' | 'SIGKILL'): void {
  if (engine.pid === undefined) return
  try {
    process.kill(-engine.pid, signal)
  } catch {
    // Nobody of the group is left.
  }
}

function end(): void {
  signalAll('SIGTERM')
  setTimeout(() => signalAll('SIGKILL'), Number(graceMs))
}

function report(death: { code: number | null; signal: string | null }): void {
  // What the engine started and left behind would hold the GPU's memory.
  signalAll('SIGKILL')
  if (process.connected) process.send?.(death, () => process.exit(0))
  else process.exit(0)
}

// A Ctrl-C reaches everybody in the terminal; the worker decides what becomes of the engine.
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
// A worker that died while this started is not told, and sends no word that it has gone.
if (process.connected) process.send?.({ pid: engine.pid ?? null }, (error) => error && leave())
else leave()
