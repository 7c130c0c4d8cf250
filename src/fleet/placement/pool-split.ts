/**
 * Where the border between the pools runs. Each worker has a home, the pool whose profile it was started with; but a
 * worker can serve either kind of request, and demand does not keep to the operator's split. So the border moves: the
 * workers stand in one row, and the first of them are run with batches small enough for the latency target, the others
 * as full as the throughput target allows.
 *
 * The border is put where most requests a second meet their targets, estimated from what arrives, how long answers are
 * and how fast the workers were of late. Where several places are as good, which is so whenever there is room enough,
 * the one nearest to the operator's split is taken. Neither side is taken its last worker while anyone asks for it and
 * there are two, nor more than half of its homes while its own demand fills them.
 */
import type { PoolName } from '../../../backends/wire/dispatch.ts'

/** One worker in the row, with what it could do on either side. */
export interface WorkerCapacity {
  home: PoolName
  /** The largest batch within the latency target, and within the throughput target. */
  quickBatch: number
  longBatch: number
  /** Between two tokens, when so many run. */
  tokenMs: (batch: number) => number
}

export interface PoolDemand {
  /** Requests a second, and the tokens that one writes. */
  quick: { perSecond: number; tokens: number }
  long: { perSecond: number; tokens: number }
}

/** Arrivals come in crowds: of a side's room so much is used on average. */
const used = { quick: 0.75, long: 0.9 }
/** Beside short answers, long ones are let in only well below the target; see place.ts. */
const guestUsed = 0.6
/** A long answer that finds no place within about this time is late. */
const patienceSeconds = 1.4
/** A better place must be better by so much: moving has a price, long answers stay where they run. */
export const betterBy = 1.04

/**
 * @param current where it is; undefined when nothing was decided yet
 * @returns how many of the row are on the latency side
 */
export function border(row: readonly WorkerCapacity[], asked: PoolDemand, current: number | undefined): number {
  const homes = row.filter((post) => post.home === 'latency').length
  const { least, most } = bounds(row, homes, asked)
  const good = Array.from({ length: row.length + 1 }, (_, count) => goodAt(row, count, asked))
  const at = (count: number) => good[count] ?? 0
  let best = Math.min(most, Math.max(least, homes))
  for (let count = least; count <= most; count++) {
    if (at(count) > at(best) * betterBy) best = count
    else if (at(count) >= at(best) / betterBy && Math.abs(count - homes) < Math.abs(best - homes)) best = count
  }
  if (current === undefined || current < least || current > most) return best
  return at(best) > at(current) * betterBy || Math.abs(best - homes) < Math.abs(current - homes) ? best : current
}

/** Requests a second that would meet their targets, with so many of the row on the latency side. */
function goodAt(row: readonly WorkerCapacity[], count: number, { quick, long }: PoolDemand): number {
  const quickSide = row.slice(0, count)
  const longSide = row.slice(count)
  const quickRoom = sumOf(quickSide, (post) => rate(post, post.quickBatch, quick.tokens)) * used.quick
  const quickIn = Math.min(quick.perSecond, quickRoom)
  const longRoom = sumOf(longSide, (post) => rate(post, post.longBatch, long.tokens)) * used.long
  const left = quickRoom > 0 ? 1 - quickIn / quickRoom : 0
  const guests = left * (longSide.length > 0 ? guestUsed : used.long)
  const guestRoom = guests * sumOf(quickSide, (post) => rate(post, post.quickBatch, long.tokens))
  const room = longRoom + guestRoom
  const inTime = long.perSecond <= room ? long.perSecond : room * (1 - Math.exp(-long.perSecond * patienceSeconds))
  const overRoom = besideLong(longSide, Math.min(long.perSecond, longRoom), long.tokens, quick.tokens) * used.quick
  return quickIn + inTime + Math.min(quick.perSecond - quickIn, overRoom)
}

/**
 * Short answers a second that find places on the long side within the latency target: what the long answers there, a
 * Poisson number, leave of the batch that is quick enough.
 */
function besideLong(
  longSide: readonly WorkerCapacity[],
  perSecond: number,
  longTokens: number,
  quickTokens: number,
): number {
  const post = longSide[0]
  if (!post) return 0
  let batch = 0
  for (let step = 0; step < 6; step++) {
    const tokenMs = post.tokenMs(Math.round(batch) + 1)
    batch = Math.min(post.longBatch, (perSecond * longTokens * tokenMs) / 1_000 / longSide.length)
  }
  const free = freeOf(post.quickBatch - batch, Math.sqrt(Math.max(1, batch))) / post.quickBatch
  return sumOf(longSide, (each) => rate(each, each.quickBatch, quickTokens)) * free
}

/** The mean of what is left above nothing, where it is so much on average with this deviation (of a normal number). */
function freeOf(mean: number, deviation: number): number {
  const z = mean / deviation
  const below = 1 / (1 + Math.exp(-1.7 * z))
  return Math.max(0, mean * below + deviation * 0.4 * Math.exp((-z * z) / 2))
}

function rate(post: WorkerCapacity, batch: number, tokens: number): number {
  return (1_000 * batch) / (Math.max(0.01, post.tokenMs(batch)) * tokens)
}

function sumOf(posts: readonly WorkerCapacity[], value: (post: WorkerCapacity) => number): number {
  return posts.reduce((sum, post) => sum + value(post), 0)
}

function bounds(
  row: readonly WorkerCapacity[],
  homes: number,
  { quick, long }: PoolDemand,
): { least: number; most: number } {
  const quickRoom = sumOf(row.slice(0, homes), (post) => rate(post, post.quickBatch, quick.tokens))
  const longRoom = sumOf(row.slice(homes), (post) => rate(post, post.longBatch, long.tokens))
  const share = (asked: number, room: number) => (room > 0 ? Math.min(1, asked / room) : 1)
  const quickLeast = Math.floor((homes / 2) * share(quick.perSecond, quickRoom))
  const longLeast = Math.floor(((row.length - homes) / 2) * share(long.perSecond, longRoom))
  const least = quick.perSecond > 0 ? Math.max(1, quickLeast) : 0
  const most = row.length - (long.perSecond > 0 ? Math.max(1, longLeast) : 0)
  return { least: Math.min(least, most), most }
}
