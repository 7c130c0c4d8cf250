/**
 * The fleet: which workers there are, which of their slots are leased, and who waits for one. One owner for the slots and
 * the queues of both pools, because the border between them moves with the demand; see border.ts.
 *
 *   lease ──▶ granted                 a worker has a place that suits the request, and nobody waits before it
 *         ├─▶ waiting ──▶ granted     a place came free: whose turn it is, says fair-queue.ts; which place, place.ts
 *         │          ├──▶ evicted-ttl | evicted-cancelled | rejected-no-endpoints
 *         │          └──▶ rejected-capacity       it had to leave for a higher class, or could not be served in time
 *         ├─▶ lower-effort            it would wait long, and its tenant agreed to less effort rather than that
 *         ├─▶ rejected-capacity       the queue is full
 *         └─▶ rejected-no-endpoints   nobody serves that model
 *
 * The registry is what heartbeats say. A lease is what this fleet granted; the workers' own list of running requests is
 * the check on it, in both directions: a lease that its worker does not run is freed after a grace, so that a lost
 * isolate leaks no slot, and a request that runs without a lease (this object was restarted) still occupies its slot.
 *
 * After every event no place is free that suits a request whose turn it is. Pure: every function takes the state and
 * `now`, changes the state, and returns the outcomes to tell.
 */
import { budgets } from '../../backends/model/budgets.ts'
import type { EffortWord } from '../../backends/model/effort.ts'
import { type PoolName, poolNames } from '../../backends/wire/dispatch.ts'
import { type Heartbeat, heartbeatLostMs, type WorkerState } from '../../backends/wire/heartbeat.ts'
import { began, broke, undecided, worked } from './circuit-breaker.ts'
import { type Considered, Decisions } from './decisions/decisions.ts'
import type { Hold } from './enrolment-check.ts'
import { homeOf, otherPool, targets } from './placement/latency-targets.ts'
import { came, houseOf, type ModelLoad, moveBorder, newMarket } from './placement/model-load.ts'
import { expectedLength, type Lengths, newLengths, observeLength, observeWritten } from './placement/output-length.ts'
import { Affinity, type Beginning } from './placement/prefix-holders.ts'
import { better, type JudgedWorker, judge, type ModelSnapshot, type PlacementRequest } from './placement/score.ts'
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
  conditionOf,
  dropLease,
  type Ended,
  type FleetWorker,
  kindOf,
  leasesOf,
  newWorker,
  observeBeat,
  observeEnd,
  postOf,
  runningOn,
  serves,
} from './worker.ts'

export interface LeaseRequest extends Omit<Queued, 'dueMs'> {
  /** The one that the model is to be prompted with. */
  effort: EffortWord
  /** About. */
  promptTokens: number
  /** The request's own bound. */
  outputTokensMax: number
  /** Hashes of its prompt's beginnings, shortest first. */
  prefix: Beginning[]
  /** What its tenant agreed to be served with rather than wait long; null where it did not. */
  effortUnderLoad: EffortWord | null
  /** Worker ids that failed this request already; none unless it comes `again`. */
  exclude: string[]
  /** The worker that read this request's media: it is taken where it suits, even if another suits better. */
  preferWorkerId?: string | undefined
}

/** An ask in the queue. */
type WaitingRequest = LeaseRequest & Queued

export interface WorkerEndpoint {
  workerId: string
  keyEpoch: number
  url: string
  pool: PoolName
}

export type LeaseOutcome =
  /** `position` is the one it had when it began to wait; null when it did not. */
  | { kind: 'granted'; place: WorkerEndpoint; waitedMs: number; position: number | null }
  /** Nothing was leased: it is to come again with this effort. */
  | { kind: 'lower-effort'; effort: EffortWord }
  | { kind: 'rejected-capacity'; retryAfterMs: number }
  | { kind: 'rejected-no-endpoints' }
  | { kind: 'evicted-ttl'; retryAfterMs: number }
  | { kind: 'evicted-cancelled' }

/** An outcome for a request that waited. */
export interface Notification {
  requestId: string
  outcome: LeaseOutcome
}

/** What a request that waits may know. */
export interface WaitView extends Standing {
  /** Null while nothing is known of how fast slots come free. */
  expectedWaitMs: number | null
  /** Not to be asked again before. */
  askAgainMs: number
}

/** A receipt, as far as the fleet learns from it. */
export interface RequestEnd extends Ended {
  requestId: string
  workerId: string
  effort: EffortWord
  outcome: string
}

/** What a probe of one process showed. */
export interface Probed {
  workerId: string
  instance: string
  /** Why it was not reached; undefined where it was. */
  fault: string | undefined
}

export interface FleetState {
  workers: Map<string, FleetWorker>
  /** The worker of each leased request. */
  leases: Map<string, FleetWorker>
  /** The second worker of each request that two have. */
  hedges: Map<string, FleetWorker>
  /** Requests that ended lately: a heartbeat sent before may still list them. In the order of their ends. */
  ended: Map<string, number>
  /** A lane for each model and home. */
  queue: FairQueue<WaitingRequest>
  /** By lane: how fast slots come free. */
  paces: Map<string, Pace>
  /** By model. */
  markets: Map<string, ModelLoad>
  lengths: Lengths
  shares: Shares
  /** By kind of worker. */
  speeds: Map<string, Speed>
  affinity: Affinity
  decisions: Decisions
  /** Workers that fell silent without taking leave, and when: they may yet owe receipts. */
  missing: Map<string, number>
  /** Whether a request may be served on the other side of the border, and the border may move. */
  spill: boolean
}

export const waitingTtlMs = 60_000
export const workersMax = 1_000
/** How long a lease may be missing from its worker's list: the dispatch is on its way. */
const leaseGraceMs = 10_000
const endedKeptMs = 5_000
/** By then a worker's receipts are no longer waited for; see settlement/overdue.ts. */
const missingKeptMs = 24 * 3_600_000
const missingMax = 1_000
const pacesMax = 128
const marketsMax = 64
const speedsMax = 256
/** Of those that came back, so many are looked at for one that a free slot is not excluded for. */
const backLookMax = 64
/** With one side only, of so many grants one is a long answer's while one waits. */
const longEvery = 8
const retryAfterLeastMs = 1_000
/** Clients ignore a longer one. */
const retryAfterMostMs = 60_000
/** When nothing is known yet of how fast slots come free. */
const retryAfterUnknownMs = 5_000
const askAgainLeastMs = 1_000
/** A tenant that agreed to less effort gets it rather than wait longer than this. */
const underLoadMs = 10_000
/** In one sweep and lane. */
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
    markets: new Map(),
    lengths: newLengths(),
    shares: newShares(),
    speeds: new Map(),
    affinity: new Affinity(),
    decisions: new Decisions(),
    missing: new Map(),
    spill,
  }
}

/** Answers at once, or undefined when the request now waits. `tell` is called for another that has to leave for it. */
export function lease(
  pool: FleetState,
  ask: LeaseRequest,
  now: number,
  tell: (told: Notification) => void,
): LeaseOutcome | undefined {
  // Its call that ends the lease before may come after this one.
  if (pool.leases.has(ask.requestId)) for (const told of release(pool, ask.requestId, now)) tell(told)
  note(pool, ask, now)
  const outcome = leaseNow(pool, ask, now, tell)
  if (outcome && outcome.kind !== 'granted') pool.decisions.end(ask.requestId, outcome.kind)
  return outcome
}

function leaseNow(
  pool: FleetState,
  ask: LeaseRequest,
  now: number,
  tell: (told: Notification) => void,
): LeaseOutcome | undefined {
  const { model } = ask
  if (!hasCandidate(pool, ask, now)) return { kind: 'rejected-no-endpoints' }
  const lane = laneOf(ask)
  if (!ask.again) came(marketOf(pool, model, now), homeOf(ask.effort), ask.promptTokens, fairDemand(pool, ask), now)
  moveBorders(pool, model, now)
  const nobodyWaits = pool.queue.backlog(lane) === 0
  const choice = nobodyWaits ? choose(pool, ask, 0, now) : undefined
  if (choice) return grant(pool, ask, choice, now)
  if (wantsLess(pool, ask, lane, now)) return { kind: 'lower-effort', effort: ask.effortUnderLoad }
  const added = pool.queue.add(waiting(ask), now)
  if (added.kind === 'full') return { kind: 'rejected-capacity', retryAfterMs: retryAfterMs(pool, lane, now) }
  if (nobodyWaits) waitBegins(paceOf(pool, lane), now)
  if (added.displaced) tell(shed(pool, added.displaced, now))
  return pastGreedy(pool, ask, now, tell)
}

/** What is kept from the greedy who wait is there for one who comes. */
function pastGreedy(
  pool: FleetState,
  ask: LeaseRequest,
  now: number,
  tell: (told: Notification) => void,
): LeaseOutcome | undefined {
  const first = pool.queue.next(laneOf(ask), now)
  if (!first || !greedy(pool, first.item) || greedy(pool, ask)) return undefined
  let own: LeaseOutcome | undefined
  for (const told of serve(pool, ask.model, now)) {
    if (told.requestId === ask.requestId) own = told.outcome
    else tell(told)
  }
  return own
}

/**
 * As how much of a request it counts where the border is put. While somebody waits, what a greedy tenant asks counts by
 * its share of what runs only: else its flood of one kind moves the border and takes workers from others' other kind.
 */
function fairDemand(pool: FleetState, ask: LeaseRequest): number {
  const counted = pool.queue.size > 0 && greedy(pool, ask)
  return counted ? shareOverRunning(pool.shares, ask.tenantId, ask.weight) : 1
}

function greedy(pool: FleetState, { tenantId, weight }: LeaseRequest): boolean {
  return isOverShare(pool.shares, tenantId, weight)
}

/**
 * A second worker for a request that has one, beside it: one that has a place now, while nobody waits for it. The first
 * is in `ask.exclude`. Each of the two leases ends by itself; `release` ends both.
 */
export function hedge(pool: FleetState, ask: LeaseRequest, now: number): WorkerEndpoint | undefined {
  const { requestId, model } = ask
  if (!pool.leases.has(requestId) || pool.hedges.has(requestId)) return undefined
  if (poolNames.some((home) => pool.queue.backlog(`${home} ${model}`) > 0)) return undefined
  const choice = choose(pool, ask, 0, now)
  const granted = choice && grant(pool, ask, choice, now, undefined, pool.hedges)
  return granted?.kind === 'granted' ? granted.place : undefined
}

/** The request ended, or its client left while it waited. Safe to repeat. */
export function release(pool: FleetState, requestId: string, now: number): Notification[] {
  if (pool.queue.remove(requestId)) return [tellEnd(pool, requestId, { kind: 'evicted-cancelled' })]
  const workers = [pool.leases.get(requestId), pool.hedges.get(requestId)].filter((worker) => worker !== undefined)
  return workers.flatMap((worker) => releaseFrom(pool, worker, requestId, now))
}

/** What this worker did of the request is over. It may wait again by now, or run elsewhere: that stays. */
export function releaseOn(pool: FleetState, workerId: string, requestId: string, now: number): Notification[] {
  const worker = [pool.leases.get(requestId), pool.hedges.get(requestId)].find(
    (each) => each?.heartbeat.workerId === workerId,
  )
  return worker ? releaseFrom(pool, worker, requestId, now) : []
}

function releaseFrom(pool: FleetState, worker: FleetWorker, requestId: string, now: number): Notification[] {
  endLease(pool, worker, requestId)
  pool.ended.delete(requestId)
  pool.ended.set(requestId, now)
  return serve(pool, worker.heartbeat.model, now)
}

/** The worker's own last word on a request: what it says of lengths and speeds is learnt, and its slot is free. */
export function requestEnded(pool: FleetState, end: RequestEnd, now: number): Notification[] {
  const worker = pool.workers.get(end.workerId)
  const lease = worker?.leases.get(end.requestId)
  if (worker) {
    if (end.finished) {
      worked(worker.breaker)
      // Once for each lease: a worker that repeats a receipt teaches nothing.
      if (lease) observeLength(pool.lengths, worker.heartbeat.model, end.effort, end.outputTokens)
    } else if (end.outcome === 'failed') broke(worker.breaker, end.requestId, now)
    if (lease) observeEnd(worker, lease, end, now)
  }
  const { promptTokens, cachedTokens, outputTokens, firstTokenMs, ms } = end
  const engine = { promptTokens, cachedTokens, outputTokens, firstTokenMs, ms }
  pool.decisions.end(end.requestId, end.outcome, engine)
  return releaseOn(pool, end.workerId, end.requestId, now)
}

/** A request could not reach this worker: it gets no other until a probe reaches it, and the lease is free. */
export function workerFailed(pool: FleetState, workerId: string, requestId: string, now: number): Notification[] {
  const worker = pool.workers.get(workerId)
  if (worker) {
    worker.failed = true
    worker.failedWhy ??= 'a request could not reach the worker, or its answer broke off'
    broke(worker.breaker, requestId, now)
  }
  return [...releaseOn(pool, workerId, requestId, now), ...sweep(pool, now)]
}

export function heartbeat(
  pool: FleetState,
  beat: Heartbeat,
  keyEpoch: number,
  now: number,
  hold?: Hold,
): Notification[] {
  const known = pool.workers.get(beat.workerId)
  const sameProcess = known?.heartbeat.instance === beat.instance
  if (known && sameProcess && known.heartbeat.sentAt > beat.sentAt) return []
  if (!known && pool.workers.size >= workersMax) return []
  pool.missing.delete(beat.workerId)
  if (beat.state === 'gone') {
    forget(pool, beat.workerId)
    return sweep(pool, now)
  }
  const speed = speedOf(pool, beat)
  const worker = known ?? newWorker(beat, keyEpoch, speed, now)
  const running = new Set(beat.running)
  // What another process of this worker ran ended with it.
  const graceMs = sameProcess ? leaseGraceMs : 0
  for (const [requestId, { at }] of worker.leases) {
    if (!running.has(requestId) && now - at > graceMs) endLease(pool, worker, requestId)
  }
  const unleased = beat.running.filter((id) => !worker.leases.has(id) && !pool.ended.has(id)).length
  if (known) learn(pool, worker, beat, now)
  if (beat.pool !== worker.heartbeat.pool) worker.side = beat.pool
  if (known && !sameProcess) Object.assign(worker, { failed: false, failedWhy: undefined, probedAt: undefined })
  Object.assign(worker, { heartbeat: beat, keyEpoch, seenAt: now, hold, unleased, speed })
  pool.workers.set(beat.workerId, worker)
  return sweep(pool, now)
}

/** What runs there runs on, and the worker gets no new requests. `seenAt` is the time of its last heartbeat. */
export function holdWorker(
  pool: FleetState,
  workerId: string,
  hold: Hold,
  seenAt: number,
  now: number,
): Notification[] {
  const worker = pool.workers.get(workerId)
  if (worker) Object.assign(worker, { hold, seenAt })
  return sweep(pool, now)
}

/** Whether the edge is to probe this worker now: at its first beat, and from time to time while it cannot be reached. */
export function probeDue(pool: FleetState, workerId: string, now: number): boolean {
  const worker = pool.workers.get(workerId)
  if (!worker || (worker.probedAt !== undefined && !worker.failed)) return false
  if (worker.probedAt !== undefined && now - worker.probedAt < budgets.workerProbeMs.value) return false
  worker.probedAt = now
  return true
}

export function probed(pool: FleetState, { workerId, instance, fault }: Probed, now: number): Notification[] {
  const worker = pool.workers.get(workerId)
  if (worker?.heartbeat.instance !== instance) return []
  Object.assign(worker, { failed: fault !== undefined, failedWhy: fault })
  // After a success the next failure is probed at the next beat.
  if (fault === undefined) worker.probedAt = Number.NEGATIVE_INFINITY
  return sweep(pool, now)
}

/** Before the beat is taken: what came since the last one was written by those that ran. */
function learn(pool: FleetState, worker: FleetWorker, beat: Heartbeat, now: number): void {
  const claimed = beat.outputTokensTotal - worker.heartbeat.outputTokensTotal
  const tokens = believedTokens(claimed, runningOn(worker), now - worker.seenAt)
  const quickShare = worker.leases.size > 0 ? worker.quick / worker.leases.size : 0
  observeWritten(pool.lengths, beat.model, 'latency', tokens * quickShare)
  observeWritten(pool.lengths, beat.model, 'throughput', tokens * (1 - quickShare))
  observeBeat(worker, beat, now)
}

/** A worker whose key is no longer good is out at once. Its receipts are waited for, unless it is no longer believed. */
export function expel(pool: FleetState, workerId: string, believed: boolean, now: number): Notification[] {
  if (believed && pool.workers.has(workerId)) miss(pool, workerId, now)
  if (!believed) pool.missing.delete(workerId)
  forget(pool, workerId)
  return sweep(pool, now)
}

/** Drops what is too old, and serves who waits. Call it about once a second. */
export function sweep(pool: FleetState, now: number): Notification[] {
  for (const [id, worker] of pool.workers) {
    if (now - worker.seenAt <= heartbeatLostMs) continue
    forget(pool, id)
    if (pool.missing.size < missingMax) miss(pool, id, now)
  }
  dropOlder(pool.missing, now - missingKeptMs)
  dropOlder(pool.ended, now - endedKeptMs)
  const told = pool.queue.removeOlder(now - waitingTtlMs).map((entry): Notification => {
    const { requestId } = entry.item
    return tellEnd(pool, requestId, { kind: 'evicted-ttl', retryAfterMs: retryAfterMs(pool, laneOf(entry.item), now) })
  })
  for (const lane of pool.queue.lanes()) told.push(...refuseHopeless(pool, lane, now), ...shedSurplus(pool, lane, now))
  for (const model of pool.markets.keys()) {
    moveBorders(pool, model, now)
    told.push(...serve(pool, model, now))
  }
  return told
}

/** Where a request stands that waits; undefined for any other. */
export function waitView(pool: FleetState, requestId: string, now: number): WaitView | undefined {
  const entry = pool.queue.entry(requestId)
  const standing = pool.queue.standing(requestId)
  if (!entry || !standing) return undefined
  const everyMs = grantEveryMs(paceOf(pool, laneOf(entry.item)), now)
  const expectedWaitMs = everyMs === undefined ? null : Math.ceil(everyMs * standing.position)
  // At most a thousand questions a second, however many wait.
  return { ...standing, expectedWaitMs, askAgainMs: Math.max(askAgainLeastMs, pool.queue.size) }
}

/** Every worker that may hold receipts: those that can be asked, and those that cannot. */
export function registry(pool: FleetState): { present: WorkerEndpoint[]; missing: string[] } {
  return { present: [...pool.workers.values()].map(placeOf), missing: [...pool.missing.keys()] }
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
    /** Why it gets no requests, or what an operator should know; null where there is nothing to say. */
    reason: string | null
    /** On which side of the border it stands. */
    side: PoolName
    slots: number
    leased: number
    engine: string
    vision: boolean
    url: string
  }[]
}

/** @param home only the workers at home there, and those that wait for it */
export function view(pool: FleetState, home?: PoolName): PoolView {
  const present = [...pool.workers.values()].filter(({ heartbeat: beat }) => home === undefined || beat.pool === home)
  const workers = present.map((worker) => {
    const { heartbeat: beat, side, leases } = worker
    return {
      workerId: beat.workerId,
      model: beat.model,
      ...conditionOf(worker),
      side,
      slots: beat.slotsMax,
      leased: leases.size,
      engine: beat.engine,
      vision: beat.vision,
      url: beat.url,
    }
  })
  const waits = pool.queue.lanes().filter((lane) => home === undefined || lane.startsWith(`${home} `))
  return {
    slots: workers.reduce((sum, worker) => sum + worker.slots, 0),
    leased: workers.reduce((sum, worker) => sum + worker.leased, 0),
    unleased: present.reduce((sum, worker) => sum + worker.unleased, 0),
    waiting: waits.reduce((sum, lane) => sum + pool.queue.waitingFor(lane).length, 0),
    workers,
  }
}

function forget(pool: FleetState, workerId: string): void {
  const worker = pool.workers.get(workerId)
  if (!worker) return
  for (const requestId of [...worker.leases.keys()]) endLease(pool, worker, requestId)
  pool.workers.delete(workerId)
}

function endLease(pool: FleetState, worker: FleetWorker, requestId: string): void {
  const lease = dropLease(worker, requestId)
  if (lease) gave(pool.shares, lease.tenantId)
  undecided(worker.breaker, requestId)
  for (const held of [pool.leases, pool.hedges]) if (held.get(requestId) === worker) held.delete(requestId)
}

/** Kept in the order of their times. */
function miss(pool: FleetState, workerId: string, now: number): void {
  pool.missing.delete(workerId)
  pool.missing.set(workerId, now)
}

function dropOlder(times: Map<string, number>, time: number): void {
  for (const [id, at] of times) {
    if (at >= time) return
    times.delete(id)
  }
}

/** Those whose model nobody serves any more, or nobody but the workers that failed them. */
function refuseHopeless(pool: FleetState, lane: string, now: number): Notification[] {
  const served = hasCandidate(pool, { model: modelIn(lane), exclude: [] }, now)
  const { queue } = pool
  const hopeless = served
    ? queue.back(lane, backLookMax).filter(({ item }) => !hasCandidate(pool, item, now))
    : queue.waitingFor(lane)
  return hopeless.map(({ item: { requestId } }) => {
    queue.remove(requestId)
    return tellEnd(pool, requestId, { kind: 'rejected-no-endpoints' })
  })
}

/**
 * At the pace of late not all that wait can be served before their time is up. Those that will not are told now, with
 * the time after which the queue will have drained: batch first, of the tenant furthest over its share, then those that
 * have come too late already.
 */
function shedSurplus(pool: FleetState, lane: string, now: number): Notification[] {
  const everyMs = grantEveryMs(paceOf(pool, lane), now)
  if (everyMs === undefined || everyMs <= 0) return []
  const told: Notification[] = []
  for (let count = 0; count < shedMax && pool.queue.backlog(lane) * everyMs > waitingTtlMs; count++) {
    const entry = pool.queue.surplus(lane)
    if (!entry) break
    pool.queue.remove(entry.item.requestId)
    told.push(shed(pool, entry, now))
  }
  return told
}

function shed(pool: FleetState, { item }: QueueEntry<WaitingRequest>, now: number): Notification {
  const outcome: LeaseOutcome = { kind: 'rejected-capacity', retryAfterMs: retryAfterMs(pool, laneOf(item), now) }
  return tellEnd(pool, item.requestId, outcome)
}

function tellEnd(pool: FleetState, requestId: string, outcome: LeaseOutcome): Notification {
  pool.decisions.end(requestId, outcome.kind)
  return { requestId, outcome }
}

/** Gives the model's free places to those that wait for them. */
function serve(pool: FleetState, model: string, now: number): Notification[] {
  const told: Notification[] = []
  for (let next = nextServed(pool, model, now); next; next = nextServed(pool, model, now)) {
    granted(paceOf(pool, laneOf(next.entry.item)), now)
    const { requestId } = next.entry.item
    told.push({ requestId, outcome: grant(pool, next.entry.item, next.choice, now, next.entry) })
  }
  return told
}

/** Short answers first: they take little, and only what suits them. Where there is one side only, not always. */
function nextServed(pool: FleetState, model: string, now: number) {
  if (pool.queue.size === 0) return undefined
  const market = marketOf(pool, model, now)
  const longWaits = pool.queue.backlog(`throughput ${model}`) > 0
  if (!longWaits) market.passedLong = 0
  const due = market.passedLong >= longEvery - 1 && !hasSide(pool, model, 'throughput', now)
  for (const home of due ? [...poolNames].reverse() : poolNames) {
    const next = nextInLane(pool, `${home} ${model}`, due && home === 'throughput', now)
    if (!next) continue
    market.passedLong = home === 'latency' && longWaits ? market.passedLong + 1 : 0
    return next
  }
  return undefined
}

function nextInLane(pool: FleetState, lane: string, due: boolean, now: number) {
  const { queue } = pool
  let choice: Choice | undefined
  const fits = (item: WaitingRequest) => {
    choice = choose(pool, item, now - (queue.entry(item.requestId)?.since ?? now), now, due)
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
  // What is kept from a greedy tenant is kept for those behind it.
  const skips = (item: WaitingRequest) => greedy(pool, item)
  const other = skips(entry.item) ? queue.next(lane, now, skips) : undefined
  if (!other || !fits(other.item) || !choice) return undefined
  queue.take(lane, now, skips)
  return { entry: other, choice }
}

interface Choice {
  worker: FleetWorker
  order: PlacementRequest
  judged: JudgedWorker
  considered: Considered
}

/** The place that suits it best, or none when it is better off waiting. */
function choose(pool: FleetState, ask: LeaseRequest, waitedMs: number, now: number, due = false): Choice | undefined {
  const { model, effort, promptTokens } = ask
  const considered: Considered = { counts: {}, best: [] }
  const free = withFreeSlot(pool, ask, considered, now)
  if (free.length === 0) return undefined
  const home = homeOf(effort)
  const outputTokens = expectedLength(pool.lengths, model, effort, ask.outputTokensMax)
  const order: PlacementRequest = { home, promptTokens, outputTokens, waitedMs, greedy: greedy(pool, ask), due }
  const crowders = crowdersOf(pool.shares, ask.tenantId, ask.weight)
  const house = houseOf(marketOf(pool, model, now), model, pool.workers.values(), waitsFor(pool, model), now)
  const held = pool.affinity.held(ask.prefix)
  let best: { worker: FleetWorker; judged: JudgedWorker } | undefined
  for (const worker of free) {
    if (!pool.spill && worker.side !== home && house.has[home]) continue
    const heldTokens = held.get(worker.heartbeat.workerId) ?? 0
    const judged = judge(postOf(worker, heldTokens, leasesOf(worker, crowders), now), order, house)
    considered.counts[judged.fit] = (considered.counts[judged.fit] ?? 0) + 1
    if (judged.fit !== 'fits') continue
    if (!best || prefers(ask, judged, best.judged)) best = { worker, judged }
    keepBest(considered.best, judged)
  }
  return best && { ...best, order, considered }
}

function prefers({ preferWorkerId }: LeaseRequest, judged: JudgedWorker, best: JudgedWorker): boolean {
  if (best.workerId === preferWorkerId) return false
  return judged.workerId === preferWorkerId || better(judged, best)
}

/**
 * Where a request would go, without a lease: the worker that is to read its media. Where no place is free, the worker that
 * is least full, at home if one is there.
 */
export function suggest(pool: FleetState, ask: LeaseRequest, now: number): WorkerEndpoint | undefined {
  const choice = choose(pool, ask, 0, now)
  if (choice) return placeOf(choice.worker)
  const home = homeOf(ask.effort)
  const load = (worker: FleetWorker) => runningOn(worker) / worker.heartbeat.slotsMax + Number(worker.side !== home)
  let least: FleetWorker | undefined
  for (const worker of pool.workers.values()) {
    if (!serves(worker, ask.model, ask.exclude, now)) continue
    if (!least || load(worker) < load(least)) least = worker
  }
  return least && placeOf(least)
}

function waitsFor({ queue }: FleetState, model: string): ModelSnapshot['waits'] {
  return { latency: queue.backlog(`latency ${model}`) > 0, throughput: queue.backlog(`throughput ${model}`) > 0 }
}

/** The others are counted only: in a busy fleet they are nearly all. */
function withFreeSlot(
  pool: FleetState,
  { model, exclude }: LeaseRequest,
  considered: Considered,
  now: number,
): FleetWorker[] {
  const free: FleetWorker[] = []
  let full = 0
  for (const worker of pool.workers.values()) {
    if (!serves(worker, model, exclude, now)) continue
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
  pool: FleetState,
  ask: LeaseRequest,
  choice: Choice,
  now: number,
  waited?: QueueEntry<LeaseRequest & Queued>,
  held = pool.leases,
): LeaseOutcome {
  const { worker, order, judged, considered } = choice
  const { requestId, promptTokens, prefix } = ask
  const { workerId, pool: home } = worker.heartbeat
  const keepTokens = promptTokens + order.outputTokens
  addLease(
    worker,
    requestId,
    { at: now, home: order.home, keepTokens, tenantId: ask.tenantId },
    Math.max(1, promptTokens - judged.heldTokens),
  )
  held.set(requestId, worker)
  took(pool.shares, ask.tenantId, ask.weight)
  pool.affinity.given(prefix, workerId)
  began(worker.breaker, requestId)
  const waitedMs = waited ? now - waited.since : 0
  const position = waited?.position ?? null
  const { side } = judged
  const why = whyOf(choice)
  pool.decisions.attempt(requestId, { at: now, workerId, pool: home, side, why, waitedMs, position, ...considered })
  return { kind: 'granted', place: placeOf(worker), waitedMs, position }
}

function whyOf({ order, judged }: Choice): string {
  const where =
    judged.side === order.home
      ? `a place on the ${order.home} side`
      : `no place on the ${order.home} side in time, and room on the other`
  const prefix = judged.heldTokens > 0 ? `, holds about ${judged.heldTokens} tokens of the prompt` : ''
  return `${where}; it uses least of its targets there${prefix}`
}

function placeOf({ heartbeat: beat, keyEpoch }: FleetWorker): WorkerEndpoint {
  return { workerId: beat.workerId, keyEpoch, url: beat.url, pool: beat.pool }
}

function note(pool: FleetState, ask: LeaseRequest, now: number): void {
  const { requestId, tenantId, model, effort, priorityClass, weight, promptTokens } = ask
  const expectedOutputTokens = Math.round(expectedLength(pool.lengths, model, effort, ask.outputTokensMax))
  pool.decisions.begin({
    ...{ requestId, tenantId, model, effort, priorityClass, weight, promptTokens, expectedOutputTokens },
    home: homeOf(effort),
    cameAt: now,
    attempts: [],
    outcome: null,
    engine: null,
  })
}

/** Whether it would wait too long for what it asks, and not for what its tenant agreed to instead. */
function wantsLess(
  pool: FleetState,
  ask: LeaseRequest,
  lane: string,
  now: number,
): ask is LeaseRequest & { effortUnderLoad: EffortWord } {
  const { effortUnderLoad, again, model } = ask
  if (effortUnderLoad === null || again || homeOf(effortUnderLoad) === homeOf(ask.effort)) return false
  const other = `${otherPool(homeOf(ask.effort))} ${model}`
  return expectedWaitMs(pool, lane, now) > underLoadMs && expectedWaitMs(pool, other, now) < underLoadMs
}

/** For one that comes now; nothing is expected while nobody waits. */
function expectedWaitMs(pool: FleetState, lane: string, now: number): number {
  const backlog = pool.queue.backlog(lane)
  if (backlog === 0) return 0
  return (backlog + 1) * (grantEveryMs(paceOf(pool, lane), now) ?? retryAfterUnknownMs)
}

function hasCandidate(
  pool: FleetState,
  { model, exclude }: Pick<LeaseRequest, 'model' | 'exclude'>,
  now: number,
): boolean {
  for (const worker of pool.workers.values()) if (serves(worker, model, exclude, now)) return true
  return false
}

function hasSide(pool: FleetState, model: string, side: PoolName, now: number): boolean {
  for (const worker of pool.workers.values()) if (worker.side === side && serves(worker, model, [], now)) return true
  return false
}

function moveBorders(pool: FleetState, model: string, now: number): void {
  const market = marketOf(pool, model, now)
  const most = Number.MAX_SAFE_INTEGER
  const expected = {
    latency: expectedLength(pool.lengths, model, 'none', most),
    throughput: expectedLength(pool.lengths, model, 'high', most),
  }
  moveBorder(market, model, pool.workers.values(), expected, waitsFor(pool, model), pool.spill, now)
}

function marketOf(pool: FleetState, model: string, now: number): ModelLoad {
  const known = pool.markets.get(model)
  if (known) return known
  if (pool.markets.size >= marketsMax) pool.markets.clear()
  const market = newMarket(now)
  pool.markets.set(model, market)
  return market
}

function speedOf(pool: FleetState, beat: Heartbeat): Speed {
  const wide = keptSpeed(pool, beat.model, () => newSpeed(undefined))
  return keptSpeed(pool, kindOf(beat), () => newSpeed(wide))
}

/** The kinds that were not heard of for longest go first: one worker that changes its kind drops no other's figures. */
function keptSpeed({ speeds }: FleetState, name: string, make: () => Speed): Speed {
  const speed = speeds.get(name) ?? make()
  speeds.delete(name)
  const [oldest] = speeds.keys()
  if (oldest !== undefined && speeds.size >= speedsMax) speeds.delete(oldest)
  speeds.set(name, speed)
  return speed
}

function waiting(ask: LeaseRequest): WaitingRequest {
  const promised = ask.priorityClass === 'interactive'
  return { ...ask, dueMs: promised ? targets[homeOf(ask.effort)].firstTokenMs : Number.POSITIVE_INFINITY }
}

function laneOf({ effort, model }: Pick<LeaseRequest, 'effort' | 'model'>): string {
  return `${homeOf(effort)} ${model}`
}

function modelIn(lane: string): string {
  return lane.slice(lane.indexOf(' ') + 1)
}

function paceOf(pool: FleetState, lane: string): Pace {
  const known = pool.paces.get(lane)
  if (known) return known
  if (pool.paces.size >= pacesMax) pool.paces.clear()
  const pace = newPace()
  pool.paces.set(lane, pace)
  return pace
}

/** When those that wait in this lane will have been served, at the pace of late. */
function retryAfterMs(pool: FleetState, lane: string, now: number): number {
  const everyMs = grantEveryMs(paceOf(pool, lane), now)
  if (everyMs === undefined) return retryAfterUnknownMs
  const wait = Math.ceil(everyMs * (pool.queue.backlog(lane) + 1))
  return Math.min(retryAfterMostMs, Math.max(retryAfterLeastMs, wait))
}
