/**
 * The attempts of one request, from its reservation to the first bytes of an answer, as a pure core: a state, an event,
 * and the next step. `run-attempts.ts` performs the steps; the simulation performs them too.
 *
 *   ┌▶ read-media ─▶ lease ─▶ dispatch ─▶ answer          the client gets the worker's bytes
 *   │      │           ├────────────────▶ hosted ─▶ answer  no worker has a slot in time, and the tenant allows it
 *   └──────┴───────────┴─ another worker may try ─▶ fail  no attempt remains, or the request itself is at fault
 *
 *   no response head           the worker did not accept the request: another worker may try
 *   head, then silence         the worker was preparing it: fail the request, exclude the worker, do not retry
 *   refused                    a fault of the request fails it; after a fault of the worker another worker may try
 *   prelude, then silence      another worker may try, as long as no byte was sent to the client
 *
 * The lease and the reservation always end: with the worker's receipt if an engine ran, otherwise by the effects below
 * and by `close`.
 */
import type { ErrorCode } from '../../backends/model/errors.ts'
import type { Refusal } from '../../backends/wire/dispatch.ts'
import { mediaBusy } from '../../backends/wire/media-question.ts'
import type { AttemptFailure } from '../fleet/decisions/decisions.ts'
import type { WorkerEndpoint } from '../fleet/state.ts'
import { GatewayError } from '../http/errors.ts'

/** Workers that may fail one request. */
const attemptsMax = 2
/** Media are read on the first worker, and again on each leased worker that does not have them. */
const mediaTurnsMax = 3
/** Attempts on workers that lack a capability. Such a refusal costs the worker little and no tokens. */
const unsupportedMax = 16

export interface AttemptsState {
  readonly requestId: string
  /** Whether a hosted API may answer when no worker can. */
  readonly mayUseHosted: boolean
  readonly failedOn: readonly string[]
  readonly unsupportedOn: readonly string[]
  readonly media: Media
  /** Reserved for, and sent with each dispatch as its bounds. */
  readonly promptTokens: number
  readonly boundNano: number
  /** The reservation was raised to an exact count; it is raised once. */
  readonly raised: boolean
  /** The client has the headers of an answer, which name its worker. */
  readonly answered: boolean
  readonly dispatches: number
  /** The error for the client when no attempt remains. */
  readonly lastError: GatewayError | undefined
  /** A receipt will close the reservation: an engine ran. */
  readonly receiptFollows: boolean
  /** The client's own fault cost work: the request counts against its rates although it is voided. */
  readonly charged: boolean
}

/** Documents and addresses of images, which a worker reads before the request holds a slot. */
type Media =
  | { kind: 'none' }
  /** `on`: the leased worker that does not have them. */
  | { kind: 'unread'; on: WorkerEndpoint | undefined; turns: number }
  | { kind: 'read'; workerId: string; turns: number }

export type Step =
  /** Has a worker read the media: `on`, or the one that the fleet suggests. */
  | { kind: 'read-media'; on: WorkerEndpoint | undefined; exclude: readonly string[]; turn: number }
  | { kind: 'lease'; exclude: readonly string[]; prefer: string | undefined }
  /** On the leased worker. `number` counts the dispatches of the request from 1. */
  | { kind: 'dispatch'; number: number }
  | { kind: 'reserve-more'; promptTokens: number }
  | { kind: 'hosted' }
  | { kind: 'answer' }
  | { kind: 'fail'; error: unknown }

export type AttemptEvent =
  /** The first attempt begins, or another one after `stream-lost`. */
  | { kind: 'begin' }
  | { kind: 'media-read'; workerId: string }
  /** No worker serves the model; the lease reports it. */
  | { kind: 'no-reader' }
  | { kind: 'leased' }
  /** `noWorker`: no worker has a slot now or in time. `uncertain`: the fleet may have granted a lease. */
  | { kind: 'not-leased'; error: unknown; noWorker: boolean; uncertain: boolean }
  | { kind: 'refused'; on: WorkerEndpoint; refusal: Refusal; stage: 'media' | 'dispatch' }
  /** The worker went silent while it prepared the request. */
  | { kind: 'unprepared'; on: WorkerEndpoint }
  /** The worker was lost before the first byte. */
  | { kind: 'lost'; on: WorkerEndpoint }
  | { kind: 'answering' }
  /** The answer is an error: the request itself ended its run. */
  | { kind: 'answer-error'; error: GatewayError }
  /** `ran`: an engine had the request. */
  | { kind: 'client-left'; ran: boolean }
  | { kind: 'raised'; promptTokens: number; boundNano: number }
  | { kind: 'not-raised'; error: unknown }
  /** An answer that the client has a part of broke off. */
  | { kind: 'stream-lost'; on: WorkerEndpoint }

/** Actions in addition to the step: calls to the fleet, and a line in the operator's log. */
export type Effect =
  /** Ends every lease and wait of the request: no attempt follows. */
  | { kind: 'release' }
  /** Ends this worker's lease only. Awaited before the next lease, because a late release would end that lease. */
  | { kind: 'release-on'; workerId: string; failure: AttemptFailure }
  | { kind: 'worker-failed'; workerId: string; failure: AttemptFailure }
  | { kind: 'log'; workerId: string; reason: string }

export interface Next {
  state: AttemptsState
  effects: readonly Effect[]
  step: Step
}

export function begin(options: {
  requestId: string
  mayUseHosted: boolean
  hasMedia: boolean
  promptTokens: number
  boundNano: number
}): AttemptsState {
  const { hasMedia, ...fixed } = options
  return {
    ...fixed,
    failedOn: [],
    unsupportedOn: [],
    media: hasMedia ? { kind: 'unread', on: undefined, turns: 0 } : { kind: 'none' },
    raised: false,
    answered: false,
    dispatches: 0,
    lastError: undefined,
    receiptFollows: false,
    charged: false,
  }
}

export function next(state: AttemptsState, event: AttemptEvent): Next {
  switch (event.kind) {
    case 'begin':
      return attempt(state)
    case 'media-read': {
      const { turns } = mediaTurns(state)
      return lease({ ...state, charged: false, media: { kind: 'read', workerId: event.workerId, turns } })
    }
    case 'no-reader':
      return lease(state)
    case 'leased': {
      const number = state.dispatches + 1
      return { state: { ...state, dispatches: number }, effects: [], step: { kind: 'dispatch', number } }
    }
    case 'not-leased': {
      const effects: Effect[] = event.uncertain ? [{ kind: 'release' }] : []
      if (event.noWorker && state.mayUseHosted && !state.answered) return { state, effects, step: { kind: 'hosted' } }
      return fail(state, state.lastError ?? event.error, effects)
    }
    case 'refused':
      return refused(state, event)
    case 'unprepared':
      return fail(without(state, event.on), unprepared(state.requestId), [
        failed(event.on, 'preparation_failed', 'it went silent while it prepared the request'),
      ])
    case 'lost':
      return attempt({ ...without(state, event.on), lastError: workerLost() }, [
        failed(event.on, 'worker_lost', 'it accepted no request, or was lost before its first byte'),
      ])
    case 'answering':
      return { state: { ...state, answered: true }, effects: [], step: { kind: 'answer' } }
    case 'answer-error':
      return fail({ ...state, receiptFollows: true }, event.error)
    case 'client-left':
      return fail({ ...state, receiptFollows: event.ran }, clientLeft(), [{ kind: 'release' }])
    case 'raised': {
      const { promptTokens, boundNano } = event
      return attempt({ ...state, promptTokens, boundNano, raised: true })
    }
    case 'not-raised':
      return fail(state, event.error)
    case 'stream-lost':
      return attempt({ ...without(state, event.on), lastError: workerLost() }, [
        failed(event.on, 'worker_lost', 'its answer broke off'),
      ])
  }
}

/** Whether a request without an answer counts against its rates: its media were read in vain, by the client's own doing. */
export function countsAgainstRates(state: AttemptsState, clientLeft: boolean): boolean {
  return state.charged || (clientLeft && mediaTurns(state).turns > 0)
}

/** Another worker may try, if attempts remain. */
function attempt(state: AttemptsState, effects: readonly Effect[] = []): Next {
  const { failedOn, unsupportedOn, media, lastError } = state
  if (lastError && (failedOn.length >= attemptsMax || unsupportedOn.length >= unsupportedMax))
    return fail(state, lastError, effects)
  if (media.kind !== 'unread') return lease(state, effects)
  const turn = media.turns + 1
  return {
    // Until it is clear whose fault it is, reading counts against the client.
    state: { ...state, charged: true, media: { kind: 'unread', on: undefined, turns: turn } },
    effects,
    step: { kind: 'read-media', on: media.on, exclude: [...failedOn, ...unsupportedOn], turn },
  }
}

function lease(state: AttemptsState, effects: readonly Effect[] = []): Next {
  const { failedOn, unsupportedOn, media } = state
  const prefer = media.kind === 'read' ? media.workerId : undefined
  return { state, effects, step: { kind: 'lease', exclude: [...failedOn, ...unsupportedOn], prefer } }
}

/** A refusal reports a fault of the request, the prompt's exact length, or that this worker cannot serve it. */
function refused(state: AttemptsState, { on, refusal, stage }: AttemptEvent & { kind: 'refused' }): Next {
  const { code, message, param, promptTokens } = refusal
  // Only a refusal of the media themselves is the client's fault.
  const charged = stage === 'media' && code === 'invalid_value'
  const seen = { ...state, charged }
  const failure = { code, reason: message }
  const effects: Effect[] = [{ kind: 'release-on', workerId: on.workerId, failure }]
  if (refusal.unsupported === true || code === 'no_vision') {
    // Another worker's engine may support it. If none does, the client gets this error.
    const lastError = new GatewayError('invalid_value', message, { param: param ?? null })
    return attempt({ ...seen, unsupportedOn: [...state.unsupportedOn, on.workerId], lastError }, effects)
  }
  const error = clientError(state.requestId, refusal)
  if (error) return fail(seen, error, effects)
  if (code === 'prompt_over_bound' && promptTokens !== undefined && !state.raised)
    return { state: seen, effects, step: { kind: 'reserve-more', promptTokens } }
  const { turns } = mediaTurns(state)
  if (code === 'media_missing' && state.media.kind !== 'none' && turns < mediaTurnsMax)
    return attempt({ ...seen, media: { kind: 'unread', on, turns } }, effects)
  const log: Effect = { kind: 'log', workerId: on.workerId, reason: `${code}: ${message}` }
  return attempt({ ...without(seen, on), lastError: notAccepted() }, [...effects, log])
}

/** The state without this worker: it failed, and it no longer counts as having the media. */
function without(state: AttemptsState, { workerId }: WorkerEndpoint): AttemptsState {
  const { media } = state
  const isReader = media.kind === 'read' && media.workerId === workerId
  return {
    ...state,
    charged: false,
    failedOn: [...state.failedOn, workerId],
    media: isReader ? { kind: 'unread', on: undefined, turns: media.turns } : media,
  }
}

function mediaTurns({ media }: AttemptsState): { turns: number } {
  return media.kind === 'none' ? { turns: 0 } : media
}

function fail(state: AttemptsState, error: unknown, effects: readonly Effect[] = []): Next {
  return { state, effects, step: { kind: 'fail', error } }
}

function failed({ workerId }: WorkerEndpoint, code: string, reason: string): Effect {
  return { kind: 'worker-failed', workerId, failure: { code, reason } }
}

/** The client's error for a refusal that every worker would give; undefined for others. */
function clientError(requestId: string, { code, message, param = null }: Refusal): GatewayError | undefined {
  const error = (code: ErrorCode, text: string, retryAfterMs: number | null = null) =>
    new GatewayError(code, text, { param, retryAfterMs })
  switch (code) {
    case 'context_length_exceeded':
    case 'invalid_value':
      return error(code, message)
    case 'preparation_failed':
      return error(code, `${message} ${notRetried(requestId)}`)
    case 'internal_error':
      return error(
        'preparation_failed',
        `A worker failed with an internal error on this request. ${notRetried(requestId)}`,
      )
    case mediaBusy.tenant:
      return error('rate_limit_exceeded', message, 2_000)
  }
  return undefined
}

function unprepared(requestId: string): GatewayError {
  const message = `The worker that prepared this request stopped answering. ${notRetried(requestId)}`
  return new GatewayError('preparation_failed', message)
}

function notRetried(requestId: string): string {
  return `The request was not sent to another worker. Simplify its schemas, tools or documents, or report request id ${requestId} to the operator.`
}

function workerLost(): GatewayError {
  const message = 'The worker was lost before it answered. Retry the request.'
  return new GatewayError('worker_lost', message, { retryAfterMs: 1_000 })
}

function notAccepted(): GatewayError {
  const message = 'No worker could accept the request. Retry after a second.'
  return new GatewayError('server_is_overloaded', message, { retryAfterMs: 1_000 })
}

/** No client reads this error. */
function clientLeft(): GatewayError {
  return new GatewayError('internal_error', 'the client left')
}
