/** What an operator sees of the fleet: what the pool knows of each worker, and why a worker gets no requests. */
import { type PoolName, poolNames } from '../../backends/wire/dispatch.ts'
import type { WorkerState } from '../../backends/wire/heartbeat.ts'
import type { Enrolment } from './enrolment.ts'
import type { Enrolments } from './enrolment-check.ts'
import { type FleetState, type PoolView, view } from './fleet.ts'
import { conditionOf } from './worker.ts'

export interface WorkerReport {
  /** As it is enforced, with what its first heartbeat pinned. */
  enrolment: Omit<Enrolment, 'workerId' | 'revision'> | null
  /** Null where no process of it was heard for some seconds. */
  state: WorkerState | null
  /** Why it gets no requests, or what an operator should do. */
  reason: string | null
  heartbeatAgeMs: number | null
  /** Of the live process, in Unix milliseconds of its clock. */
  startedAt: number | null
  /** How the process before it ended, where it did not end in order. */
  lastEnd: string | null
}

type PoolWorker = PoolView['workers'][number]
type ReportedWorker = PoolWorker & WorkerReport & { state: WorkerState }
export type FleetReport = Record<PoolName, PoolView & { workers: ReportedWorker[] }>

export function workerReport(fleet: FleetState, enrolments: Enrolments, workerId: string, now: number): WorkerReport {
  const worker = fleet.workers.get(workerId)
  const { enrolment, state, reason, seenAt, startedAt, lastEnd } = enrolments.view(workerId, now)
  const own = worker && conditionOf(worker)
  // That a worker cannot serve matters more than that a second process has its id.
  const isOwn = own !== undefined && (state === undefined || (own.state !== 'ready' && own.state !== 'draining'))
  return {
    enrolment: enrolment ? allowedBy(enrolment) : null,
    state: (isOwn ? own.state : state) ?? null,
    reason: (isOwn ? own.reason : reason) ?? null,
    heartbeatAgeMs: seenAt === undefined ? null : now - seenAt,
    startedAt,
    lastEnd,
  }
}

/** The pools with every worker that beats: a refused one has no slots. */
export function reportOn(fleet: FleetState, enrolments: Enrolments, now: number): FleetReport {
  const refused = enrolments.refusedNow(now).filter((workerId) => !fleet.workers.has(workerId))
  const reported = (worker: PoolWorker): ReportedWorker => {
    const report = workerReport(fleet, enrolments, worker.workerId, now)
    return { ...worker, ...report, state: report.state ?? worker.state }
  }
  const poolReport = (name: PoolName) => {
    const known = view(fleet, name)
    const others = refused.filter((workerId) => enrolments.view(workerId, now).claimed?.pool === name)
    const rows = [...known.workers, ...others.map((workerId) => refusedRow(workerId, name, enrolments, now))]
    return { ...known, workers: rows.map(reported) }
  }
  return Object.fromEntries(poolNames.map((name) => [name, poolReport(name)])) as FleetReport
}

function refusedRow(workerId: string, assignedPool: PoolName, enrolments: Enrolments, now: number): PoolWorker {
  const url = enrolments.view(workerId, now).claimed?.url ?? ''
  return {
    workerId,
    url,
    assignedPool,
    state: 'refused',
    reason: null,
    ...{ model: '', engine: '', vision: false, slots: 0, leased: 0 },
  }
}

function allowedBy({ url, pools, models, slotsMax, pinned }: Enrolment): WorkerReport['enrolment'] {
  return { url, pools, models, slotsMax, pinned }
}
