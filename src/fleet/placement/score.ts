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
  preferredPool: PoolName
  assignedPool: PoolName
  running: number
  /** How many of them are of tenants that have too much, where this request's tenant has less than its share. */
  crowding: number
  slotsMax: number
  speed: Speed
  /** How much slower than its kind it was of late. */
  slowdown: number
  /** Prompt tokens that it was given and has likely not read yet. */
  unreadTokens: number
  /** What those that run there will likely keep, in tokens; and its room, 0 where it is not told. */
  keptTokens: number
  keptTokensMax: number
  /** Tokens of this request's prompt that it likely holds. */
  heldTokens: number
}

export interface PlacementRequest {
  preferredPool: PoolName
  promptTokens: number
  /** Expected. */
  outputTokens: number
  /** How long it has waited. */
  waitedMs: number
  /** Its tenant has much more than its share of what runs: the last places are kept for others. */
  overShare: boolean
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
  | 'other-pool'

export interface JudgedWorker {
  workerId: string
  pool: PoolName
  assignedPool: PoolName
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
  longSlots: number
  /** Running on average, on each side. */
  meanRunning: Record<PoolName, number>
  /** Whether either side has any worker. */
  has: Record<PoolName, boolean>
}

const loneTimes = 2
/** What is planned stays so far below a target: neighbours and prompts come and go during an answer. */
const margin = 0.9
/** A long answer is let in among short ones only so far below their target: it stays long, and its prompts are long. */
const spillShare = 0.75
/** In parts of the targets: the other side is taken for a gain, not for a whim. */
const awayCost = 0.1
/**
 * Of a cache. Lengths are guesses, and an engine whose cache is full sends its last request back to be read again; but one
 * that is kept outside for fear of it is late for certain, and a beginning that many share is held once and counted for
 * each.
 */
const fillMost = 1
/** Of a worker's room, for a tenant that has much more than its share. */
const overSharePart = 0.9
const hotShare = 1.25
/** In parts of the target for the first token: so long a request waits for the pace of a worker that another tenant fills. */
const patience = 1 / 6

export function judge(candidate: WorkerCandidate, request: PlacementRequest, snapshot: ModelSnapshot): JudgedWorker {
  const { speed, slowdown, running } = candidate
  const heldTokens = candidate.heldTokens > 0 && overPrefixShare(candidate, snapshot) ? 0 : candidate.heldTokens
  const tokenMs = tokenMsAt(speed, running + 1) * slowdown
  const fresh = Math.max(1, request.promptTokens - heldTokens)
  const perMs = promptPerMs(speed)
  const readMs = perMs === undefined ? 0 : (candidate.unreadTokens + fresh) / perMs
  const firstTokenMs = readMs + tokenMs
  const { firstTokenMs: firstTarget, tokenMs: tokenTarget } = targets[request.preferredPool]
  const away = candidate.assignedPool === request.preferredPool ? 0 : awayCost
  const score = firstTokenMs / firstTarget + tokenMs / tokenTarget + away
  const { workerId, preferredPool: pool, assignedPool } = candidate
  const fit = fitOf(candidate, request, snapshot, tokenMs, firstTokenMs)
  const free = candidate.slotsMax - running
  const known = isKnown(speed)
  const notification = {
    firstTokenMs: known && perMs !== undefined ? firstTokenMs : null,
    tokenMs: known ? tokenMs : null,
  }
  return { workerId, pool, assignedPool, fit, running, free, heldTokens, ...notification, score }
}

/** Whether `a` is to be taken rather than `b`. */
export function better(a: JudgedWorker, b: JudgedWorker): boolean {
  return a.score < b.score || (a.score === b.score && a.free > b.free)
}

function fitOf(
  candidate: WorkerCandidate,
  request: PlacementRequest,
  snapshot: ModelSnapshot,
  tokenMs: number,
  firstTokenMs: number,
): Fit {
  const { running, slotsMax, keptTokens, keptTokensMax, assignedPool } = candidate
  const part = request.overShare ? overSharePart : 1
  if (running >= Math.max(1, Math.floor(slotsMax * part))) return 'full'
  const toStore = request.promptTokens + request.outputTokens
  if (keptTokensMax > 0 && running > 0 && keptTokens + toStore > keptTokensMax * fillMost * part) return 'no-room'
  if (crowdedOut(candidate, request)) return 'fits'
  if (tokenMs > limitOf(candidate, assignedPool) * part && !alreadyTooSlow(candidate, request)) return 'too-slow'
  return assignedPool === request.preferredPool || request.due
    ? 'fits'
    : spillFit(candidate, request, snapshot, tokenMs, firstTokenMs)
}

function spillFit(
  candidate: WorkerCandidate,
  request: PlacementRequest,
  snapshot: ModelSnapshot,
  tokenMs: number,
  firstTokenMs: number,
): Fit {
  const throughput = request.preferredPool === 'throughput'
  if (throughput && snapshot.longSlots < 1) return 'other-pool'
  // Without a side of its own it is no guest.
  if (!snapshot.has[request.preferredPool]) return 'fits'
  if (snapshot.waits[candidate.assignedPool]) return 'other-pool'
  if (
    tokenMs >
    (throughput ? spillShare * limitOf(candidate, candidate.assignedPool) : limitOf(candidate, request.preferredPool))
  )
    return 'too-slow'
  const limitMs = firstTokenLimit(candidate, request)
  return request.waitedMs <= limitMs && request.waitedMs + firstTokenMs > limitMs ? 'too-late' : 'fits'
}

/** What holds on this side, where the hardware can hold it, in milliseconds a token. */
export function limitOf({ speed, slowdown }: Pick<WorkerCandidate, 'speed' | 'slowdown'>, side: PoolName): number {
  return Math.max(margin * targets[side].tokenMs, loneTimes * tokenMsAt(speed, 1) * slowdown)
}

function firstTokenLimit({ speed }: WorkerCandidate, request: PlacementRequest): number {
  const perMs = promptPerMs(speed)
  const alone = perMs === undefined ? 0 : request.promptTokens / perMs
  return Math.max(targets[request.preferredPool].firstTokenMs, loneTimes * alone)
}

/**
 * The worker is too slow for its side as it is: what was lent before is still there. Once a short answer has waited its
 * first token's time, waiting on for a better place costs it more than slow tokens do.
 */
function alreadyTooSlow(candidate: WorkerCandidate, request: PlacementRequest): boolean {
  if (request.preferredPool !== 'latency' || request.waitedMs < targets.latency.firstTokenMs) return false
  return tokenMsAt(candidate.speed, candidate.running) * candidate.slowdown > limitOf(candidate, candidate.assignedPool)
}

/**
 * Without those of tenants that have too much the worker would be fast enough, and the request has waited long enough
 * for them to end.
 */
function crowdedOut(
  { running, crowding, speed, slowdown, assignedPool }: WorkerCandidate,
  { waitedMs, preferredPool }: PlacementRequest,
): boolean {
  if (crowding === 0 || waitedMs < patience * targets[preferredPool].firstTokenMs) return false
  return tokenMsAt(speed, running - crowding + 1) * slowdown <= limitOf({ speed, slowdown }, assignedPool)
}

/** Beyond its share a worker's prefix counts for nothing. */
function overPrefixShare({ running, assignedPool }: WorkerCandidate, snapshot: ModelSnapshot): boolean {
  return running + 1 > Math.ceil(hotShare * (snapshot.meanRunning[assignedPool] + 1))
}
