/** The GPU worker's program: settings from the environment, one engine, one worker; it drains on SIGTERM and SIGINT. */
import { randomInt } from 'node:crypto'
import { type Config, readConfig } from './config.ts'
import { createEmbeddedEngine } from './engine/embedded.ts'
import { createWorker } from './worker.ts'

const alphanumerics = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'

async function main(config: Config): Promise<void> {
  const log = (line: string) => process.stderr.write(`worker ${config.key.workerId}: ${line}\n`)
  const { modelPath, slotsMax, contextTokens, batchTokens, prefillChunkTokens, threads, gpu } = config
  const engine = createEmbeddedEngine({
    ...{ modelPath, slotsMax, contextTokens, batchTokens, prefillChunkTokens, threads, gpu },
    log,
  })
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
  // One that was started by `npm start` does not outlive it.
  process.on('disconnect', stop)
  const url = await worker.start()
  process.send?.({ kind: 'ready', url })
}

try {
  await main(readConfig(process.env))
} catch (error) {
  process.stderr.write(`worker: ${error instanceof Error ? error.message : error}\n`)
  process.exit(1)
}
