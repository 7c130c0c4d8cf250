/** The state of the fleet object: workers, leases, queue and what was measured; and the values that go in and out. */
import type { EffortWord } from '../../backends/model/effort.ts'
import type { PoolName } from '../../backends/wire/dispatch.ts'
import type { Heartbeat } from '../../backends/wire/heartbeat.ts'
import { Decisions } from './decisions/decisions.ts'
import { preferredPoolOf } from './placement/latency-targets.ts'
import { type ModelLoad, newModelLoad } from './placement/model-load.ts'
import { type Lengths, newLengths } from './placement/output-length.ts'
import { Affinity, type PrefixHash } from './placement/prefix-holders.ts'
import { newSpeed, type Speed } from './placement/worker-speed.ts'
import { newPace, type Pace } from './queue/drain-rate.ts'
import { FairQueue, type Queued } from './queue/fair-queue.ts'
import { newShares, type Shares } from './queue/running-shares.ts'
import { type Ended, type FleetWorker, kindOf } from './worker.ts'

export interface LeaseRequest extends Omit<Queued, 'dueMs'> {
  /** The effort that the prompt will contain. */
  effort: EffortWord
  /** An estimate. */
  promptTokens: number
  /** The request's own limit. */
  outputTokensMax: number
  /** Hashes of the prompt's prefixes, shortest first. */
  prefix: PrefixHash[]
  /** The effort that the tenant accepts instead of a long wait; null if it did not agree to any. */
  effortUnderLoad: EffortWord | null
  /** Ids of workers that already failed this request; empty unless `again` is true. */
  exclude: string[]
  /** The worker that read this request's media. It is chosen if it is suitable, even if another scores better. */
  preferWorkerId?: string | undefined
}

/** A request in the queue. */
export type WaitingRequest = LeaseRequest & Queued

export interface WorkerEndpoint {
  workerId: string
  keyEpoch: number
  /** The fleet secret from which the worker's key is derived; absent for the current one. */
  secretId?: string | undefined
  /** The version of the protocol in which the edge writes to the worker. */
  protocol: number
  url: string
  pool: PoolName
}

export type LeaseOutcome =
  /** `position` is the queue position on arrival; null if the request did not wait. */
  | { kind: 'granted'; endpoint: WorkerEndpoint; waitedMs: number; position: number | null }
  /** Nothing was leased. The caller leases again with this effort. */
  | { kind: 'lower-effort'; effort: EffortWord }
  | { kind: 'rejected-capacity'; retryAfterMs: number }
  | { kind: 'rejected-no-endpoints' }
  | { kind: 'evicted-ttl'; retryAfterMs: number }
  | { kind: 'evicted-cancelled' }

/** The outcome of a request that waited. */
export interface Notification {
  requestId: string
  outcome: LeaseOutcome
}

/** The part of a receipt that the fleet uses. */
export interface RequestEnd extends Ended {
  requestId: string
  workerId: string
  effort: EffortWord
  outcome: string
}

/** The result of probing one worker process. */
export interface Probed {
  workerId: string
  instance: string
  /** Why the probe failed; undefined if it succeeded. */
  fault: string | undefined
}

export interface FleetState {
  workers: Map<string, FleetWorker>
  /** The worker of each leased request. */
  leases: Map<string, FleetWorker>
  /** Recently ended requests in order of their end: a heartbeat in flight may still list them as running. */
  ended: Map<string, number>
  /** One lane per model and preferred pool. */
  queue: FairQueue<WaitingRequest>
  /** Rate of free slots, by lane. */
  paces: Map<string, Pace>
  /** By model. */
  modelLoads: Map<string, ModelLoad>
  lengths: Lengths
  shares: Shares
  /** By kind of worker. */
  speeds: Map<string, Speed>
  affinity: Affinity
  decisions: Decisions
  /** Workers that stopped sending heartbeats without signing off, and when. They may still hold receipts. */
  missing: Map<string, number>
  /** Whether a request may be served in the other pool, and the pool split may move. */
  spill: boolean
}

const pacesMax = 128

const modelLoadsMax = 64

const speedsMax = 256

export function emptyFleet(spill = true): FleetState {
  return {
    workers: new Map(),
    leases: new Map(),
    ended: new Map(),
    queue: new FairQueue<WaitingRequest>(laneOf),
    paces: new Map(),
    modelLoads: new Map(),
    lengths: newLengths(),
    shares: newShares(),
    speeds: new Map(),
    affinity: new Affinity(),
    decisions: new Decisions(),
    missing: new Map(),
    spill,
  }
}

export function endpointOf({ heartbeat, keyEpoch, secretId }: FleetWorker): WorkerEndpoint {
  const { workerId, protocol, url, pool } = heartbeat
  return { workerId, keyEpoch, secretId, protocol, url, pool }
}

export function modelLoadOf(fleet: FleetState, model: string, now: number): ModelLoad {
  const known = fleet.modelLoads.get(model)
  if (known) return known
  if (fleet.modelLoads.size >= modelLoadsMax) fleet.modelLoads.clear()
  const modelLoad = newModelLoad(now)
  fleet.modelLoads.set(model, modelLoad)
  return modelLoad
}

export function speedOf(fleet: FleetState, heartbeat: Heartbeat): Speed {
  const wide = knownSpeed(fleet, heartbeat.model, () => newSpeed(undefined))
  return knownSpeed(fleet, kindOf(heartbeat), () => newSpeed(wide))
}

/** Evicts the kind that was used least recently, so a worker that changes its kind drops no other kind's figures. */
function knownSpeed({ speeds }: FleetState, name: string, make: () => Speed): Speed {
  const speed = speeds.get(name) ?? make()
  speeds.delete(name)
  const [oldest] = speeds.keys()
  if (oldest !== undefined && speeds.size >= speedsMax) speeds.delete(oldest)
  speeds.set(name, speed)
  return speed
}

export function laneOf({ effort, model }: Pick<LeaseRequest, 'effort' | 'model'>): string {
  return `${preferredPoolOf(effort)} ${model}`
}

export function modelIn(lane: string): string {
  return lane.slice(lane.indexOf(' ') + 1)
}

export function paceOf(fleet: FleetState, lane: string): Pace {
  const known = fleet.paces.get(lane)
  if (known) return known
  if (fleet.paces.size >= pacesMax) fleet.paces.clear()
  const pace = newPace()
  fleet.paces.set(lane, pace)
  return pace
}
