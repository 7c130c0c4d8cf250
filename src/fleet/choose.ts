/** Chooses the worker of a request: applies the placement score to all eligible workers. */
import type { PoolName } from '../../backends/wire/dispatch.ts'
import type { Considered } from './decisions/decisions.ts'
import { preferredPoolOf } from './placement/latency-targets.ts'
import { moveSplit, snapshotOf } from './placement/model-load.ts'
import { expectedLength } from './placement/output-length.ts'
import { better, type JudgedWorker, judge, type ModelSnapshot, type PlacementRequest } from './placement/score.ts'
import { crowdersOf, isOverShare } from './queue/running-shares.ts'
import { endpointOf, type FleetState, type LeaseRequest, modelLoadOf, type WorkerEndpoint } from './state.ts'
import { candidateOf, type FleetWorker, isEligible, leasesOf, runningOn } from './worker.ts'

const consideredMax = 4

export function overShare(fleet: FleetState, { tenantId, weight }: LeaseRequest): boolean {
  return isOverShare(fleet.shares, tenantId, weight)
}

export interface Choice {
  worker: FleetWorker
  request: PlacementRequest
  judged: JudgedWorker
  considered: Considered
}

/** Returns the best worker with a free slot, or undefined if the request should wait. */
export function choose(
  fleet: FleetState,
  request: LeaseRequest,
  waitedMs: number,
  now: number,
  due = false,
): Choice | undefined {
  const { model, effort, promptTokens } = request
  const considered: Considered = { counts: {}, best: [] }
  const free = withFreeSlot(fleet, request, considered, now)
  if (free.length === 0) return undefined
  const preferredPool = preferredPoolOf(effort)
  const outputTokens = expectedLength(fleet.lengths, model, effort, request.outputTokensMax)
  const placement: PlacementRequest = {
    preferredPool,
    promptTokens,
    outputTokens,
    waitedMs,
    overShare: overShare(fleet, request),
    due,
  }
  const crowders = crowdersOf(fleet.shares, request.tenantId, request.weight)
  const snapshot = snapshotFor(fleet, request, now)
  const held = fleet.affinity.held(request.prefix)
  let best: { worker: FleetWorker; judged: JudgedWorker } | undefined
  for (const worker of free) {
    if (!fleet.spill && worker.assignedPool !== preferredPool && snapshot.has[preferredPool]) continue
    const heldTokens = held.get(worker.heartbeat.workerId) ?? 0
    const judged = judge(candidateOf(worker, heldTokens, leasesOf(worker, crowders), now), placement, snapshot)
    considered.counts[judged.fit] = (considered.counts[judged.fit] ?? 0) + 1
    if (judged.fit !== 'fits') continue
    if (!best || prefers(request, judged, best.judged)) best = { worker, judged }
    keepBest(considered.best, judged)
  }
  return best && { ...best, request: placement, considered }
}

function prefers({ preferWorkerId }: LeaseRequest, judged: JudgedWorker, best: JudgedWorker): boolean {
  if (best.workerId === preferWorkerId) return false
  return judged.workerId === preferWorkerId || better(judged, best)
}

/**
 * The worker that should read a request's media: where the request would go, without a lease. If no slot is free, the
 * worker with the lowest load, in the preferred pool if possible.
 */
export function suggest(fleet: FleetState, request: LeaseRequest, now: number): WorkerEndpoint | undefined {
  const choice = choose(fleet, request, 0, now)
  if (choice) return endpointOf(choice.worker)
  const preferredPool = preferredPoolOf(request.effort)
  const load = (worker: FleetWorker) =>
    runningOn(worker) / worker.heartbeat.slotsMax + Number(worker.assignedPool !== preferredPool)
  let lightest: FleetWorker | undefined
  for (const worker of fleet.workers.values()) {
    if (!isEligible(worker, request.model, request.exclude, now)) continue
    if (!lightest || load(worker) < load(lightest)) lightest = worker
  }
  return lightest && endpointOf(lightest)
}

/** A pool whose workers have all failed the request is no pool for it. */
function snapshotFor(fleet: FleetState, { model, exclude }: LeaseRequest, now: number): ModelSnapshot {
  const workers = fleet.workers.values()
  const snapshot = snapshotOf(modelLoadOf(fleet, model, now), model, workers, waitsFor(fleet, model), now)
  if (exclude.length === 0) return snapshot
  const left = [...fleet.workers.values()].filter((worker) => isEligible(worker, model, exclude, now))
  const has = (pool: PoolName) => left.some(({ assignedPool }) => assignedPool === pool)
  return { ...snapshot, has: { latency: has('latency'), throughput: has('throughput') } }
}

function waitsFor({ queue }: FleetState, model: string): ModelSnapshot['waits'] {
  return { latency: queue.backlog(`latency ${model}`) > 0, throughput: queue.backlog(`throughput ${model}`) > 0 }
}

/** Full workers are only counted: in a busy fleet nearly all are full. */
function withFreeSlot(
  fleet: FleetState,
  { model, exclude }: LeaseRequest,
  considered: Considered,
  now: number,
): FleetWorker[] {
  const free: FleetWorker[] = []
  let full = 0
  for (const worker of fleet.workers.values()) {
    if (!isEligible(worker, model, exclude, now)) continue
    if (runningOn(worker) >= worker.heartbeat.slotsMax) full += 1
    else free.push(worker)
  }
  if (full > 0) considered.counts.full = full
  return free
}

function keepBest(best: JudgedWorker[], judged: JudgedWorker): void {
  const at = best.findIndex((each) => better(judged, each))
  if (at < 0 && best.length >= consideredMax) return
  best.splice(at < 0 ? best.length : at, 0, judged)
  if (best.length > consideredMax) best.pop()
}

export function hasCandidate(
  fleet: FleetState,
  { model, exclude }: Pick<LeaseRequest, 'model' | 'exclude'>,
  now: number,
): boolean {
  for (const worker of fleet.workers.values()) if (isEligible(worker, model, exclude, now)) return true
  return false
}

export function hasPool(fleet: FleetState, model: string, pool: PoolName, now: number): boolean {
  for (const worker of fleet.workers.values())
    if (worker.assignedPool === pool && isEligible(worker, model, [], now)) return true
  return false
}

export function moveSplits(fleet: FleetState, model: string, now: number): void {
  const modelLoad = modelLoadOf(fleet, model, now)
  const noLimit = Number.MAX_SAFE_INTEGER
  const expected = {
    latency: expectedLength(fleet.lengths, model, 'none', noLimit),
    throughput: expectedLength(fleet.lengths, model, 'high', noLimit),
  }
  moveSplit(modelLoad, model, fleet.workers.values(), expected, waitsFor(fleet, model), fleet.spill, now)
}
