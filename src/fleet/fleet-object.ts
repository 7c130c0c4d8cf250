/**
 * The fleet's Durable Object, the only one that leases worker slots. The registry is in memory only, because every
 * worker sends a heartbeat each second; see `fleet.ts`. Storage holds the rest: enrolments, key fences and placement
 * decisions; see `enrolment-check.ts`, `enrolment-rows.ts` and `decisions/decision-log.ts`.
 */
import { DurableObject } from 'cloudflare:workers'
import type { PoolName } from '../../backends/wire/dispatch.ts'
import { type Heartbeat, type HeartbeatAnswer, heartbeatLostMs } from '../../backends/wire/heartbeat.ts'
import type { ConfigVariables } from '../config.ts'
import { suggest } from './choose.ts'
import { DecisionBook } from './decisions/decision-log.ts'
import type { Decision } from './decisions/decisions.ts'
import type { Enrolment } from './enrolment.ts'
import { Enrolments, type HeartbeatOutcome } from './enrolment-check.ts'
import { EnrolmentRows } from './enrolment-rows.ts'
import { lease, release, releaseOn, requestEnded, workerFailed } from './fleet.ts'
import { type FleetReport, reportOn, type WorkerReport, workerReport } from './fleet-report.ts'
import { heartbeatAllowed, type KeyFence, receiptAllowed } from './key-fence.ts'
import { expel, heartbeat, holdWorker, probeDue, probed, registry, workersMax } from './registry.ts'
import {
  emptyFleet,
  type FleetState,
  type LeaseOutcome,
  type LeaseRequest,
  type Notification,
  type Probed,
  type RequestEnd,
  type WorkerEndpoint,
} from './state.ts'
import { sweep } from './sweep.ts'
import { type PoolView, view, type WaitView, waitView } from './views.ts'

const sweepEveryMs = 250
/** Interval at which decisions are stored, and their minimum age. */
const writeEveryMs = 2_000

/** The fleet's answer to one heartbeat, and what the caller must do next. */
export interface HeartbeatReply {
  status: 200 | 403 | 409
  answer: HeartbeatAnswer
  /** Probe the worker at this address and report the result with `probed`. */
  probe?: { url: string; instance: string; keyEpoch: number }
  /** No enrolment is known. Look up the worker in the operator's database; if it is there, call `heartbeat` again. */
  lookUp?: true
}

export class FleetObject extends DurableObject {
  readonly #startedAt = Date.now()
  readonly #fleet: FleetState
  readonly #waiters = new Map<string, (outcome: LeaseOutcome) => void>()
  readonly #enrolments: Enrolments
  readonly #enrolmentRows: EnrolmentRows
  readonly #decisionLog: DecisionBook
  #sweeping = false
  #writing = false

  constructor(state: DurableObjectState, env: ConfigVariables) {
    super(state, env as never)
    this.#fleet = emptyFleet(env.SPILL !== 'off')
    const { sql } = state.storage
    this.#decisionLog = new DecisionBook(sql)
    this.#enrolmentRows = new EnrolmentRows(sql)
    this.#enrolments = new Enrolments(this.#enrolmentRows.enrolments(), this.#enrolmentRows.fences())
  }

  /** Resolves when a slot is leased, or with the reason for refusal. `release` ends the wait. */
  lease(request: LeaseRequest): Promise<LeaseOutcome> | LeaseOutcome {
    const outcome = lease(this.#fleet, request, Date.now(), (notification) => this.#notify([notification]))
    this.#writeLater()
    if (outcome) return outcome
    this.#sweepLater()
    return new Promise((resolve) => this.#waiters.set(request.requestId, resolve))
  }

  /** Queue status of a waiting request. Cheap; call it at most once in `askAgainMs`. */
  position(requestId: string): WaitView | undefined {
    return waitView(this.#fleet, requestId, Date.now())
  }

  release(requestIds: string[]): void {
    const now = Date.now()
    for (const requestId of requestIds) this.#notify(release(this.#fleet, requestId, now))
  }

  /** The worker that should read this request's media; undefined if no worker serves its model. */
  suggest(request: LeaseRequest): WorkerEndpoint | undefined {
    return suggest(this.#fleet, request, Date.now())
  }

  releaseOn(workerId: string, requestId: string): void {
    this.#notify(releaseOn(this.#fleet, workerId, requestId, Date.now()))
  }

  workerFailed(workerId: string, requestId: string): void {
    this.#notify(workerFailed(this.#fleet, workerId, requestId, Date.now()))
  }

  heartbeat(beat: Heartbeat, keyEpoch: number): HeartbeatReply {
    const now = Date.now()
    const { workerId, instance } = beat
    const full = this.#fleet.workers.size >= workersMax && !this.#fleet.workers.has(workerId)
    const heard: HeartbeatOutcome = full ? fleetFull : this.#enrolments.hear(beat, keyEpoch, now)
    if (heard.kind === 'unknown') {
      const answer = { edgeNow: now, state: 'refused' as const, reason: notEnrolled(workerId) }
      return { status: 403, answer, ...(this.#enrolments.looksFor(workerId, now) && { lookUp: true }) }
    }
    if (heard.kind === 'refused') {
      const { status, state, reason } = heard
      return { status, answer: { edgeNow: now, state, reason } }
    }
    if (heard.kind === 'held') this.#notify(holdWorker(this.#fleet, workerId, heard.hold, now, now))
    if (heard.kind === 'taken') {
      if (heard.pinned) this.#enrolmentRows.keepEnrolment(heard.pinned)
      this.#notify(heartbeat(this.#fleet, heard.heartbeat, keyEpoch, now, heard.hold))
    }
    const { state, reason } = workerReport(this.#fleet, this.#enrolments, workerId, now)
    const answer = { edgeNow: now, state: state ?? beat.state, ...(reason !== null && { reason }) }
    const url = this.#fleet.workers.get(workerId)?.heartbeat.url
    const due = url !== undefined && heard.kind === 'taken' && probeDue(this.#fleet, workerId, now)
    return { status: 200, answer, ...(due && { probe: { url, instance, keyEpoch } }) }
  }

  /** Reports the result of a probe that `heartbeat` requested. */
  probed(probe: Probed): void {
    this.#notify(probed(this.#fleet, probe, Date.now()))
  }

  /** Sets a worker's enrolment. A worker that already claims more gets no new requests. */
  enrol(enrolment: Enrolment, fence: KeyFence | undefined): void {
    if (fence) this.fence(fence)
    this.#enrolmentRows.keepEnrolment(this.#enrolments.enrol(enrolment))
    const now = Date.now()
    const worker = this.#fleet.workers.get(enrolment.workerId)
    const hold = worker && this.#enrolments.holdOf(enrolment.workerId, worker.heartbeat)
    if (hold) this.#notify(holdWorker(this.#fleet, enrolment.workerId, hold, worker.seenAt, now))
  }

  /** Refuses a worker's old keys from now on, permanently. */
  fence(added: KeyFence): void {
    const fence = this.#enrolments.fence(added)
    this.#enrolmentRows.keepFence(fence)
    const now = Date.now()
    const epoch = this.#fleet.workers.get(fence.workerId)?.keyEpoch ?? 0
    if (heartbeatAllowed(fence, epoch, now)) return
    this.#enrolments.forget(fence.workerId)
    this.#notify(expel(this.#fleet, fence.workerId, receiptAllowed(fence, epoch), now))
  }

  /** Frees the slots of receipts and measures speed. Returns, in order, whether each receipt's key is trusted. */
  receiptsCame(receipts: (RequestEnd & { keyEpoch: number })[]): boolean[] {
    const good = receipts.map(({ workerId, keyEpoch }) => receiptAllowed(this.#enrolments.fenceOf(workerId), keyEpoch))
    const now = Date.now()
    receipts.forEach((end, index) => {
      if (good[index]) this.#notify(requestEnded(this.#fleet, end, now))
    })
    return good
  }

  /** `complete` is true once every live worker has had time to send a heartbeat since this object started. */
  registry(): { present: WorkerEndpoint[]; missing: string[]; complete: boolean } {
    const now = Date.now()
    this.#notify(sweep(this.#fleet, now))
    return { ...registry(this.#fleet), complete: now - this.#startedAt > heartbeatLostMs }
  }

  view(): PoolView {
    this.#notify(sweep(this.#fleet, Date.now()))
    return view(this.#fleet)
  }

  views(): Record<PoolName, PoolView> {
    this.#notify(sweep(this.#fleet, Date.now()))
    return { latency: view(this.#fleet, 'latency'), throughput: view(this.#fleet, 'throughput') }
  }

  /** The operator's view of both pools, with the workers whose heartbeats are refused. */
  report(): FleetReport {
    const now = Date.now()
    this.#notify(sweep(this.#fleet, now))
    return reportOn(this.#fleet, this.#enrolments, now)
  }

  workers(workerIds: string[]): WorkerReport[] {
    const now = Date.now()
    this.#notify(sweep(this.#fleet, now))
    return workerIds.map((workerId) => workerReport(this.#fleet, this.#enrolments, workerId, now))
  }

  /** Why a request went to its worker; undefined if the decision is no longer stored. See decisions.ts. */
  decision(requestId: string): Decision | undefined {
    return this.#fleet.decisions.find(requestId) ?? this.#decisionLog.find(requestId)
  }

  #notify(notifications: Notification[]): void {
    for (const { requestId, outcome } of notifications) {
      this.#waiters.get(requestId)?.(outcome)
      this.#waiters.delete(requestId)
    }
  }

  #sweepLater(): void {
    if (this.#sweeping) return
    this.#sweeping = true
    setTimeout(() => {
      this.#sweeping = false
      this.#notify(sweep(this.#fleet, Date.now()))
      if (this.#waiters.size > 0) this.#sweepLater()
    }, sweepEveryMs)
  }

  #writeLater(): void {
    if (this.#writing) return
    this.#writing = true
    setTimeout(() => {
      this.#writing = false
      const { decisions } = this.#fleet
      this.#decisionLog.add(decisions.take())
      if (decisions.untaken) this.#writeLater()
    }, writeEveryMs)
  }
}

const fleetFull: HeartbeatOutcome = {
  kind: 'refused',
  status: 403,
  state: 'refused',
  reason: `this fleet already has ${workersMax} workers, the maximum. Stop one of them first.`,
}

function notEnrolled(workerId: string): string {
  return `worker ${workerId} is not enrolled. Enrol it with POST /admin/workers and start it with the key from the response.`
}
