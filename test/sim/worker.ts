/**
 * A worker with the real slots, used-dispatch check, bound, prices, and outbox on a real disk. The HTTP server, the
 * engine (tokens come from the seed) and the timing of the delivery are modelled. A killed worker loses everything
 * except its outbox. A paused worker does nothing until it resumes; then it handles everything it missed.
 */

import type { Counts } from '../../backends/model/money.ts'
import { clockSkewMs, type Dispatch, type Refusal } from '../../backends/wire/dispatch.ts'
import type { Heartbeat } from '../../backends/wire/heartbeat.ts'
import {
  type Receipt,
  type ReceiptsAnswer,
  type RunEnd,
  receiptOf,
  receiptsPerCall,
} from '../../backends/wire/receipt.ts'
import { UsedDispatches } from '../../gpu-worker/accept-dispatch.ts'
import { Outbox } from '../../gpu-worker/outbox.ts'
import { boundOutput } from '../../gpu-worker/relay.ts'
import { Slots } from '../../gpu-worker/slots.ts'
import type { Auditor } from './auditor.ts'
import type { Random } from './random.ts'
import { Clock, type Timeline } from './timeline.ts'

/** The seed's facts about a prompt: the edge only estimates its length. */
export interface Script {
  promptTokens: number
  cachedTokens: number
  /** Tokens that the model would write without a limit. */
  outputTokens: number
}

/** One HTTP exchange, seen from the edge. Messages take time; both sides notice a break. */
export interface Connection {
  refused: (refusal: Refusal) => void
  /** The response head: from now on the request is in preparation. */
  accepted: () => void
  /** The prelude. */
  prepared: () => void
  first: () => void
  done: () => void
  lost: () => void
  /** Set by the worker; called when the edge disconnects. */
  onClose: () => void
}

interface Run {
  dispatch: Dispatch
  slot: number
  counts: Counts
  outputTokensMax: number
  script: Script
  connection: Connection
  left: boolean
  begun: boolean
  ended: boolean
  startedAt: number
}

export interface WorkerParts {
  timeline: Timeline
  random: Random
  auditor: Auditor
  /** Delivers receipts to the edge; rejects when no answer came. */
  post: (receipts: Receipt[]) => Promise<ReceiptsAnswer>
  beat: (beat: Heartbeat) => void
  script: (requestId: string) => Script
  slots: number
}

export class Worker {
  readonly workerId: string
  readonly pool: Dispatch['pool']
  readonly clock: Clock
  readonly folder: string
  outbox: Outbox
  /** Refused receipts, kept for the operator. */
  readonly kept = new Set<string>()
  state: 'up' | 'down' | 'paused' = 'up'
  readonly #parts: WorkerParts
  #incarnation = 0
  #slots: Slots
  #used = new UsedDispatches()
  #runs = new Set<Run>()
  #missed: { happen: () => void; gone: () => void }[] = []
  #delivering = false
  #again = false

  constructor(workerId: string, pool: Dispatch['pool'], folder: string, outbox: Outbox, parts: WorkerParts) {
    this.workerId = workerId
    this.pool = pool
    this.folder = folder
    this.outbox = outbox
    this.#parts = parts
    this.clock = new Clock(parts.timeline)
    this.#slots = new Slots(parts.slots)
  }

  get running(): number {
    return this.#runs.size
  }

  slotsHeld(): string[] {
    return this.#slots.holders()
  }

  /** Schedules an event on this worker after `ms`; a kill cancels it. */
  #after(ms: number, what: string, run: () => void): void {
    const incarnation = this.#incarnation
    const happen = () => {
      if (incarnation !== this.#incarnation) return
      if (this.state === 'paused') this.#missed.push({ happen, gone: () => undefined })
      else run()
    }
    this.#parts.timeline.after(ms, `${this.workerId} ${what}`, happen)
  }

  /** Delivers a message to the worker; calls `gone` instead if the worker is down. */
  reach(ms: number, what: string, run: () => void, gone: () => void): void {
    const happen = () => {
      if (this.state === 'down') gone()
      else if (this.state === 'paused') this.#missed.push({ happen, gone })
      else run()
    }
    this.#parts.timeline.after(ms, `${this.workerId} ${what}`, happen)
  }

  dispatch(dispatch: Dispatch, connection: Connection): void {
    const refusal = this.#refusal(dispatch)
    if (refusal) return void connection.refused(refusal)
    const slot = this.#slots.take(dispatch.requestId)
    if (slot === undefined) return void connection.refused({ code: 'no_slot', message: 'every slot is taken' })
    const run: Run = {
      dispatch,
      slot,
      counts: { promptTokens: 0, cachedTokens: 0, outputTokens: 0, reasoningTokens: 0 },
      outputTokensMax: 0,
      script: this.#parts.script(dispatch.requestId),
      connection,
      left: false,
      begun: false,
      ended: false,
      startedAt: 0,
    }
    this.#runs.add(run)
    connection.onClose = () => {
      run.left = true
    }
    connection.accepted()
    this.beat()
    this.#after(this.#parts.random.int(1, 8), `prepares ${dispatch.dispatchId}`, () => this.#prepared(run))
  }

  #refusal(dispatch: Dispatch): Refusal | undefined {
    const now = this.clock.now()
    if (now > dispatch.expiresAt + clockSkewMs || now < dispatch.issuedAt - clockSkewMs)
      return { code: 'bad_dispatch', message: 'expired' }
    if (!this.#used.use(dispatch.dispatchId, now)) return { code: 'replayed_dispatch', message: 'used' }
    return undefined
  }

  #prepared(run: Run): void {
    const { script, dispatch, connection } = run
    const { promptTokens } = script
    const bound = boundOutput(
      { ok: true, promptTokens, outputTokensFit: 1_000, chat: {} as never, effort: dispatch.effort, prompt: null },
      dispatch,
    )
    if (typeof bound !== 'number') {
      this.#release(run)
      return void connection.refused(bound)
    }
    run.outputTokensMax = bound
    run.startedAt = this.clock.now()
    this.outbox.begin(dispatch, run.slot, run.startedAt)
    run.begun = true
    this.#parts.auditor.began(dispatch)
    connection.prepared()
    this.#after(this.#parts.random.int(1, 30), `prefills ${dispatch.dispatchId}`, () => this.#prefilled(run, 0))
  }

  /** The engine reads the prompt in two chunks: a client that disconnects between them pays for one. */
  #prefilled(run: Run, chunk: number): void {
    if (run.ended) return
    if (run.left) return void this.#end(run, 'aborted')
    const { promptTokens, cachedTokens } = run.script
    run.counts.promptTokens = chunk === 0 ? Math.max(cachedTokens, promptTokens >> 1) : promptTokens
    run.counts.cachedTokens = cachedTokens
    this.#noted(run)
    const next = this.#parts.random.int(1, 20)
    if (chunk === 0) this.#after(next, `prefills ${run.dispatch.dispatchId}`, () => this.#prefilled(run, 1))
    else this.#after(next, `generates ${run.dispatch.dispatchId}`, () => this.#generated(run))
  }

  #generated(run: Run): void {
    if (run.ended) return
    if (run.left) return void this.#end(run, 'aborted')
    const before = run.counts.outputTokens
    const tokens = Math.min(
      this.#parts.random.int(1, 6),
      run.outputTokensMax - before,
      run.script.outputTokens - before,
    )
    run.counts.outputTokens += tokens
    if (before < 4) run.counts.reasoningTokens += Math.min(tokens, 4 - before)
    this.#noted(run)
    if (before === 0) run.connection.first()
    const { outputTokens } = run.counts
    if (outputTokens >= Math.min(run.outputTokensMax, run.script.outputTokens)) return void this.#end(run, 'finished')
    this.#after(this.#parts.random.int(1, 120), `generates ${run.dispatch.dispatchId}`, () => this.#generated(run))
  }

  #noted(run: Run): void {
    this.#parts.auditor.generated(run.dispatch, { ...run.counts })
    this.outbox.count(run.slot, run.counts)
  }

  /** The engine has stopped: write the receipt to the outbox, send the last byte, free the slot. */
  #end(run: Run, outcome: Receipt['outcome']): void {
    run.ended = true
    const receipt = receiptOf(run.dispatch, endOf(run, outcome, this.clock.now()))
    this.outbox.finish(receipt)
    this.#after(this.#parts.random.int(0, 2), `ends ${run.dispatch.dispatchId}`, () => {
      this.deliver()
      if (outcome === 'failed') run.connection.lost()
      else if (outcome === 'finished') run.connection.done()
      this.#release(run)
    })
  }

  #release(run: Run): void {
    this.#runs.delete(run)
    this.#slots.release(run.dispatch.requestId)
    this.beat()
  }

  /** The engine crashes during one request; the worker survives. */
  engineDies(): boolean {
    const run = [...this.#runs].find((each) => each.begun && !each.ended)
    if (run) this.#end(run, 'failed')
    return run !== undefined
  }

  beat(): void {
    if (this.state !== 'up') return
    this.#parts.beat({
      workerId: this.workerId,
      pool: this.pool,
      url: `http://${this.workerId}`,
      model: 'm',
      engine: 'e',
      state: 'ready',
      slotsMax: this.#slots.max,
      contextTokens: 1_000,
      vision: false,
      running: this.slotsHeld(),
      kvTokens: 0,
      kvTokensMax: 0,
      promptTokensTotal: 0,
      cachedTokensTotal: 0,
      outputTokensTotal: 0,
      sentAt: this.clock.now(),
      instance: `${this.workerId}.${this.#incarnation}`,
      ...{ startedAt: 0, replaces: null, lastEnd: null },
    })
  }

  /** Sends the owed receipts, one call at a time, until none remain. */
  deliver(): void {
    if (this.#delivering) {
      this.#again = true
      return
    }
    this.#delivering = true
    this.#send(0)
  }

  #send(attempt: number): void {
    const { random, post } = this.#parts
    const owed = this.outbox.owed(random.pick([1, 3, receiptsPerCall]))
    if (owed.length === 0) {
      this.#delivering = false
      if (this.#again) {
        this.#again = false
        this.deliver()
      }
      return
    }
    const incarnation = this.#incarnation
    post(owed.map((each) => each.receipt)).then(
      (answer) => {
        if (incarnation !== this.#incarnation) return
        this.#after(0, 'gets the acknowledgement', () => {
          this.outbox.acknowledged(answer.done)
          for (const { dispatchId, reason } of answer.refused) {
            this.outbox.refused(dispatchId, reason)
            this.kept.add(dispatchId)
          }
          if (answer.done.length + answer.refused.length > 0) return this.#send(0)
          this.#after(Math.min(5_000, 100 * 2 ** attempt), 'sends receipts again', () => this.#send(attempt + 1))
        })
      },
      () => {
        if (incarnation !== this.#incarnation) return
        this.#after(Math.min(5_000, 100 * 2 ** attempt) + random.int(0, 100), 'sends receipts again', () =>
          this.#send(attempt + 1),
        )
      },
    )
  }

  /** SIGKILL: every connection breaks; an active run may have generated one more token that nothing recorded. */
  kill(): void {
    for (const run of this.#runs) {
      const atWork = run.begun && !run.ended && run.counts.promptTokens === run.script.promptTokens
      if (atWork && run.counts.outputTokens < run.outputTokensMax && this.#parts.random.chance(0.5))
        this.#parts.auditor.unnoted(run.dispatch)
      run.connection.lost()
    }
    this.#incarnation += 1
    this.state = 'down'
    this.#runs = new Set()
    for (const { gone } of this.#missed) gone()
    this.#missed = []
    this.#slots = new Slots(this.#parts.slots)
    this.#used = new UsedDispatches()
    this.#delivering = false
    this.#again = false
    this.outbox.close()
  }

  restart(): void {
    this.state = 'up'
    this.outbox = new Outbox(this.folder)
    this.outbox.recover('e', this.clock.now())
    this.deliver()
    this.beat()
  }

  pause(): void {
    this.state = 'paused'
  }

  resume(): void {
    this.state = 'up'
    const missed = this.#missed
    this.#missed = []
    for (const { happen } of missed) this.#parts.timeline.after(0, `${this.workerId} resumes`, happen)
    this.beat()
  }
}

function endOf(run: Run, outcome: Receipt['outcome'], now: number): RunEnd {
  return {
    finishReason: outcome === 'failed' ? 'error' : outcome === 'aborted' ? 'abort' : 'stop',
    counts: { ...run.counts },
    estimated: false,
    ...{ startedAt: run.startedAt, endedAt: now, firstTokenMs: null, engine: 'e' },
  }
}
