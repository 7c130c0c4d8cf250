/** What is asked of one model, and how its workers are shared between the two sides of the border. */
import { type PoolName, poolNames } from '../../../backends/wire/dispatch.ts'
import { type FleetWorker, runningOn, serves } from '../worker.ts'
import { type Arrivals, arrived, newArrivals, perSecond } from './arrival-rate.ts'
import { border, type WorkerCapacity } from './pool-split.ts'
import type { ModelSnapshot } from './score.ts'
import { limitOf } from './score.ts'
import { batchWithin, isKnown, tokenMsAt } from './worker-speed.ts'

export interface ModelLoad {
  arrivals: Record<PoolName, Arrivals>
  /** A prompt's length of late. */
  promptTokens: Record<PoolName, number>
  /** Workers on the latency side. */
  count: number | undefined
  /** Which way it is to move, and since when. */
  wish: { way: number; since: number }
  movedAt: number
  /** How many may run on the latency side within its target. */
  quickRoom: number
  /** How many short answers will likely run at once. */
  quickWanted: number
  /** Grants to short answers since the last to a long one, while long ones wait and have no side of their own. */
  passedLong: number
}

/** Expected output, in tokens. */
export type Expected = Record<PoolName, number>

const moveEveryMs = 1_000
/** How long a move has to look better: with no need in sight, and where somebody waits for that side and nobody for the other. */
const wishMs = 8_000
const neededMs = 3_000
/** A worker that is full of long answers serves hardly anybody in time until they have ended: it is not taken for a whim. */
const fullMs = 20_000
/** Tokens, before any came. */
const promptPrior = 1_500
const promptMemory = 100

export function newMarket(now: number): ModelLoad {
  return {
    arrivals: { latency: newArrivals(now), throughput: newArrivals(now) },
    promptTokens: { latency: promptPrior, throughput: promptPrior },
    count: undefined,
    wish: { way: 0, since: now },
    movedAt: Number.NEGATIVE_INFINITY,
    quickRoom: 0,
    quickWanted: 0,
    passedLong: 0,
  }
}

/** @param counts as so much of a request, at most 1 */
export function came(market: ModelLoad, home: PoolName, promptTokens: number, counts: number, now: number): void {
  arrived(market.arrivals[home], counts, now)
  market.promptTokens[home] += (counts * (promptTokens - market.promptTokens[home])) / promptMemory
}

/** Puts every worker on its side. Call it often; it does something about once a second. */
export function moveBorder(
  market: ModelLoad,
  model: string,
  workers: Iterable<FleetWorker>,
  expected: Expected,
  waits: ModelSnapshot['waits'],
  moves: boolean,
  now: number,
): void {
  if (now - market.movedAt < moveEveryMs) return
  market.movedAt = now
  const row = [...workers].filter((worker) => serves(worker, model, [], now)).sort(inRow)
  const homes = homesIn(row)
  const asked = {
    quick: { perSecond: perSecond(market.arrivals.latency, now), tokens: expected.latency },
    long: { perSecond: perSecond(market.arrivals.throughput, now), tokens: expected.throughput },
  }
  const known = row.length > 0 && row.every((worker) => isKnown(worker.speed))
  if (moves && known && row.length > 1) {
    const posts = row.map((worker) => postIn(worker, expected, market.promptTokens.throughput))
    const best = border(posts, asked, market.count ?? homes)
    wish(market, best, row, waits, now)
  }
  // A lone worker has no border: batches that suit short answers would leave most of it idle for long ones.
  const count = row.length === 1 ? 0 : Math.min(row.length, market.count ?? homes)
  row.forEach((worker, index) => {
    worker.side = index < count ? 'latency' : 'throughput'
  })
  const quick = row.slice(0, count)
  market.quickRoom = quick.reduce((sum, worker) => sum + quickBatch(worker), 0)
  const tokenMs = quick.reduce((sum, worker) => sum + quickTokenMs(worker), 0) / Math.max(1, quick.length)
  market.quickWanted = crowdOf((asked.quick.perSecond * expected.latency * tokenMs) / 1_000)
}

/** One worker at a time, and only what has been better for a while: figures waver, and a long answer stays for minutes. */
function wish(
  market: ModelLoad,
  best: number,
  row: readonly FleetWorker[],
  waits: ModelSnapshot['waits'],
  now: number,
): void {
  const count = market.count ?? homesIn(row)
  const reckoned = Math.sign(best - count)
  const needed = neededWay(waits)
  // What is seen goes before what is reckoned.
  const way = reckoned === -needed ? 0 : reckoned
  if (way !== market.wish.way) market.wish = { way, since: now }
  if (way === 0 || now - market.wish.since < patienceMs(way, needed, row[count])) return
  market.count = count + way
  market.wish = { way: 0, since: now }
}

/** Towards the side that alone has somebody waiting for it; 0 where both have, or neither. */
function neededWay({ latency, throughput }: ModelSnapshot['waits']): number {
  return Number(latency) - Number(throughput)
}

/** @param next the one that would go to the latency side */
function patienceMs(way: number, needed: number, next: FleetWorker | undefined): number {
  if (way === needed) return neededMs
  return way > 0 && next && isFullOfLong(next) ? fullMs : wishMs
}

function homesIn(row: readonly FleetWorker[]): number {
  return row.filter((worker) => worker.heartbeat.pool === 'latency').length
}

export function houseOf(
  market: ModelLoad,
  model: string,
  workers: Iterable<FleetWorker>,
  waits: ModelSnapshot['waits'],
  now: number,
): ModelSnapshot {
  const running = { latency: 0, throughput: 0 }
  const count = { latency: 0, throughput: 0 }
  let quick = 0
  for (const worker of workers) {
    if (!serves(worker, model, [], now)) continue
    running[worker.side] += runningOn(worker)
    count[worker.side] += 1
    if (worker.side === 'latency') quick += worker.quick
  }
  const room = market.movedAt === Number.NEGATIVE_INFINITY ? Number.POSITIVE_INFINITY : market.quickRoom
  return {
    waits,
    longPlaces: room - running.latency - Math.max(0, market.quickWanted - quick),
    meanRunning: Object.fromEntries(
      poolNames.map((side) => [side, running[side] / Math.max(1, count[side])]),
    ) as ModelSnapshot['meanRunning'],
    has: { latency: count.latency > 0, throughput: count.throughput > 0 },
  }
}

/** Latency homes first, and always in the same order; at the end those that are full of long answers still. */
function inRow(a: FleetWorker, b: FleetWorker): number {
  const { heartbeat: x } = a
  const { heartbeat: y } = b
  const full = Number(isFullOfLong(a)) - Number(isFullOfLong(b))
  if (full !== 0) return full
  if (x.pool !== y.pool) return x.pool === 'latency' ? -1 : 1
  return x.workerId < y.workerId ? -1 : 1
}

function isFullOfLong(worker: FleetWorker): boolean {
  return isKnown(worker.speed) && worker.leases.size - worker.quick > quickBatch(worker)
}

function postIn(worker: FleetWorker, expected: Expected, promptTokens: number): WorkerCapacity {
  const { speed, slower, heartbeat: beat } = worker
  const kept = beat.kvTokensMax > 0 ? beat.kvTokensMax / (expected.throughput + promptTokens) : beat.slotsMax
  const most = Math.max(1, Math.floor(Math.min(kept, beat.slotsMax)))
  return {
    home: beat.pool,
    quickBatch: quickBatch(worker),
    longBatch: batchWithin(speed, limitOf(worker, 'throughput') / slower, most),
    tokenMs: (batch) => tokenMsAt(speed, batch) * slower,
  }
}

function quickBatch(worker: FleetWorker): number {
  const { speed, slower, heartbeat: beat } = worker
  return batchWithin(speed, limitOf(worker, 'latency') / slower, beat.slotsMax)
}

function quickTokenMs(worker: FleetWorker): number {
  const ms = tokenMsAt(worker.speed, quickBatch(worker)) * worker.slower
  return ms > 0 ? ms : limitOf(worker, 'latency')
}

/** The most that run at once, nearly always, where so many do on average (three deviations of a Poisson count). */
function crowdOf(mean: number): number {
  return mean + 3 * Math.sqrt(mean)
}
