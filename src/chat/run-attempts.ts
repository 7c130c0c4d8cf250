/**
 * Performs the steps of a request's attempts (attempts.ts), one after the other, until an answer starts or none will.
 * The caller relays the answer; if it breaks off before the client has a part of it, the caller asks for the next one.
 */
import type { ApiKey } from '../auth/api-key.ts'
import { inDialect } from '../dialects/field-names.ts'
import { fleetOf } from '../fleet/client.ts'
import { type GrantedLease, type LeaseCall, lease } from '../fleet/lease.ts'
import { prefixHashes } from '../fleet/placement/prefix-hash.ts'
import type { PrefixHash } from '../fleet/placement/prefix-holders.ts'
import type { PriorityClass } from '../fleet/queue/fair-queue.ts'
import { Wait } from '../fleet/queue-status.ts'
import { NoWorker } from '../fleet/refusal.ts'
import type { LeaseRequest } from '../fleet/state.ts'
import { GatewayError, logError } from '../http/errors.ts'
import type { Admission } from '../tenant/rpc.ts'
import type { Answered } from './answered.ts'
import {
  type AttemptEvent,
  type AttemptsState,
  begin,
  countsAgainstRates,
  type Effect,
  next,
  type Step,
} from './attempts.ts'
import type { RequestContext } from './context.ts'
import { type Dispatched, dispatch } from './dispatch.ts'
import { readAnswerError } from './first-error.ts'
import { HostedCall } from './hosted-call.ts'
import { hasMediaToRead, readMediaAt } from './media-reading.ts'
import type { PreparedRequest } from './prepare.ts'
import { reserveMore, tenantStub } from './reserve.ts'
import { type Watch, watchWorker } from './worker-watch.ts'

/** The engine's priority; smaller runs first. Like every preference, it comes from the plan. */
const enginePriority = { interactive: 3, batch: 7 } satisfies Record<PriorityClass, number>

const brokeOff = { code: 'worker_lost', reason: 'its answer broke off after the client had a part of it' }

export interface AttemptsOptions {
  context: RequestContext
  key: ApiKey
  prepared: PreparedRequest
  admission: Admission
  /** The body for the worker. */
  bytes: Uint8Array<ArrayBuffer>
  /** Called with each answer that is asked for. */
  started: (pending: Promise<Answered>) => void
}

export class Attempts {
  /** The state of the wait for a slot, during the wait and after it. */
  readonly wait: Wait
  readonly #options: AttemptsOptions
  readonly #prefix: PrefixHash[]
  readonly #watches: Watch[] = []
  #state: AttemptsState
  #lease: GrantedLease | undefined
  #answered: Answered | undefined
  #hosted: HostedCall | undefined
  #slow = false

  constructor(options: AttemptsOptions) {
    const { context, key, prepared, admission } = options
    const { model, effort, chat } = prepared
    this.#options = options
    this.wait = new Wait(context)
    this.#prefix = prefixHashes(
      { tenantId: key.tenantId, model: model.id, effort: effort.effective, chat },
      model.bytesPerToken,
    )
    this.#state = begin({
      requestId: context.requestId,
      mayUseHosted: context.settings.hosted !== undefined && admission.hostedRates !== null,
      hasMedia: hasMediaToRead(prepared),
      promptTokens: prepared.promptTokens,
      boundNano: admission.boundNano,
    })
  }

  /** The hosted API answers, or is about to. */
  get hosted(): HostedCall | undefined {
    return this.#hosted
  }

  /** The first bytes of an answer. Rejects with the client's error when no attempt remains. */
  first(): Promise<Answered> {
    return this.#start({ kind: 'begin' })
  }

  /** The same, after an answer broke off of which the client has no part yet. */
  async another(lost: Answered): Promise<Answered> {
    if (lost.lease.pool !== 'hosted') return this.#start({ kind: 'stream-lost', on: lost.lease.endpoint })
    this.lost(lost)
    const message = 'The hosted API stopped in the middle of the answer. Retry the request.'
    throw new GatewayError('worker_lost', message, { retryAfterMs: 1_000 })
  }

  /** The answer broke off, and no other follows: its worker is excluded until its next heartbeat. */
  lost({ lease }: Answered): void {
    if (lease.pool === 'hosted') void this.#hosted?.end('failed')
    else void this.#apply([{ kind: 'worker-failed', workerId: lease.endpoint.workerId, failure: brokeOff }])
  }

  /** The answer takes long: from now on its worker is watched. */
  slow(): void {
    this.#slow = true
    for (const watch of this.#watches) watch.begin()
  }

  /** No attempt follows. Closes the reservation, unless a receipt will. */
  cancel(): void {
    if (this.#hosted) return void this.#hosted.end('abort')
    if (this.#state.receiptFollows) return
    const { context, key } = this.#options
    const charge = countsAgainstRates(this.#state, context.left.aborted) ? 'rate' : undefined
    context.waitUntil(voided(tenantStub(context, key.tenantId), context.requestId, charge))
  }

  #start(event: AttemptEvent): Promise<Answered> {
    const pending = this.#run(event)
    this.#options.started(pending)
    return pending
  }

  async #run(first: AttemptEvent): Promise<Answered> {
    for (let event = first; ; ) {
      const { state, effects, step } = next(this.#state, event)
      this.#state = state
      await this.#apply(effects)
      if (step.kind === 'fail') throw this.#named(step.error)
      if (step.kind === 'hosted') return this.#callHosted()
      if (step.kind === 'answer' && this.#answered) return this.#answered
      event = await this.#perform(step)
    }
  }

  /** A worker names fields of Chat Completions. */
  #named(error: unknown): unknown {
    const { context, prepared } = this.#options
    if (!(error instanceof GatewayError) || error.param === null) return error
    const { message, param } = inDialect(context.dialect, error, prepared.fieldPaths)
    if (param === error.param) return error
    const { code, retryAfterMs, headers } = error
    return new GatewayError(code, message, { param, retryAfterMs, headers, cause: error })
  }

  async #perform(step: Step): Promise<AttemptEvent> {
    // An abort is reported once: a client that left during the step before is not noticed by the next one.
    if (this.#options.context.left.aborted) return { kind: 'client-left', ran: false }
    switch (step.kind) {
      case 'read-media':
        return this.#readMedia(step)
      case 'lease':
        return this.#leaseSlot(step)
      case 'dispatch':
        return this.#dispatch(step)
      case 'reserve-more':
        return this.#reserveMore(step)
      default:
        throw new Error(`no event follows the step ${step.kind}`)
    }
  }

  async #readMedia({ on, exclude, turn }: Step & { kind: 'read-media' }): Promise<AttemptEvent> {
    const { context, key, bytes } = this.#options
    const endpoint = on ?? (await fleetOf(context.env).suggest(this.#leaseRequest(exclude, undefined)))
    if (!endpoint) return { kind: 'no-reader' }
    const read = await readMediaAt(context, key.tenantId, endpoint, bytes, turn, Date.now())
    if (context.left.aborted) return { kind: 'client-left', ran: false }
    if (read.kind === 'prepared') return { kind: 'media-read', workerId: endpoint.workerId }
    if (read.kind === 'refused') return { kind: 'refused', on: endpoint, refusal: read.refusal, stage: 'media' }
    return { kind: read.kind === 'unprepared' ? 'unprepared' : 'lost', on: endpoint }
  }

  async #leaseSlot({ exclude, prefer }: Step & { kind: 'lease' }): Promise<AttemptEvent> {
    const { context } = this.#options
    try {
      const fleet = fleetOf(context.env) as unknown as LeaseCall['fleet']
      const { left, waitUntil } = context
      this.#lease = await lease({ fleet, left, waitUntil }, this.#leaseRequest(exclude, prefer), this.wait)
      return { kind: 'leased' }
    } catch (error) {
      // The fleet may have granted a lease whose answer was lost.
      const uncertain = !(error instanceof GatewayError)
      return { kind: 'not-leased', error, noWorker: error instanceof NoWorker && !context.left.aborted, uncertain }
    }
  }

  async #dispatch({ number }: Step & { kind: 'dispatch' }): Promise<AttemptEvent> {
    const { context } = this.#options
    const lease = this.#lease
    if (!lease) throw new Error('a dispatch needs a lease')
    const { endpoint } = lease
    const watch = watchWorker(context, lease)
    this.#watches.push(watch)
    if (this.#slow) watch.begin()
    const dispatched = await this.#send(lease, number, watch)
    const first = dispatched.kind === 'prepared' ? await firstBytes(lease, dispatched, watch) : undefined
    if (first && !(first instanceof GatewayError)) {
      this.#answered = first
      return { kind: 'answering' }
    }
    watch.stop()
    // After the prelude, the worker's receipt closes the reservation and reports what was generated.
    if (context.left.aborted) return { kind: 'client-left', ran: dispatched.kind === 'prepared' }
    if (first) return { kind: 'answer-error', error: first }
    if (dispatched.kind === 'refused')
      return { kind: 'refused', on: endpoint, refusal: dispatched.refusal, stage: 'dispatch' }
    return { kind: dispatched.kind === 'unprepared' ? 'unprepared' : 'lost', on: endpoint }
  }

  async #reserveMore({ promptTokens }: Step & { kind: 'reserve-more' }): Promise<AttemptEvent> {
    const { context, key, prepared, admission } = this.#options
    const mayShorten = prepared.chat.outputTokensMax === undefined
    const order = { model: prepared.model.id, promptTokens, outputTokens: admission.outputTokensMax, mayShorten }
    try {
      return { kind: 'raised', promptTokens, boundNano: await reserveMore(context, key, order) }
    } catch (error) {
      return { kind: 'not-raised', error }
    }
  }

  #callHosted(): Promise<Answered> {
    const { context, key, prepared, admission } = this.#options
    const { hosted } = context.settings
    const { hostedRates } = admission
    if (!hosted || !hostedRates) throw new Error('there is no hosted API')
    this.#hosted = new HostedCall({ context, key, prepared, admission, hosted, rates: hostedRates })
    return this.#hosted.begin()
  }

  #send(lease: GrantedLease, number: number, watch: Watch): Promise<Dispatched> {
    const { context, key, prepared, admission, bytes } = this.#options
    const { promptTokens, boundNano } = this.#state
    const request = {
      requestId: context.requestId,
      tenantId: key.tenantId,
      keyId: key.keyId,
      model: prepared.model.id,
      ...(prepared.effort.asked && { effortAsked: prepared.effort.asked }),
      effort: lease.effort,
      priority: enginePriority[admission.priorityClass],
      costNanoMax: boundNano,
      promptTokensMax: promptTokens,
      outputTokensMax: admission.outputTokensMax,
      rates: admission.rates,
      settleFirst: admission.settleFirst,
      ...(lease.position !== null && { waited: true }),
    }
    return dispatch(context, { lease, request, body: bytes, number, now: Date.now(), lost: watch.lost })
  }

  #leaseRequest(exclude: readonly string[], prefer: string | undefined): LeaseRequest {
    const { context, key, prepared, admission } = this.#options
    const { weight, priorityClass, outputTokensMax } = admission
    const { promptTokens, dispatches } = this.#state
    const { effective } = prepared.effort
    const lowest = prepared.model.efforts[0] ?? effective
    const { lowered } = this.wait
    return {
      requestId: context.requestId,
      tenantId: key.tenantId,
      model: prepared.model.id,
      // A lowered effort stays lowered: the headers may have been sent.
      effort: lowered ?? effective,
      effortUnderLoad: lowered === undefined && admission.lowersEffort && lowest !== effective ? lowest : null,
      promptTokens,
      outputTokensMax,
      prefix: lowered === undefined ? this.#prefix : [],
      exclude: [...exclude],
      preferWorkerId: prefer,
      again: dispatches > 0,
      ...{ weight, priorityClass },
      costTokens: promptTokens + outputTokensMax,
    }
  }

  async #apply(effects: readonly Effect[]): Promise<void> {
    const { env, requestId, waitUntil } = this.#options.context
    for (const effect of effects) {
      switch (effect.kind) {
        case 'release':
          waitUntil(fleetOf(env).release([requestId]))
          break
        case 'release-on':
          // If the call is lost, the next lease of this request ends this lease.
          await fleetOf(env)
            .releaseOn(effect.workerId, requestId, effect.failure)
            .catch((error: unknown) => logError(`request ${requestId}: its slot is not released`, error))
          break
        case 'worker-failed':
          waitUntil(fleetOf(env).workerFailed(effect.workerId, requestId, effect.failure))
          break
        case 'log':
          logError(`request ${requestId}: worker ${effect.workerId} refused`, effect.reason)
      }
    }
  }
}

/** The stream's first bytes; the error if the answer is one; undefined when the stream broke before its first byte. */
async function firstBytes(
  lease: GrantedLease,
  { first, rest, promptTokens, outputTokensMax, warnings }: Dispatched & { kind: 'prepared' },
  watch: Watch,
): Promise<Answered | GatewayError | undefined> {
  const reader = rest.getReader()
  try {
    const bytes = first.length > 0 ? first : (await reader.read()).value
    if (!bytes) return undefined
    const error = readAnswerError(bytes)
    if (!error) return { lease, promptTokens, outputTokensMax, warnings, first: bytes, rest, watch }
    await reader.cancel().catch(() => undefined)
    return error
  } catch {
    return undefined
  } finally {
    reader.releaseLock()
  }
}

/** `rate`: the request still counts against its rates. */
function voided(tenant: object, requestId: string, charge: 'rate' | undefined): Promise<unknown> {
  return (tenant as { void(requestId: string, charge?: 'rate'): Promise<unknown> }).void(requestId, charge)
}
