/** The demand for one model, and the split of its workers between the two pools. */
import { type PoolName, poolNames } from '../../../backends/wire/dispatch.ts'
import { type FleetWorker, isEligible, runningOn } from '../worker.ts'
import { type Arrivals, arrived, newArrivals, perSecond } from './arrival-rate.ts'
import { poolSplit, type WorkerCapacity } from './pool-split.ts'
import type { ModelSnapshot } from './score.ts'
import { limitOf } from './score.ts'
import {
  promptTokensMemory,
  promptTokensPrior,
  splitEstimatedMs,
  splitEveryMs,
  splitFullMs,
  splitNeededMs,
} from './tuning.ts'
import { batchWithin, isKnown, tokenMsAt } from './worker-speed.ts'

export interface ModelLoad {
  arrivals: Record<PoolName, Arrivals>
  /** Recent mean prompt length. */
  promptTokens: Record<PoolName, number>
  /** Workers assigned to the latency pool. */
  count: number | undefined
  /** Direction in which the split should move (+1: more latency workers), and since when. */
  pendingMove: { way: number; since: number }
  movedAt: number
  /** Requests that the latency pool can run within its target. */
  latencyFree: number
  /** Short answers that will likely run at once. */
  latencyWanted: number
  /** Grants to short answers since the last long one, while long ones wait and have no throughput pool. */
  passedLong: number
}

/** Expected output, in tokens. */
export type Expected = Record<PoolName, number>

export function newModelLoad(now: number): ModelLoad {
  return {
    arrivals: { latency: newArrivals(now), throughput: newArrivals(now) },
    promptTokens: { latency: promptTokensPrior, throughput: promptTokensPrior },
    count: undefined,
    pendingMove: { way: 0, since: now },
    movedAt: Number.NEGATIVE_INFINITY,
    latencyFree: 0,
    latencyWanted: 0,
    passedLong: 0,
  }
}

/** @param counts weight of the request in the demand, at most 1 */
export function came(
  modelLoad: ModelLoad,
  preferredPool: PoolName,
  promptTokens: number,
  counts: number,
  now: number,
): void {
  arrived(modelLoad.arrivals[preferredPool], counts, now)
  modelLoad.promptTokens[preferredPool] +=
    (counts * (promptTokens - modelLoad.promptTokens[preferredPool])) / promptTokensMemory
}

/** Assigns every worker to a pool. Call it often; it acts about once a second. */
export function moveSplit(
  modelLoad: ModelLoad,
  model: string,
  workers: Iterable<FleetWorker>,
  expected: Expected,
  waits: ModelSnapshot['waits'],
  moves: boolean,
  now: number,
): void {
  if (now - modelLoad.movedAt < splitEveryMs) return
  modelLoad.movedAt = now
  const row = [...workers].filter((worker) => isEligible(worker, model, [], now)).sort(inRow)
  const preferred = preferringLatency(row)
  const demand = {
    latency: { perSecond: perSecond(modelLoad.arrivals.latency, now), tokens: expected.latency },
    throughput: { perSecond: perSecond(modelLoad.arrivals.throughput, now), tokens: expected.throughput },
  }
  const known = row.length > 0 && row.every((worker) => isKnown(worker.speed))
  if (moves && known && row.length > 1) {
    const capacities = row.map((worker) => capacityOf(worker, expected, modelLoad.promptTokens.throughput))
    const best = poolSplit(capacities, demand, modelLoad.count ?? preferred)
    moveByOne(modelLoad, best, row, waits, now)
  }
  // A lone worker is not split: batches small enough for short answers would leave most of it idle for long ones.
  const count = row.length === 1 ? 0 : Math.min(row.length, modelLoad.count ?? preferred)
  row.forEach((worker, index) => {
    worker.assignedPool = index < count ? 'latency' : 'throughput'
  })
  const latency = row.slice(0, count)
  modelLoad.latencyFree = latency.reduce((sum, worker) => sum + latencyBatch(worker), 0)
  const tokenMs = latency.reduce((sum, worker) => sum + latencyTokenMs(worker), 0) / Math.max(1, latency.length)
  modelLoad.latencyWanted = peakOf((demand.latency.perSecond * expected.latency * tokenMs) / 1_000)
}

/** Moves one worker if that has looked better for a while: estimates fluctuate, and long answers run for minutes. */
function moveByOne(
  modelLoad: ModelLoad,
  best: number,
  row: readonly FleetWorker[],
  waits: ModelSnapshot['waits'],
  now: number,
): void {
  const count = modelLoad.count ?? preferringLatency(row)
  const estimated = Math.sign(best - count)
  const needed = neededWay(waits)
  // Observed waiting overrides the estimate.
  const way = estimated === -needed ? 0 : estimated
  if (way !== modelLoad.pendingMove.way) modelLoad.pendingMove = { way, since: now }
  if (way === 0 || now - modelLoad.pendingMove.since < patienceMs(way, needed, row[count])) return
  modelLoad.count = count + way
  modelLoad.pendingMove = { way: 0, since: now }
}

/** Direction of the only pool with waiting requests; 0 if requests wait for both pools or neither. */
function neededWay({ latency, throughput }: ModelSnapshot['waits']): number {
  return Number(latency) - Number(throughput)
}

/** @param next the worker that would move to the latency pool */
function patienceMs(way: number, needed: number, next: FleetWorker | undefined): number {
  if (way === needed) return splitNeededMs
  return way > 0 && next && isFullOfLong(next) ? splitFullMs : splitEstimatedMs
}

function preferringLatency(row: readonly FleetWorker[]): number {
  return row.filter((worker) => worker.heartbeat.pool === 'latency').length
}

export function snapshotOf(
  modelLoad: ModelLoad,
  model: string,
  workers: Iterable<FleetWorker>,
  waits: ModelSnapshot['waits'],
  now: number,
): ModelSnapshot {
  const running = { latency: 0, throughput: 0 }
  const count = { latency: 0, throughput: 0 }
  let latency = 0
  for (const worker of workers) {
    if (!isEligible(worker, model, [], now)) continue
    running[worker.assignedPool] += runningOn(worker)
    count[worker.assignedPool] += 1
    if (worker.assignedPool === 'latency') latency += worker.latencyCount
  }
  const capacity = modelLoad.movedAt === Number.NEGATIVE_INFINITY ? Number.POSITIVE_INFINITY : modelLoad.latencyFree
  return {
    waits,
    longSlots: capacity - running.latency - Math.max(0, modelLoad.latencyWanted - latency),
    meanRunning: Object.fromEntries(
      poolNames.map((assignedPool) => [assignedPool, running[assignedPool] / Math.max(1, count[assignedPool])]),
    ) as ModelSnapshot['meanRunning'],
    has: { latency: count.latency > 0, throughput: count.throughput > 0 },
  }
}

/** Sort order: workers that prefer latency first, then by id; workers still full of long answers last. */
function inRow(a: FleetWorker, b: FleetWorker): number {
  const { heartbeat: x } = a
  const { heartbeat: y } = b
  const full = Number(isFullOfLong(a)) - Number(isFullOfLong(b))
  if (full !== 0) return full
  if (x.pool !== y.pool) return x.pool === 'latency' ? -1 : 1
  return x.workerId < y.workerId ? -1 : 1
}

function isFullOfLong(worker: FleetWorker): boolean {
  return isKnown(worker.speed) && worker.leases.size - worker.latencyCount > latencyBatch(worker)
}

function capacityOf(worker: FleetWorker, expected: Expected, promptTokens: number): WorkerCapacity {
  const { speed, slowdown, heartbeat } = worker
  const kept =
    heartbeat.kvTokensMax > 0 ? heartbeat.kvTokensMax / (expected.throughput + promptTokens) : heartbeat.slotsMax
  const batchMax = Math.max(1, Math.floor(Math.min(kept, heartbeat.slotsMax)))
  return {
    preferredPool: heartbeat.pool,
    latencyBatch: latencyBatch(worker),
    throughputBatch: batchWithin(speed, limitOf(worker, 'throughput') / slowdown, batchMax),
    tokenMs: (batch) => tokenMsAt(speed, batch) * slowdown,
  }
}

function latencyBatch(worker: FleetWorker): number {
  const { speed, slowdown, heartbeat } = worker
  return batchWithin(speed, limitOf(worker, 'latency') / slowdown, heartbeat.slotsMax)
}

function latencyTokenMs(worker: FleetWorker): number {
  const ms = tokenMsAt(worker.speed, latencyBatch(worker)) * worker.slowdown
  return ms > 0 ? ms : limitOf(worker, 'latency')
}

/** Peak concurrency for a mean concurrency: three standard deviations of a Poisson count above the mean. */
function peakOf(mean: number): number {
  return mean + 3 * Math.sqrt(mean)
}
