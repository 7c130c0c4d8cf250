/**
 * From a reservation to the first bytes of an answer: read its media, route, dispatch, and where that fails before a byte
 * was sent, once more on another worker. In every case the lease and the reservation end: with the worker's receipt
 * when an engine ran, here when none did.
 *
 *   no head: not accepted         another worker may have it
 *   head, and then silence        it was in preparation: this request fails, its worker is out, no other gets it
 *   refused                       what is wrong with the request fails it; what is wrong with the worker lets another try
 *   prelude, and then silence     another worker may have it, as long as no byte was sent
 */
import pRetry from 'p-retry'
import type { ErrorCode } from '../../backends/model/errors.ts'
import type { Refusal } from '../../backends/wire/dispatch.ts'
import { mediaBusy } from '../../backends/wire/media-question.ts'
import type { ApiKey } from '../auth/api-key.ts'
import { fleetOf } from '../fleet/client.ts'
import type { LeaseRequest, WorkerEndpoint } from '../fleet/fleet.ts'
import { type GrantedLease, route } from '../fleet/lease.ts'
import { prefixHashes } from '../fleet/placement/prefix-hash.ts'
import type { PriorityClass } from '../fleet/queue/fair-queue.ts'
import { Wait } from '../fleet/queue-status.ts'
import { NoPlace } from '../fleet/refusal.ts'
import { GatewayError, logError } from '../http/errors.ts'
import { reserveMore, tenantStub } from '../tenant/client.ts'
import type { Admission } from '../tenant/rpc.ts'
import type { RequestContext } from './context.ts'
import { type Dispatched, type DispatchRequest, dispatch, dispatchIdOf } from './dispatch.ts'
import { readAnswerError } from './first-error.ts'
import { hedged, type Tried, type Trying } from './hedge.ts'
import { hasMediaToRead, readMediaAt } from './media-reading.ts'
import type { PreparedRequest } from './prepare.ts'
import { type Watch, watchWorker } from './worker-watch.ts'

export interface Answered {
  lease: GrantedLease | HostedEndpoint
  /** The prompt's exact length, where it is known before the answer's end. */
  promptTokens: number | undefined
  /** What its engine does not honour, where that is known before the first byte. */
  warnings: readonly string[]
  first: Uint8Array
  /** The rest of the worker's stream; whoever holds it cancels it when the client leaves. */
  rest: ReadableStream<Uint8Array>
  /** Over its worker, where it has one; whoever holds the rest stops it when that has ended. */
  watch: Watch | undefined
}

/** Where an answer comes from that no pool gives; see hosted.ts. */
interface HostedEndpoint extends Pick<GrantedLease, 'waitedMs' | 'position'> {
  pool: 'hosted'
  endpoint: { workerId: string }
}

export interface AttemptState {
  /** The next attempt's first bytes. May be called again after `lost`, until the attempts are used up. */
  next(): Promise<Answered>
  /** The stream broke after its first bytes: its worker is out until heard of again. */
  lost(served: Answered): void
  /** The answer is not over yet: from now on its worker is watched. */
  slow(): void
  /** What is known of the wait for a slot, while there is one, and after it. */
  wait: Pick<Wait, 'look' | 'firstLook' | 'past' | 'lowered'>
  /** Whether `next` failed because the house has no place for it, now or in time. */
  nowhere(): boolean
  /** No attempt follows: close the reservation, unless a receipt will. */
  cancel(): void
}

/** This worker did not do it. Nothing of the answer has gone out, so another may. */
class LeaseRetry extends Error {}

const attemptsMax = 2
/** On a first worker, and on each that is leased instead and does not have them. */
const mediaTurnsMax = 3
/** Workers that may say that they do not see, before one is found that does. It costs each a moment and no tokens. */
const noVisionMax = 16
/** The engine's priority, where smaller runs first. From the plan, as everything that gives preference. */
const enginePriority = { interactive: 3, batch: 7 } satisfies Record<PriorityClass, number>

export function runAttempts(
  context: RequestContext,
  key: ApiKey,
  shaped: PreparedRequest,
  admission: Admission,
  bytes: Uint8Array<ArrayBuffer>,
): AttemptState {
  const failedOn: string[] = []
  const noVisionWorkers: string[] = []
  const wait = new Wait(context)
  const { model } = shaped
  const effort = shaped.effort.effective
  const prefix = prefixHashes(
    { tenantId: key.tenantId, model: model.id, effort, chat: shaped.chat },
    model.bytesPerToken,
  )
  const least = model.efforts[0] ?? effort
  const underLoad = admission.lowersEffort && least !== effort ? least : null
  const { hedgeAfterMs } = context.settings
  const reads = hasMediaToRead(shaped)
  /** The worker that has this request's media. */
  let mediaAt: string | undefined
  /** The leased worker that does not. */
  let readAt: WorkerEndpoint | undefined
  let mediaTurns = 0
  /** Media that were read in vain, by the client's own doing, are charged to its rates. */
  let charge: 'rate' | undefined
  /** A hedged worker fell silent while it prepared the request. */
  let poison: GatewayError | undefined
  let dispatches = 0
  /** Attempts that began beside another. */
  let hedges = 0
  let { boundNano } = admission
  let { promptTokens } = shaped
  let raised = false
  let receiptFollows = false
  let nowhere = false
  const watches: Watch[] = []
  let slow = false
  /** What the client is told when the attempts are used up. */
  let last: unknown

  async function send(lease: GrantedLease, lost: AbortSignal, accepted: () => void): Promise<Dispatched> {
    const order: DispatchRequest = {
      requestId: context.requestId,
      tenantId: key.tenantId,
      keyId: key.keyId,
      model: shaped.model.id,
      ...(shaped.effort.asked && { effortAsked: shaped.effort.asked }),
      effort: lease.effort,
      priority: enginePriority[admission.priorityClass],
      costNanoMax: boundNano,
      promptTokensMax: promptTokens,
      outputTokensMax: admission.outputTokensMax,
      rates: admission.rates,
      settleFirst: admission.settleFirst,
      ...(lease.position !== null && { waited: true }),
      ...(hedgeAfterMs !== undefined && { quiet: true }),
    }
    dispatches += 1
    return dispatch(context, lease, order, bytes, dispatches, Date.now(), lost, accepted)
  }

  /** Sends it to this worker. `dropped` breaks it off at any time, its answer's body too. */
  function start(lease: GrantedLease, dropped?: AbortSignal): Trying {
    const watch = watchWorker(context, lease)
    watches.push(watch)
    if (slow) watch.begin()
    let accepted = false
    const stop = dropped ? AbortSignal.any([watch.lost, dropped]) : watch.lost
    const sent = send(lease, stop, () => {
      accepted = true
    })
    const dispatchId = dispatchIdOf(context, dispatches)
    const begin = async (): Promise<Tried> => {
      const dispatched = await sent
      const first = dispatched.kind === 'prepared' ? await firstBytes(lease, dispatched, watch) : undefined
      const served = first instanceof GatewayError ? undefined : first
      const failure = first instanceof GatewayError ? first : undefined
      if (!served) watch.stop()
      return { lease, dispatchId, dispatched, served, failure }
    }
    const prepared = sent.then(
      ({ kind }) => kind === 'prepared',
      () => false,
    )
    return { lease, dispatchId, accepted: () => accepted, prepared, tried: begin() }
  }

  /** Whoever of one worker, or of two, begins to answer; or how the first one ended. */
  async function startBest(lease: GrantedLease, ask: Omit<LeaseRequest, 'requestId'>): Promise<Tried> {
    // No second worker has the media.
    if (hedgeAfterMs === undefined || reads) return start(lease).tried
    if (hedges === 0) {
      const begun = () => {
        hedges += 1
      }
      return hedged({ context, afterMs: hedgeAfterMs, send: start, lost: endedMeanwhile, begun }, lease, ask)
    }
    const tried = await start(lease).tried
    // The books know that there were two, and pay for none that they are not told of.
    if (tried.served) await tenantStub(context, key.tenantId).hedgeWon(context.requestId, tried.dispatchId)
    return tried
  }

  /** One worker is asked. Rejects with `Again` where another may be. */
  async function attempt(): Promise<Answered> {
    if (failedOn.length + hedges >= attemptsMax || noVisionWorkers.length >= noVisionMax) throw last
    const { weight, priorityClass, outputTokensMax } = admission
    const order: Omit<LeaseRequest, 'requestId'> = {
      tenantId: key.tenantId,
      model: shaped.model.id,
      // Once lowered it stays so: its headers may have gone out.
      effort: wait.lowered ?? shaped.effort.effective,
      effortUnderLoad: wait.lowered === undefined ? underLoad : null,
      promptTokens,
      outputTokensMax,
      prefix: wait.lowered === undefined ? prefix : [],
      exclude: [...failedOn, ...noVisionWorkers],
      again: dispatches > 0,
      weight,
      priorityClass,
      costTokens: promptTokens + outputTokensMax,
    }
    if (reads && mediaAt === undefined) await readMedia(order)
    const lease = await route(context, { ...order, preferWorkerId: mediaAt }, wait).catch((cause: unknown) => {
      nowhere = cause instanceof NoPlace
      // The grant may have been made and lost on its way.
      if (!(cause instanceof GatewayError)) release(context)
      throw last ?? cause
    })
    const { served, dispatched, failure, lease: on } = await startBest(lease, order)
    if (served) return served
    if (context.left.aborted) leave(dispatched)
    if (failure) {
      // The worker's receipt says what it generated.
      receiptFollows = hedges === 0
      throw failure
    }
    if (poison) throw poison
    if (dispatched.kind === 'unprepared') failed(on, unprepared(context))
    if (dispatched.kind === 'refused') await refused(on.endpoint, dispatched.refusal)
    else failed(on)
    throw new LeaseRetry()
  }

  /** Rejects with `Again` where another worker is to be asked. Where no worker serves the model, `route` says so. */
  async function readMedia(order: Omit<LeaseRequest, 'requestId'>): Promise<void> {
    const { requestId } = context
    const place = readAt ?? (await fleetOf(context.env).suggest({ requestId, ...order }))
    if (!place) return
    readAt = undefined
    mediaTurns += 1
    charge = 'rate'
    const read = await readMediaAt(context, key.tenantId, place, bytes, mediaTurns, Date.now())
    if (context.left.aborted) throw new GatewayError('internal_error', 'the client left')
    if (read.kind === 'prepared') {
      charge = undefined
      mediaAt = place.workerId
      return
    }
    // A refusal of the media themselves is the client's; every other end is not.
    if (read.kind !== 'refused' || read.refusal.code !== 'invalid_value') charge = undefined
    if (read.kind === 'refused') await refused(place, read.refusal)
    else failed({ endpoint: place }, read.kind === 'unprepared' ? unprepared(context) : undefined)
    throw new LeaseRetry()
  }

  function leave(dispatched: Dispatched): never {
    // Once the prelude has come, the worker's receipt closes the reservation: it says what was generated until now. Not
    // where there were two and neither had begun: the books pay for none.
    receiptFollows = dispatched.kind === 'prepared' && hedges === 0
    release(context)
    throw new GatewayError('internal_error', 'the client left')
  }

  /** A refusal either says what is wrong with the request, or how long it really is, or that this worker cannot. */
  async function refused(
    endpoint: WorkerEndpoint,
    { code, message, param, promptTokens: exact }: Refusal,
  ): Promise<void> {
    release(context)
    const told = clientErrorOf(context, code, message)
    if (told) throw new GatewayError(told.code, told.message, { param: param ?? null, retryAfterMs: told.retryAfterMs })
    if (code === 'prompt_over_bound' && exact !== undefined && !raised) {
      boundNano = await reserveMore(context, key, shaped, exact)
      promptTokens = exact
      raised = true
      return
    }
    if (code === 'media_missing' && reads && mediaTurns < mediaTurnsMax) {
      mediaAt = undefined
      readAt = endpoint
      return
    }
    if (code === 'no_vision') {
      // Another may see; where none does, this is what is told.
      noVisionWorkers.push(endpoint.workerId)
      last = new GatewayError('invalid_value', message, { param: param ?? null })
      return
    }
    logError(`request ${context.requestId}: worker ${endpoint.workerId} refused`, `${code}: ${message}`)
    failedOn.push(endpoint.workerId)
    if (mediaAt === endpoint.workerId) mediaAt = undefined
    last = new GatewayError('server_is_overloaded', 'no worker could take the request: try again soon', {
      retryAfterMs: 1_000,
    })
  }

  /** @param cause where no other worker is to have the request */
  function failed(lease: Pick<GrantedLease, 'endpoint'>, cause?: GatewayError): void {
    workerFailed(context, lease)
    failedOn.push(lease.endpoint.workerId)
    if (mediaAt === lease.endpoint.workerId) mediaAt = undefined
    if (cause) throw cause
    last = new GatewayError('worker_lost', 'the worker was lost before it answered: try again', { retryAfterMs: 1_000 })
  }

  function endedMeanwhile({ lease, dispatched, failure }: Tried): void {
    const { workerId } = lease.endpoint
    if (dispatched.kind === 'unprepared') poison = unprepared(context)
    if (dispatched.kind === 'refused' || failure)
      context.waitUntil(fleetOf(context.env).releaseOn(workerId, context.requestId))
    else failed(lease)
  }

  return {
    // Without `line.left`: p-retry would drop an answer that came as the client left, and nobody would stop its engine.
    next: () =>
      pRetry(attempt, {
        retries: attemptsMax + noVisionMax,
        minTimeout: 0,
        shouldRetry: ({ error }) => error instanceof LeaseRetry,
      }),
    lost({ lease }) {
      if (lease.pool !== 'hosted') failed(lease)
    },
    slow() {
      slow = true
      for (const watch of watches) watch.begin()
    },
    nowhere: () => nowhere,
    wait,
    cancel() {
      // Media were read for a client that left: its rates pay for them.
      const owed = charge ?? (mediaTurns > 0 && context.left.aborted ? 'rate' : undefined)
      if (!receiptFollows) context.waitUntil(voided(tenantStub(context, key.tenantId), context.requestId, owed))
    },
  }
}

/** The refusals that are about the request, whichever worker it goes to. */
function clientErrorOf({ requestId }: RequestContext, code: string, message: string) {
  const error = (code: ErrorCode, message: string, retryAfterMs: number | null = null) => ({
    code,
    message,
    retryAfterMs,
  })
  switch (code) {
    case 'context_length_exceeded':
    case 'invalid_value':
      return error(code, message)
    case 'preparation_failed':
      return error(
        code,
        `${message.replace(/\.$/, '')}. The request was not sent to another worker. ${simplify(requestId)}`,
      )
    case 'internal_error':
      return error(
        'preparation_failed',
        `a worker met an internal error with this request. The request was not sent to another worker. ${simplify(requestId)}`,
      )
    case mediaBusy.tenant:
      return error('rate_limit_exceeded', message, 2_000)
  }
  return undefined
}

function unprepared({ requestId }: RequestContext): GatewayError {
  const message = `the worker that prepared this request stopped answering. The request was not sent to another worker. ${simplify(requestId)}`
  return new GatewayError('preparation_failed', message)
}

function simplify(requestId: string): string {
  return `Simplify its schemas, tools or documents, or report request id ${requestId} to the operator`
}

/** The stream's first bytes, or undefined when it broke before them. An answer that is an error from its first byte is that. */
async function firstBytes(
  lease: GrantedLease,
  { first, rest, promptTokens, warnings }: Dispatched & { kind: 'prepared' },
  watch: Watch,
): Promise<Answered | GatewayError | undefined> {
  const reader = rest.getReader()
  try {
    const bytes = first.length > 0 ? first : (await reader.read()).value
    if (!bytes) return undefined
    const error = readAnswerError(bytes)
    if (!error) return { lease, promptTokens, warnings, first: bytes, rest, watch }
    await reader.cancel().catch(() => undefined)
    return error
  } catch {
    return undefined
  } finally {
    reader.releaseLock()
  }
}

function release(context: RequestContext): void {
  context.waitUntil(fleetOf(context.env).release([context.requestId]))
}

function workerFailed(context: RequestContext, lease: Pick<GrantedLease, 'endpoint'>): void {
  context.waitUntil(fleetOf(context.env).workerFailed(lease.endpoint.workerId, context.requestId))
}

/** `rate`: what the request took from its rates is not given back. */
function voided(tenant: object, requestId: string, charge: 'rate' | undefined): Promise<unknown> {
  return (tenant as { void(requestId: string, charge?: 'rate'): Promise<unknown> }).void(requestId, charge)
}
