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
import { budgets } from '../../backends/model/budgets.ts'
import type { EffortWord } from '../../backends/model/effort.ts'
import { type PoolName, poolNames } from '../../backends/wire/dispatch.ts'
import { type Heartbeat, heartbeatLostMs, type WorkerState } from '../../backends/wire/heartbeat.ts'
import { began, broke, undecided, worked } from './circuit-breaker.ts'
import { type Considered, Decisions } from './decisions/decisions.ts'
import type { Hold } from './enrolment-check.ts'
import { otherPool, preferredPoolOf } from './placement/latency-targets.ts'
import { came, type ModelLoad, moveSplit, newModelLoad, snapshotOf } from './placement/model-load.ts'
import { expectedLength, type Lengths, newLengths, observeLength, observeWritten } from './placement/output-length.ts'
import { Affinity, type PrefixHash } from './placement/prefix-holders.ts'
import { better, type JudgedWorker, judge, type ModelSnapshot, type PlacementRequest } from './placement/score.ts'
import { targets } from './placement/tuning.ts'
import { newSpeed, type Speed } from './placement/worker-speed.ts'
import { grantEveryMs, granted, newPace, type Pace, waitBegins } from './queue/drain-rate.ts'
import { FairQueue, type Queued, type QueueEntry, type Standing } from './queue/fair-queue.ts'
import {
  crowdersOf,
  gave,
  isOverShare,
  newShares,
  type Shares,
  shareOverRunning,
  took,
} from './queue/running-shares.ts'
import {
  addLease,
  believedTokens,
  candidateOf,
  conditionOf,
  dropLease,
  type Ended,
  type FleetWorker,
  isEligible,
  kindOf,
  leasesOf,
  newWorker,
  observeEnd,
  observeHeartbeat,
  runningOn,
} from './worker.ts'

export interface LeaseRequest extends Omit<Queued, 'dueMs'> {
  /** The effort that the prompt will contain. */
  effort: EffortWord
  /** An estimate. */
  promptTokens: number
  /** The request's own limit. */
  outputTokensMax: number
  /** Hashes of the prompt's prefixes, shortest first. */
  prefix: PrefixHash[]
  /** The effort that the tenant accepts instead of a long wait; null if it did not agree to any. */
  effortUnderLoad: EffortWord | null
  /** Ids of workers that already failed this request; empty unless `again` is true. */
  exclude: string[]
  /** The worker that read this request's media. It is chosen if it is suitable, even if another scores better. */
  preferWorkerId?: string | undefined
}

/** A request in the queue. */
type WaitingRequest = LeaseRequest & Queued

export interface WorkerEndpoint {
  workerId: string
  keyEpoch: number
  url: string
  pool: PoolName
}

export type LeaseOutcome =
  /** `position` is the queue position on arrival; null if the request did not wait. */
  | { kind: 'granted'; endpoint: WorkerEndpoint; waitedMs: number; position: number | null }
  /** Nothing was leased. The caller leases again with this effort. */
  | { kind: 'lower-effort'; effort: EffortWord }
  | { kind: 'rejected-capacity'; retryAfterMs: number }
  | { kind: 'rejected-no-endpoints' }
  | { kind: 'evicted-ttl'; retryAfterMs: number }
  | { kind: 'evicted-cancelled' }

/** The outcome of a request that waited. */
export interface Notification {
  requestId: string
  outcome: LeaseOutcome
}

/** The queue status that a waiting request can see. */
export interface WaitView extends Standing {
  /** Null until the rate of free slots is measured. */
  expectedWaitMs: number | null
  /** Minimum time until the next query. */
  askAgainMs: number
}

/** The part of a receipt that the fleet uses. */
export interface RequestEnd extends Ended {
  requestId: string
  workerId: string
  effort: EffortWord
  outcome: string
}

/** The result of probing one worker process. */
export interface Probed {
  workerId: string
  instance: string
  /** Why the probe failed; undefined if it succeeded. */
  fault: string | undefined
}

export interface FleetState {
  workers: Map<string, FleetWorker>
  /** The worker of each leased request. */
  leases: Map<string, FleetWorker>
  /** The second worker of each hedged request. */
  hedges: Map<string, FleetWorker>
  /** Recently ended requests in order of their end: a heartbeat in flight may still list them as running. */
  ended: Map<string, number>
  /** One lane per model and preferred pool. */
  queue: FairQueue<WaitingRequest>
  /** Rate of free slots, by lane. */
  paces: Map<string, Pace>
  /** By model. */
  modelLoads: Map<string, ModelLoad>
  lengths: Lengths
  shares: Shares
  /** By kind of worker. */
  speeds: Map<string, Speed>
  affinity: Affinity
  decisions: Decisions
  /** Workers that stopped sending heartbeats without signing off, and when. They may still hold receipts. */
  missing: Map<string, number>
  /** Whether a request may be served in the other pool, and the pool split may move. */
  spill: boolean
}

export const waitingTtlMs = 60_000
export const workersMax = 1_000
/** How long a worker may not yet report a leased request as running: the dispatch is in flight. */
const leaseGraceMs = 10_000
const endedKeptMs = 5_000
/** After this time settlement no longer waits for the worker's receipts; see settlement/overdue.ts. */
const missingKeptMs = 24 * 3_600_000
const missingMax = 1_000
const pacesMax = 128
const modelLoadsMax = 64
const speedsMax = 256
/** Retried requests that are checked for a free slot on a worker that they do not exclude. */
const backLookMax = 64
/** Without a throughput pool, at least one of this many grants is a long answer while one waits. */
const longEvery = 8
const retryAfterMinMs = 1_000
/** Clients ignore longer retry times. */
const retryAfterMaxMs = 60_000
/** Used until the rate of free slots is measured. */
const retryAfterUnknownMs = 5_000
const askAgainMinMs = 1_000
/** A tenant that agreed to less effort gets it if the expected wait is longer than this. */
const underLoadMs = 10_000
/** Per sweep and lane. */
const shedMax = 256
const consideredMax = 4

export function emptyFleet(spill = true): FleetState {
  return {
    workers: new Map(),
    leases: new Map(),
    hedges: new Map(),
    ended: new Map(),
    queue: new FairQueue<WaitingRequest>(laneOf),
    paces: new Map(),
    modelLoads: new Map(),
    lengths: newLengths(),
    shares: newShares(),
    speeds: new Map(),
    affinity: new Affinity(),
    decisions: new Decisions(),
    missing: new Map(),
    spill,
  }
}

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

function overShare(fleet: FleetState, { tenantId, weight }: LeaseRequest): boolean {
  return isOverShare(fleet.shares, tenantId, weight)
}

/**
 * Leases a slot on a second worker for a running request, if one is free and no request waits. `request.exclude` holds
 * the first worker. Each lease ends separately; `release` ends both.
 */
export function hedge(fleet: FleetState, request: LeaseRequest, now: number): WorkerEndpoint | undefined {
  const { requestId, model } = request
  if (!fleet.leases.has(requestId) || fleet.hedges.has(requestId)) return undefined
  if (poolNames.some((preferredPool) => fleet.queue.backlog(`${preferredPool} ${model}`) > 0)) return undefined
  const choice = choose(fleet, request, 0, now)
  const granted = choice && grant(fleet, request, choice, now, undefined, fleet.hedges)
  return granted?.kind === 'granted' ? granted.endpoint : undefined
}

/** Ends every lease of a request that ended, or removes it from the queue if its client disconnected. Idempotent. */
export function release(fleet: FleetState, requestId: string, now: number): Notification[] {
  if (fleet.queue.remove(requestId)) return [endRequest(fleet, requestId, { kind: 'evicted-cancelled' })]
  const workers = [fleet.leases.get(requestId), fleet.hedges.get(requestId)].filter((worker) => worker !== undefined)
  return workers.flatMap((worker) => releaseFrom(fleet, worker, requestId, now))
}

/** Ends only this worker's lease. The same request may meanwhile wait again or run on another worker. */
export function releaseOn(fleet: FleetState, workerId: string, requestId: string, now: number): Notification[] {
  const worker = [fleet.leases.get(requestId), fleet.hedges.get(requestId)].find(
    (each) => each?.heartbeat.workerId === workerId,
  )
  return worker ? releaseFrom(fleet, worker, requestId, now) : []
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
    } else if (end.outcome === 'failed') broke(worker.breaker, end.requestId, now)
    if (lease) observeEnd(worker, lease, end, now)
  }
  const { promptTokens, cachedTokens, outputTokens, firstTokenMs, ms } = end
  const engine = { promptTokens, cachedTokens, outputTokens, firstTokenMs, ms }
  fleet.decisions.end(end.requestId, end.outcome, engine)
  return releaseOn(fleet, end.workerId, end.requestId, now)
}

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

export function heartbeat(
  fleet: FleetState,
  beat: Heartbeat,
  keyEpoch: number,
  now: number,
  hold?: Hold,
): Notification[] {
  const known = fleet.workers.get(beat.workerId)
  const sameProcess = known?.heartbeat.instance === beat.instance
  if (known && sameProcess && known.heartbeat.sentAt > beat.sentAt) return []
  if (!known && fleet.workers.size >= workersMax) return []
  fleet.missing.delete(beat.workerId)
  if (beat.state === 'gone') {
    forget(fleet, beat.workerId)
    return sweep(fleet, now)
  }
  const speed = speedOf(fleet, beat)
  const worker = known ?? newWorker(beat, keyEpoch, speed, now)
  const running = new Set(beat.running)
  // Requests of the worker's previous process ended with that process.
  const graceMs = sameProcess ? leaseGraceMs : 0
  for (const [requestId, { at }] of worker.leases) {
    if (!running.has(requestId) && now - at > graceMs) endLease(fleet, worker, requestId)
  }
  const unleased = beat.running.filter((id) => !worker.leases.has(id) && !fleet.ended.has(id)).length
  if (known) learn(fleet, worker, beat, now)
  if (beat.pool !== worker.heartbeat.pool) worker.assignedPool = beat.pool
  if (known && !sameProcess) Object.assign(worker, { failed: false, failedWhy: undefined, probedAt: undefined })
  Object.assign(worker, { heartbeat: beat, keyEpoch, seenAt: now, hold, unleased, speed })
  fleet.workers.set(beat.workerId, worker)
  return sweep(fleet, now)
}

/** Sends the worker no new requests; running ones continue. `seenAt` is the time of its last heartbeat. */
export function holdWorker(
  fleet: FleetState,
  workerId: string,
  hold: Hold,
  seenAt: number,
  now: number,
): Notification[] {
  const worker = fleet.workers.get(workerId)
  if (worker) Object.assign(worker, { hold, seenAt })
  return sweep(fleet, now)
}

/** Whether the edge must probe this worker now: at its first heartbeat, and repeatedly while it is unreachable. */
export function probeDue(fleet: FleetState, workerId: string, now: number): boolean {
  const worker = fleet.workers.get(workerId)
  if (!worker || (worker.probedAt !== undefined && !worker.failed)) return false
  if (worker.probedAt !== undefined && now - worker.probedAt < budgets.workerProbeMs.value) return false
  worker.probedAt = now
  return true
}

export function probed(fleet: FleetState, { workerId, instance, fault }: Probed, now: number): Notification[] {
  const worker = fleet.workers.get(workerId)
  if (worker?.heartbeat.instance !== instance) return []
  Object.assign(worker, { failed: fault !== undefined, failedWhy: fault })
  // After a success, the next failure is probed at the next heartbeat.
  if (fault === undefined) worker.probedAt = Number.NEGATIVE_INFINITY
  return sweep(fleet, now)
}

/** Call before the heartbeat is stored: the requests that ran until now wrote the tokens since the last heartbeat. */
function learn(fleet: FleetState, worker: FleetWorker, heartbeat: Heartbeat, now: number): void {
  const claimed = heartbeat.outputTokensTotal - worker.heartbeat.outputTokensTotal
  const tokens = believedTokens(claimed, runningOn(worker), now - worker.seenAt)
  const latencyShare = worker.leases.size > 0 ? worker.latencyCount / worker.leases.size : 0
  observeWritten(fleet.lengths, heartbeat.model, 'latency', tokens * latencyShare)
  observeWritten(fleet.lengths, heartbeat.model, 'throughput', tokens * (1 - latencyShare))
  observeHeartbeat(worker, heartbeat, now)
}

/** Removes a worker whose key is no longer valid. Settlement waits for its receipts only if it is still `believed`. */
export function expel(fleet: FleetState, workerId: string, believed: boolean, now: number): Notification[] {
  if (believed && fleet.workers.has(workerId)) miss(fleet, workerId, now)
  if (!believed) fleet.missing.delete(workerId)
  forget(fleet, workerId)
  return sweep(fleet, now)
}

/** Drops expired state and grants free slots to waiting requests. Call it about once a second. */
export function sweep(fleet: FleetState, now: number): Notification[] {
  for (const [id, worker] of fleet.workers) {
    if (now - worker.seenAt <= heartbeatLostMs) continue
    forget(fleet, id)
    if (fleet.missing.size < missingMax) miss(fleet, id, now)
  }
  dropOlder(fleet.missing, now - missingKeptMs)
  dropOlder(fleet.ended, now - endedKeptMs)
  const notifications = fleet.queue.removeOlder(now - waitingTtlMs).map((entry): Notification => {
    const { requestId } = entry.item
    return endRequest(fleet, requestId, {
      kind: 'evicted-ttl',
      retryAfterMs: retryAfterMs(fleet, laneOf(entry.item), now),
    })
  })
  for (const lane of fleet.queue.lanes())
    notifications.push(...refuseHopeless(fleet, lane, now), ...shedSurplus(fleet, lane, now))
  for (const model of fleet.modelLoads.keys()) {
    moveSplits(fleet, model, now)
    notifications.push(...grantWaiting(fleet, model, now))
  }
  return notifications
}

/** Queue status of a waiting request; undefined for any other. */
export function waitView(fleet: FleetState, requestId: string, now: number): WaitView | undefined {
  const entry = fleet.queue.entry(requestId)
  const standing = fleet.queue.standing(requestId)
  if (!entry || !standing) return undefined
  const everyMs = grantEveryMs(paceOf(fleet, laneOf(entry.item)), now)
  const expectedWaitMs = everyMs === undefined ? null : Math.ceil(everyMs * standing.position)
  // At most a thousand queries a second, for any number of waiting requests.
  return { ...standing, expectedWaitMs, askAgainMs: Math.max(askAgainMinMs, fleet.queue.size) }
}

/** Every worker that may hold receipts: reachable ones in `present`, silent ones in `missing`. */
export function registry(fleet: FleetState): { present: WorkerEndpoint[]; missing: string[] } {
  return { present: [...fleet.workers.values()].map(endpointOf), missing: [...fleet.missing.keys()] }
}

export interface PoolView {
  slots: number
  leased: number
  unleased: number
  waiting: number
  workers: {
    workerId: string
    model: string
    state: WorkerState
    /** Why the worker gets no requests, or a hint for the operator; otherwise null. */
    reason: string | null
    assignedPool: PoolName
    slots: number
    leased: number
    engine: string
    vision: boolean
    url: string
  }[]
}

/** @param preferredPool limits the view to workers started for this pool and requests that prefer it */
export function view(fleet: FleetState, preferredPool?: PoolName): PoolView {
  const present = [...fleet.workers.values()].filter(
    ({ heartbeat }) => preferredPool === undefined || heartbeat.pool === preferredPool,
  )
  const workers = present.map((worker) => {
    const { heartbeat: beat, assignedPool, leases } = worker
    return {
      workerId: beat.workerId,
      model: beat.model,
      ...conditionOf(worker),
      assignedPool,
      slots: beat.slotsMax,
      leased: leases.size,
      engine: beat.engine,
      vision: beat.vision,
      url: beat.url,
    }
  })
  const waits = fleet.queue
    .lanes()
    .filter((lane) => preferredPool === undefined || lane.startsWith(`${preferredPool} `))
  return {
    slots: workers.reduce((sum, worker) => sum + worker.slots, 0),
    leased: workers.reduce((sum, worker) => sum + worker.leased, 0),
    unleased: present.reduce((sum, worker) => sum + worker.unleased, 0),
    waiting: waits.reduce((sum, lane) => sum + fleet.queue.waitingFor(lane).length, 0),
    workers,
  }
}

function forget(fleet: FleetState, workerId: string): void {
  const worker = fleet.workers.get(workerId)
  if (!worker) return
  for (const requestId of [...worker.leases.keys()]) endLease(fleet, worker, requestId)
  fleet.workers.delete(workerId)
}

function endLease(fleet: FleetState, worker: FleetWorker, requestId: string): void {
  const lease = dropLease(worker, requestId)
  if (lease) gave(fleet.shares, lease.tenantId)
  undecided(worker.breaker, requestId)
  for (const held of [fleet.leases, fleet.hedges]) if (held.get(requestId) === worker) held.delete(requestId)
}

/** Keeps the map ordered by time. */
function miss(fleet: FleetState, workerId: string, now: number): void {
  fleet.missing.delete(workerId)
  fleet.missing.set(workerId, now)
}

function dropOlder(times: Map<string, number>, time: number): void {
  for (const [id, at] of times) {
    if (at >= time) return
    times.delete(id)
  }
}

/** Refuses waiting requests whose model has no worker, or only workers that already failed the request. */
function refuseHopeless(fleet: FleetState, lane: string, now: number): Notification[] {
  const served = hasCandidate(fleet, { model: modelIn(lane), exclude: [] }, now)
  const { queue } = fleet
  const hopeless = served
    ? queue.back(lane, backLookMax).filter(({ item }) => !hasCandidate(fleet, item, now))
    : queue.waitingFor(lane)
  return hopeless.map(({ item: { requestId } }) => {
    queue.remove(requestId)
    return endRequest(fleet, requestId, { kind: 'rejected-no-endpoints' })
  })
}

/**
 * Refuses waiting requests that the recent grant rate cannot serve before their wait limit, with the time in which the
 * queue will drain. Batch requests of the tenant furthest over its share go first, then requests that are already late.
 */
function shedSurplus(fleet: FleetState, lane: string, now: number): Notification[] {
  const everyMs = grantEveryMs(paceOf(fleet, lane), now)
  if (everyMs === undefined || everyMs <= 0) return []
  const notifications: Notification[] = []
  for (let count = 0; count < shedMax && fleet.queue.backlog(lane) * everyMs > waitingTtlMs; count++) {
    const entry = fleet.queue.surplus(lane)
    if (!entry) break
    fleet.queue.remove(entry.item.requestId)
    notifications.push(shed(fleet, entry, now))
  }
  return notifications
}

function shed(fleet: FleetState, { item }: QueueEntry<WaitingRequest>, now: number): Notification {
  const outcome: LeaseOutcome = { kind: 'rejected-capacity', retryAfterMs: retryAfterMs(fleet, laneOf(item), now) }
  return endRequest(fleet, item.requestId, outcome)
}

function endRequest(fleet: FleetState, requestId: string, outcome: LeaseOutcome): Notification {
  fleet.decisions.end(requestId, outcome.kind)
  return { requestId, outcome }
}

/** Grants the model's free slots to waiting requests. */
function grantWaiting(fleet: FleetState, model: string, now: number): Notification[] {
  const notifications: Notification[] = []
  for (let next = nextToGrant(fleet, model, now); next; next = nextToGrant(fleet, model, now)) {
    granted(paceOf(fleet, laneOf(next.entry.item)), now)
    const { requestId } = next.entry.item
    notifications.push({ requestId, outcome: grant(fleet, next.entry.item, next.choice, now, next.entry) })
  }
  return notifications
}

/** Short answers go first: they need little and take only suitable slots. Without a throughput pool, not always. */
function nextToGrant(fleet: FleetState, model: string, now: number) {
  if (fleet.queue.size === 0) return undefined
  const modelLoad = modelLoadOf(fleet, model, now)
  const longWaits = fleet.queue.backlog(`throughput ${model}`) > 0
  if (!longWaits) modelLoad.passedLong = 0
  const due = modelLoad.passedLong >= longEvery - 1 && !hasPool(fleet, model, 'throughput', now)
  for (const preferredPool of due ? [...poolNames].reverse() : poolNames) {
    const next = nextInLane(fleet, `${preferredPool} ${model}`, due && preferredPool === 'throughput', now)
    if (!next) continue
    modelLoad.passedLong = preferredPool === 'latency' && longWaits ? modelLoad.passedLong + 1 : 0
    return next
  }
  return undefined
}

function nextInLane(fleet: FleetState, lane: string, due: boolean, now: number) {
  const { queue } = fleet
  let choice: Choice | undefined
  const fits = (item: WaitingRequest) => {
    choice = choose(fleet, item, now - (queue.entry(item.requestId)?.since ?? now), now, due)
    return choice !== undefined
  }
  const back = queue.takeBack(lane, fits, backLookMax)
  if (back && choice) return { entry: back, choice }
  const entry = queue.next(lane, now)
  if (!entry) return undefined
  if (fits(entry.item) && choice) {
    queue.take(lane, now)
    return { entry, choice }
  }
  // A slot reserved from a tenant over its share goes to the tenants behind it.
  const skips = (item: WaitingRequest) => overShare(fleet, item)
  const other = skips(entry.item) ? queue.next(lane, now, skips) : undefined
  if (!other || !fits(other.item) || !choice) return undefined
  queue.take(lane, now, skips)
  return { entry: other, choice }
}

interface Choice {
  worker: FleetWorker
  request: PlacementRequest
  judged: JudgedWorker
  considered: Considered
}

/** Returns the best worker with a free slot, or undefined if the request should wait. */
function choose(
  fleet: FleetState,
  request: LeaseRequest,
  waitedMs: number,
  now: number,
  due = false,
): Choice | undefined {
  const { model, effort, promptTokens } = request
  const considered: Considered = { counts: {}, best: [] }
  const free = withFreeSlot(fleet, request, considered, now)
  if (free.length === 0) return undefined
  const preferredPool = preferredPoolOf(effort)
  const outputTokens = expectedLength(fleet.lengths, model, effort, request.outputTokensMax)
  const placement: PlacementRequest = {
    preferredPool,
    promptTokens,
    outputTokens,
    waitedMs,
    overShare: overShare(fleet, request),
    due,
  }
  const crowders = crowdersOf(fleet.shares, request.tenantId, request.weight)
  const snapshot = snapshotOf(
    modelLoadOf(fleet, model, now),
    model,
    fleet.workers.values(),
    waitsFor(fleet, model),
    now,
  )
  const held = fleet.affinity.held(request.prefix)
  let best: { worker: FleetWorker; judged: JudgedWorker } | undefined
  for (const worker of free) {
    if (!fleet.spill && worker.assignedPool !== preferredPool && snapshot.has[preferredPool]) continue
    const heldTokens = held.get(worker.heartbeat.workerId) ?? 0
    const judged = judge(candidateOf(worker, heldTokens, leasesOf(worker, crowders), now), placement, snapshot)
    considered.counts[judged.fit] = (considered.counts[judged.fit] ?? 0) + 1
    if (judged.fit !== 'fits') continue
    if (!best || prefers(request, judged, best.judged)) best = { worker, judged }
    keepBest(considered.best, judged)
  }
  return best && { ...best, request: placement, considered }
}

function prefers({ preferWorkerId }: LeaseRequest, judged: JudgedWorker, best: JudgedWorker): boolean {
  if (best.workerId === preferWorkerId) return false
  return judged.workerId === preferWorkerId || better(judged, best)
}

/**
 * The worker that should read a request's media: where the request would go, without a lease. If no slot is free, the
 * worker with the lowest load, in the preferred pool if possible.
 */
export function suggest(fleet: FleetState, request: LeaseRequest, now: number): WorkerEndpoint | undefined {
  const choice = choose(fleet, request, 0, now)
  if (choice) return endpointOf(choice.worker)
  const preferredPool = preferredPoolOf(request.effort)
  const load = (worker: FleetWorker) =>
    runningOn(worker) / worker.heartbeat.slotsMax + Number(worker.assignedPool !== preferredPool)
  let lightest: FleetWorker | undefined
  for (const worker of fleet.workers.values()) {
    if (!isEligible(worker, request.model, request.exclude, now)) continue
    if (!lightest || load(worker) < load(lightest)) lightest = worker
  }
  return lightest && endpointOf(lightest)
}

function waitsFor({ queue }: FleetState, model: string): ModelSnapshot['waits'] {
  return { latency: queue.backlog(`latency ${model}`) > 0, throughput: queue.backlog(`throughput ${model}`) > 0 }
}

/** Full workers are only counted: in a busy fleet nearly all are full. */
function withFreeSlot(
  fleet: FleetState,
  { model, exclude }: LeaseRequest,
  considered: Considered,
  now: number,
): FleetWorker[] {
  const free: FleetWorker[] = []
  let full = 0
  for (const worker of fleet.workers.values()) {
    if (!isEligible(worker, model, exclude, now)) continue
    if (runningOn(worker) >= worker.heartbeat.slotsMax) full += 1
    else free.push(worker)
  }
  if (full > 0) considered.counts.full = full
  return free
}

function keepBest(best: JudgedWorker[], judged: JudgedWorker): void {
  const at = best.findIndex((each) => better(judged, each))
  if (at < 0 && best.length >= consideredMax) return
  best.splice(at < 0 ? best.length : at, 0, judged)
  if (best.length > consideredMax) best.pop()
}

function grant(
  fleet: FleetState,
  request: LeaseRequest,
  choice: Choice,
  now: number,
  waited?: QueueEntry<LeaseRequest & Queued>,
  held = fleet.leases,
): LeaseOutcome {
  const { worker, request: placement, judged, considered } = choice
  const { requestId, promptTokens, prefix } = request
  const { workerId, pool } = worker.heartbeat
  const keepTokens = promptTokens + placement.outputTokens
  addLease(
    worker,
    requestId,
    { at: now, preferredPool: placement.preferredPool, keepTokens, tenantId: request.tenantId },
    Math.max(1, promptTokens - judged.heldTokens),
  )
  held.set(requestId, worker)
  took(fleet.shares, request.tenantId, request.weight)
  fleet.affinity.given(prefix, workerId)
  began(worker.breaker, requestId)
  const waitedMs = waited ? now - waited.since : 0
  const position = waited?.position ?? null
  const { assignedPool } = judged
  const why = whyOf(choice)
  fleet.decisions.attempt(requestId, {
    at: now,
    workerId,
    pool,
    assignedPool,
    why,
    waitedMs,
    position,
    ...considered,
  })
  return { kind: 'granted', endpoint: endpointOf(worker), waitedMs, position }
}

function whyOf({ request, judged }: Choice): string {
  const where =
    judged.assignedPool === request.preferredPool
      ? `a free slot in the ${request.preferredPool} pool`
      : `no free slot in the ${request.preferredPool} pool in time, but one in the other pool`
  const prefix = judged.heldTokens > 0 ? `; its cache holds about ${judged.heldTokens} tokens of the prompt` : ''
  return `${where}; best predicted latency relative to the targets${prefix}`
}

function endpointOf({ heartbeat, keyEpoch }: FleetWorker): WorkerEndpoint {
  return { workerId: heartbeat.workerId, keyEpoch, url: heartbeat.url, pool: heartbeat.pool }
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

/** Expected wait of a request that arrives now; 0 while no request waits. */
function expectedWaitMs(fleet: FleetState, lane: string, now: number): number {
  const backlog = fleet.queue.backlog(lane)
  if (backlog === 0) return 0
  return (backlog + 1) * (grantEveryMs(paceOf(fleet, lane), now) ?? retryAfterUnknownMs)
}

function hasCandidate(
  fleet: FleetState,
  { model, exclude }: Pick<LeaseRequest, 'model' | 'exclude'>,
  now: number,
): boolean {
  for (const worker of fleet.workers.values()) if (isEligible(worker, model, exclude, now)) return true
  return false
}

function hasPool(fleet: FleetState, model: string, pool: PoolName, now: number): boolean {
  for (const worker of fleet.workers.values())
    if (worker.assignedPool === pool && isEligible(worker, model, [], now)) return true
  return false
}

function moveSplits(fleet: FleetState, model: string, now: number): void {
  const modelLoad = modelLoadOf(fleet, model, now)
  const noLimit = Number.MAX_SAFE_INTEGER
  const expected = {
    latency: expectedLength(fleet.lengths, model, 'none', noLimit),
    throughput: expectedLength(fleet.lengths, model, 'high', noLimit),
  }
  moveSplit(modelLoad, model, fleet.workers.values(), expected, waitsFor(fleet, model), fleet.spill, now)
}

function modelLoadOf(fleet: FleetState, model: string, now: number): ModelLoad {
  const known = fleet.modelLoads.get(model)
  if (known) return known
  if (fleet.modelLoads.size >= modelLoadsMax) fleet.modelLoads.clear()
  const modelLoad = newModelLoad(now)
  fleet.modelLoads.set(model, modelLoad)
  return modelLoad
}

function speedOf(fleet: FleetState, heartbeat: Heartbeat): Speed {
  const wide = knownSpeed(fleet, heartbeat.model, () => newSpeed(undefined))
  return knownSpeed(fleet, kindOf(heartbeat), () => newSpeed(wide))
}

/** Evicts the kind that was used least recently, so a worker that changes its kind drops no other kind's figures. */
function knownSpeed({ speeds }: FleetState, name: string, make: () => Speed): Speed {
  const speed = speeds.get(name) ?? make()
  speeds.delete(name)
  const [oldest] = speeds.keys()
  if (oldest !== undefined && speeds.size >= speedsMax) speeds.delete(oldest)
  speeds.set(name, speed)
  return speed
}

function waiting(request: LeaseRequest): WaitingRequest {
  const promised = request.priorityClass === 'interactive'
  return {
    ...request,
    dueMs: promised ? targets[preferredPoolOf(request.effort)].firstTokenMs : Number.POSITIVE_INFINITY,
  }
}

function laneOf({ effort, model }: Pick<LeaseRequest, 'effort' | 'model'>): string {
  return `${preferredPoolOf(effort)} ${model}`
}

function modelIn(lane: string): string {
  return lane.slice(lane.indexOf(' ') + 1)
}

function paceOf(fleet: FleetState, lane: string): Pace {
  const known = fleet.paces.get(lane)
  if (known) return known
  if (fleet.paces.size >= pacesMax) fleet.paces.clear()
  const pace = newPace()
  fleet.paces.set(lane, pace)
  return pace
}

/** Time until the requests that wait in this lane are served, at the recent grant rate. */
function retryAfterMs(fleet: FleetState, lane: string, now: number): number {
  const everyMs = grantEveryMs(paceOf(fleet, lane), now)
  if (everyMs === undefined) return retryAfterUnknownMs
  const wait = Math.ceil(everyMs * (fleet.queue.backlog(lane) + 1))
  return Math.min(retryAfterMaxMs, Math.max(retryAfterMinMs, wait))
}
