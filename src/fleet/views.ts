/** Views of the fleet for operators and for waiting requests. */
import type { PoolName } from '../../backends/wire/dispatch.ts'
import type { WorkerState } from '../../backends/wire/heartbeat.ts'
import { grantEveryMs } from './queue/drain-rate.ts'
import type { Standing } from './queue/fair-queue.ts'
import { type FleetState, laneOf, paceOf } from './state.ts'
import { conditionOf } from './worker.ts'

/** The queue status that a waiting request can see. */
export interface WaitView extends Standing {
  /** Null until the rate of free slots is measured. */
  expectedWaitMs: number | null
  /** Minimum time until the next query. */
  askAgainMs: number
}

const askAgainMinMs = 1_000

/** Queue status of a waiting request; undefined for any other. */
export function waitView(fleet: FleetState, requestId: string, now: number): WaitView | undefined {
  const entry = fleet.queue.entry(requestId)
  const standing = fleet.queue.standing(requestId)
  if (!entry || !standing) return undefined
  const everyMs = grantEveryMs(paceOf(fleet, laneOf(entry.item)), now)
  const expectedWaitMs = everyMs === undefined ? null : Math.ceil(everyMs * standing.position)
  // At most a thousand queries a second, for any number of waiting requests.
  return { ...standing, expectedWaitMs, askAgainMs: Math.max(askAgainMinMs, fleet.queue.size) }
}

export interface PoolView {
  slots: number
  leased: number
  unleased: number
  waiting: number
  workers: {
    workerId: string
    model: string
    state: WorkerState
    /** Why the worker gets no requests, or a hint for the operator; otherwise null. */
    reason: string | null
    assignedPool: PoolName
    slots: number
    leased: number
    engine: string
    vision: boolean
    url: string
  }[]
}

/** @param preferredPool limits the view to workers started for this pool and requests that prefer it */
export function view(fleet: FleetState, preferredPool?: PoolName): PoolView {
  const present = [...fleet.workers.values()].filter(
    ({ heartbeat }) => preferredPool === undefined || heartbeat.pool === preferredPool,
  )
  const workers = present.map((worker) => {
    const { heartbeat: beat, assignedPool, leases } = worker
    return {
      workerId: beat.workerId,
      model: beat.model,
      ...conditionOf(worker),
      assignedPool,
      slots: beat.slotsMax,
      leased: leases.size,
      engine: beat.engine,
      vision: beat.vision,
      url: beat.url,
    }
  })
  const waits = fleet.queue
    .lanes()
    .filter((lane) => preferredPool === undefined || lane.startsWith(`${preferredPool} `))
  return {
    slots: workers.reduce((sum, worker) => sum + worker.slots, 0),
    leased: workers.reduce((sum, worker) => sum + worker.leased, 0),
    unleased: present.reduce((sum, worker) => sum + worker.unleased, 0),
    waiting: waits.reduce((sum, lane) => sum + fleet.queue.waitingFor(lane).length, 0),
    workers,
  }
}
