/**
 * The pool split: how many workers serve latency. Each worker has a preferred pool, the one that it was started for,
 * but it can serve both kinds of request, and demand does not follow the operator's split. So the split moves: workers
 * are sorted in one row, the first ones run batches small enough for the latency target, the others run throughput
 * batches.
 *
 * The chosen split maximises the requests per second that meet their targets, estimated from arrivals, output lengths
 * and worker speed. Among equally good splits, as with enough capacity, the one nearest to the operator's split wins.
 * With two workers or more, neither pool loses its last worker while it has demand, nor more than half of the workers
 * that prefer it while its own demand fills them.
 */
import type { PoolName } from '../../../backends/wire/dispatch.ts'
import { poolUse, spillUse, splitBetterBy, splitPatienceSeconds } from './tuning.ts'

/** The capacity of one worker in either pool. */
export interface WorkerCapacity {
  preferredPool: PoolName
  /** The largest batches within the latency target and the throughput target. */
  latencyBatch: number
  throughputBatch: number
  /** Time per token at a batch size, in milliseconds. */
  tokenMs: (batch: number) => number
}

export interface PoolDemand {
  /** Requests per second, and output tokens per request. */
  latency: { perSecond: number; tokens: number }
  throughput: { perSecond: number; tokens: number }
}

/**
 * @param current the current split; undefined before the first decision
 * @returns how many workers of the row serve latency
 */
export function poolSplit(row: readonly WorkerCapacity[], demand: PoolDemand, current: number | undefined): number {
  const preferred = row.filter((capacity) => capacity.preferredPool === 'latency').length
  const { min, max } = bounds(row, preferred, demand)
  const good = Array.from({ length: row.length + 1 }, (_, count) => goodAt(row, count, demand))
  const at = (count: number) => good[count] ?? 0
  let best = Math.min(max, Math.max(min, preferred))
  for (let count = min; count <= max; count++) {
    if (at(count) > at(best) * splitBetterBy) best = count
    else if (at(count) >= at(best) / splitBetterBy && Math.abs(count - preferred) < Math.abs(best - preferred))
      best = count
  }
  if (current === undefined || current < min || current > max) return best
  return at(best) > at(current) * splitBetterBy || Math.abs(best - preferred) < Math.abs(current - preferred)
    ? best
    : current
}

/** Requests per second that would meet their targets if the first `count` workers serve latency. */
function goodAt(row: readonly WorkerCapacity[], count: number, { latency, throughput }: PoolDemand): number {
  const latencyWorkers = row.slice(0, count)
  const throughputWorkers = row.slice(count)
  const latencyFree =
    sumOf(latencyWorkers, (capacity) => rate(capacity, capacity.latencyBatch, latency.tokens)) * poolUse.latency
  const latencyIn = Math.min(latency.perSecond, latencyFree)
  const throughputFree =
    sumOf(throughputWorkers, (capacity) => rate(capacity, capacity.throughputBatch, throughput.tokens)) *
    poolUse.throughput
  const left = latencyFree > 0 ? 1 - latencyIn / latencyFree : 0
  const spilled = left * (throughputWorkers.length > 0 ? spillUse : poolUse.throughput)
  const spillCapacity =
    spilled * sumOf(latencyWorkers, (capacity) => rate(capacity, capacity.latencyBatch, throughput.tokens))
  const capacity = throughputFree + spillCapacity
  const inTime =
    throughput.perSecond <= capacity
      ? throughput.perSecond
      : capacity * (1 - Math.exp(-throughput.perSecond * splitPatienceSeconds))
  const overflow =
    latencyAmongThroughput(
      throughputWorkers,
      Math.min(throughput.perSecond, throughputFree),
      throughput.tokens,
      latency.tokens,
    ) * poolUse.latency
  return latencyIn + inTime + Math.min(latency.perSecond - latencyIn, overflow)
}

/**
 * Short answers per second that the throughput pool can serve within the latency target: the slots of a small enough
 * batch that a Poisson number of long answers leaves free.
 */
function latencyAmongThroughput(
  throughputWorkers: readonly WorkerCapacity[],
  perSecond: number,
  throughputTokens: number,
  latencyTokens: number,
): number {
  const capacity = throughputWorkers[0]
  if (!capacity) return 0
  let batch = 0
  for (let step = 0; step < 6; step++) {
    const tokenMs = capacity.tokenMs(Math.round(batch) + 1)
    batch = Math.min(
      capacity.throughputBatch,
      (perSecond * throughputTokens * tokenMs) / 1_000 / throughputWorkers.length,
    )
  }
  const free = freeOf(capacity.latencyBatch - batch, Math.sqrt(Math.max(1, batch))) / capacity.latencyBatch
  return sumOf(throughputWorkers, (each) => rate(each, each.latencyBatch, latencyTokens)) * free
}

/** E[max(0, X)] for X ~ N(mean, deviation²), approximated with a logistic curve. */
function freeOf(mean: number, deviation: number): number {
  const z = mean / deviation
  const below = 1 / (1 + Math.exp(-1.7 * z))
  return Math.max(0, mean * below + deviation * 0.4 * Math.exp((-z * z) / 2))
}

function rate(capacity: WorkerCapacity, batch: number, tokens: number): number {
  return (1_000 * batch) / (Math.max(0.01, capacity.tokenMs(batch)) * tokens)
}

function sumOf(capacities: readonly WorkerCapacity[], value: (capacity: WorkerCapacity) => number): number {
  return capacities.reduce((sum, capacity) => sum + value(capacity), 0)
}

function bounds(
  row: readonly WorkerCapacity[],
  preferred: number,
  { latency, throughput }: PoolDemand,
): { min: number; max: number } {
  const latencyFree = sumOf(row.slice(0, preferred), (capacity) =>
    rate(capacity, capacity.latencyBatch, latency.tokens),
  )
  const throughputFree = sumOf(row.slice(preferred), (capacity) =>
    rate(capacity, capacity.throughputBatch, throughput.tokens),
  )
  const share = (perSecond: number, capacity: number) => (capacity > 0 ? Math.min(1, perSecond / capacity) : 1)
  const latencyMin = Math.floor((preferred / 2) * share(latency.perSecond, latencyFree))
  const throughputMin = Math.floor(((row.length - preferred) / 2) * share(throughput.perSecond, throughputFree))
  const min = latency.perSecond > 0 ? Math.max(1, latencyMin) : 0
  const max = row.length - (throughput.perSecond > 0 ? Math.max(1, throughputMin) : 0)
  return { min: Math.min(min, max), max }
}
