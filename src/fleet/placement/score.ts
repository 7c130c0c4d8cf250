/**
 * Filter, score, pick: the choice of a worker for a request.
 *
 * Filter. The worker has a free slot and enough KV cache for the request. In the latency pool (see pool-split.ts) its
 * batch stays small enough for the latency target, in the throughput pool for the throughput target. A request is
 * spilled to the other pool only if its own has no slot and no request waits for the other. A spilled short answer must
 * meet its own target there; a long one must leave the slots that short answers will likely need. A spilled request may
 * get slower tokens, but it must never slow the pool's own requests.
 *
 * Score. The part of its two targets that the request would likely use. First: time to read the queued prompts and its
 * own, without the cached prefix, over the target for the first token. Second: the worker's time per token with one
 * more request, over the target per token. So a cached prefix counts for exactly the time that it saves, and a popular
 * worker's load counts against it. In addition, a prefix attracts requests only up to 1.25 times the mean load of the
 * pool (Mirrokni et al., 2016).
 *
 * Pick the lowest score.
 *
 * A tenant far over its share does not get the last tenth of a worker's slots, at least one, while other tenants have
 * running requests. A tenant that is under its share for that reason waits only briefly for a worker that such a tenant
 * slows, so one tenant's flood of long prompts does not block the others.
 *
 * A target that the hardware cannot meet does not limit the batch: the effective target is at least twice the time that
 * a lone request needs.
 */
import type { PoolName } from '../../../backends/wire/dispatch.ts'
import {
  kvFillMax,
  loneRateTimes,
  overShareCapacity,
  overSharePatience,
  prefixShareMax,
  spillCost,
  spillShare,
  targetMargin,
  targets,
} from './tuning.ts'
import { isKnown, promptPerMs, type Speed, tokenMsAt } from './worker-speed.ts'

/** The properties of a worker that placement uses. */
export interface WorkerCandidate {
  workerId: string
  preferredPool: PoolName
  assignedPool: PoolName
  running: number
  /** Running requests of tenants over their share, if this request's tenant is under its share. */
  crowding: number
  slotsMax: number
  speed: Speed
  /** Recent time per token relative to the worker's kind; above 1 is slower. */
  slowdown: number
  /** Prompt tokens that were sent to the worker and are likely not read yet. */
  unreadTokens: number
  /** KV cache tokens that the running requests will likely occupy, and the capacity (0 if not reported). */
  keptTokens: number
  keptTokensMax: number
  /** Tokens of this request's prompt that the worker likely has cached. */
  heldTokens: number
}

export interface PlacementRequest {
  preferredPool: PoolName
  promptTokens: number
  /** Expected. */
  outputTokens: number
  waitedMs: number
  /** The tenant is far over its share: the last slots are reserved for other tenants. */
  overShare: boolean
  /** The request's turn after many of the other pool: the other pool's demand does not delay it. */
  due: boolean
}

export type Fit =
  | 'fits'
  /** Every slot is taken. */
  | 'full'
  /** The KV cache has no space for the request. */
  | 'cache-full'
  /** One more request would exceed the time per token of the pool. */
  | 'too-slow'
  /** The first token would miss its target here, and may not elsewhere. */
  | 'too-late'
  /** The other pool needs its slots, now or soon. */
  | 'other-pool'

export interface JudgedWorker {
  workerId: string
  pool: PoolName
  assignedPool: PoolName
  fit: Fit
  running: number
  /** Free slots. */
  free: number
  heldTokens: number
  /** Predicted, from now; null until such workers are measured. */
  firstTokenMs: number | null
  tokenMs: number | null
  /** Part of both targets that the request would likely use; lower is better. */
  score: number
}

export interface ModelSnapshot {
  /** Whether requests wait for each pool. */
  waits: Record<PoolName, boolean>
  /** Slots of the latency pool that long answers may still take. */
  longSlots: number
  /** Mean running requests per worker of each pool. */
  meanRunning: Record<PoolName, number>
  /** Whether each pool has a worker. */
  has: Record<PoolName, boolean>
}

export function judge(candidate: WorkerCandidate, request: PlacementRequest, snapshot: ModelSnapshot): JudgedWorker {
  const { speed, slowdown, running } = candidate
  const heldTokens = candidate.heldTokens > 0 && overPrefixShare(candidate, snapshot) ? 0 : candidate.heldTokens
  const tokenMs = tokenMsAt(speed, running + 1) * slowdown
  const fresh = Math.max(1, request.promptTokens - heldTokens)
  const perMs = promptPerMs(speed)
  const readMs = perMs === undefined ? 0 : (candidate.unreadTokens + fresh) / perMs
  const firstTokenMs = readMs + tokenMs
  const { firstTokenMs: firstTarget, tokenMs: tokenTarget } = targets[request.preferredPool]
  const away = candidate.assignedPool === request.preferredPool ? 0 : spillCost
  const score = firstTokenMs / firstTarget + tokenMs / tokenTarget + away
  const { workerId, preferredPool: pool, assignedPool } = candidate
  const fit = fitOf(candidate, request, snapshot, tokenMs, firstTokenMs)
  const free = candidate.slotsMax - running
  const known = isKnown(speed)
  const predicted = {
    firstTokenMs: known && perMs !== undefined ? firstTokenMs : null,
    tokenMs: known ? tokenMs : null,
  }
  return { workerId, pool, assignedPool, fit, running, free, heldTokens, ...predicted, score }
}

/** Whether `a` is the better choice. */
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
  const part = request.overShare ? overShareCapacity : 1
  if (running >= Math.max(1, Math.floor(slotsMax * part))) return 'full'
  const neededTokens = request.promptTokens + request.outputTokens
  if (keptTokensMax > 0 && running > 0 && keptTokens + neededTokens > keptTokensMax * kvFillMax * part)
    return 'cache-full'
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
  // Without a preferred pool, the request is not spilled but served here.
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

/** Limit of the time per token in a pool, in milliseconds, adjusted to what the hardware can meet. */
export function limitOf({ speed, slowdown }: Pick<WorkerCandidate, 'speed' | 'slowdown'>, pool: PoolName): number {
  return Math.max(targetMargin * targets[pool].tokenMs, loneRateTimes * tokenMsAt(speed, 1) * slowdown)
}

function firstTokenLimit({ speed }: WorkerCandidate, request: PlacementRequest): number {
  const perMs = promptPerMs(speed)
  const alone = perMs === undefined ? 0 : request.promptTokens / perMs
  return Math.max(targets[request.preferredPool].firstTokenMs, loneRateTimes * alone)
}

/**
 * Whether the worker already exceeds its pool's limit, for example because of spilled requests. Once a short answer has
 * waited as long as its first-token target, more waiting costs it more than slow tokens.
 */
function alreadyTooSlow(candidate: WorkerCandidate, request: PlacementRequest): boolean {
  if (request.preferredPool !== 'latency' || request.waitedMs < targets.latency.firstTokenMs) return false
  return tokenMsAt(candidate.speed, candidate.running) * candidate.slowdown > limitOf(candidate, candidate.assignedPool)
}

/**
 * Whether the worker would be fast enough without the requests of tenants over their share, and the request has waited
 * long enough for those to end.
 */
function crowdedOut(
  { running, crowding, speed, slowdown, assignedPool }: WorkerCandidate,
  { waitedMs, preferredPool }: PlacementRequest,
): boolean {
  if (crowding === 0 || waitedMs < overSharePatience * targets[preferredPool].firstTokenMs) return false
  return tokenMsAt(speed, running - crowding + 1) * slowdown <= limitOf({ speed, slowdown }, assignedPool)
}

/** Whether the worker's load is so far above the mean that its cached prefix no longer counts. */
function overPrefixShare({ running, assignedPool }: WorkerCandidate, snapshot: ModelSnapshot): boolean {
  return running + 1 > Math.ceil(prefixShareMax * (snapshot.meanRunning[assignedPool] + 1))
}
