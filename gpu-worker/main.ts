/**
 * The GPU worker: one engine, one HTTP port, one edge.
 *
 *   starting ──▶ ready ──▶ draining ──▶ (exit 0)        SIGTERM or SIGINT: stop admitting, finish, deliver, leave
 *       └──────────────────▶ (exit 1)                   one sentence on stderr says what to do
 */
import { randomInt } from 'node:crypto'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { Heartbeat } from '../backends/protocol/heartbeat.ts'
import { sealKey } from '../backends/protocol/seal.ts'
import { keyIdOf } from '../backends/protocol/worker-key.ts'
import { type Config, readConfig } from './config.ts'
import { Delivery } from './delivery.ts'
import { createEmbeddedEngine } from './engine/embedded.ts'
import { Heartbeats } from './heartbeat.ts'
import { Metrics } from './metrics.ts'
import { Outbox } from './outbox.ts'
import { createWorkerServer } from './server.ts'
import { Slots } from './slots.ts'

const alphanumerics = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'
const callId = () => Array.from({ length: 9 }, () => alphanumerics[randomInt(alphanumerics.length)]).join('')

async function main(config: Config): Promise<void> {
  const { workerId } = config.key
  const log = (line: string) => process.stderr.write(`worker ${workerId}: ${line}\n`)
  const now = () => Date.now()
  const outbox = new Outbox(join(config.home, 'workers', workerId))
  const engine = createEmbeddedEngine({
    modelPath: config.modelPath,
    slotsMax: config.slotsMax,
    contextTokens: config.contextTokens,
    batchTokens: config.batchTokens,
    prefillChunkTokens: config.prefillChunkTokens,
    threads: config.threads,
    gpu: config.gpu,
    log,
  })
  const key = await sealKey(config.key.secret)
  const kid = keyIdOf(config.key)
  const slots = new Slots(config.slotsMax)
  const metrics = new Metrics()
  const delivery = new Delivery({ edgeUrl: config.edgeUrl, kid, key, outbox, log })
  let draining = false
  let gone = false
  let url = config.publicUrl ?? ''

  const heartbeat = (): Heartbeat => {
    const load = engine.load()
    return {
      workerId,
      pool: config.pool,
      url,
      model: config.model.id,
      engine: `${engine.description.engine} ${engine.description.version}`,
      state: gone ? 'gone' : draining ? 'draining' : engine.state === 'ready' ? 'ready' : 'down',
      slotsMax: slots.max,
      contextTokens: engine.description.contextTokens,
      vision: engine.description.vision,
      running: slots.holders(),
      kvTokens: load.kvTokens,
      kvTokensMax: load.kvTokensMax,
      promptTokensTotal: load.promptTokensTotal,
      cachedTokensTotal: load.cachedTokensTotal,
      outputTokensTotal: load.outputTokensTotal,
      sentAt: now(),
    }
  }
  const heartbeats = new Heartbeats({ edgeUrl: config.edgeUrl, kid, key, state: heartbeat, log })

  let idle: (() => void) | undefined
  const server = createWorkerServer({
    workerId,
    key,
    engine,
    outbox,
    slots,
    metrics,
    now,
    callId,
    log,
    draining: () => draining,
    deliver: () => delivery.wake(),
    changed: () => {
      if (slots.holders().length === 0) idle?.()
    },
    owed: (receipt) => {
      metrics.settled(receipt)
      delivery.wake()
    },
    health: () => ({
      status: draining ? 'draining' : engine.state,
      ...engine.description,
      load: engine.load(),
      receipts: outbox.counts(),
    }),
    render: () => {
      const receipts = outbox.counts()
      return metrics.render({
        load: engine.load(),
        slotsMax: slots.max,
        slotsHeld: slots.holders().length,
        receiptsOwed: receipts.owed,
        receiptsRefused: receipts.refused,
        up: engine.state === 'ready',
      })
    },
  })

  const stop = () => {
    if (draining) return
    draining = true
    void (async () => {
      log('draining: no new requests; open ones go on')
      await heartbeats.beat()
      await Promise.race([
        new Promise<void>((resolve) => {
          idle = resolve
          if (slots.holders().length === 0) resolve()
        }),
        new Promise((resolve) => setTimeout(resolve, config.drainMs)),
      ])
      server.closeAllConnections()
      server.close()
      await engine.close()
      await delivery.flush(3_000)
      heartbeats.stop()
      gone = outbox.counts().owed === 0
      await heartbeats.beat()
      outbox.close()
      process.exit(0)
    })()
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
  // A worker started by `npm start` does not outlive it.
  process.on('disconnect', stop)

  await engine.start()
  for (const receipt of outbox.recover(`${engine.description.engine} ${engine.description.version}`, now()))
    metrics.settled(receipt)
  const address = await listen(server, config)
  if (!config.publicUrl) url = `http://${config.host}:${address.port}`
  delivery.wake()
  await heartbeats.start()
  log(`ready on ${url}: ${engine.description.modelName}, pool ${config.pool}, ${slots.max} slots`)
  process.send?.({ kind: 'ready', url })
}

function listen(server: Server, config: Config): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const busy = error.code === 'EADDRINUSE'
      reject(busy ? new Error(`port ${config.port} is in use: set TRAMONTANE_WORKER_PORT to a free one`) : error)
    })
    server.listen(config.port, config.host, () => resolve(server.address() as AddressInfo))
  })
}

try {
  await main(readConfig(process.env))
} catch (error) {
  process.stderr.write(`worker: ${error instanceof Error ? error.message : error}\n`)
  process.exit(1)
}
