/**
 * An edge isolate in the steps of src/chat/chat.ts, src/chat/attempts.ts and src/chat/relay.ts: admit, lease, dispatch,
 * first bytes, remaining bytes; one retry on another worker; void if no receipt will follow. The isolate may die at
 * each wait: then it does nothing more, and its connections break.
 */
import { type Dispatch, dispatchTtlMs, type PoolName, type Refusal } from '../../backends/wire/dispatch.ts'
import type { Receipt, ReceiptsAnswer } from '../../backends/wire/receipt.ts'
import { proofOf } from '../../src/auth/dispatch-proof.ts'
import { Secret } from '../../src/auth/secret.ts'
import type { LeaseOutcome, WorkerEndpoint } from '../../src/fleet/state.ts'
import { judgeReceipt } from '../../src/settlement/verdict.ts'
import type { AdmissionRefusal, AdmissionRequest } from '../../src/tenant/admission.ts'
import type { Admission } from '../../src/tenant/rpc.ts'
import type { ReadmitOrder } from './tenant.ts'

const attemptsMax = 2
export const fleet = new Secret('f'.repeat(40))

/** The isolate's network. Every call takes time, may be lost, or may be executed while its answer is lost. */
export interface Network {
  admit(tenantId: string, request: AdmissionRequest): Promise<Admission | AdmissionRefusal>
  readmit(tenantId: string, request: ReadmitOrder): Promise<{ ok: true; boundNano: number } | AdmissionRefusal>
  void(tenantId: string, requestId: string): Promise<unknown>
  settle(tenantId: string, receipts: Receipt[]): Promise<string[]>
  lease(pool: PoolName, ask: { requestId: string; tenantId: string; exclude: string[] }): Promise<LeaseOutcome>
  release(pool: PoolName, requestIds: string[]): Promise<unknown>
  workerFailed(pool: PoolName, workerId: string, requestId: string): Promise<unknown>
  /** Opens the exchange with one worker; `close` means that the edge disconnects. */
  open(place: WorkerEndpoint, dispatch: Dispatch): Exchange
}

export interface Exchange {
  /** The response headers: accepted, refused, or lost. */
  head: Promise<Refusal | 'accepted' | 'lost'>
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
  pools: readonly [PoolName, PoolName]
}

interface Lease {
  pool: PoolName
  place: WorkerEndpoint
}

interface Served {
  lease: Lease
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
    const service = this.#serve(request, admission, left)
    return request.stream ? this.#relayStream(service, left) : this.#relayWhole(service, left)
  }

  async #relayStream(service: Service, left: AbortSignal): Promise<string> {
    const pending = service.next()
    let served: Served
    try {
      // A client that disconnects before the first bytes is noticed here.
      served = await this.#step(Promise.race([pending, rejectWhen(left)]))
    } catch (error) {
      pending.catch(() => undefined)
      service.cancel()
      return String(error)
    }
    const end = await this.#step(Promise.race([served.exchange.rest, resolveWhen(left)]))
    if (end === 'done') return 'served'
    if (end === 'left') {
      served.exchange.close()
      return 'left in mid-answer'
    }
    service.lost(served)
    service.cancel()
    return 'worker lost in mid-answer'
  }

  async #relayWhole(service: Service, left: AbortSignal): Promise<string> {
    for (;;) {
      let served: Served
      try {
        served = await service.next()
      } catch (error) {
        service.cancel()
        return String(error)
      }
      const end = await this.#step(Promise.race([served.exchange.rest, resolveWhen(left)]))
      if (end === 'done') return 'served'
      if (end === 'left') {
        served.exchange.close()
        return 'left in mid-answer'
      }
      service.lost(served)
    }
  }

  #serve(request: EdgeRequest, admission: Admission, left: AbortSignal): Service {
    const network = this.#network
    const { requestId, tenantId, keyId } = request
    const failedOn: string[] = []
    let dispatches = 0
    let { boundNano } = admission
    let promptTokens = request.promptTokensEstimate
    let raised = false
    let receiptFollows = false

    const attempt = (lease: Lease): Exchange => {
      dispatches += 1
      const now = this.#now()
      const named = {
        ...{ requestId, tenantId, keyId, model: 'm', pool: lease.pool, effort: 'none' as const },
        dispatchId: `${requestId}.${dispatches}`,
        workerId: lease.place.workerId,
        costNanoMax: boundNano,
        promptTokensMax: promptTokens,
        outputTokensMax: admission.outputTokensMax,
        rates: admission.rates,
        issuedAt: now,
      }
      const exchange = network.open(lease.place, {
        ...named,
        proof: proofOf(fleet, named),
        priority: 5,
        bodyDigest: 'd'.repeat(43),
        settleFirst: admission.settleFirst,
        expiresAt: now + dispatchTtlMs,
      })
      this.#exchanges.add(exchange)
      return exchange
    }

    const route = async (): Promise<Lease> => {
      for (const pool of request.pools) {
        const withdraw = () => void network.release(pool, [requestId]).catch(() => undefined)
        left.addEventListener('abort', withdraw, { once: true })
        const outcome = await this.#step(network.lease(pool, { requestId, tenantId, exclude: failedOn })).finally(() =>
          left.removeEventListener('abort', withdraw),
        )
        if (outcome.kind === 'granted') return { pool, place: outcome.endpoint }
        if (outcome.kind !== 'rejected-no-endpoints') throw new Error(outcome.kind)
      }
      throw new Error('rejected-no-endpoints')
    }

    const next = async (): Promise<Served> => {
      let last: unknown
      while (failedOn.length < attemptsMax) {
        const lease = await route().catch((cause: unknown) => {
          throw last ?? cause
        })
        // A fetch whose signal is already aborted sends nothing.
        const exchange = left.aborted ? undefined : attempt(lease)
        const head = exchange ? await this.#step(Promise.race([exchange.head, resolveWhen(left)])) : ('left' as const)
        if (head === 'left') exchange?.close()
        if (exchange && head === 'accepted') {
          const first = await this.#step(Promise.race([exchange.first, resolveWhen(left)]))
          if (first === 'first') return { lease, exchange }
          if (first === 'left') exchange.close()
        }
        if (left.aborted) {
          receiptFollows = head === 'accepted'
          release(lease)
          throw new Error('the client left')
        }
        if (typeof head === 'object') {
          release(lease)
          const { code, promptTokens: exact } = head
          if (code === 'prompt_over_bound' && exact !== undefined && !raised) {
            const exactRequest = { requestId, model: 'm', promptTokens: exact, outputTokens: request.outputTokens }
            const answer = await this.#step(network.readmit(tenantId, exactRequest))
            if (!answer.ok) throw new Error(`refused again: ${answer.code}`)
            boundNano = answer.boundNano
            promptTokens = exact
            raised = true
            continue
          }
          last = new Error(`no worker could take the request: ${code}`)
        } else {
          failed(lease)
          last = new Error('worker lost')
        }
        failedOn.push(lease.place.workerId)
      }
      throw last
    }

    const release = (lease: Lease) => void network.release(lease.pool, [requestId]).catch(() => undefined)
    const failed = (lease: Lease) =>
      void network.workerFailed(lease.pool, lease.place.workerId, requestId).catch(() => undefined)
    return {
      next,
      lost: (served) => {
        failed(served.lease)
        failedOn.push(served.lease.place.workerId)
      },
      cancel: () => {
        if (!receiptFollows) void network.void(tenantId, requestId).catch(() => undefined)
      },
    }
  }

  /** `/internal/receipts`, as in src/settlement/receipts.ts: checks each receipt, settles by tenant and by pool. */
  async receipts(delivered: Receipt[]): Promise<ReceiptsAnswer> {
    const answer: ReceiptsAnswer = { done: [], refused: [] }
    const receipts = delivered.filter(({ dispatchId, ...claims }) => {
      const verdict = judgeReceipt({ dispatchId, ...claims }, fleet)
      if (!verdict.ok) answer.refused.push({ dispatchId, reason: verdict.reason })
      return verdict.ok
    })
    const byTenant = [...Map.groupBy(receipts, (receipt) => receipt.tenantId)]
    const byPool = [...Map.groupBy(receipts, (receipt) => receipt.pool)]
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
      ...byPool.map(([pool, group]) =>
        this.#step(
          this.#network.release(
            pool,
            group.map((receipt) => receipt.requestId),
          ),
        ),
      ),
    ])
    return answer
  }
}

interface Service {
  next(): Promise<Served>
  lost(served: Served): void
  cancel(): void
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
