/**
 * Runs processes of one worker: the product's program with a simulated engine and port, and an outbox on a real disk. A
 * killed process loses everything except its folder.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import type { Server } from 'node:http'
import { join } from 'node:path'
import { mistral } from '../../backends/engines/mistral.ts'
import { findModel, type Model } from '../../backends/model/model.ts'
import type { Counts } from '../../backends/model/money.ts'
import type { Dispatch, PoolName } from '../../backends/wire/dispatch.ts'
import type { Receipt } from '../../backends/wire/receipt.ts'
import type { WorkerKey } from '../../backends/wire/worker-key.ts'
import { SimulatedEngine } from './engine.ts'
import { type ExchangePeer, ExchangeResponse, requestOf } from './http-exchange.ts'
import { Machine } from './machine.ts'
import { handlerOf, workerProgram } from './product.ts'
import type { Random } from './random.ts'
import { type Outbox, processes } from './stand-ins/outbox.ts'
import type { Clock, Timeline } from './timeline.ts'

export interface WorkerParts {
  timeline: Timeline
  random: Random
  root: string
  began: (dispatch: Dispatch) => void
  forgot: (dispatch: Dispatch) => void
  finished: (receipt: Receipt) => void
  generated: (dispatch: Dispatch, counts: Counts) => void
  unnoted: (dispatch: Dispatch) => void
  violate: (invariant: string, detail: string) => void
  /** Every connection to the process breaks. */
  died: (process: WorkerProcess) => void
  log: (line: string) => void
}

export interface WorkerDescription {
  key: WorkerKey
  pool: PoolName
  slots: number
  vision: boolean
  /** Two processes of one worker may run on two hosts, each with its own address, clock and folder. */
  host: string
  clock: Clock
}

export const worldModel = findModel('mistral-small-4') as Model

interface RunningDispatch {
  dispatch: Dispatch
  slot: number
  /** Undefined before the first. */
  counts: Counts | undefined
}

/** The exchange in which a worker's code runs. */
const exchangeScope = new AsyncLocalStorage<{ left: boolean; steps: number }>()

/** One process. */
export class WorkerProcess {
  readonly machine: Machine
  readonly description: WorkerDescription
  readonly #parts: WorkerParts
  readonly #engine: SimulatedEngine
  readonly #exchanges = new Set<ExchangeResponse>()
  readonly #dispatches = new Map<string, Dispatch>()
  /** The last counts of each running dispatch, and whether its next token may still come. */
  readonly #running = new Map<string, RunningDispatch>()
  #stopping = false
  #outbox: Outbox | undefined
  #server: Server | undefined
  #program: Awaited<ReturnType<typeof workerProgram.createWorker>> | undefined

  constructor(description: WorkerDescription, parts: WorkerParts) {
    this.description = description
    this.#parts = parts
    const { key, host, clock, slots, vision } = description
    this.machine = new Machine(`${key.workerId} on ${host}`, clock, parts.timeline)
    processes.set(this.machine, this)
    this.#engine = new SimulatedEngine({
      ...{ random: parts.random, vision, slotsMax: slots },
      numberOf: (requestId) => Number(this.#dispatches.get(requestId)?.dispatchId.split('.').at(-1)),
      generated: (requestId, counts) => {
        const dispatch = this.#dispatches.get(requestId)
        if (!dispatch) return
        const run = this.#running.get(dispatch.dispatchId)
        if (run) run.counts = counts
        this.#stepsAfterLeft(dispatch)
        parts.generated(dispatch, counts)
      },
    })
    this.machine.run(() => void this.#start())
  }

  get outbox(): Outbox | undefined {
    return this.#outbox
  }

  get up(): boolean {
    return this.machine.state !== 'down'
  }

  get idle(): boolean {
    const counts = this.up ? this.#outbox?.counts() : undefined
    return this.#exchanges.size === 0 && (counts?.running ?? 0) + (counts?.owed ?? 0) === 0
  }

  get executing(): boolean {
    return this.#exchanges.size > 0
  }

  async #start(): Promise<void> {
    const { key, pool, host, clock, slots } = this.description
    const home = join(this.#parts.root, host)
    const log = (line: string) => this.#parts.log(`  ${this.machine.name}: ${line}`)
    try {
      this.#program = await workerProgram.createWorker(
        {
          ...{ key, pool, home, model: worldModel, slotsMax: slots, contextTokens: 4_096, prefixes: 'per-tenant' },
          ...{ edgeUrl: new URL('https://edge'), host, port: 80, publicUrl: `http://${host}`, drainMs: 5_000 },
          ...{ metricsKey: null, metricsAt: null },
          engine: { kind: 'attached', backend: mistral, silentMs: 1_000, url: 'http://engine', apiKey: null },
        },
        { engine: this.#engine, now: () => clock.now(), callId: () => 'abcdefghi', log },
      )
      await this.#program.start()
    } catch (error) {
      log(`the process ends: ${String(error)}`)
      this.kill()
    }
  }

  /** Shuts the process down as its host would, then calls `ended`. */
  stop(ended: () => void): void {
    if (this.#stopping) return
    this.#stopping = true
    this.machine.run(() => void this.#stop(ended))
  }

  async #stop(ended: () => void): Promise<void> {
    try {
      await this.#program?.stop()
    } catch (error) {
      // Killed while it shut down: its outbox was closed under it.
      if (this.machine.state === 'down') return
      throw error
    }
    this.#ended()
    ended()
  }

  opened(outbox: Outbox): void {
    this.#outbox = outbox
  }

  listens(server: Server): void {
    this.#server = server
  }

  began(dispatch: Dispatch, slot: number): void {
    this.#dispatches.set(dispatch.requestId, dispatch)
    if ([...this.#running.values()].some((run) => run.slot === slot))
      this.#parts.violate('a slot has one request at a time', this.machine.name)
    this.#running.set(dispatch.dispatchId, { dispatch, slot, counts: undefined })
    if (this.#running.size > this.description.slots)
      this.#parts.violate('a worker runs at most one request per slot', this.machine.name)
    this.#parts.began(dispatch)
  }

  forgot(dispatchId: string): void {
    const run = this.#running.get(dispatchId)
    this.#running.delete(dispatchId)
    if (run) this.#parts.forgot(run.dispatch)
  }

  finished(receipt: Receipt): void {
    this.#running.delete(receipt.dispatchId)
    this.#parts.finished(receipt)
  }

  /** One request to the port. Returns the function that disconnects. */
  exchange(request: Parameters<typeof requestOf>, peer: ExchangePeer): () => void {
    const server = this.#server
    if (!server) {
      peer.lost()
      return () => undefined
    }
    const exchanges = this.#exchanges
    const response: ExchangeResponse = new ExchangeResponse({
      ...peer,
      end: () => {
        exchanges.delete(response)
        peer.end()
      },
      lost: () => {
        exchanges.delete(response)
        peer.lost()
      },
    })
    exchanges.add(response)
    const scope = { left: false, steps: 0 }
    exchangeScope.run(scope, () => handlerOf(server)(requestOf(...request), response))
    return () => {
      scope.left = true
      exchanges.delete(response)
      response.disconnected()
    }
  }

  /** A token or a prefill chunk that was in progress may still be computed. */
  #stepsAfterLeft({ dispatchId }: Dispatch): void {
    const exchange = exchangeScope.getStore()
    if (!exchange?.left) return
    exchange.steps += 1
    if (exchange.steps > 1) this.#parts.violate('an engine stops within one step of its client', dispatchId)
  }

  engineDies(): boolean {
    return this.machine.state === 'up' && this.machine.call(() => this.#engine.dies())
  }

  /** SIGKILL: every connection breaks; an active run may have generated one more token that nothing recorded. */
  kill(): void {
    if (!this.up) return
    for (const { dispatch, counts } of this.#running.values()) {
      const mayGrow = counts && counts.outputTokens > 0 && counts.outputTokens < dispatch.outputTokensMax
      if (mayGrow && this.#parts.random.chance(0.5)) this.#parts.unnoted(dispatch)
    }
    this.#ended()
  }

  #ended(): void {
    const open = this.up
    this.machine.kill()
    this.#exchanges.clear()
    this.#parts.died(this)
    try {
      if (open) this.#outbox?.close()
    } catch {
      // An orderly end closes it itself.
    }
  }
}
