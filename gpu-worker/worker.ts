/**
 * Assembles one worker: an engine, an HTTP port, slots, an outbox, heartbeats.
 *
 *   start: lock the receipts folder ▶ open the ports ▶ write receipts for requests of an earlier process ▶ load the
 *          engine, with heartbeats of state `down` and the reason ▶ first heartbeat of state `ready`
 *   stop:  refuse new requests ▶ open requests end, or time out ▶ end the engine ▶ deliver receipts ▶ gone
 *
 * A request that is still running at the timeout fails with the engine: it is counted and not billed. If it has sent
 * nothing yet, the edge sends it to another worker.
 */
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type { Heartbeat } from '../backends/wire/heartbeat.ts'
import type { Receipt } from '../backends/wire/receipt.ts'
import { sealKey } from '../backends/wire/seal.ts'
import { keyIdOf } from '../backends/wire/worker-key.ts'
import type { Config } from './config.ts'
import { Delivery } from './delivery.ts'
import type { Engine } from './engine/engine.ts'
import { Heartbeats } from './heartbeat.ts'
import { beginLife, type ProcessLife } from './life.ts'
import type { FetchPolicy } from './media/fetch.ts'
import { createResolver } from './media/resolver.ts'
import { Metrics } from './metrics.ts'
import { createOperatorServer, type OperatorParts } from './operator-port.ts'
import { Outbox } from './outbox.ts'
import { outboxFolder } from './outbox-lock.ts'
import { createWorkerServer, type ServerParts } from './server.ts'
import { Slots } from './slots.ts'
import {
  engineName,
  engineReport,
  fleetState,
  healthView,
  heartbeatView,
  leaving,
  metricsView,
  type OwnReport,
  type WorkerPhase,
} from './worker-report.ts'

export interface WorkerParts {
  engine: Engine
  now: () => number
  /** Nine letters or digits. */
  callId: () => string
  log: (line: string) => void
  /** Which addresses to fetch for clients; by default only the public internet. */
  fetchPolicy?: FetchPolicy
}

const deliverMs = 3_000
/** How often the worker checks the outbox for receipts that an operator resends; see receipts.ts. */
const outboxPollMs = 2_000
/** Time for requests that failed with the engine to send their last answer and write their receipts. */
const failedRequestsMs = 2_000

export async function createWorker(config: Config, parts: WorkerParts): Promise<GpuWorker> {
  return new GpuWorker(config, parts, await sealKey(config.key.secret))
}

export class GpuWorker {
  readonly #config: Config
  readonly #parts: WorkerParts
  readonly #slots: Slots
  readonly #metrics = new Metrics()
  readonly #outbox: Outbox
  readonly #life: ProcessLife
  readonly #delivery: Delivery
  readonly #heartbeats: Heartbeats
  readonly #server: Server
  readonly #operatorServer: Server | null
  #phase: WorkerPhase = 'serving'
  #url: string
  /** Called when no request holds a slot. */
  #idle: (() => void) | undefined
  #outboxPoll: NodeJS.Timeout | undefined

  /** @param key the worker's key, to sign and verify with */
  constructor(config: Config, parts: WorkerParts, key: CryptoKey) {
    const { now, log } = parts
    const signer = { edgeUrl: config.edgeUrl, kid: keyIdOf(config.key), key, log }
    const folder = outboxFolder(config.home, config.key.workerId)
    this.#config = config
    this.#parts = parts
    this.#url = config.publicUrl ?? ''
    this.#slots = new Slots(config.slotsMax)
    this.#outbox = new Outbox(folder, log)
    // After the outbox, whose lock one process holds: so the process that is noted there has ended.
    this.#life = beginLife(folder, now, log)
    this.#delivery = new Delivery({ ...signer, outbox: this.#outbox, now })
    this.#heartbeats = new Heartbeats({ ...signer, state: () => this.#heartbeat() })
    const operator = this.#operatorParts()
    this.#operatorServer = config.metricsAt && createOperatorServer(operator)
    this.#server = createWorkerServer({ ...this.#dispatchParts(), ...operator, workerId: config.key.workerId, key })
  }

  /** Resolves with the URL in its heartbeats. Rejects with one sentence if the worker cannot serve. */
  async start(): Promise<string> {
    const { engine, now, log } = this.#parts
    const { metricsAt, host, pool, publicUrl } = this.#config
    // A port in use ends this process, so an earlier process's requests are recovered only after the port is open.
    if (this.#operatorServer && metricsAt) await listen(this.#operatorServer, metricsAt, 'TRAMONTANE_METRICS_PORT')
    const address = await listen(this.#server, this.#config, 'TRAMONTANE_WORKER_PORT')
    if (!publicUrl) this.#url = `http://${host}:${address.port}`
    const name = engineName(engine.description)
    for (const receipt of this.#outbox.recover(name, now())) this.#metrics.settled(receipt)
    this.#delivery.wake()
    this.#outboxPoll = setInterval(() => this.#delivery.wake(), outboxPollMs)
    const loaded = engine.start()
    // A model takes minutes to load, and an engine that refuses chats never becomes ready: the operator sees why.
    const heard = this.#heartbeats.start()
    await loaded
    this.#slots.limit(engine.description.slotsMax)
    await heard
    await this.#heartbeats.beat()
    log(`ready on ${this.#url}: ${engine.description.modelName}, pool ${pool}, ${this.#slots.max} slots`)
    return this.#url
  }

  /** Drains: refuses new requests until the running ones end or time out. Then restarts the engine and serves again. */
  async renew(): Promise<void> {
    const { engine } = this.#parts
    if (this.#phase !== 'serving' || !engine.renew) return
    this.#phase = 'renewing'
    await this.#drain('the engine restarts')
    if (this.#phase !== 'renewing') return
    engine.renew()
    this.#phase = 'serving'
  }

  /** Resolves when the process may exit. */
  async stop(): Promise<void> {
    this.#phase = 'stopping'
    await this.#drain('the worker shuts down')
    await this.#parts.engine.close()
    // Requests that failed with the engine still write their answers and receipts.
    await Promise.race([this.#emptied(), delay(failedRequestsMs)])
    this.#server.closeAllConnections()
    this.#server.close()
    clearInterval(this.#outboxPoll)
    this.#operatorServer?.closeAllConnections()
    this.#operatorServer?.close()
    await this.#delivery.flush(deliverMs)
    this.#heartbeats.stop()
    // A worker with pending receipts does not report `gone`: the gateway then keeps asking for them until it returns.
    if (this.#outbox.counts().owed === 0) this.#phase = 'gone'
    await this.#heartbeats.beat()
    this.#life.ended()
    this.#outbox.close()
  }

  async #drain(reason: string): Promise<void> {
    this.#parts.log(`draining: ${reason}. New requests are refused; open requests continue`)
    await this.#heartbeats.beat()
    await Promise.race([this.#emptied(), delay(this.#config.drainMs)])
  }

  /** Resolves when every request is answered. */
  #emptied(): Promise<void> {
    return new Promise((resolve) => {
      this.#idle = resolve
      this.#slotsChanged()
    })
  }

  #slotsChanged(): void {
    if (this.#slots.idle) this.#idle?.()
  }

  #owed(receipt: Receipt, settleFirst: boolean): Promise<void> {
    this.#metrics.settled(receipt)
    // Urgent when over half of the slots are in use: settling frees them. Otherwise receipts may share a call.
    const urgent = settleFirst || this.#slots.holders().length * 2 > this.#slots.max
    return this.#delivery.owed(receipt.dispatchId, urgent)
  }

  #dispatchParts(): Omit<ServerParts, 'workerId' | 'key' | keyof OperatorParts> {
    const { now, fetchPolicy } = this.#parts
    return {
      ...this.#parts,
      outbox: this.#outbox,
      slots: this.#slots,
      metrics: this.#metrics,
      media: createResolver(now, fetchPolicy),
      draining: () => leaving(this.#phase) !== undefined,
      deliver: () => this.#delivery.wake(),
      changed: () => this.#slotsChanged(),
      owed: (receipt, settleFirst) => this.#owed(receipt, settleFirst),
    }
  }

  #operatorParts(): OperatorParts {
    return {
      metricsKey: this.#config.metricsKey ?? undefined,
      health: () => healthView(this.#report(), this.#outbox.counts()),
      render: () => this.#metrics.render(metricsView(this.#report(), this.#outbox.counts())),
    }
  }

  #report(): OwnReport {
    return {
      phase: this.#phase,
      engine: engineReport(this.#parts.engine),
      slotsMax: this.#slots.max,
      running: this.#slots.holders(),
      mismatch: this.#heartbeats.mismatch,
    }
  }

  #heartbeat(): Omit<Heartbeat, 'protocol'> {
    const { key, pool, model } = this.#config
    const report = this.#report()
    return {
      workerId: key.workerId,
      pool,
      url: this.#url,
      model: model.id,
      state: fleetState(report, () => this.#outbox.usable()),
      ...heartbeatView(report),
      ...this.#life.signs(),
    }
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
