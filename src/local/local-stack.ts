/**
 * The product on this machine: the edge on workerd, one GPU worker per pool, and the demo tenant.
 *
 *   start: build the edge ▶ edge ready ▶ enrol the workers, create the demo tenant ▶ workers ready ▶ demo.json
 *          meanwhile, the workers load their engines
 *   stop:  workers ▶ edge ▶ workerd
 */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { type PoolName, poolNames } from '../../backends/wire/dispatch.ts'
import { sha256Hex } from '../auth/secret.ts'
import { bundle } from './bundle.ts'
import { type EdgeReady, edgeProcess, type WorkerReady, workerProcess } from './children.ts'
import { ensureDemoTenant } from './demo-tenant.ts'
import { enrolLocalWorkers, localWorkerKey } from './enrol.ts'
import { type State, writePrivate, writeState } from './home.ts'
import type { SupervisedProcess } from './process.ts'
import type { LocalSettings } from './settings.ts'

type WorkerEpochs = Record<PoolName, number>

export class LocalStack {
  readonly #settings: LocalSettings
  readonly #state: State
  readonly #workers = new Map<PoolName, SupervisedProcess<WorkerReady>>()
  readonly #gaveUp = Promise.withResolvers<string>()
  #edge: SupervisedProcess<EdgeReady> | undefined
  #workerdPid: number | null = null
  #stopping = false

  /** @param state gets the workers' key epochs and the demo tenant's key */
  constructor(settings: LocalSettings, state: State) {
    this.#settings = settings
    this.#state = state
  }

  /** Resolves with the reason when a process has died and will not be restarted. */
  get gaveUp(): Promise<string> {
    return this.#gaveUp.promise
  }

  get stopping(): boolean {
    return this.#stopping
  }

  /** Resolves when the edge has accepted the heartbeat of each worker. Rejects if a process cannot start. */
  async start(): Promise<void> {
    const enrolled = this.#startEdge().then(() => this.#enrol())
    await Promise.all(poolNames.map((pool) => this.#startEnrolled(pool, enrolled)))
    this.#writeDemo()
  }

  async stop(): Promise<void> {
    this.#stopping = true
    // Workers first, so that the edge can still accept their receipts.
    await Promise.all([...this.#workers.values()].map((worker) => worker.stop()))
    await this.#edge?.stop()
    this.#killWorkerd()
    rmSync(this.#demoPath, { force: true })
  }

  async #startEdge(): Promise<void> {
    const { keySecret, keySecretPrevious, fleetSecret, fleetSecretPrevious, operatorKey } = this.#state
    const build = await bundle(this.#settings.root, this.#settings.home)
    const secrets = {
      KEY_SECRET: keySecret,
      ...(keySecretPrevious && { KEY_SECRET_PREVIOUS: keySecretPrevious }),
      FLEET_SECRET: fleetSecret,
      ...(fleetSecretPrevious && { FLEET_SECRET_PREVIOUS: fleetSecretPrevious }),
      OPERATOR_KEY_SHA256: await sha256Hex(operatorKey),
    }
    this.#edge = edgeProcess(this.#settings, build, secrets, {
      onReady: ({ workerdPid }) => {
        this.#workerdPid = workerdPid
        this.#writeDemo()
      },
      // A dead host leaves its workerd running, and two workerd processes must not write the same folder.
      beforeRestart: () => this.#killWorkerd(),
      onGaveUp: this.#gaveUp.resolve,
    })
    await this.#edge.start()
  }

  async #enrol(): Promise<WorkerEpochs> {
    const { baseUrl, host, modelId, home } = this.#settings
    const state = this.#state
    state.workerEpochs = await enrolLocalWorkers({ baseUrl, host, modelId, state })
    await ensureDemoTenant(baseUrl, state, home)
    writeState(home, state)
    return state.workerEpochs
  }

  /**
   * Engines load while the edge is built: a worker starts with its previous key, which is nearly always still valid.
   */
  async #startEnrolled(pool: PoolName, enrolled: Promise<WorkerEpochs>): Promise<void> {
    const guessed = this.#state.workerEpochs[pool]
    const started = this.#startWorker(pool, guessed)
    const epochs = await Promise.race([enrolled, started.then(() => enrolled)])
    if (epochs[pool] === guessed) return started
    await this.#workers.get(pool)?.stop()
    await this.#startWorker(pool, epochs[pool])
  }

  async #startWorker(pool: PoolName, epoch: number): Promise<void> {
    const key = await localWorkerKey(this.#state, pool, epoch)
    const worker = workerProcess(this.#settings, pool, key, {
      onReady: () => this.#writeDemo(),
      onGaveUp: this.#gaveUp.resolve,
    })
    this.#workers.set(pool, worker)
    await worker.start()
  }

  get #demoPath(): string {
    return join(this.#settings.home, 'demo.json')
  }

  /** Notes the key and the running processes, for scripts and tests. */
  #writeDemo(): void {
    const { apiKey, operatorKey } = this.#state
    if (!apiKey || this.#stopping) return
    const pids = {
      start: process.pid,
      edgeHost: this.#edge?.pid ?? null,
      workerd: this.#workerdPid,
      ...Object.fromEntries(poolNames.map((pool) => [pool, this.#workers.get(pool)?.pid ?? null])),
    }
    const { baseUrl, modelId } = this.#settings
    const demo = { baseUrl: `${baseUrl}/v1`, model: modelId, apiKey, operatorKey, pids }
    writePrivate(this.#demoPath, JSON.stringify(demo, null, 2))
  }

  #killWorkerd(): void {
    if (this.#workerdPid === null) return
    try {
      process.kill(this.#workerdPid, 'SIGKILL')
    } catch {
      // The process has already exited.
    }
  }
}
