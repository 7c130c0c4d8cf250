/**
 * The GPU worker's program: reads its settings from the environment and runs one engine and one worker. SIGTERM and
 * SIGINT drain it. SIGHUP restarts its engine once the running requests have ended.
 *
 *   node gpu-worker/main.ts receipts [resend DISPATCH_ID|all]
 *   node gpu-worker/main.ts [--backend NAME] [--pool NAME] [--model PATH|ID] [--engine-url URL] [--print-launch]
 *
 * A flag overrides its environment variable. `--print-launch` prints the command that starts the engine, and exits.
 */
import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { loopbackNoProxy } from '../backends/contract/no-proxy.ts'
import { type Config, readConfig, readEngineConfig } from './config.ts'
import { createEngine } from './create-engine.ts'
import type { Engine } from './engine/engine.ts'
import { detectGpus } from './gpu/detect-gpus.ts'
import { outboxFolder } from './outbox-lock.ts'
import { launchLine } from './print-launch.ts'
import { receiptsCommand } from './receipts.ts'
import { startWatchdog } from './watchdog.ts'
import { createWorker } from './worker.ts'

const usage = `usage: npm run worker -- [--backend NAME] [--pool NAME] [--model PATH|ID] [--engine-url URL] [--print-launch]
       npm run worker -- receipts [resend DISPATCH_ID|all]
The settings are environment variables, such as TRAMONTANE_WORKER_KEY and TRAMONTANE_EDGE_URL; a flag overrides its variable.
`
const alphanumerics = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'
const variables = {
  backend: 'TRAMONTANE_BACKEND',
  pool: 'TRAMONTANE_POOL',
  model: 'TRAMONTANE_MODEL',
  'engine-url': 'TRAMONTANE_ENGINE_URL',
} as const

async function main(config: Config): Promise<void> {
  const log = (line: string) => process.stderr.write(`worker ${config.key.workerId}: ${line}\n`)
  const watchedEngine: { engine?: Engine } = {}
  startWatchdog({
    workerId: config.key.workerId,
    folder: outboxFolder(config.home, config.key.workerId),
    childPids: () => watchedEngine.engine?.childPids?.() ?? [],
  })
  const engine = await createEngine(config, log)
  watchedEngine.engine = engine
  const callId = () => Array.from({ length: 9 }, () => alphanumerics[randomInt(alphanumerics.length)]).join('')
  const worker = await createWorker(config, { engine, now: () => Date.now(), callId, log })
  let stopping = false
  const stop = () => {
    if (stopping) return
    stopping = true
    void worker.stop().then(() => process.exit(0))
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
  process.on('SIGHUP', () => {
    if (!stopping) void worker.renew()
  })
  // A worker that `npm start` launched ends with it.
  process.on('disconnect', stop)
  const url = await worker.start()
  process.send?.({ kind: 'ready', url })
}

function readArguments(): { environment: Record<string, string | undefined>; print: boolean; help: boolean } {
  const text = { type: 'string' } as const
  const { values } = parseArgs({
    options: {
      backend: text,
      pool: text,
      model: text,
      'engine-url': text,
      'print-launch': { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
  })
  const { 'print-launch': print = false, help = false, ...flags } = values
  const overrides = Object.entries(flags).map(([flag, value]) => [variables[flag as keyof typeof variables], value])
  return { environment: { ...process.env, ...Object.fromEntries(overrides) }, print, help }
}

try {
  Object.assign(process.env, loopbackNoProxy(process.env))
  const [command, ...args] = process.argv.slice(2)
  const { environment, print, help } =
    command === 'receipts' ? { environment: process.env, print: false, help: false } : readArguments()
  if (command === 'receipts') process.stdout.write(receiptsCommand(args, environment))
  else if (help) process.stdout.write(usage)
  else if (print) process.stdout.write(`${launchLine(readEngineConfig(environment, detectGpus))}\n`)
  else await main(readConfig(environment, detectGpus))
} catch (error) {
  process.stderr.write(`worker: ${error instanceof Error ? error.message : error}\n`)
  process.exit(1)
}
