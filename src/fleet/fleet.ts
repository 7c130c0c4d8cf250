/**
 * The fleet: the registered workers, the leases of their slots, and the waiting requests. One state owns the slots and
 * queues of both pools, because the pool split follows demand; see placement/pool-split.ts.
 *
 *   lease ──▶ granted                 a worker has a suitable slot, and no request waits ahead
 *         ├─▶ waiting ──▶ granted     a slot came free: fair-queue.ts picks the request, score.ts the worker
 *         │          ├──▶ evicted-ttl | evicted-cancelled | rejected-no-endpoints
 *         │          └──▶ rejected-capacity       displaced by a higher class, or cannot be served in time
 *         ├─▶ lower-effort            the wait would be long, and the tenant agreed to less effort instead
 *         ├─▶ rejected-capacity       the queue is full
 *         └─▶ rejected-no-endpoints   no worker serves the model
 *
 * Heartbeats fill the registry. The fleet checks its leases against the running requests that workers report. A lease
 * that its worker does not run is freed after a grace period, so a lost isolate leaks no slot. A request that runs
 * without a lease (this object restarted) still occupies a slot.
 *
 * After every event, no free slot suits a request whose turn it is. Pure: every function takes the state and `now`,
 * changes the state, and returns the outcomes of waiting requests.
 */
import type { EffortWord } from '../../backends/model/effort.ts'
import { choose, hasCandidate, moveSplits, overShare } from './choose.ts'
import { broke, worked } from './circuit-breaker.ts'
import { grant, grantWaiting } from './grant.ts'
import { endLease } from './leases.ts'
import { otherPool, preferredPoolOf } from './placement/latency-targets.ts'
import { came } from './placement/model-load.ts'
import { expectedLength, observeLength } from './placement/output-length.ts'
import { targets } from './placement/tuning.ts'
import { waitBegins } from './queue/drain-rate.ts'
import { shareOverRunning } from './queue/running-shares.ts'
import { expectedWaitMs, retryAfterMs } from './retry-after.ts'
import { endRequest, shed } from './shed.ts'
import {
  type FleetState,
  type LeaseOutcome,
  type LeaseRequest,
  laneOf,
  modelLoadOf,
  type Notification,
  paceOf,
  type RequestEnd,
  type WaitingRequest,
} from './state.ts'
import { sweep } from './sweep.ts'
import { type FleetWorker, observeEnd } from './worker.ts'

/** A tenant that agreed to less effort gets it if the expected wait is longer than this. */
const underLoadMs = 10_000

/** Returns the outcome, or undefined if the request now waits. `notify` gets the outcomes of other requests. */
export function lease(
  fleet: FleetState,
  request: LeaseRequest,
  now: number,
  notify: (notification: Notification) => void,
): LeaseOutcome | undefined {
  // The call that releases the previous lease of this request may arrive after this one.
  if (fleet.leases.has(request.requestId)) for (const each of release(fleet, request.requestId, now)) notify(each)
  note(fleet, request, now)
  const outcome = leaseNow(fleet, request, now, notify)
  if (outcome && outcome.kind !== 'granted') fleet.decisions.end(request.requestId, outcome.kind)
  return outcome
}

function leaseNow(
  fleet: FleetState,
  request: LeaseRequest,
  now: number,
  notify: (notification: Notification) => void,
): LeaseOutcome | undefined {
  const { model } = request
  if (!hasCandidate(fleet, request, now)) return { kind: 'rejected-no-endpoints' }
  const lane = laneOf(request)
  if (!request.again)
    came(
      modelLoadOf(fleet, model, now),
      preferredPoolOf(request.effort),
      request.promptTokens,
      fairDemand(fleet, request),
      now,
    )
  moveSplits(fleet, model, now)
  const laneEmpty = fleet.queue.backlog(lane) === 0
  const choice = laneEmpty ? choose(fleet, request, 0, now) : undefined
  if (choice) return grant(fleet, request, choice, now)
  if (wantsLess(fleet, request, lane, now)) return { kind: 'lower-effort', effort: request.effortUnderLoad }
  const added = fleet.queue.add(waiting(request), now)
  if (added.kind === 'full') return { kind: 'rejected-capacity', retryAfterMs: retryAfterMs(fleet, lane, now) }
  if (laneEmpty) waitBegins(paceOf(fleet, lane), now)
  if (added.displaced) notify(shed(fleet, added.displaced, now))
  return grantPastOverShare(fleet, request, now, notify)
}

/** A newcomer under its share may take a reserved slot while tenants over their share wait. */
function grantPastOverShare(
  fleet: FleetState,
  request: LeaseRequest,
  now: number,
  notify: (notification: Notification) => void,
): LeaseOutcome | undefined {
  const first = fleet.queue.next(laneOf(request), now)
  if (!first || !overShare(fleet, first.item) || overShare(fleet, request)) return undefined
  let own: LeaseOutcome | undefined
  for (const notification of grantWaiting(fleet, request.model, now)) {
    if (notification.requestId === request.requestId) own = notification.outcome
    else notify(notification)
  }
  return own
}

/**
 * The weight of a request in the demand that decides the pool split. While any request waits, requests of a tenant over
 * its share count only in proportion to that share. Otherwise a flood from one tenant would move workers between pools.
 */
function fairDemand(fleet: FleetState, request: LeaseRequest): number {
  const counted = fleet.queue.size > 0 && overShare(fleet, request)
  return counted ? shareOverRunning(fleet.shares, request.tenantId, request.weight) : 1
}

/** Ends the lease of a request that ended, or removes it from the queue if its client disconnected. Idempotent. */
export function release(fleet: FleetState, requestId: string, now: number): Notification[] {
  if (fleet.queue.remove(requestId)) return [endRequest(fleet, requestId, { kind: 'evicted-cancelled' })]
  const worker = fleet.leases.get(requestId)
  return worker ? releaseFrom(fleet, worker, requestId, now) : []
}

/** Ends only this worker's lease. The same request may meanwhile wait again or run on another worker. */
export function releaseOn(fleet: FleetState, workerId: string, requestId: string, now: number): Notification[] {
  const worker = fleet.leases.get(requestId)
  return worker?.heartbeat.workerId === workerId ? releaseFrom(fleet, worker, requestId, now) : []
}

function releaseFrom(fleet: FleetState, worker: FleetWorker, requestId: string, now: number): Notification[] {
  endLease(fleet, worker, requestId)
  fleet.ended.delete(requestId)
  fleet.ended.set(requestId, now)
  return grantWaiting(fleet, worker.heartbeat.model, now)
}

/** Applies a worker's receipt: learns output length and speed from it, and frees the slot. */
export function requestEnded(fleet: FleetState, end: RequestEnd, now: number): Notification[] {
  const worker = fleet.workers.get(end.workerId)
  const lease = worker?.leases.get(end.requestId)
  if (worker) {
    if (end.finished) {
      worked(worker.breaker)
      // Once per lease: a repeated receipt must not be counted again.
      if (lease) observeLength(fleet.lengths, worker.heartbeat.model, end.effort, end.outputTokens)
    } else if (end.outcome === 'failed') {
      broke(worker.breaker, end.requestId, now)
      fleet.decisions.failed(end.requestId, end.workerId, engineFailed)
    }
    if (lease) observeEnd(worker, lease, end, now)
  }
  const { promptTokens, cachedTokens, outputTokens, firstTokenMs, ms } = end
  const engine = { promptTokens, cachedTokens, outputTokens, firstTokenMs, ms }
  fleet.decisions.end(end.requestId, end.outcome, engine)
  return releaseOn(fleet, end.workerId, end.requestId, now)
}

const engineFailed = { code: 'engine_failed', reason: 'the worker reported that its engine failed' }

/** A request could not reach this worker. Frees the lease and leases no more slots there until a probe succeeds. */
export function workerFailed(fleet: FleetState, workerId: string, requestId: string, now: number): Notification[] {
  const worker = fleet.workers.get(workerId)
  if (worker) {
    worker.failed = true
    worker.failedWhy ??= 'a request could not reach the worker, or the response broke off'
    broke(worker.breaker, requestId, now)
  }
  return [...releaseOn(fleet, workerId, requestId, now), ...sweep(fleet, now)]
}

function note(fleet: FleetState, request: LeaseRequest, now: number): void {
  const { requestId, tenantId, model, effort, priorityClass, weight, promptTokens } = request
  const expectedOutputTokens = Math.round(expectedLength(fleet.lengths, model, effort, request.outputTokensMax))
  fleet.decisions.begin({
    ...{ requestId, tenantId, model, effort, priorityClass, weight, promptTokens, expectedOutputTokens },
    preferredPool: preferredPoolOf(effort),
    cameAt: now,
    attempts: [],
    outcome: null,
    engine: null,
  })
}

/** Whether the wait is too long at the requested effort but short enough at the effort that the tenant agreed to. */
function wantsLess(
  fleet: FleetState,
  request: LeaseRequest,
  lane: string,
  now: number,
): request is LeaseRequest & { effortUnderLoad: EffortWord } {
  const { effortUnderLoad, again, model } = request
  if (effortUnderLoad === null || again || preferredPoolOf(effortUnderLoad) === preferredPoolOf(request.effort))
    return false
  const other = `${otherPool(preferredPoolOf(request.effort))} ${model}`
  return expectedWaitMs(fleet, lane, now) > underLoadMs && expectedWaitMs(fleet, other, now) < underLoadMs
}

function waiting(request: LeaseRequest): WaitingRequest {
  const promised = request.priorityClass === 'interactive'
  return {
    ...request,
    dueMs: promised ? targets[preferredPoolOf(request.effort)].firstTokenMs : Number.POSITIVE_INFINITY,
  }
}
