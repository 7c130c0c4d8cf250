/**
 * One worker, put together: an engine, an HTTP port, slots, an outbox, heartbeats.
 *
 *   start: receipts folder is this one's ▶ engine loads ▶ port opens ▶ what an earlier process left is accounted for ▶
 *          the edge has heard it
 *   stop:  admits nothing new ▶ open requests end, or their time is up ▶ engine ends ▶ receipts are delivered ▶ gone
 *
 * What still runs when its time is up fails with the engine: it is counted and not billed, and of it whatever has sent
 * nothing yet is handed back to the edge, which gives it to another worker.
 */
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type { Heartbeat } from '../backends/wire/heartbeat.ts'
import { sealKey } from '../backends/wire/seal.ts'
import { keyIdOf } from '../backends/wire/worker-key.ts'
import type { Config } from './config.ts'
import { Delivery } from './delivery.ts'
import type { Engine } from './engine/engine.ts'
import { Heartbeats } from './heartbeat.ts'
import { beginLife } from './life.ts'
import type { FetchPolicy } from './media/fetch.ts'
import { createResolver } from './media/resolver.ts'
import { Metrics } from './metrics.ts'
import { createOperatorServer } from './operator-port.ts'
import { Outbox } from './outbox.ts'
import { outboxFolder } from './outbox-lock.ts'
import { createWorkerServer } from './server.ts'
import { Slots } from './slots.ts'

export interface WorkerParts {
  engine: Engine
  now: () => number
  /** Nine letters or digits. */
  callId: () => string
  log: (line: string) => void
  /** What is fetched for clients; the public internet unless said. */
  fetchPolicy?: FetchPolicy
}

export interface GpuWorker {
  /** Resolves with the URL the edge knows it by. Rejects with one sentence when it cannot serve. */
  start(): Promise<string>
  /** Admits nothing new until what runs has ended, or its time is up, and its engine has been started anew. */
  renew(): Promise<void>
  /** Resolves when it may exit. */
  stop(): Promise<void>
}

const deliverMs = 3_000
/** How often the outbox is looked at for receipts that an operator made owed again; see receipts.ts. */
const lookMs = 2_000
/** For what failed with the engine to be told and counted. */
const partingMs = 2_000

export async function createWorker(config: Config, parts: WorkerParts): Promise<GpuWorker> {
  const { engine, now, log } = parts
  const { workerId } = config.key
  const key = await sealKey(config.key.secret)
  const kid = keyIdOf(config.key)
  const folder = outboxFolder(config.home, workerId)
  const outbox = new Outbox(folder, log)
  // Behind the outbox, which one process has at a time: what is noted there is of a process that ended.
  const life = beginLife(folder, now, log)
  const slots = new Slots(config.slotsMax)
  const metrics = new Metrics()
  const delivery = new Delivery({ edgeUrl: config.edgeUrl, kid, key, outbox, log, now })
  let state: 'serving' | 'draining' | 'gone' = 'serving'
  let stopping = false
  let url = config.publicUrl ?? ''
  let idle: (() => void) | undefined
  let looking: NodeJS.Timeout | undefined
  const engineName = () => `${engine.description.engine} ${engine.description.version}`

  const heartbeats = new Heartbeats({ edgeUrl: config.edgeUrl, kid, key, state: heartbeat, log })
  const operator = { metricsKey: config.metricsKey ?? undefined, health, render }
  const operatorServer = config.metricsAt && createOperatorServer(operator)
  const server = createWorkerServer({
    ...parts,
    ...operator,
    workerId,
    key,
    outbox,
    slots,
    metrics,
    media: createResolver(now, parts.fetchPolicy),
    draining: () => state !== 'serving',
    deliver: () => delivery.wake(),
    changed: () => {
      if (slots.holders().length === 0) idle?.()
    },
    owed: (receipt, settleFirst) => {
      metrics.settled(receipt)
      // A pool that is short of slots needs this one back; otherwise receipts may share a call.
      const urgent = settleFirst || slots.holders().length * 2 > slots.max
      return delivery.owed(receipt.dispatchId, urgent)
    },
  })

  function health() {
    return {
      status: state === 'serving' ? engine.state : state,
      ...(engine.state !== 'ready' && engine.reason !== undefined && { reason: engine.reason }),
      ...engine.description,
      load: engine.load(),
      receipts: outbox.counts(),
    }
  }

  function heartbeat(): Heartbeat {
    const load = engine.load()
    return {
      workerId,
      pool: config.pool,
      url,
      model: config.model.id,
      engine: engineName(),
      state: state !== 'serving' ? state : engine.state === 'ready' && outbox.usable() ? 'ready' : 'down',
      slotsMax: slots.max,
      contextTokens: engine.description.contextTokens,
      vision: engine.description.vision,
      running: slots.holders(),
      kvTokens: load.kvTokens,
      kvTokensMax: load.kvTokensMax,
      promptTokensTotal: load.promptTokensTotal,
      cachedTokensTotal: load.cachedTokensTotal,
      outputTokensTotal: load.outputTokensTotal,
      ...life.signs(),
    }
  }

  function render(): string {
    const { owed, refused } = outbox.counts()
    return metrics.render({
      load: engine.load(),
      slotsMax: slots.max,
      slotsHeld: slots.holders().length,
      receiptsOwed: owed,
      receiptsRefused: refused,
      up: engine.state === 'ready',
    })
  }

  async function drain(why: string): Promise<void> {
    state = 'draining'
    log(`draining, because ${why}: no new requests; open ones go on`)
    await heartbeats.beat()
    await Promise.race([emptied(), delay(config.drainMs)])
  }

  /** Every slot is free, now or later. */
  function emptied(): Promise<void> {
    return new Promise((resolve) => {
      idle = resolve
      if (slots.holders().length === 0) resolve()
    })
  }

  return {
    async start() {
      await engine.start()
      slots.limit(engine.description.slotsMax)
      // A port that is in use ends this process: until then nothing of an earlier one is touched.
      if (operatorServer && config.metricsAt) await listen(operatorServer, config.metricsAt, 'TRAMONTANE_METRICS_PORT')
      const address = await listen(server, config, 'TRAMONTANE_WORKER_PORT')
      for (const receipt of outbox.recover(engineName(), now())) metrics.settled(receipt)
      if (!config.publicUrl) url = `http://${config.host}:${address.port}`
      delivery.wake()
      looking = setInterval(() => delivery.wake(), lookMs)
      await heartbeats.start()
      log(`ready on ${url}: ${engine.description.modelName}, pool ${config.pool}, ${slots.max} slots`)
      return url
    },
    async renew() {
      if (state !== 'serving' || !engine.renew) return
      await drain('the engine is started anew')
      if (stopping) return
      engine.renew()
      state = 'serving'
    },
    async stop() {
      stopping = true
      await drain('this worker ends')
      await engine.close()
      // Their answers, or their refusals, are on their way.
      await Promise.race([emptied(), delay(partingMs)])
      server.closeAllConnections()
      server.close()
      clearInterval(looking)
      operatorServer?.closeAllConnections()
      operatorServer?.close()
      await delivery.flush(deliverMs)
      heartbeats.stop()
      // Only one that owes nothing takes leave; any other is missed, and asked for, until it is back.
      if (outbox.counts().owed === 0) state = 'gone'
      await heartbeats.beat()
      life.ended()
      outbox.close()
    },
  }
}

function listen(server: Server, at: { host: string; port: number }, variable: string): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const busy = error.code === 'EADDRINUSE'
      reject(busy ? new Error(`port ${at.port} is in use: set ${variable} to a free one`) : error)
    })
    server.listen(at.port, at.host, () => resolve(server.address() as AddressInfo))
  })
}
