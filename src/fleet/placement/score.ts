/**
 * Filter, score, pick: which worker a request goes to.
 *
 * Filter. A worker has a free slot and room for what the request will likely keep in its cache. On the latency side of
 * the border (see border.ts) its batch stays so small that tokens come within the latency target, whoever is added; on
 * the throughput side, within the throughput target. A request goes to the other side only when its own has no place
 * and nobody waits for the other: a short answer where it meets its own target too, a long one where what short answers
 * will likely need stays free. The tokens that a guest gets are the guest's affair; it never holds up the house.
 *
 * Score. How much of its two targets the request would likely use there: the prompts to be read before it and its own,
 * less what the worker holds of it already, over the time to the first token; and the worker's time a token with one more,
 * over that target. So a held prefix counts for exactly the time it saves, and a worker that everybody wants for its
 * prefix is slower for it. One bound besides: for the sake of a prefix no worker gets more than its share, a quarter above
 * the mean (Mirrokni et al., 2016).
 *
 * Pick the least.
 *
 * A tenant that has much more than its share of what runs does not get the last tenth of any room, one slot at least,
 * while others have something running. And a tenant that has less than its share for that reason is not kept waiting for
 * the pace of what runs: a request among one tenant's flood of long prompts finds a place at once.
 *
 * A target that the hardware cannot meet binds nobody: a target is never below twice what a lone request gets.
 */
import type { PoolName } from '../../../backends/wire/dispatch.ts'
import { targets } from './latency-targets.ts'
import { isKnown, promptPerMs, type Speed, tokenMsAt } from './worker-speed.ts'

/** A worker as placement sees it. */
export interface WorkerCandidate {
  workerId: string
  home: PoolName
  side: PoolName
  running: number
  /** How many of them are of tenants that have too much, where this request's tenant has less than its share. */
  crowding: number
  slotsMax: number
  speed: Speed
  /** How much slower than its kind it was of late. */
  slower: number
  /** Prompt tokens that it was given and has likely not read yet. */
  unreadTokens: number
  /** What those that run there will likely keep, in tokens; and its room, 0 where it is not told. */
  keptTokens: number
  keptTokensMax: number
  /** Tokens of this request's prompt that it likely holds. */
  heldTokens: number
}

export interface PlacementRequest {
  home: PoolName
  promptTokens: number
  /** Expected. */
  outputTokens: number
  /** How long it has waited. */
  waitedMs: number
  /** Its tenant has much more than its share of what runs: the last places are kept for others. */
  greedy: boolean
  /** It is its turn after too many of the other side: no courtesy to the other side holds it up. */
  due: boolean
}

export type Fit =
  | 'fits'
  /** Every slot is taken. */
  | 'full'
  /** Its cache has no room for it. */
  | 'no-room'
  /** One more would be too many for the target of its side. */
  | 'too-slow'
  /** It would come after its first token's time, and another may not. */
  | 'too-late'
  /** The other side has work of its own, or will. */
  | 'not-home'

export interface JudgedWorker {
  workerId: string
  pool: PoolName
  side: PoolName
  fit: Fit
  running: number
  /** Slots. */
  free: number
  heldTokens: number
  /** Predicted, from now; null while nothing is known of such workers. */
  firstTokenMs: number | null
  tokenMs: number | null
  /** The part of both targets that it would likely use: less is better. */
  score: number
}

export interface ModelSnapshot {
  /** Whether anyone waits for each side. */
  waits: Record<PoolName, boolean>
  /** Long answers may take so many more places on the latency side. */
  longPlaces: number
  /** Running on average, on each side. */
  meanRunning: Record<PoolName, number>
  /** Whether either side has any worker. */
  has: Record<PoolName, boolean>
}

const loneTimes = 2
/** What is planned stays so far below a target: neighbours and prompts come and go during an answer. */
const margin = 0.9
/** A long answer is let in among short ones only so far below their target: it stays long, and its prompts are long. */
const guestShare = 0.75
/** In parts of the targets: the other side is taken for a gain, not for a whim. */
const awayCost = 0.1
/**
 * Of a cache. Lengths are guesses, and an engine whose cache is full sends its last request back to be read again; but one
 * that is kept outside for fear of it is late for certain, and a beginning that many share is held once and counted for
 * each.
 */
const fillMost = 1
/** Of a worker's room, for a tenant that has much more than its share. */
const greedyPart = 0.9
const hotShare = 1.25
/** In parts of the target for the first token: so long a request waits for the pace of a worker that another tenant fills. */
const patience = 1 / 6

export function judge(post: WorkerCandidate, order: PlacementRequest, house: ModelSnapshot): JudgedWorker {
  const { speed, slower, running } = post
  const heldTokens = post.heldTokens > 0 && pastShare(post, house) ? 0 : post.heldTokens
  const tokenMs = tokenMsAt(speed, running + 1) * slower
  const fresh = Math.max(1, order.promptTokens - heldTokens)
  const perMs = promptPerMs(speed)
  const readMs = perMs === undefined ? 0 : (post.unreadTokens + fresh) / perMs
  const firstTokenMs = readMs + tokenMs
  const { firstTokenMs: firstTarget, tokenMs: tokenTarget } = targets[order.home]
  const away = post.side === order.home ? 0 : awayCost
  const score = firstTokenMs / firstTarget + tokenMs / tokenTarget + away
  const { workerId, home: pool, side } = post
  const fit = fitOf(post, order, house, tokenMs, firstTokenMs)
  const free = post.slotsMax - running
  const known = isKnown(speed)
  const told = {
    firstTokenMs: known && perMs !== undefined ? firstTokenMs : null,
    tokenMs: known ? tokenMs : null,
  }
  return { workerId, pool, side, fit, running, free, heldTokens, ...told, score }
}

/** Whether `a` is to be taken rather than `b`. */
export function better(a: JudgedWorker, b: JudgedWorker): boolean {
  return a.score < b.score || (a.score === b.score && a.free > b.free)
}

function fitOf(
  post: WorkerCandidate,
  order: PlacementRequest,
  house: ModelSnapshot,
  tokenMs: number,
  firstTokenMs: number,
): Fit {
  const { running, slotsMax, keptTokens, keptTokensMax, side } = post
  const part = order.greedy ? greedyPart : 1
  if (running >= Math.max(1, Math.floor(slotsMax * part))) return 'full'
  const keeps = order.promptTokens + order.outputTokens
  if (keptTokensMax > 0 && running > 0 && keptTokens + keeps > keptTokensMax * fillMost * part) return 'no-room'
  if (crowdedOut(post, order)) return 'fits'
  if (tokenMs > limitOf(post, side) * part && !spoiled(post, order)) return 'too-slow'
  return side === order.home || order.due ? 'fits' : guestFit(post, order, house, tokenMs, firstTokenMs)
}

function guestFit(
  post: WorkerCandidate,
  order: PlacementRequest,
  house: ModelSnapshot,
  tokenMs: number,
  firstTokenMs: number,
): Fit {
  const long = order.home === 'throughput'
  if (long && house.longPlaces < 1) return 'not-home'
  // Without a side of its own it is no guest.
  if (!house.has[order.home]) return 'fits'
  if (house.waits[post.side]) return 'not-home'
  if (tokenMs > (long ? guestShare * limitOf(post, post.side) : limitOf(post, order.home))) return 'too-slow'
  const limitMs = firstTokenLimit(post, order)
  return order.waitedMs <= limitMs && order.waitedMs + firstTokenMs > limitMs ? 'too-late' : 'fits'
}

/** What holds on this side, where the hardware can hold it, in milliseconds a token. */
export function limitOf({ speed, slower }: Pick<WorkerCandidate, 'speed' | 'slower'>, side: PoolName): number {
  return Math.max(margin * targets[side].tokenMs, loneTimes * tokenMsAt(speed, 1) * slower)
}

function firstTokenLimit({ speed }: WorkerCandidate, order: PlacementRequest): number {
  const perMs = promptPerMs(speed)
  const alone = perMs === undefined ? 0 : order.promptTokens / perMs
  return Math.max(targets[order.home].firstTokenMs, loneTimes * alone)
}

/**
 * The worker is too slow for its side as it is: what was lent before is still there. Once a short answer has waited its
 * first token's time, waiting on for a better place costs it more than slow tokens do.
 */
function spoiled(post: WorkerCandidate, order: PlacementRequest): boolean {
  if (order.home !== 'latency' || order.waitedMs < targets.latency.firstTokenMs) return false
  return tokenMsAt(post.speed, post.running) * post.slower > limitOf(post, post.side)
}

/**
 * Without those of tenants that have too much the worker would be fast enough, and the request has waited long enough
 * for them to end.
 */
function crowdedOut(
  { running, crowding, speed, slower, side }: WorkerCandidate,
  { waitedMs, home }: PlacementRequest,
): boolean {
  if (crowding === 0 || waitedMs < patience * targets[home].firstTokenMs) return false
  return tokenMsAt(speed, running - crowding + 1) * slower <= limitOf({ speed, slower }, side)
}

/** Beyond its share a worker's prefix counts for nothing. */
function pastShare({ running, side }: WorkerCandidate, house: ModelSnapshot): boolean {
  return running + 1 > Math.ceil(hotShare * (house.meanRunning[side] + 1))
}
