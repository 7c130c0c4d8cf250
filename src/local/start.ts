/**
 * `npm start`: the complete product on this machine. Starts the edge on workerd and one GPU worker per pool, creates
 * the demo tenant, prints how to use it, and stops all of its processes on a signal.
 */
import { once } from 'node:events'
import { createServer } from 'node:net'
import { loopbackNoProxy } from '../../backends/contract/no-proxy.ts'
import { greeting } from './greeting.ts'
import { lockHome, openState } from './home.ts'
import { LocalStack } from './local-stack.ts'
import { type LocalSettings, readSettings, toyModelId } from './settings.ts'

async function checkPortFree({ host, port }: LocalSettings): Promise<void> {
  const probe = createServer()
  try {
    probe.listen(port, host)
    await once(probe, 'listening')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    throw new Error(
      `port ${port} is in use. Stop the process that uses it, or choose another port: PORT=8788 npm start`,
      { cause: error },
    )
  }
  await new Promise((resolve) => probe.close(resolve))
}

/**
 * npm and its shell exit on SIGTERM without forwarding the signal, which would leave this process running. Only under
 * npm, because a process that is started by hand may outlive its shell.
 */
function whenNpmExits(stop: () => void): void {
  if (process.env.npm_lifecycle_event !== 'start') return
  const shell = process.ppid
  setInterval(() => {
    if (process.ppid !== shell) stop()
  }, 250).unref()
}

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error))

async function main(): Promise<void> {
  Object.assign(process.env, loopbackNoProxy(process.env))
  const settings = readSettings(process.env)
  const { home, baseUrl, modelId } = settings
  process.on('exit', lockHome(home))
  const state = openState(home)
  await checkPortFree(settings)
  const stack = new LocalStack(settings, state)
  const stop = async (code: number, reason?: string) => {
    if (stack.stopping) return
    if (reason) process.stderr.write(`${reason}\n`)
    await stack.stop()
    process.exit(code)
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void stop(0))
  whenNpmExits(() => void stop(0))
  void stack.gaveUp.then((reason) => stop(1, reason))
  try {
    await stack.start()
  } catch (error) {
    return stop(1, messageOf(error))
  }
  process.stdout.write(greeting({ baseUrl, modelId, apiKey: state.apiKey ?? '', home, toy: modelId === toyModelId }))
}

main().catch((error: unknown) => {
  process.stderr.write(`${messageOf(error)}\n`)
  process.exit(1)
})
