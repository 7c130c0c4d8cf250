/**
 * Assembles one worker: an engine, an HTTP port, slots, an outbox, heartbeats.
 *
 *   start: lock the receipts folder ▶ load the engine ▶ open the port ▶ write receipts for requests of an earlier
 *          process ▶ first accepted heartbeat
 *   stop:  refuse new requests ▶ open requests end, or time out ▶ end the engine ▶ deliver receipts ▶ gone
 *
 * A request that is still running at the timeout fails with the engine: it is counted and not billed. If it has sent
 * nothing yet, the edge sends it to another worker.
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
  /** Which addresses to fetch for clients; by default only the public internet. */
  fetchPolicy?: FetchPolicy
}

export interface GpuWorker {
  /** Resolves with the URL in its heartbeats. Rejects with one sentence if the worker cannot serve. */
  start(): Promise<string>
  /** Drains: refuses new requests until the running ones end or time out. Then restarts the engine and serves again. */
  renew(): Promise<void>
  /** Resolves when the process may exit. */
  stop(): Promise<void>
}

const deliverMs = 3_000
/** How often the worker checks the outbox for receipts that an operator resends; see receipts.ts. */
const outboxPollMs = 2_000
/** Time for requests that failed with the engine to send their last answer and write their receipts. */
const failedRequestsMs = 2_000

export async function createWorker(config: Config, parts: WorkerParts): Promise<GpuWorker> {
  const { engine, now, log } = parts
  const { workerId } = config.key
  const key = await sealKey(config.key.secret)
  const kid = keyIdOf(config.key)
  const folder = outboxFolder(config.home, workerId)
  const outbox = new Outbox(folder, log)
  // After the outbox, whose lock one process holds: so the process that is noted there has ended.
  const life = beginLife(folder, now, log)
  const slots = new Slots(config.slotsMax)
  const metrics = new Metrics()
  const delivery = new Delivery({ edgeUrl: config.edgeUrl, kid, key, outbox, log, now })
  let state: 'serving' | 'draining' | 'gone' = 'serving'
  let stopping = false
  let url = config.publicUrl ?? ''
  let idle: (() => void) | undefined
  let outboxPoll: NodeJS.Timeout | undefined
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
      // Urgent when over half of the slots are in use: settling frees them. Otherwise receipts may share a call.
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

  async function drain(reason: string): Promise<void> {
    state = 'draining'
    log(`draining: ${reason}. New requests are refused; open requests continue`)
    await heartbeats.beat()
    await Promise.race([emptied(), delay(config.drainMs)])
  }

  /** Resolves when every slot is free. */
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
      // A port in use ends this process, so an earlier process's requests are recovered only after the port is open.
      if (operatorServer && config.metricsAt) await listen(operatorServer, config.metricsAt, 'TRAMONTANE_METRICS_PORT')
      const address = await listen(server, config, 'TRAMONTANE_WORKER_PORT')
      for (const receipt of outbox.recover(engineName(), now())) metrics.settled(receipt)
      if (!config.publicUrl) url = `http://${config.host}:${address.port}`
      delivery.wake()
      outboxPoll = setInterval(() => delivery.wake(), outboxPollMs)
      await heartbeats.start()
      log(`ready on ${url}: ${engine.description.modelName}, pool ${config.pool}, ${slots.max} slots`)
      return url
    },
    async renew() {
      if (state !== 'serving' || !engine.renew) return
      await drain('the engine restarts')
      if (stopping) return
      engine.renew()
      state = 'serving'
    },
    async stop() {
      stopping = true
      await drain('the worker shuts down')
      await engine.close()
      // Requests that failed with the engine still write their answers and receipts.
      await Promise.race([emptied(), delay(failedRequestsMs)])
      server.closeAllConnections()
      server.close()
      clearInterval(outboxPoll)
      operatorServer?.closeAllConnections()
      operatorServer?.close()
      await delivery.flush(deliverMs)
      heartbeats.stop()
      // A worker with pending receipts does not report `gone`: the gateway then keeps asking for them until it returns.
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
      reject(busy ? new Error(`port ${at.port} is in use. Set ${variable} to a free port`) : error)
    })
    server.listen(at.port, at.host, () => resolve(server.address() as AddressInfo))
  })
}
