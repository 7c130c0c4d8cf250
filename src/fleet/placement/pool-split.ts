/**
 * Where the border between the pools runs. Each worker has a home, the pool whose profile it was started with; but a
 * worker can serve either kind of request, and demand does not keep to the operator's split. So the border moves: the
 * workers stand in one row, and the first of them are run with batches small enough for the latency target, the others
 * as full as the throughput target allows.
 *
 * The border is put where max requests a second meet their targets, estimated from what arrives, how long answers are
 * and how fast the workers were of late. Where several places are as good, which is so whenever there is room enough,
 * the one nearest to the operator's split is taken. Neither side is taken its last worker while anyone asks for it and
 * there are two, nor more than half of its homes while its own demand fills them.
 */
import type { PoolName } from '../../../backends/wire/dispatch.ts'

/** One worker in the row, with what it could do on either side. */
export interface WorkerCapacity {
  preferredPool: PoolName
  /** The largest batch within the latency target, and within the throughput target. */
  latencyBatch: number
  throughputBatch: number
  /** Between two tokens, when so many run. */
  tokenMs: (batch: number) => number
}

export interface PoolDemand {
  /** Requests a second, and the tokens that one writes. */
  latency: { perSecond: number; tokens: number }
  throughput: { perSecond: number; tokens: number }
}

/** Arrivals come in crowds: of a side's room so much is used on average. */
const used = { latency: 0.75, throughput: 0.9 }
/** Beside short answers, long ones are let in only well below the target; see place.ts. */
const spillUsed = 0.6
/** A long answer that finds no place within about this time is late. */
const patienceSeconds = 1.4
/** A better place must be better by so much: moving has a price, long answers stay where they run. */
const betterBy = 1.04

/**
 * @param current where it is; undefined when nothing was decided yet
 * @returns how many of the row are on the latency side
 */
export function poolSplit(row: readonly WorkerCapacity[], demand: PoolDemand, current: number | undefined): number {
  const preferred = row.filter((capacity) => capacity.preferredPool === 'latency').length
  const { min, max } = bounds(row, preferred, demand)
  const good = Array.from({ length: row.length + 1 }, (_, count) => goodAt(row, count, demand))
  const at = (count: number) => good[count] ?? 0
  let best = Math.min(max, Math.max(min, preferred))
  for (let count = min; count <= max; count++) {
    if (at(count) > at(best) * betterBy) best = count
    else if (at(count) >= at(best) / betterBy && Math.abs(count - preferred) < Math.abs(best - preferred)) best = count
  }
  if (current === undefined || current < min || current > max) return best
  return at(best) > at(current) * betterBy || Math.abs(best - preferred) < Math.abs(current - preferred)
    ? best
    : current
}

/** Requests a second that would meet their targets, with so many of the row on the latency side. */
function goodAt(row: readonly WorkerCapacity[], count: number, { latency, throughput }: PoolDemand): number {
  const latencyWorkers = row.slice(0, count)
  const throughputWorkers = row.slice(count)
  const latencyFree =
    sumOf(latencyWorkers, (capacity) => rate(capacity, capacity.latencyBatch, latency.tokens)) * used.latency
  const latencyIn = Math.min(latency.perSecond, latencyFree)
  const throughputFree =
    sumOf(throughputWorkers, (capacity) => rate(capacity, capacity.throughputBatch, throughput.tokens)) *
    used.throughput
  const left = latencyFree > 0 ? 1 - latencyIn / latencyFree : 0
  const spilled = left * (throughputWorkers.length > 0 ? spillUsed : used.throughput)
  const spillCapacity =
    spilled * sumOf(latencyWorkers, (capacity) => rate(capacity, capacity.latencyBatch, throughput.tokens))
  const room = throughputFree + spillCapacity
  const inTime =
    throughput.perSecond <= room ? throughput.perSecond : room * (1 - Math.exp(-throughput.perSecond * patienceSeconds))
  const overflow =
    latencyBesideThroughput(
      throughputWorkers,
      Math.min(throughput.perSecond, throughputFree),
      throughput.tokens,
      latency.tokens,
    ) * used.latency
  return latencyIn + inTime + Math.min(latency.perSecond - latencyIn, overflow)
}

/**
 * Short answers a second that find places on the long side within the latency target: what the long answers there, a
 * Poisson number, leave of the batch that is quick enough.
 */
function latencyBesideThroughput(
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

/** The mean of what is left above nothing, where it is so much on average with this deviation (of a normal number). */
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
  const share = (asked: number, room: number) => (room > 0 ? Math.min(1, asked / room) : 1)
  const latencyMin = Math.floor((preferred / 2) * share(latency.perSecond, latencyFree))
  const throughputMin = Math.floor(((row.length - preferred) / 2) * share(throughput.perSecond, throughputFree))
  const min = latency.perSecond > 0 ? Math.max(1, latencyMin) : 0
  const max = row.length - (throughput.perSecond > 0 ? Math.max(1, throughputMin) : 0)
  return { min: Math.min(min, max), max }
}
