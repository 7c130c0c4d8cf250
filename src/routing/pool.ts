/**
 * One pool: which workers it has, which of their slots are leased, and who waits for one.
 *
 *   lease ──▶ granted                 a worker of that model has a free slot, and nobody waits for it
 *         ├─▶ waiting ──▶ granted     a slot came free: whose turn it is, says fair-queue.ts
 *         │          ├──▶ evicted-ttl | evicted-cancelled | rejected-no-endpoints
 *         │          └──▶ rejected-capacity       it had to leave for a request of a higher class
 *         ├─▶ rejected-capacity       the queue is full
 *         └─▶ rejected-no-endpoints   nobody serves that model
 *
 * The registry is what heartbeats say. A lease is what this pool granted; the workers' own list of running requests is
 * the check on it, in both directions: a lease that its worker does not run is freed after a grace, so that a lost
 * isolate leaks no slot, and a request that runs without a lease (this object was restarted) still occupies its slot.
 *
 * After every event no slot is free for which somebody waits. Pure: every function takes the state and `now`, changes
 * the state, and returns the outcomes to tell.
 */
import { type Heartbeat, heartbeatLostMs } from '../../backends/protocol/heartbeat.ts'
import { type Entry, FairQueue, type Queued, type Standing } from './fair-queue.ts'
import { grantEveryMs, granted, newPace, type Pace, waitBegins } from './pace.ts'

export interface Ask extends Queued {
  /** Worker ids that failed this request already; none unless it comes `again`. */
  exclude: string[]
}

export interface Place {
  workerId: string
  keyEpoch: number
  url: string
}

export type Outcome =
  /** `position` is the one it had when it began to wait; null when it did not. */
  | { kind: 'granted'; place: Place; waitedMs: number; position: number | null }
  | { kind: 'rejected-capacity'; retryAfterMs: number }
  | { kind: 'rejected-no-endpoints' }
  | { kind: 'evicted-ttl'; retryAfterMs: number }
  | { kind: 'evicted-cancelled' }

/** An outcome for a request that waited. */
export interface Told {
  requestId: string
  outcome: Outcome
}

/** What a request that waits may know. */
export interface WaitView extends Standing {
  /** Null while nothing is known of how fast slots come free. */
  expectedWaitMs: number | null
  /** Not to be asked again before. */
  askAgainMs: number
}

interface Worker {
  heartbeat: Heartbeat
  keyEpoch: number
  seenAt: number
  /** Set when a request could not reach it; its next heartbeat clears it. */
  failed: boolean
  /** Running there by its own word, without a lease of ours. */
  unleased: number
  /** Request ids, and when each was granted. */
  leases: Map<string, number>
}

export interface PoolState {
  workers: Map<string, Worker>
  /** The worker of each leased request. */
  leases: Map<string, Worker>
  /** Requests that ended lately: a heartbeat sent before may still list them. In the order of their ends. */
  ended: Map<string, number>
  queue: FairQueue<Ask>
  /** By model: how fast slots come free. */
  paces: Map<string, Pace>
  /** Workers that fell silent without taking leave, and when: they may yet owe receipts. */
  missing: Map<string, number>
}

export const waitingTtlMs = 60_000
const workersMax = 1_000
/** How long a lease may be missing from its worker's list: the dispatch is on its way. */
const leaseGraceMs = 10_000
const endedKeptMs = 5_000
/** By then a worker's receipts are no longer waited for; see settlement/overdue.ts. */
const missingKeptMs = 24 * 3_600_000
const missingMax = 1_000
const pacesMax = 64
/** Of those that came back, so many are looked at for one that a free slot is not excluded for. */
const backLookMax = 64
const retryAfterLeastMs = 1_000
/** Clients ignore a longer one. */
const retryAfterMostMs = 60_000
/** When nothing is known yet of how fast slots come free. */
const retryAfterUnknownMs = 5_000
const askAgainLeastMs = 1_000

export function emptyPool(): PoolState {
  return {
    workers: new Map(),
    leases: new Map(),
    ended: new Map(),
    queue: new FairQueue(),
    paces: new Map(),
    missing: new Map(),
  }
}

/** Answers at once, or undefined when the request now waits. `tell` is called for another that has to leave for it. */
export function lease(pool: PoolState, ask: Ask, now: number, tell: (told: Told) => void): Outcome | undefined {
  // Its call that ends the lease before may come after this one.
  if (pool.leases.has(ask.requestId)) for (const told of release(pool, ask.requestId, now)) tell(told)
  if (!hasCandidate(pool, ask, now)) return { kind: 'rejected-no-endpoints' }
  const worker = pool.queue.backlog(ask.model) === 0 ? pick(pool, ask.model, ask.exclude, now) : undefined
  if (worker) return grant(pool, ask, worker, now)
  const nobodyWaited = pool.queue.backlog(ask.model) === 0
  const added = pool.queue.add(ask, now)
  if (added.kind === 'full') return { kind: 'rejected-capacity', retryAfterMs: retryAfterMs(pool, ask.model, now) }
  if (nobodyWaited) waitBegins(paceOf(pool, ask.model), now)
  if (added.displaced) {
    const { requestId, model } = added.displaced.item
    tell({ requestId, outcome: { kind: 'rejected-capacity', retryAfterMs: retryAfterMs(pool, model, now) } })
  }
  return undefined
}

/** The request ended, or its client left while it waited. Safe to repeat. */
export function release(pool: PoolState, requestId: string, now: number): Told[] {
  if (pool.queue.remove(requestId)) return [{ requestId, outcome: { kind: 'evicted-cancelled' } }]
  const worker = pool.leases.get(requestId)
  if (!worker) return []
  dropLease(pool, worker, requestId)
  pool.ended.delete(requestId)
  pool.ended.set(requestId, now)
  return serve(pool, worker.heartbeat.model, now)
}

/** What this worker did of the request is over. It may wait again by now, or run elsewhere: that stays. */
export function releaseOn(pool: PoolState, workerId: string, requestId: string, now: number): Told[] {
  return pool.leases.get(requestId)?.heartbeat.workerId === workerId ? release(pool, requestId, now) : []
}

/** A request could not reach this worker: it is out until it is heard of again, and the lease is free. */
export function workerFailed(pool: PoolState, workerId: string, requestId: string, now: number): Told[] {
  const worker = pool.workers.get(workerId)
  if (worker) worker.failed = true
  return [...releaseOn(pool, workerId, requestId, now), ...sweep(pool, now)]
}

export function heartbeat(pool: PoolState, beat: Heartbeat, keyEpoch: number, now: number): Told[] {
  const known = pool.workers.get(beat.workerId)
  if (known && known.heartbeat.sentAt > beat.sentAt) return []
  if (!known && pool.workers.size >= workersMax) return []
  pool.missing.delete(beat.workerId)
  if (beat.state === 'gone') {
    forget(pool, beat.workerId)
    return sweep(pool, now)
  }
  const worker = known ?? { heartbeat: beat, keyEpoch, seenAt: now, failed: false, unleased: 0, leases: new Map() }
  const running = new Set(beat.running)
  for (const [requestId, grantedAt] of worker.leases) {
    if (!running.has(requestId) && now - grantedAt > leaseGraceMs) dropLease(pool, worker, requestId)
  }
  const unleased = beat.running.filter((id) => !worker.leases.has(id) && !pool.ended.has(id)).length
  Object.assign(worker, { heartbeat: beat, keyEpoch, seenAt: now, failed: false, unleased })
  pool.workers.set(beat.workerId, worker)
  return sweep(pool, now)
}

/** A worker whose key is no longer good is out at once. Its receipts are waited for, unless it is no longer believed. */
export function expel(pool: PoolState, workerId: string, believed: boolean, now: number): Told[] {
  if (believed && pool.workers.has(workerId)) miss(pool, workerId, now)
  if (!believed) pool.missing.delete(workerId)
  forget(pool, workerId)
  return sweep(pool, now)
}

/** Drops what is too old, and serves who waits. Call it about once a second. */
export function sweep(pool: PoolState, now: number): Told[] {
  for (const [id, worker] of pool.workers) {
    if (now - worker.seenAt <= heartbeatLostMs) continue
    forget(pool, id)
    if (pool.missing.size < missingMax) miss(pool, id, now)
  }
  dropOlder(pool.missing, now - missingKeptMs)
  dropOlder(pool.ended, now - endedKeptMs)
  const told = pool.queue.removeOlder(now - waitingTtlMs).map(({ item }): Told => {
    const { requestId, model } = item
    return { requestId, outcome: { kind: 'evicted-ttl', retryAfterMs: retryAfterMs(pool, model, now) } }
  })
  for (const model of pool.queue.models()) told.push(...refuseHopeless(pool, model, now), ...serve(pool, model, now))
  return told
}

/** Where a request stands that waits; undefined for any other. */
export function waitView(pool: PoolState, requestId: string, now: number): WaitView | undefined {
  const entry = pool.queue.entry(requestId)
  const standing = pool.queue.standing(requestId)
  if (!entry || !standing) return undefined
  const everyMs = grantEveryMs(paceOf(pool, entry.item.model), now)
  const expectedWaitMs = everyMs === undefined ? null : Math.ceil(everyMs * standing.position)
  // At most a thousand questions a second, however many wait.
  return { ...standing, expectedWaitMs, askAgainMs: Math.max(askAgainLeastMs, pool.queue.size) }
}

/** Every worker that may hold receipts: those that can be asked, and those that cannot. */
export function registry(pool: PoolState): { present: Place[]; missing: string[] } {
  const present = [...pool.workers.values()].map(({ heartbeat: beat, keyEpoch }) => ({
    workerId: beat.workerId,
    keyEpoch,
    url: beat.url,
  }))
  return { present, missing: [...pool.missing.keys()] }
}

export interface PoolView {
  slots: number
  leased: number
  unleased: number
  waiting: number
  workers: {
    workerId: string
    model: string
    state: string
    slots: number
    leased: number
    engine: string
    vision: boolean
    url: string
  }[]
}

export function view(pool: PoolState): PoolView {
  const workers = [...pool.workers.values()].map(({ heartbeat: beat, failed, leases }) => ({
    workerId: beat.workerId,
    model: beat.model,
    state: failed ? 'unreachable' : beat.state,
    slots: beat.slotsMax,
    leased: leases.size,
    engine: beat.engine,
    vision: beat.vision,
    url: beat.url,
  }))
  return {
    slots: workers.reduce((sum, worker) => sum + worker.slots, 0),
    leased: pool.leases.size,
    unleased: [...pool.workers.values()].reduce((sum, worker) => sum + worker.unleased, 0),
    waiting: pool.queue.size,
    workers,
  }
}

function forget(pool: PoolState, workerId: string): void {
  const worker = pool.workers.get(workerId)
  if (!worker) return
  for (const requestId of worker.leases.keys()) pool.leases.delete(requestId)
  pool.workers.delete(workerId)
}

function dropLease(pool: PoolState, worker: Worker, requestId: string): void {
  worker.leases.delete(requestId)
  pool.leases.delete(requestId)
}

/** Kept in the order of their times. */
function miss(pool: PoolState, workerId: string, now: number): void {
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
function refuseHopeless(pool: PoolState, model: string, now: number): Told[] {
  const served = hasCandidate(pool, { model, exclude: [] }, now)
  const { queue } = pool
  const hopeless = served
    ? queue.back(model, backLookMax).filter(({ item }) => !hasCandidate(pool, item, now))
    : queue.waitingFor(model)
  return hopeless.map(({ item: { requestId } }) => {
    queue.remove(requestId)
    return { requestId, outcome: { kind: 'rejected-no-endpoints' } }
  })
}

/** Gives the model's free slots to those that wait for them. */
function serve(pool: PoolState, model: string, now: number): Told[] {
  const told: Told[] = []
  for (;;) {
    const free = pick(pool, model, [], now)
    const next = free && nextFor(pool, model, now)
    if (!next) return told
    // Those that came back may not take every worker.
    const worker = next.item.exclude.length > 0 ? pick(pool, model, next.item.exclude, now) : free
    if (!worker) return told
    granted(paceOf(pool, model), now)
    told.push({ requestId: next.item.requestId, outcome: grant(pool, next.item, worker, now, next) })
  }
}

function nextFor(pool: PoolState, model: string, now: number): Entry<Ask> | undefined {
  const fits = (ask: Ask) => pick(pool, model, ask.exclude, now) !== undefined
  return pool.queue.takeBack(model, fits, backLookMax) ?? pool.queue.take(model)
}

function grant(pool: PoolState, ask: Ask, worker: Worker, now: number, waited?: Entry<Ask>): Outcome {
  const { workerId, url } = worker.heartbeat
  pool.leases.set(ask.requestId, worker)
  worker.leases.set(ask.requestId, now)
  const place = { workerId, keyEpoch: worker.keyEpoch, url }
  return { kind: 'granted', place, waitedMs: waited ? now - waited.since : 0, position: waited?.position ?? null }
}

function serves(worker: Worker, model: string, exclude: string[], now: number): boolean {
  const { failed, heartbeat: beat, seenAt } = worker
  const here = !failed && beat.state === 'ready' && now - seenAt <= heartbeatLostMs
  return here && beat.model === model && !exclude.includes(beat.workerId)
}

function hasCandidate(pool: PoolState, { model, exclude }: Pick<Ask, 'model' | 'exclude'>, now: number): boolean {
  for (const worker of pool.workers.values()) if (serves(worker, model, exclude, now)) return true
  return false
}

/** The worker with the most free slots, if any has one. */
function pick(pool: PoolState, model: string, exclude: string[], now: number): Worker | undefined {
  let best: Worker | undefined
  let most = 0
  for (const worker of pool.workers.values()) {
    const free = worker.heartbeat.slotsMax - worker.unleased - worker.leases.size
    if (free > most && serves(worker, model, exclude, now)) [best, most] = [worker, free]
  }
  return best
}

function paceOf(pool: PoolState, model: string): Pace {
  const known = pool.paces.get(model)
  if (known) return known
  if (pool.paces.size >= pacesMax) pool.paces.clear()
  const pace = newPace()
  pool.paces.set(model, pace)
  return pace
}

/** When those that wait for this model will have been served, at the pace of late. */
function retryAfterMs(pool: PoolState, model: string, now: number): number {
  const everyMs = grantEveryMs(paceOf(pool, model), now)
  if (everyMs === undefined) return retryAfterUnknownMs
  const wait = Math.ceil(everyMs * (pool.queue.backlog(model) + 1))
  return Math.min(retryAfterMostMs, Math.max(retryAfterLeastMs, wait))
}
