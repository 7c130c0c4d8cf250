/**
 * From a reservation to the first bytes of an answer: route, dispatch, and where that fails before a byte was sent,
 * once more on another worker. Whatever happens, the lease and the reservation end: with the worker's receipt when an
 * engine ran, here when none did.
 */
import pRetry from 'p-retry'
import type { Refusal } from '../../backends/protocol/dispatch.ts'
import type { ApiKey } from '../auth/api-key.ts'
import { GatewayError, logError } from '../errors.ts'
import type { Line } from '../line.ts'
import type { PriorityClass } from '../routing/fair-queue.ts'
import { fleetOf } from '../routing/fleet.ts'
import type { Ask } from '../routing/pool.ts'
import { beginningsOf } from '../routing/prefix.ts'
import { NoPlace } from '../routing/refusal.ts'
import { type Lease, route } from '../routing/route.ts'
import { Wait } from '../routing/wait.ts'
import type { Shaped } from '../shaping/shape.ts'
import type { Admission } from '../tenant/calls.ts'
import { reserveAgain, tenantStub } from '../tenant/reserve.ts'
import { type Dispatched, type DispatchOrder, dispatch, dispatchIdOf } from './dispatch.ts'
import { hedged, type Tried, type Trying } from './hedge.ts'
import { type Watch, watchWorker } from './watch.ts'

export interface Served {
  lease: Lease | HostedPlace
  contentType: string
  /** The prompt's exact length, where it is known before the answer's end. */
  promptTokens: number | undefined
  /** What its engine does not honour, where that is known before the first byte. */
  warnings: string | null
  first: Uint8Array
  /** The rest of the worker's stream; whoever holds it cancels it when the client leaves. */
  rest: ReadableStream<Uint8Array>
  /** Over its worker, where it has one; whoever holds the rest stops it when that has ended. */
  watch: Watch | undefined
}

/** Where an answer comes from that no pool gives; see hosted.ts. */
export interface HostedPlace extends Pick<Lease, 'waitedMs' | 'position'> {
  pool: 'hosted'
  place: { workerId: string }
}

export interface Service {
  /** The next attempt's first bytes. May be called again after `lost`, until the attempts are used up. */
  next(): Promise<Served>
  /** The stream broke after its first bytes: its worker is out until heard of again. */
  lost(served: Served): void
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
class Again extends Error {}

const attemptsMax = 2
/** Workers that may say that they do not see, before one is found that does. It costs each a moment and no tokens. */
const blindMax = 16
/** The engine's priority, where smaller runs first. From the plan, as everything that gives preference. */
const enginePriority = { interactive: 3, batch: 7 } satisfies Record<PriorityClass, number>

export function serve(
  line: Line,
  key: ApiKey,
  shaped: Shaped,
  admission: Admission,
  bytes: Uint8Array<ArrayBuffer>,
): Service {
  const failedOn: string[] = []
  const blind: string[] = []
  const wait = new Wait(line)
  const { model } = shaped
  const effort = shaped.effort.effective
  const prefix = beginningsOf(
    { tenantId: key.tenantId, model: model.id, effort, chat: shaped.chat },
    model.bytesPerToken,
  )
  const least = model.efforts[0] ?? effort
  const underLoad = admission.lowersEffort && least !== effort ? least : null
  const { hedgeAfterMs } = line.settings
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

  async function send(lease: Lease, lost: AbortSignal): Promise<Dispatched> {
    const order: DispatchOrder = {
      requestId: line.requestId,
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
    return dispatch(line, lease, order, bytes, dispatches, Date.now(), lost)
  }

  /** Sends it to this worker. `dropped` breaks it off at any time, its answer's body too. */
  function start(lease: Lease, dropped?: AbortSignal): Trying {
    const watch = watchWorker(line, lease)
    watches.push(watch)
    if (slow) watch.begin()
    const sent = send(lease, dropped ? AbortSignal.any([watch.lost, dropped]) : watch.lost)
    const dispatchId = dispatchIdOf(line, dispatches)
    const begin = async (): Promise<Tried> => {
      const dispatched = await sent
      const served = dispatched.kind === 'accepted' ? await firstBytes(lease, dispatched, watch) : undefined
      if (!served) watch.stop()
      return { lease, dispatchId, dispatched, served }
    }
    return { lease, dispatchId, tried: begin() }
  }

  /** Whoever of one worker, or of two, begins to answer; or how the first one ended. */
  async function startBest(lease: Lease, ask: Omit<Ask, 'requestId'>): Promise<Tried> {
    if (hedgeAfterMs === undefined) return start(lease).tried
    if (hedges === 0) {
      const begun = () => {
        hedges += 1
      }
      return hedged({ line, afterMs: hedgeAfterMs, send: start, lost: endedBeside, begun }, lease, ask)
    }
    const tried = await start(lease).tried
    // The books know that there were two, and pay for none that they are not told of.
    if (tried.served) await tenantStub(line, key.tenantId).hedgeWon(line.requestId, tried.dispatchId)
    return tried
  }

  /** One worker is asked. Rejects with `Again` where another may be. */
  async function attempt(): Promise<Served> {
    if (failedOn.length + hedges >= attemptsMax || blind.length >= blindMax) throw last
    const { weight, priorityClass, outputTokensMax } = admission
    const order = {
      tenantId: key.tenantId,
      model: shaped.model.id,
      // Once lowered it stays so: its headers may have gone out.
      effort: wait.lowered ?? shaped.effort.effective,
      effortUnderLoad: wait.lowered === undefined ? underLoad : null,
      promptTokens,
      outputTokensMax,
      prefix: wait.lowered === undefined ? prefix : [],
      exclude: [...failedOn, ...blind],
      again: dispatches > 0,
      weight,
      priorityClass,
      costTokens: promptTokens + outputTokensMax,
    }
    const lease = await route(line, order, wait).catch((cause: unknown) => {
      nowhere = cause instanceof NoPlace
      // The grant may have been made and lost on its way.
      if (!(cause instanceof GatewayError)) release(line)
      throw last ?? cause
    })
    const { served, dispatched, lease: on } = await startBest(lease, order)
    if (served) return served
    if (line.left.aborted) leave(dispatched)
    if (dispatched.kind === 'refused') await refused(on, dispatched.refusal)
    else failed(on)
    throw new Again()
  }

  function leave(dispatched: Dispatched): never {
    // Once a worker has accepted, its receipt closes the reservation: it says what was generated until now. Not where
    // there were two and neither had begun: the books pay for none.
    receiptFollows = dispatched.kind === 'accepted' && hedges === 0
    release(line)
    throw new GatewayError('internal_error', 'the client left')
  }

  /** A refusal either says what is wrong with the request, or how long it really is, or that this worker cannot. */
  async function refused(lease: Lease, { code, message, param, promptTokens: exact }: Refusal): Promise<void> {
    release(line)
    if (code === 'context_length_exceeded' || code === 'invalid_value') {
      throw new GatewayError(code, message, { param: param ?? null })
    }
    if (code === 'prompt_over_bound' && exact !== undefined && !raised) {
      boundNano = await reserveAgain(line, key, shaped, exact)
      promptTokens = exact
      raised = true
      return
    }
    if (code === 'no_vision') {
      // Another may see; where none does, this is what is told.
      blind.push(lease.place.workerId)
      last = new GatewayError('invalid_value', message, { param: param ?? null })
      return
    }
    logError(`request ${line.requestId}: worker ${lease.place.workerId} refused`, `${code}: ${message}`)
    failedOn.push(lease.place.workerId)
    last = new GatewayError('server_is_overloaded', 'no worker could take the request: try again soon', {
      retryAfterMs: 1_000,
    })
  }

  function failed(lease: Lease): void {
    workerFailed(line, lease)
    failedOn.push(lease.place.workerId)
    last = new GatewayError('worker_lost', 'the worker was lost before it answered: try again', { retryAfterMs: 1_000 })
  }

  function endedBeside({ lease, dispatched }: Tried): void {
    const { workerId } = lease.place
    if (dispatched.kind === 'refused') line.waitUntil(fleetOf(line.env).releaseOn(workerId, line.requestId))
    else failed(lease)
  }

  return {
    // Without `line.left`: p-retry would drop an answer that came as the client left, and nobody would stop its engine.
    next: () =>
      pRetry(attempt, {
        retries: attemptsMax + blindMax,
        minTimeout: 0,
        shouldRetry: ({ error }) => error instanceof Again,
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
      if (!receiptFollows) line.waitUntil(tenantStub(line, key.tenantId).void(line.requestId))
    },
  }
}

/** The stream's first chunk, or undefined when it broke before. */
async function firstBytes(
  lease: Lease,
  accepted: Dispatched & { kind: 'accepted' },
  watch: Watch,
): Promise<Served | undefined> {
  const reader = accepted.body.getReader()
  try {
    const { value } = await reader.read()
    if (!value) return undefined
    const { contentType, promptTokens, warnings, body: rest } = accepted
    return { lease, contentType, promptTokens, warnings, first: value, rest, watch }
  } catch {
    return undefined
  } finally {
    reader.releaseLock()
  }
}

function release(line: Line): void {
  line.waitUntil(fleetOf(line.env).release([line.requestId]))
}

function workerFailed(line: Line, lease: Lease): void {
  line.waitUntil(fleetOf(line.env).workerFailed(lease.place.workerId, line.requestId))
}
