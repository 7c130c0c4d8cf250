/**
 * One Durable Object for the fleet: the only one that leases its workers' slots. Its registry is in memory only, because
 * every heartbeat, one a second from each worker, says again what is true; see `pool.ts`. What no heartbeat repeats is on
 * disk: what workers are enrolled for, which keys are no longer good, and why requests went where they went; see `roll.ts`,
 * `roll-book.ts`, `decision-book.ts`.
 */
import { DurableObject } from 'cloudflare:workers'
import type { PoolName } from '../../backends/wire/dispatch.ts'
import { type Heartbeat, type HeartbeatAnswer, heartbeatLostMs } from '../../backends/wire/heartbeat.ts'
import type { Env } from '../env.ts'
import { DecisionBook } from './decisions/decision-log.ts'
import type { Decision } from './decisions/decisions.ts'
import type { Enrolment } from './enrolment.ts'
import { Enrolments, type HeartbeatOutcome } from './enrolment-check.ts'
import { EnrolmentRows } from './enrolment-rows.ts'
import {
  emptyFleet,
  expel,
  type FleetState,
  heartbeat,
  hedge,
  holdWorker,
  type LeaseOutcome,
  type LeaseRequest,
  lease,
  type Notification,
  type PoolView,
  type Probed,
  probeDue,
  probed,
  type RequestEnd,
  registry,
  release,
  releaseOn,
  requestEnded,
  suggest,
  sweep,
  view,
  type WaitView,
  type WorkerEndpoint,
  waitView,
  workerFailed,
  workersMax,
} from './fleet.ts'
import { type FleetReport, reportOn, type WorkerReport, workerReport } from './fleet-report.ts'
import { heartbeatAllowed, type KeyFence, receiptAllowed } from './key-fence.ts'

const sweepEveryMs = 250
/** Decisions are written down so often, once they are at least that old. */
const writeEveryMs = 2_000

/** The fleet's answer to one heartbeat, and what its caller is to do. */
export interface HeartbeatReply {
  status: 200 | 403 | 409
  answer: HeartbeatAnswer
  /** Probe the worker there, and report it by `probed`. */
  probe?: { url: string; instance: string; keyEpoch: number }
  /** No enrolment is known: look in the operator's books, and beat again where it is there. */
  lookUp?: true
}

export class FleetObject extends DurableObject {
  readonly #startedAt = Date.now()
  readonly #pool: FleetState
  readonly #waiters = new Map<string, (outcome: LeaseOutcome) => void>()
  readonly #roll: Enrolments
  readonly #rollBook: EnrolmentRows
  readonly #book: DecisionBook
  #sweeping = false
  #writing = false

  constructor(state: DurableObjectState, env: Env) {
    super(state, env as never)
    this.#pool = emptyFleet(env.SPILL !== 'off')
    const { sql } = state.storage
    this.#book = new DecisionBook(sql)
    this.#rollBook = new EnrolmentRows(sql)
    this.#roll = new Enrolments(this.#rollBook.enrolments(), this.#rollBook.fences())
  }

  /** Resolves when a slot is leased, or with the reason why none is. `release` ends the waiting. */
  lease(request: LeaseRequest): Promise<LeaseOutcome> | LeaseOutcome {
    const outcome = lease(this.#pool, request, Date.now(), (notification) => this.#tell([notification]))
    this.#writeLater()
    if (outcome) return outcome
    this.#sweepLater()
    return new Promise((resolve) => this.#waiters.set(request.requestId, resolve))
  }

  /** Where a request stands that waits. Cheap, and one call in `askAgainMs` is enough. */
  position(requestId: string): WaitView | undefined {
    return waitView(this.#pool, requestId, Date.now())
  }

  release(requestIds: string[]): void {
    const now = Date.now()
    for (const requestId of requestIds) this.#tell(release(this.#pool, requestId, now))
  }

  /** The worker that is to read this request's media; undefined where none serves its model. */
  suggest(request: LeaseRequest): WorkerEndpoint | undefined {
    return suggest(this.#pool, request, Date.now())
  }

  /** A slot on a second worker for a request that has one; undefined where none is free now. */
  hedge(request: LeaseRequest): WorkerEndpoint | undefined {
    return hedge(this.#pool, request, Date.now())
  }

  releaseOn(workerId: string, requestId: string): void {
    this.#tell(releaseOn(this.#pool, workerId, requestId, Date.now()))
  }

  workerFailed(workerId: string, requestId: string): void {
    this.#tell(workerFailed(this.#pool, workerId, requestId, Date.now()))
  }

  heartbeat(beat: Heartbeat, keyEpoch: number): HeartbeatReply {
    const now = Date.now()
    const { workerId, instance } = beat
    const full = this.#pool.workers.size >= workersMax && !this.#pool.workers.has(workerId)
    const heard: HeartbeatOutcome = full ? fleetFull : this.#roll.hear(beat, keyEpoch, now)
    if (heard.kind === 'unknown') {
      const answer = { edgeNow: now, state: 'refused' as const, reason: notEnrolled(workerId) }
      return { status: 403, answer, ...(this.#roll.looksFor(workerId, now) && { lookUp: true }) }
    }
    if (heard.kind === 'refused') {
      const { status, state, reason } = heard
      return { status, answer: { edgeNow: now, state, reason } }
    }
    if (heard.kind === 'held') this.#tell(holdWorker(this.#pool, workerId, heard.hold, now, now))
    if (heard.kind === 'taken') {
      if (heard.pinned) this.#rollBook.keepEnrolment(heard.pinned)
      this.#tell(heartbeat(this.#pool, heard.heartbeat, keyEpoch, now, heard.hold))
    }
    const { state, reason } = workerReport(this.#pool, this.#roll, workerId, now)
    const answer = { edgeNow: now, state: state ?? beat.state, ...(reason !== null && { reason }) }
    const url = this.#pool.workers.get(workerId)?.heartbeat.url
    const due = url !== undefined && heard.kind === 'taken' && probeDue(this.#pool, workerId, now)
    return { status: 200, answer, ...(due && { probe: { url, instance, keyEpoch } }) }
  }

  /** What the probe that a heartbeat asked for has shown. */
  probed(probe: Probed): void {
    this.#tell(probed(this.#pool, probe, Date.now()))
  }

  /** What a worker may be, from now on: where it is more than that already, it gets no more requests. */
  enrol(enrolment: Enrolment, fence: KeyFence | undefined): void {
    if (fence) this.fence(fence)
    this.#rollBook.keepEnrolment(this.#roll.enrol(enrolment))
    const now = Date.now()
    const worker = this.#pool.workers.get(enrolment.workerId)
    const hold = worker && this.#roll.holdOf(enrolment.workerId, worker.heartbeat)
    if (hold) this.#tell(holdWorker(this.#pool, enrolment.workerId, hold, worker.seenAt, now))
  }

  /** Keeps out a worker's old keys from now on, and for ever. */
  fence(added: KeyFence): void {
    const fence = this.#roll.fence(added)
    this.#rollBook.keepFence(fence)
    const now = Date.now()
    const epoch = this.#pool.workers.get(fence.workerId)?.keyEpoch ?? 0
    if (heartbeatAllowed(fence, epoch, now)) return
    this.#roll.forget(fence.workerId)
    this.#tell(expel(this.#pool, fence.workerId, receiptAllowed(fence, epoch), now))
  }

  /** Gives back the slots of requests whose receipts came, and learns from them. Answers, in order, whose receipts are to be believed. */
  receiptsCame(receipts: (RequestEnd & { keyEpoch: number })[]): boolean[] {
    const good = receipts.map(({ workerId, keyEpoch }) => receiptAllowed(this.#roll.fenceOf(workerId), keyEpoch))
    const now = Date.now()
    receipts.forEach((end, index) => {
      if (good[index]) this.#tell(requestEnded(this.#pool, end, now))
    })
    return good
  }

  /** `complete` once every worker that is there has had the time to say so since this object was started. */
  registry(): { present: WorkerEndpoint[]; missing: string[]; complete: boolean } {
    const now = Date.now()
    this.#tell(sweep(this.#pool, now))
    return { ...registry(this.#pool), complete: now - this.#startedAt > heartbeatLostMs }
  }

  view(): PoolView {
    this.#tell(sweep(this.#pool, Date.now()))
    return view(this.#pool)
  }

  views(): Record<PoolName, PoolView> {
    this.#tell(sweep(this.#pool, Date.now()))
    return { latency: view(this.#pool, 'latency'), throughput: view(this.#pool, 'throughput') }
  }

  /** Both pools as an operator sees them: with the workers that beat and are refused. */
  report(): FleetReport {
    const now = Date.now()
    this.#tell(sweep(this.#pool, now))
    return reportOn(this.#pool, this.#roll, now)
  }

  workers(workerIds: string[]): WorkerReport[] {
    const now = Date.now()
    this.#tell(sweep(this.#pool, now))
    return workerIds.map((workerId) => workerReport(this.#pool, this.#roll, workerId, now))
  }

  /** Why a request went where it went; undefined when it is not remembered, see decisions.ts. */
  decision(requestId: string): Decision | undefined {
    return this.#pool.decisions.find(requestId) ?? this.#book.find(requestId)
  }

  #tell(notification: Notification[]): void {
    for (const { requestId, outcome } of notification) {
      this.#waiters.get(requestId)?.(outcome)
      this.#waiters.delete(requestId)
    }
  }

  #sweepLater(): void {
    if (this.#sweeping) return
    this.#sweeping = true
    setTimeout(() => {
      this.#sweeping = false
      this.#tell(sweep(this.#pool, Date.now()))
      if (this.#waiters.size > 0) this.#sweepLater()
    }, sweepEveryMs)
  }

  #writeLater(): void {
    if (this.#writing) return
    this.#writing = true
    setTimeout(() => {
      this.#writing = false
      const { decisions } = this.#pool
      this.#book.add(decisions.take())
      if (decisions.untaken) this.#writeLater()
    }, writeEveryMs)
  }
}

const fleetFull: HeartbeatOutcome = {
  kind: 'refused',
  status: 403,
  state: 'refused',
  reason: `this fleet has ${workersMax} workers, the most that one fleet holds. Stop one of them first.`,
}

function notEnrolled(workerId: string): string {
  return `worker ${workerId} is not enrolled. Enrol it with POST /admin/workers and start it with the key of the answer.`
}
