/** The operator's view of the fleet: the state of each worker, and why a worker gets no requests. */
import { type PoolName, poolNames } from '../../backends/wire/dispatch.ts'
import type { WorkerState } from '../../backends/wire/heartbeat.ts'
import type { Enrolment } from './enrolment.ts'
import type { Enrolments } from './enrolment-check.ts'
import type { FleetState } from './state.ts'
import { type PoolView, view } from './views.ts'
import { conditionOf } from './worker.ts'

export interface WorkerReport {
  /** The enforced enrolment, with the fields that the first heartbeat pinned. */
  enrolment: Omit<Enrolment, 'workerId' | 'revision'> | null
  /** Null if no process of the worker sent a heartbeat for some seconds. */
  state: WorkerState | null
  /** Why the worker gets no requests, or what the operator should do. */
  reason: string | null
  heartbeatAgeMs: number | null
  /** Start of the live process, in Unix milliseconds of its own clock. */
  startedAt: number | null
  /** How the previous process ended, if it did not shut down normally. */
  lastEnd: string | null
}

type PoolWorker = PoolView['workers'][number]
type ReportedWorker = PoolWorker & WorkerReport & { state: WorkerState }
export type FleetReport = Record<PoolName, PoolView & { workers: ReportedWorker[] }>

export function workerReport(fleet: FleetState, enrolments: Enrolments, workerId: string, now: number): WorkerReport {
  const worker = fleet.workers.get(workerId)
  const { enrolment, state, reason, seenAt, startedAt, lastEnd } = enrolments.view(workerId, now)
  const own = worker && conditionOf(worker)
  // A worker that cannot serve is more important to report than a duplicate process.
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

/** Both pools with every worker that sends heartbeats. A refused worker has no slots. */
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
