/** One worker in the fleet's state: its last heartbeat, its leases and its measured speed. */

import { budgets } from '../../backends/model/budgets.ts'
import type { PoolName } from '../../backends/wire/dispatch.ts'
import { type Heartbeat, heartbeatEveryMs, heartbeatLostMs, type WorkerState } from '../../backends/wire/heartbeat.ts'
import { type Breaker, lets, newBreaker } from './circuit-breaker.ts'
import type { Hold } from './enrolment-check.ts'
import type { WorkerCandidate } from './placement/score.ts'
import {
  answerMsMax,
  answerTokensMin,
  promptTokensMin,
  reportEveryMs,
  reportedMin,
  slowdownEvenMs,
  slowdownFade,
  slowdownMax,
} from './placement/tuning.ts'
import { observePrompt, observeTokens, promptPerMs, type Speed, tokenMsAt } from './placement/worker-speed.ts'

export interface SlotLease {
  at: number
  tenantId: string
  preferredPool: PoolName
  /** Prompt tokens that the worker likely had to read before the first output token, other requests' included. */
  readTokens: number
  /** The request's own part of them. */
  freshTokens: number
  /** Tokens that the request will likely occupy in the KV cache. */
  keepTokens: number
  /** Requests that ran on the worker at the start of this one, itself included. */
  concurrent: number
}

export interface FleetWorker {
  heartbeat: Heartbeat
  keyEpoch: number
  /** The fleet secret from which the worker's key is derived; see auth/fleet-secret.ts. */
  secretId: string | undefined
  seenAt: number
  /** Set when a request or a probe could not reach the worker. A successful probe or a new process clears it. */
  failed: boolean
  /** The reason of `failed`, for the operator. */
  failedWhy: string | undefined
  /** When the edge last probed the worker. */
  probedAt: number | undefined
  /** Keeps requests away although heartbeats arrive. */
  hold: Hold | undefined
  breaker: Breaker
  /** Number of requests that the worker reports as running without a lease. */
  unleased: number
  /** By request id. */
  leases: Map<string, SlotLease>
  /** The preferred pool until the pool split moves the worker. */
  assignedPool: PoolName
  /** Shared by all workers of the same kind. */
  speed: Speed
  /** Recent time per token relative to the worker's kind; above 1 is slower. */
  slowdown: number
  /** Recent measured time of answers, and the expected time of the same tokens for the worker's kind. */
  pace: { busyMs: number; expectedMs: number }
  /** Prompt tokens that were likely unread at `unreadAt`; see `unread`. */
  unreadTokens: number
  unreadAt: number
  /** Prompt tokens of the running requests that were not cached: no more than these can be unread. */
  freshTokens: number
  keptTokens: number
  /** Leases whose preferred pool is latency. */
  latencyCount: number
  /** The report from which the speed was last measured. */
  reported: { outputTokens: number; running: number; at: number }
}

/** The fields of a receipt from which speed is measured. */
export interface Ended {
  finished: boolean
  promptTokens: number
  cachedTokens: number
  outputTokens: number
  firstTokenMs: number | null
  /** From start to end on the worker. */
  ms: number
}

export function newWorker(heartbeat: Heartbeat, keyEpoch: number, speed: Speed, now: number): FleetWorker {
  return {
    heartbeat,
    keyEpoch,
    secretId: undefined,
    seenAt: now,
    failed: false,
    failedWhy: undefined,
    probedAt: undefined,
    hold: undefined,
    breaker: newBreaker(),
    unleased: 0,
    leases: new Map(),
    assignedPool: heartbeat.pool,
    speed,
    slowdown: 1,
    pace: { busyMs: 0, expectedMs: 0 },
    unreadTokens: 0,
    unreadAt: now,
    freshTokens: 0,
    keptTokens: 0,
    latencyCount: 0,
    reported: { outputTokens: heartbeat.outputTokensTotal, running: heartbeat.running.length, at: heartbeat.sentAt },
  }
}

/** Workers of one kind are assumed to be equally fast. */
export function kindOf({ model, engine, pool, slotsMax }: Heartbeat): string {
  return `${model} ${engine} ${pool} ${slotsMax}`
}

export function isEligible(worker: FleetWorker, model: string, exclude: readonly string[], now: number): boolean {
  const { failed, hold, heartbeat, seenAt, breaker } = worker
  const here = !failed && !hold && heartbeat.state === 'ready' && now - seenAt <= heartbeatLostMs
  return here && heartbeat.model === model && !exclude.includes(heartbeat.workerId) && lets(breaker, now)
}

/** The reason that keeps requests away, if any; otherwise the state that the worker reports. */
export function conditionOf({ hold, failed, failedWhy, heartbeat }: FleetWorker): {
  state: WorkerState
  reason: string | null
} {
  if (hold) return hold
  return failed
    ? { state: 'unreachable', reason: failedWhy ?? null }
    : { state: heartbeat.state, reason: heartbeat.reason ?? null }
}

export function runningOn({ unleased, leases }: FleetWorker): number {
  return unleased + leases.size
}

export function candidateOf(worker: FleetWorker, heldTokens: number, crowding: number, now: number): WorkerCandidate {
  const { heartbeat, assignedPool, speed, slowdown, keptTokens } = worker
  return {
    workerId: heartbeat.workerId,
    preferredPool: heartbeat.pool,
    assignedPool,
    running: runningOn(worker),
    crowding,
    slotsMax: heartbeat.slotsMax,
    speed,
    slowdown,
    unreadTokens: unread(worker, now),
    keptTokens,
    keptTokensMax: heartbeat.kvTokensMax,
    heldTokens,
  }
}

/** Number of leases on this worker that belong to these tenants. */
export function leasesOf(worker: FleetWorker, tenantIds: readonly string[]): number {
  if (tenantIds.length === 0) return 0
  let count = 0
  for (const { tenantId } of worker.leases.values()) if (tenantIds.includes(tenantId)) count += 1
  return count
}

export function addLease(
  worker: FleetWorker,
  requestId: string,
  lease: Omit<SlotLease, 'concurrent' | 'readTokens'>,
): void {
  const readTokens = unread(worker, lease.at) + lease.freshTokens
  worker.unreadTokens = readTokens
  worker.unreadAt = lease.at
  worker.freshTokens += lease.freshTokens
  worker.keptTokens += lease.keepTokens
  worker.leases.set(requestId, { ...lease, readTokens, concurrent: runningOn(worker) + 1 })
  if (lease.preferredPool === 'latency') worker.latencyCount += 1
}

export function dropLease(worker: FleetWorker, requestId: string): SlotLease | undefined {
  const lease = worker.leases.get(requestId)
  if (!lease) return undefined
  worker.leases.delete(requestId)
  worker.freshTokens -= lease.freshTokens
  worker.keptTokens -= lease.keepTokens
  if (lease.preferredPool === 'latency') worker.latencyCount -= 1
  return lease
}

/** Measures the speed of the batch since the last heartbeat from the reported token totals. */
export function observeHeartbeat(worker: FleetWorker, heartbeat: Heartbeat, now: number): void {
  const { reported } = worker
  const ms = heartbeat.sentAt - reported.at
  if (ms < reportEveryMs) return
  const running = heartbeat.running.length
  const claimed = heartbeat.outputTokensTotal - reported.outputTokens
  const tokens = claimed < 0 ? claimed : believedTokens(claimed, Math.max(running, reported.running), ms)
  const batch = (running + reported.running) / 2
  if (tokens >= 0 && Math.min(running, reported.running) >= reportedMin) observe(worker, batch, ms * batch, tokens, now)
  worker.reported = { outputTokens: heartbeat.outputTokensTotal, running, at: heartbeat.sentAt }
}

/** Limits claimed tokens to what the answers can have had, because they affect the placement of every tenant. */
export function believedTokens(claimed: number, running: number, ms: number): number {
  const seconds = (Math.max(0, ms) + heartbeatEveryMs) / 1_000
  return Math.min(Math.max(0, claimed), (running + 1) * budgets.tokensPerSecond.value * seconds)
}

/** Measures the speed of one answer, and of reading its prompt, from a receipt. */
export function observeEnd(worker: FleetWorker, lease: SlotLease, end: Ended, now: number): void {
  const { firstTokenMs, outputTokens, ms } = end
  if (!end.finished || firstTokenMs === null) return
  const answerMs = ms - firstTokenMs
  const batch = (lease.concurrent + runningOn(worker)) / 2
  if (outputTokens >= answerTokensMin && answerMs > 0 && answerMs <= answerMsMax && batch < reportedMin) {
    observe(worker, batch, answerMs, outputTokens - 1, now)
  }
  const read = Math.max(end.promptTokens - end.cachedTokens, lease.readTokens)
  if (end.promptTokens - end.cachedTokens >= promptTokensMin && firstTokenMs > 0) {
    observePrompt(worker.speed, read, firstTokenMs)
  }
}

function observe(worker: FleetWorker, batch: number, busyMs: number, tokens: number, now: number): void {
  const expectedMs = tokens * tokenMsAt(worker.speed, Math.round(batch))
  observeTokens(worker.speed, batch, busyMs, tokens, now)
  // No expectation existed yet.
  if (tokens > 0 && expectedMs === 0) return
  const { pace } = worker
  pace.busyMs = pace.busyMs * slowdownFade + busyMs
  pace.expectedMs = pace.expectedMs * slowdownFade + expectedMs
  worker.slowdown = Math.min(
    slowdownMax,
    Math.max(1 / slowdownMax, (pace.busyMs + slowdownEvenMs) / (pace.expectedMs + slowdownEvenMs)),
  )
}

/**
 * Prompt tokens that were sent to the worker and are likely not read yet, by its measured reading rate. That rate can be
 * far too low (a prompt may wait for the compilation of another request's schema), so the prompts of requests that have
 * ended do not count.
 */
function unread({ speed, unreadTokens, unreadAt, freshTokens }: FleetWorker, now: number): number {
  const perMs = promptPerMs(speed)
  if (perMs === undefined) return 0
  return Math.min(freshTokens, Math.max(0, unreadTokens - perMs * Math.max(0, now - unreadAt)))
}
