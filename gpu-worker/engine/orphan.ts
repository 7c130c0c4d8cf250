/**
 * Ends this process when its parent has ended, even if the event loop is stuck in native code and misses the closed
 * channel: a thread checks the parent's process id. Windows keeps reporting the old id, so only the channel works
 * there.
 */
import { Worker } from 'node:worker_threads'

const everyMs = 500
const program = `
const parent = process.ppid
setInterval(() => { if (process.ppid !== parent) process.kill(process.pid, 'SIGKILL') }, ${everyMs})
`

export function endWithParent(): void {
  const guard = new Worker(program, { eval: true, execArgv: [], resourceLimits: { maxOldGenerationSizeMb: 16 } })
  guard.on('error', (error) => process.stderr.write(`the watch over the parent process failed (${error.message})\n`))
  guard.unref()
}
