/**
 * Ends this process when its parent is gone, also when its event loop is stuck in native code and cannot hear that the
 * channel closed: a thread looks at the parent's process id. Windows reports the old id for ever, so there the channel
 * alone decides.
 */
import { Worker } from 'node:worker_threads'

const everyMs = 500
const program = `
const parent = process.ppid
setInterval(() => { if (process.ppid !== parent) process.kill(process.pid, 'SIGKILL') }, ${everyMs})
`

export function endWithParent(): void {
  const guard = new Worker(program, { eval: true, execArgv: [], resourceLimits: { maxOldGenerationSizeMb: 16 } })
  guard.on('error', (error) => process.stderr.write(`the guard against a lost parent ended (${error.message})\n`))
  guard.unref()
}
