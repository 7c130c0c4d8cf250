/**
 * An edge isolate. It performs the steps of the product's own attempts (src/chat/attempts.ts) over a modelled network, and
 * leases with the product's own call (src/fleet/lease.ts). Modelled here: admission, the delivery of bytes, and the void
 * where no receipt will follow. The isolate may die at each wait: then it does nothing more, and its connections break.
 */
import type { EffortWord } from '../../backends/model/effort.ts'
import { type Dispatch, dispatchTtlMs, type Refusal } from '../../backends/wire/dispatch.ts'
import type { Receipt, ReceiptsAnswer } from '../../backends/wire/receipt.ts'
import { proofOf } from '../../src/auth/dispatch-proof.ts'
import { Secret } from '../../src/auth/secret.ts'
import {
  type AttemptEvent,
  type AttemptsState,
  begin,
  countsAgainstRates,
  next,
  type Step,
} from '../../src/chat/attempts.ts'
import { type GrantedLease, type LeaseCall, type LeaseWait, lease } from '../../src/fleet/lease.ts'
import { NoWorker } from '../../src/fleet/refusal.ts'
import type { LeaseOutcome, LeaseRequest, WorkerEndpoint } from '../../src/fleet/state.ts'
import { GatewayError } from '../../src/http/errors.ts'
import { judgeReceipt } from '../../src/settlement/verdict.ts'
import type { AdmissionRequest } from '../../src/tenant/admission.ts'
import type { AdmissionRefusal } from '../../src/tenant/admission-refusals.ts'
import type { Admission } from '../../src/tenant/rpc.ts'
import type { ReadmitOrder } from './tenant.ts'

export const fleet = new Secret('f'.repeat(40))

/** The isolate's network. Every call takes time, may be lost, or may be executed while its answer is lost. */
export interface Network {
  admit(tenantId: string, request: AdmissionRequest): Promise<Admission | AdmissionRefusal>
  readmit(tenantId: string, request: ReadmitOrder): Promise<{ ok: true; boundNano: number } | AdmissionRefusal>
  void(tenantId: string, requestId: string, charge?: 'rate'): Promise<unknown>
  settle(tenantId: string, receipts: Receipt[]): Promise<string[]>
  lease(request: LeaseRequest): Promise<LeaseOutcome>
  release(requestIds: string[]): Promise<unknown>
  releaseOn(workerId: string, requestId: string): Promise<unknown>
  workerFailed(workerId: string, requestId: string): Promise<unknown>
  /** Opens the exchange with one worker; `close` means that the edge disconnects. */
  open(place: WorkerEndpoint, dispatch: Dispatch): Exchange
}

export interface Exchange {
  /** The response headers: the worker has the request. */
  head: Promise<'head' | 'lost'>
  /** The prelude: prepared, refused, or lost. */
  prelude: Promise<Refusal | 'prepared' | 'lost'>
  first: Promise<'first' | 'lost'>
  rest: Promise<'done' | 'lost'>
  close: () => void
}

export interface EdgeRequest {
  requestId: string
  tenantId: string
  keyId: string
  secretHash: string
  promptTokensEstimate: number
  outputTokens: number
  stream: boolean
  effort: EffortWord
  /** The tenant takes less effort rather than wait. */
  effortUnderLoad: EffortWord | null
}

interface Served {
  lease: GrantedLease
  exchange: Exchange
}

export class Isolate {
  alive = true
  readonly #network: Network
  readonly #now: () => number
  readonly #exchanges = new Set<Exchange>()

  constructor(network: Network, now: () => number) {
    this.#network = network
    this.#now = now
  }

  kill(): void {
    this.alive = false
    for (const exchange of this.#exchanges) exchange.close()
  }

  /** Runs one step; code after it runs only while the isolate lives. */
  #step<Value>(pending: Promise<Value>): Promise<Value> {
    return new Promise((resolve, reject) => {
      pending.then(
        (value) => this.alive && resolve(value),
        (error) => this.alive && reject(error),
      )
    })
  }

  /** Resolves with the end of the request as its client saw it. Never resolves if the isolate dies. */
  async chat(request: EdgeRequest, left: AbortSignal): Promise<string> {
    const { requestId, tenantId, keyId, secretHash, promptTokensEstimate: promptTokens, outputTokens } = request
    const admissionRequest = {
      requestId,
      keyId,
      secretHash,
      model: 'm',
      promptTokens,
      outputTokens,
      unknownEffort: null,
    }
    let admission: Admission | AdmissionRefusal
    try {
      admission = await this.#step(this.#network.admit(tenantId, admissionRequest))
    } catch {
      return 'not admitted: no answer'
    }
    if (!admission.ok) return `refused: ${admission.code}`
    const attempts = new Attempts({
      request,
      admission,
      left,
      network: this.#network,
      now: this.#now,
      step: (pending) => this.#step(pending),
      opened: (exchange) => this.#exchanges.add(exchange),
    })
    return request.stream ? this.#sendStream(attempts, left) : this.#sendWhole(attempts, left)
  }

  async #sendStream(attempts: Attempts, left: AbortSignal): Promise<string> {
    const pending = attempts.first()
    let served: Served
    try {
      // A client that disconnects before the first bytes is noticed here.
      served = await this.#step(Promise.race([pending, rejectWhen(left)]))
    } catch (error) {
      if (!left.aborted) {
        attempts.cancel()
        return String(error)
      }
      // An answer may have started meanwhile; then its receipt follows.
      const started = await this.#step(pending.catch(() => undefined))
      if (started) started.exchange.close()
      else attempts.cancel()
      return 'left before the answer'
    }
    const end = await this.#step(Promise.race([served.exchange.rest, resolveWhen(left)]))
    if (end === 'done') return 'served'
    if (end === 'left') {
      served.exchange.close()
      return 'left in mid-answer'
    }
    attempts.lost(served)
    attempts.cancel()
    return 'worker lost in mid-answer'
  }

  async #sendWhole(attempts: Attempts, left: AbortSignal): Promise<string> {
    let pending = attempts.first()
    for (;;) {
      let served: Served
      try {
        served = await pending
      } catch (error) {
        attempts.cancel()
        return String(error)
      }
      const end = await this.#step(Promise.race([served.exchange.rest, resolveWhen(left)]))
      if (end === 'done') return 'served'
      if (end === 'left') {
        served.exchange.close()
        return 'left in mid-answer'
      }
      pending = attempts.another(served)
    }
  }

  /** `/internal/receipts`, as in src/settlement/receipts.ts: checks each receipt, settles by tenant, and frees the slots. */
  async receipts(delivered: Receipt[]): Promise<ReceiptsAnswer> {
    const answer: ReceiptsAnswer = { done: [], refused: [] }
    const receipts = delivered.filter(({ dispatchId, ...claims }) => {
      const verdict = judgeReceipt({ dispatchId, ...claims }, fleet)
      if (!verdict.ok) answer.refused.push({ dispatchId, reason: verdict.reason })
      return verdict.ok
    })
    const byTenant = [...Map.groupBy(receipts, (receipt) => receipt.tenantId)]
    await Promise.all([
      ...byTenant.map(async ([tenantId, group]) => {
        // If a tenant does not answer, its receipts are neither done nor refused: the worker sends them again.
        const answers = await this.#step(this.#network.settle(tenantId, group)).catch(() => [])
        answers.forEach((settled, index) => {
          const dispatchId = group[index]?.dispatchId ?? ''
          if (settled === 'unknown') answer.refused.push({ dispatchId, reason: 'no such reservation' })
          else answer.done.push(dispatchId)
        })
      }),
      this.#step(this.#network.release(receipts.map(({ requestId }) => requestId))),
    ])
    return answer
  }
}

interface AttemptsParts {
  request: EdgeRequest
  admission: Admission
  left: AbortSignal
  network: Network
  now: () => number
  /** Settles only while the isolate lives. */
  step: <Value>(pending: Promise<Value>) => Promise<Value>
  opened: (exchange: Exchange) => void
}

/** Performs the steps of the product's attempts, as src/chat/run-attempts.ts does on a real network. */
class Attempts {
  readonly #parts: AttemptsParts
  readonly #call: LeaseCall
  readonly #wait: LeaseWait = { begin: () => undefined, end: () => undefined, past: undefined, lowered: undefined }
  #state: AttemptsState
  #lease: GrantedLease | undefined
  #served: Served | undefined

  constructor(parts: AttemptsParts) {
    const { request, admission, left, network, step } = parts
    this.#parts = parts
    this.#call = {
      fleet: {
        lease: (asked) => step(network.lease(asked)),
        release: (requestIds) => network.release(requestIds),
      },
      left,
      waitUntil: (work) => void work.catch(() => undefined),
    }
    this.#state = begin({
      requestId: request.requestId,
      mayUseHosted: false,
      hasMedia: false,
      promptTokens: request.promptTokensEstimate,
      boundNano: admission.boundNano,
    })
  }

  first(): Promise<Served> {
    return this.#run({ kind: 'begin' })
  }

  another({ lease }: Served): Promise<Served> {
    return this.#run({ kind: 'stream-lost', on: lease.endpoint as WorkerEndpoint })
  }

  lost({ lease }: Served): void {
    this.#failed(lease.endpoint.workerId)
  }

  cancel(): void {
    const { request, network, left } = this.#parts
    if (this.#state.receiptFollows) return
    const charge = countsAgainstRates(this.#state, left.aborted) ? 'rate' : undefined
    void network.void(request.tenantId, request.requestId, charge).catch(() => undefined)
  }

  async #run(first: AttemptEvent): Promise<Served> {
    const { request, network } = this.#parts
    for (let event = first; ; ) {
      const { state, effects, step } = next(this.#state, event)
      this.#state = state
      for (const effect of effects) {
        if (effect.kind === 'release') void network.release([request.requestId]).catch(() => undefined)
        if (effect.kind === 'worker-failed') this.#failed(effect.workerId)
        if (effect.kind === 'release-on')
          await this.#parts.step(network.releaseOn(effect.workerId, request.requestId)).catch(() => undefined)
      }
      if (step.kind === 'fail') throw step.error
      if (step.kind === 'answer' && this.#served) return this.#served
      event = await this.#perform(step)
    }
  }

  #perform(step: Step): Promise<AttemptEvent> {
    switch (step.kind) {
      case 'lease':
        return this.#leaseSlot(step)
      case 'dispatch':
        return this.#dispatch(step)
      case 'reserve-more':
        return this.#reserveMore(step)
      default:
        throw new Error(`the simulation has no step ${step.kind}`)
    }
  }

  async #leaseSlot({ exclude, prefer }: Step & { kind: 'lease' }): Promise<AttemptEvent> {
    const { request, admission } = this.#parts
    const { lowered } = this.#wait
    const { promptTokens, dispatches } = this.#state
    try {
      this.#lease = await lease(
        this.#call,
        {
          requestId: request.requestId,
          tenantId: request.tenantId,
          model: 'm',
          effort: lowered ?? request.effort,
          effortUnderLoad: lowered === undefined ? request.effortUnderLoad : null,
          ...{ promptTokens, outputTokensMax: admission.outputTokensMax, prefix: [] },
          ...{ exclude: [...exclude], preferWorkerId: prefer, again: dispatches > 0 },
          ...{ weight: 100, priorityClass: 'interactive' },
          costTokens: promptTokens + admission.outputTokensMax,
        },
        this.#wait,
      )
      return { kind: 'leased' }
    } catch (error) {
      const uncertain = !(error instanceof GatewayError)
      return { kind: 'not-leased', error, noWorker: error instanceof NoWorker, uncertain }
    }
  }

  async #dispatch({ number }: Step & { kind: 'dispatch' }): Promise<AttemptEvent> {
    const { left, step } = this.#parts
    const lease = this.#lease
    if (!lease) throw new Error('a dispatch needs a lease')
    // A fetch whose signal is already aborted sends nothing.
    if (left.aborted) return { kind: 'client-left', ran: false }
    const exchange = this.#open(lease, number)
    const { endpoint } = lease
    const leaves = resolveWhen(left)
    const head = await step(Promise.race([exchange.head, leaves]))
    const prelude = head === 'head' ? await step(Promise.race([exchange.prelude, leaves])) : 'none'
    const first = prelude === 'prepared' ? await step(Promise.race([exchange.first, leaves])) : 'none'
    if (first === 'first') {
      this.#served = { lease, exchange }
      return { kind: 'answering' }
    }
    if (left.aborted) {
      exchange.close()
      return { kind: 'client-left', ran: prelude === 'prepared' }
    }
    if (typeof prelude === 'object') return { kind: 'refused', on: endpoint, refusal: prelude, stage: 'dispatch' }
    return { kind: head === 'head' && prelude === 'lost' ? 'unprepared' : 'lost', on: endpoint }
  }

  async #reserveMore({ promptTokens }: Step & { kind: 'reserve-more' }): Promise<AttemptEvent> {
    const { request, network, step } = this.#parts
    const { requestId, tenantId, outputTokens } = request
    try {
      const answer = await step(network.readmit(tenantId, { requestId, model: 'm', promptTokens, outputTokens }))
      if (answer.ok) return { kind: 'raised', promptTokens, boundNano: answer.boundNano }
      return { kind: 'not-raised', error: new GatewayError(answer.code, answer.message) }
    } catch (error) {
      return { kind: 'not-raised', error }
    }
  }

  #open(lease: GrantedLease, number: number): Exchange {
    const { request, admission, network, now, opened } = this.#parts
    const { requestId, tenantId, keyId } = request
    const named = {
      ...{ requestId, tenantId, keyId, model: 'm', pool: lease.pool, effort: lease.effort },
      dispatchId: `${requestId}.${number}`,
      workerId: lease.endpoint.workerId,
      costNanoMax: this.#state.boundNano,
      promptTokensMax: this.#state.promptTokens,
      outputTokensMax: admission.outputTokensMax,
      rates: admission.rates,
      issuedAt: now(),
    }
    const exchange = network.open(lease.endpoint, {
      ...named,
      proof: proofOf(fleet, named),
      priority: 5,
      bodyDigest: 'd'.repeat(43),
      settleFirst: admission.settleFirst,
      expiresAt: named.issuedAt + dispatchTtlMs,
    })
    opened(exchange)
    return exchange
  }

  #failed(workerId: string): void {
    const { request, network } = this.#parts
    void network.workerFailed(workerId, request.requestId).catch(() => undefined)
  }
}

function resolveWhen(signal: AbortSignal): Promise<'left'> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve('left')
    else signal.addEventListener('abort', () => resolve('left'), { once: true })
  })
}

function rejectWhen(signal: AbortSignal): Promise<never> {
  return resolveWhen(signal).then(() => {
    throw new Error('the client left')
  })
}
