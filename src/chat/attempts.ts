/**
 * From a reservation to the first bytes of an answer: read the media, lease a slot, dispatch. A failure before the
 * first byte is retried once on another worker. The lease and the reservation always end: with the worker's receipt if
 * an engine ran, otherwise here.
 *
 *   no response head           the worker did not accept the request: retry on another worker
 *   head, then silence         the worker was preparing it: fail the request, exclude the worker, do not retry
 *   refused                    a fault of the request fails it; a fault of the worker is retried on another worker
 *   prelude, then silence      retry on another worker, as long as no byte was sent
 */
import pRetry from 'p-retry'
import type { ErrorCode } from '../../backends/model/errors.ts'
import type { Refusal } from '../../backends/wire/dispatch.ts'
import { mediaBusy } from '../../backends/wire/media-question.ts'
import type { ApiKey } from '../auth/api-key.ts'
import { fleetOf } from '../fleet/client.ts'
import { type GrantedLease, route } from '../fleet/lease.ts'
import { prefixHashes } from '../fleet/placement/prefix-hash.ts'
import type { PriorityClass } from '../fleet/queue/fair-queue.ts'
import { Wait } from '../fleet/queue-status.ts'
import { NoWorker } from '../fleet/refusal.ts'
import type { LeaseRequest, WorkerEndpoint } from '../fleet/state.ts'
import { GatewayError, logError } from '../http/errors.ts'
import type { Admission } from '../tenant/rpc.ts'
import type { Answered, AttemptState } from './answered.ts'
import type { RequestContext } from './context.ts'
import { type Dispatched, type DispatchRequest, dispatch, dispatchIdOf } from './dispatch.ts'
import { readAnswerError } from './first-error.ts'
import { hedged, type Tried, type Trying } from './hedge.ts'
import { hasMediaToRead, readMediaAt } from './media-reading.ts'
import type { PreparedRequest } from './prepare.ts'
import { reserveMore, tenantStub } from './reserve.ts'
import { type Watch, watchWorker } from './worker-watch.ts'

/** The attempt failed before a byte of the answer was sent, so another worker may try. */
class LeaseRetry extends Error {}

const attemptsMax = 2
/** Media are read on the first worker, and again on each leased worker that does not have them. */
const mediaTurnsMax = 3
/** Attempts on workers without vision. Such a refusal costs the worker little and no tokens. */
const noVisionMax = 16
/** The engine's priority; smaller runs first. Like every preference, it comes from the plan. */
const enginePriority = { interactive: 3, batch: 7 } satisfies Record<PriorityClass, number>

export function runAttempts(
  context: RequestContext,
  key: ApiKey,
  prepared: PreparedRequest,
  admission: Admission,
  bytes: Uint8Array<ArrayBuffer>,
): AttemptState {
  const failedOn: string[] = []
  const noVisionWorkers: string[] = []
  const wait = new Wait(context)
  const { model } = prepared
  const effort = prepared.effort.effective
  const prefix = prefixHashes(
    { tenantId: key.tenantId, model: model.id, effort, chat: prepared.chat },
    model.bytesPerToken,
  )
  const lowest = model.efforts[0] ?? effort
  const underLoad = admission.lowersEffort && lowest !== effort ? lowest : null
  const { hedgeAfterMs } = context.settings
  const reads = hasMediaToRead(prepared)
  /** The worker that has this request's media. */
  let mediaAt: string | undefined
  /** The leased worker that does not have them. */
  let readAt: WorkerEndpoint | undefined
  let mediaTurns = 0
  /** Reading media in vain, through the client's own fault, counts against the client's rates. */
  let charge: 'rate' | undefined
  /** A hedged worker went silent while it prepared the request. */
  let poison: GatewayError | undefined
  let dispatches = 0
  /** Attempts that ran in parallel with another. */
  let hedges = 0
  let { boundNano } = admission
  let { promptTokens } = prepared
  let raised = false
  let receiptFollows = false
  let nowhere = false
  const watches: Watch[] = []
  let slow = false
  /** The error for the client when no attempts remain. */
  let lastError: unknown

  async function send(lease: GrantedLease, lost: AbortSignal, accepted: () => void): Promise<Dispatched> {
    const request: DispatchRequest = {
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
      ...(hedgeAfterMs !== undefined && { quiet: true }),
    }
    dispatches += 1
    return dispatch(context, lease, request, bytes, dispatches, Date.now(), lost, accepted)
  }

  /** Starts an attempt on this worker. `dropped` aborts it at any time, including the answer's body. */
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

  /** Returns the first attempt that starts to answer, or the first attempt's failure. */
  async function startBest(lease: GrantedLease, request: Omit<LeaseRequest, 'requestId'>): Promise<Tried> {
    // No second worker has the media.
    if (hedgeAfterMs === undefined || reads) return start(lease).tried
    if (hedges === 0) {
      const begun = () => {
        hedges += 1
      }
      return hedged({ context, afterMs: hedgeAfterMs, send: start, lost: endedMeanwhile, begun }, lease, request)
    }
    const tried = await start(lease).tried
    // The ledger knows that there were two attempts, and bills only the one reported as the winner.
    if (tried.served) await tenantStub(context, key.tenantId).hedgeWon(context.requestId, tried.dispatchId)
    return tried
  }

  /** One attempt. Rejects with `LeaseRetry` when another worker may try. */
  async function attempt(): Promise<Answered> {
    if (failedOn.length + hedges >= attemptsMax || noVisionWorkers.length >= noVisionMax) throw lastError
    const { weight, priorityClass, outputTokensMax } = admission
    const request: Omit<LeaseRequest, 'requestId'> = {
      tenantId: key.tenantId,
      model: prepared.model.id,
      // A lowered effort stays lowered: the headers may have been sent.
      effort: wait.lowered ?? prepared.effort.effective,
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
    if (reads && mediaAt === undefined) await readMedia(request)
    const lease = await route(context, { ...request, preferWorkerId: mediaAt }, wait).catch((cause: unknown) => {
      nowhere = cause instanceof NoWorker
      // The fleet may have granted a lease whose answer was lost.
      if (!(cause instanceof GatewayError)) release(context)
      throw lastError ?? cause
    })
    const { served, dispatched, failure, lease: on } = await startBest(lease, request)
    if (served) return served
    if (context.left.aborted) leave(dispatched)
    if (failure) {
      // The worker's receipt reports what it generated.
      receiptFollows = hedges === 0
      throw failure
    }
    if (poison) throw poison
    if (dispatched.kind === 'unprepared') failed(on, unprepared(context))
    if (dispatched.kind === 'refused') await refused(on.endpoint, dispatched.refusal)
    else failed(on)
    throw new LeaseRetry()
  }

  /** Rejects with `LeaseRetry` when another worker must try. If no worker serves the model, `route` reports it. */
  async function readMedia(request: Omit<LeaseRequest, 'requestId'>): Promise<void> {
    const { requestId } = context
    const place = readAt ?? (await fleetOf(context.env).suggest({ requestId, ...request }))
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
    // Only a refusal of the media themselves is the client's fault.
    if (read.kind !== 'refused' || read.refusal.code !== 'invalid_value') charge = undefined
    if (read.kind === 'refused') await refused(place, read.refusal)
    else failed({ endpoint: place }, read.kind === 'unprepared' ? unprepared(context) : undefined)
    throw new LeaseRetry()
  }

  function leave(dispatched: Dispatched): never {
    // After the prelude, the worker's receipt closes the reservation and reports what was generated. Not with two
    // attempts of which neither has begun: the ledger then bills none.
    receiptFollows = dispatched.kind === 'prepared' && hedges === 0
    release(context)
    throw new GatewayError('internal_error', 'the client left')
  }

  /** A refusal reports a fault of the request, the prompt's exact length, or that this worker cannot serve it. */
  async function refused(
    endpoint: WorkerEndpoint,
    { code, message, param, promptTokens: exact }: Refusal,
  ): Promise<void> {
    release(context)
    const fault = clientErrorOf(context, code, message)
    if (fault)
      throw new GatewayError(fault.code, fault.message, { param: param ?? null, retryAfterMs: fault.retryAfterMs })
    if (code === 'prompt_over_bound' && exact !== undefined && !raised) {
      boundNano = await reserveMore(context, key, prepared, exact)
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
      // Another worker may have vision. If none has, the client gets this error.
      noVisionWorkers.push(endpoint.workerId)
      lastError = new GatewayError('invalid_value', message, { param: param ?? null })
      return
    }
    logError(`request ${context.requestId}: worker ${endpoint.workerId} refused`, `${code}: ${message}`)
    failedOn.push(endpoint.workerId)
    if (mediaAt === endpoint.workerId) mediaAt = undefined
    lastError = new GatewayError('server_is_overloaded', 'No worker could accept the request. Retry after a second.', {
      retryAfterMs: 1_000,
    })
  }

  /** @param cause set when no other worker may get the request */
  function failed(lease: Pick<GrantedLease, 'endpoint'>, cause?: GatewayError): void {
    workerFailed(context, lease)
    failedOn.push(lease.endpoint.workerId)
    if (mediaAt === lease.endpoint.workerId) mediaAt = undefined
    if (cause) throw cause
    lastError = new GatewayError('worker_lost', 'The worker was lost before it answered. Retry the request.', {
      retryAfterMs: 1_000,
    })
  }

  function endedMeanwhile({ lease, dispatched, failure }: Tried): void {
    const { workerId } = lease.endpoint
    if (dispatched.kind === 'unprepared') poison = unprepared(context)
    if (dispatched.kind === 'refused' || failure)
      context.waitUntil(fleetOf(context.env).releaseOn(workerId, context.requestId))
    else failed(lease)
  }

  return {
    // Without `context.left`: p-retry would drop an answer that arrives as the client leaves, and its engine would
    // continue.
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
      // Media were read for a client that left: they count against its rates.
      const charged = charge ?? (mediaTurns > 0 && context.left.aborted ? 'rate' : undefined)
      if (!receiptFollows) context.waitUntil(voided(tenantStub(context, key.tenantId), context.requestId, charged))
    },
  }
}

/** The client's error for a refusal that every worker would give; undefined for others. */
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
        `A worker failed with an internal error on this request. The request was not sent to another worker. ${simplify(requestId)}`,
      )
    case mediaBusy.tenant:
      return error('rate_limit_exceeded', message, 2_000)
  }
  return undefined
}

function unprepared({ requestId }: RequestContext): GatewayError {
  const message = `The worker that prepared this request stopped answering. The request was not sent to another worker. ${simplify(requestId)}`
  return new GatewayError('preparation_failed', message)
}

function simplify(requestId: string): string {
  return `Simplify its schemas, tools or documents, or report request id ${requestId} to the operator.`
}

/** The stream's first bytes; the error if the answer is one; undefined when the stream broke before its first byte. */
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

/** `rate`: the request still counts against its rates. */
function voided(tenant: object, requestId: string, charge: 'rate' | undefined): Promise<unknown> {
  return (tenant as { void(requestId: string, charge?: 'rate'): Promise<unknown> }).void(requestId, charge)
}
