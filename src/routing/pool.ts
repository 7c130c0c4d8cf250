/**
 * One pool: which workers it has, which of their slots are leased, and who waits for one.
 *
 *   lease ──▶ granted                 a worker of that model has a free slot
 *         ├─▶ waiting ──▶ granted     a slot came free: first come, first served
 *         │          ├──▶ evicted-ttl | evicted-cancelled | rejected-no-endpoints
 *         ├─▶ rejected-capacity       the queue is full
 *         └─▶ rejected-no-endpoints   nobody serves that model
 *
 * The registry is what heartbeats say. A lease is what this pool granted; the workers' own list of running requests is
 * the check on it, in both directions: a lease that its worker does not run is freed after a grace, so that a lost
 * isolate leaks no slot, and a request that runs without a lease (this object was restarted) still occupies its slot.
 *
 * Pure: every function takes the state and `now`, changes the state, and returns the outcomes to tell.
 */
import { type Heartbeat, heartbeatLostMs } from '../../backends/protocol/heartbeat.ts'

export interface Ask {
  requestId: string
  tenantId: string
  model: string
  /** Worker ids that failed this request already. */
  exclude: string[]
}

export interface Place {
  workerId: string
  keyEpoch: number
  url: string
}

export type Outcome =
  | { kind: 'granted'; place: Place; waitedMs: number }
  | { kind: 'rejected-capacity'; retryAfterMs: number }
  | { kind: 'rejected-no-endpoints' }
  | { kind: 'evicted-ttl'; retryAfterMs: number }
  | { kind: 'evicted-cancelled' }

/** An outcome for a request that waited. */
export interface Told {
  requestId: string
  outcome: Outcome
}

interface Lease {
  workerId: string
  grantedAt: number
}

interface Worker {
  heartbeat: Heartbeat
  keyEpoch: number
  seenAt: number
  /** Set when a request could not reach it; its next heartbeat clears it. */
  failed: boolean
  /** Running there by its own word, without a lease of ours. */
  unleased: number
}

interface Waiting {
  ask: Ask
  since: number
}

export interface PoolState {
  workers: Map<string, Worker>
  leases: Map<string, Lease>
  /** Requests that ended lately: a heartbeat sent before may still list them. */
  ended: Map<string, number>
  waiting: Waiting[]
  /** Workers that fell silent without taking leave, and when: they may yet owe receipts. */
  missing: Map<string, number>
}

export const waitingMax = 20_000
export const waitingTtlMs = 60_000
const workersMax = 1_000
/** How long a lease may be missing from its worker's list: the dispatch is on its way. */
const leaseGraceMs = 10_000
const endedKeptMs = 5_000
/** By then a worker's receipts are no longer waited for; see settlement/overdue.ts. */
const missingKeptMs = 24 * 3_600_000
const missingMax = 1_000

export function emptyPool(): PoolState {
  return { workers: new Map(), leases: new Map(), ended: new Map(), waiting: [], missing: new Map() }
}

/** Answers at once, or undefined when the request now waits. */
export function lease(pool: PoolState, ask: Ask, now: number): Outcome | undefined {
  if (!candidates(pool, ask, now).length) return { kind: 'rejected-no-endpoints' }
  const place = pool.waiting.length === 0 ? pick(pool, ask, now) : undefined
  if (place) return grant(pool, ask, place, now, now)
  if (pool.waiting.length >= waitingMax) return { kind: 'rejected-capacity', retryAfterMs: expectedWaitMs(pool) }
  pool.waiting.push({ ask, since: now })
  return undefined
}

/** The request ended, or its client left while it waited. Safe to repeat. */
export function release(pool: PoolState, requestId: string, now: number): Told[] {
  const index = pool.waiting.findIndex((waiting) => waiting.ask.requestId === requestId)
  if (index >= 0) {
    pool.waiting.splice(index, 1)
    return [{ requestId, outcome: { kind: 'evicted-cancelled' } }]
  }
  if (!pool.leases.delete(requestId)) return []
  pool.ended.set(requestId, now)
  return serveWaiting(pool, now)
}

/** A request could not reach this worker: it is out until it is heard of again, and the lease is free. */
export function workerFailed(pool: PoolState, workerId: string, requestId: string, now: number): Told[] {
  const worker = pool.workers.get(workerId)
  if (worker) worker.failed = true
  return [...release(pool, requestId, now), ...sweep(pool, now)]
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
  const running = new Set(beat.running)
  for (const [requestId, held] of pool.leases) {
    if (held.workerId !== beat.workerId || running.has(requestId)) continue
    if (now - held.grantedAt > leaseGraceMs) pool.leases.delete(requestId)
  }
  const unleased = beat.running.filter(
    (id) => pool.leases.get(id)?.workerId !== beat.workerId && !pool.ended.has(id),
  ).length
  pool.workers.set(beat.workerId, { heartbeat: beat, keyEpoch, seenAt: now, failed: false, unleased })
  return sweep(pool, now)
}

/** A worker whose key is no longer good is out at once. Its receipts are waited for, unless it is no longer believed. */
export function expel(pool: PoolState, workerId: string, believed: boolean, now: number): Told[] {
  if (believed && pool.workers.has(workerId)) pool.missing.set(workerId, now)
  if (!believed) pool.missing.delete(workerId)
  forget(pool, workerId)
  return sweep(pool, now)
}

/** Drops what is too old, and serves who waits. Call it about once a second. */
export function sweep(pool: PoolState, now: number): Told[] {
  for (const [id, worker] of pool.workers) {
    if (now - worker.seenAt <= heartbeatLostMs) continue
    forget(pool, id)
    if (pool.missing.size < missingMax) pool.missing.set(id, now)
  }
  for (const [id, at] of pool.missing) if (now - at > missingKeptMs) pool.missing.delete(id)
  for (const [id, at] of pool.ended) if (now - at > endedKeptMs) pool.ended.delete(id)
  const told: Told[] = []
  const kept: Waiting[] = []
  for (const waiting of pool.waiting) {
    const { requestId } = waiting.ask
    if (now - waiting.since > waitingTtlMs) {
      told.push({ requestId, outcome: { kind: 'evicted-ttl', retryAfterMs: expectedWaitMs(pool) } })
    } else if (!candidates(pool, waiting.ask, now).length) {
      told.push({ requestId, outcome: { kind: 'rejected-no-endpoints' } })
    } else kept.push(waiting)
  }
  pool.waiting = kept
  return [...told, ...serveWaiting(pool, now)]
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
    url: string
  }[]
}

export function view(pool: PoolState): PoolView {
  const workers = [...pool.workers.values()].map(({ heartbeat: beat, failed }) => ({
    workerId: beat.workerId,
    model: beat.model,
    state: failed ? 'unreachable' : beat.state,
    slots: beat.slotsMax,
    leased: leasedOn(pool, beat.workerId),
    engine: beat.engine,
    url: beat.url,
  }))
  return {
    slots: workers.reduce((sum, worker) => sum + worker.slots, 0),
    leased: pool.leases.size,
    unleased: [...pool.workers.values()].reduce((sum, worker) => sum + worker.unleased, 0),
    waiting: pool.waiting.length,
    workers,
  }
}

function forget(pool: PoolState, workerId: string): void {
  pool.workers.delete(workerId)
  for (const [requestId, held] of pool.leases) if (held.workerId === workerId) pool.leases.delete(requestId)
}

/** First come, first served among those whose model has a free slot. */
function serveWaiting(pool: PoolState, now: number): Told[] {
  const told: Told[] = []
  const full = new Set<string>()
  for (let index = 0; index < pool.waiting.length; ) {
    const waiting = pool.waiting[index]
    if (!waiting) break
    const { ask } = waiting
    const place = full.has(ask.model) ? undefined : pick(pool, ask, now)
    if (!place) {
      if (ask.exclude.length === 0) full.add(ask.model)
      index++
      continue
    }
    pool.waiting.splice(index, 1)
    told.push({ requestId: ask.requestId, outcome: grant(pool, ask, place, waiting.since, now) })
  }
  return told
}

function grant(pool: PoolState, ask: Ask, worker: Worker, since: number, now: number): Outcome {
  const { workerId, url } = worker.heartbeat
  pool.leases.set(ask.requestId, { workerId, grantedAt: now })
  return { kind: 'granted', place: { workerId, keyEpoch: worker.keyEpoch, url }, waitedMs: now - since }
}

function candidates(pool: PoolState, ask: Ask, now: number): Worker[] {
  return [...pool.workers.values()].filter(
    ({ heartbeat: beat, seenAt, failed }) =>
      !failed &&
      beat.state === 'ready' &&
      beat.model === ask.model &&
      now - seenAt <= heartbeatLostMs &&
      !ask.exclude.includes(beat.workerId),
  )
}

/** The candidate with the most free slots, if any has one. */
function pick(pool: PoolState, ask: Ask, now: number): Worker | undefined {
  let best: Worker | undefined
  let most = 0
  for (const worker of candidates(pool, ask, now)) {
    const free = worker.heartbeat.slotsMax - worker.unleased - leasedOn(pool, worker.heartbeat.workerId)
    if (free > most) [best, most] = [worker, free]
  }
  return best
}

function leasedOn(pool: PoolState, workerId: string): number {
  let count = 0
  for (const held of pool.leases.values()) if (held.workerId === workerId) count++
  return count
}

/** A first estimate: a second per full round of the slots. */
function expectedWaitMs(pool: PoolState): number {
  const slots = Math.max(1, view(pool).slots)
  return 1_000 * Math.max(1, Math.ceil(pool.waiting.length / slots))
}
