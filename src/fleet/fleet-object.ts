/**
 * The fleet's Durable Object, the only one that leases worker slots. The registry is in memory only, because every
 * worker sends a heartbeat each second; see `fleet.ts`. Storage holds the rest: enrolments, key fences and placement
 * decisions; see `membership.ts`, `enrolment-rows.ts` and `decisions/decision-log.ts`.
 */
import { DurableObject } from 'cloudflare:workers'
import type { PoolName } from '../../backends/wire/dispatch.ts'
import { type Heartbeat, heartbeatLostMs } from '../../backends/wire/heartbeat.ts'
import type { ConfigVariables } from '../config.ts'
import { type AlertSinkBinding, alertSink } from './alert-sink.ts'
import { suggest } from './choose.ts'
import { DecisionBook, listDecisions } from './decisions/decision-log.ts'
import type { AttemptFailure, Decision } from './decisions/decisions.ts'
import { DelayedTask } from './delayed-task.ts'
import { capabilitiesOf, type EngineCapabilities } from './engine-capabilities.ts'
import type { Enrolment } from './enrolment.ts'
import { EnrolmentRows } from './enrolment-rows.ts'
import { lease, release, releaseOn, workerFailed } from './fleet.ts'
import { type FleetReport, reportOn, type WorkerReport, workerReport } from './fleet-report.ts'
import type { KeyFence } from './key-fence.ts'
import { type HeartbeatReply, Membership } from './membership.ts'
import { PresenceRows } from './presence-rows.ts'
import { PresenceWatch } from './presence-watch.ts'
import { probed, registry } from './registry.ts'
import {
  emptyFleet,
  type FleetState,
  type LeaseOutcome,
  type LeaseRequest,
  type Probed,
  type RequestEnd,
  type WorkerEndpoint,
} from './state.ts'
import { sweep } from './sweep.ts'
import { type PoolView, view, type WaitView, waitView } from './views.ts'
import { Waiters } from './waiters.ts'

const sweepEveryMs = 250
/** Interval at which decisions are stored, and their minimum age. */
const writeEveryMs = 2_000

export class FleetObject extends DurableObject {
  readonly #startedAt = Date.now()
  readonly #fleet: FleetState
  readonly #waiters = new Waiters()
  readonly #members: Membership
  readonly #decisionLog: DecisionBook
  readonly #presence: PresenceWatch
  readonly #sweeping = new DelayedTask(sweepEveryMs, () => this.#sweep())
  readonly #writing = new DelayedTask(writeEveryMs, () => this.#writeDecisions())

  constructor(state: DurableObjectState, env: ConfigVariables & AlertSinkBinding) {
    super(state, env as never)
    const { sql } = state.storage
    this.#fleet = emptyFleet(env.SPILL !== 'off')
    this.#decisionLog = new DecisionBook(sql)
    this.#presence = new PresenceWatch({
      rows: new PresenceRows(sql),
      live: () => new Set(this.#fleet.workers.keys()),
      sink: () => alertSink(env),
      setAlarm: (time) => state.waitUntil(state.storage.setAlarm(time)),
      now: Date.now,
    })
    this.#members = new Membership(this.#fleet, new EnrolmentRows(sql), (outcomes) => this.#waiters.notify(outcomes))
  }

  /** Resolves when a slot is leased, or with the reason for refusal. `release` ends the wait. */
  lease(request: LeaseRequest): Promise<LeaseOutcome> | LeaseOutcome {
    const outcome = lease(this.#fleet, request, Date.now(), (notification) => this.#waiters.notify([notification]))
    this.#writing.schedule()
    if (outcome) return outcome
    this.#sweeping.schedule()
    return this.#waiters.wait(request.requestId)
  }

  /** Queue status of a waiting request. Cheap; call it at most once in `askAgainMs`. */
  position(requestId: string): WaitView | undefined {
    return waitView(this.#fleet, requestId, Date.now())
  }

  release(requestIds: string[]): void {
    const now = Date.now()
    for (const requestId of requestIds) this.#waiters.notify(release(this.#fleet, requestId, now))
  }

  /** The worker that should read this request's media; undefined if no worker serves its model. */
  suggest(request: LeaseRequest): WorkerEndpoint | undefined {
    return suggest(this.#fleet, request, Date.now())
  }

  /** The distinct capabilities of the model's engines; empty if no worker serves it. */
  capabilities(model: string): EngineCapabilities[] {
    this.#swept()
    return capabilitiesOf(this.#fleet, model)
  }

  /** @param failure why the attempt failed, for its decision */
  releaseOn(workerId: string, requestId: string, failure?: AttemptFailure): void {
    if (failure) this.#fleet.decisions.failed(requestId, workerId, failure)
    this.#waiters.notify(releaseOn(this.#fleet, workerId, requestId, Date.now()))
  }

  workerFailed(workerId: string, requestId: string, failure?: AttemptFailure): void {
    if (failure) this.#fleet.decisions.failed(requestId, workerId, failure)
    this.#waiters.notify(workerFailed(this.#fleet, workerId, requestId, Date.now()))
  }

  /** @param secretId the fleet secret from which the worker's key is derived */
  heartbeat(beat: Heartbeat, keyEpoch: number, secretId?: string): HeartbeatReply {
    const reply = this.#members.heartbeat(beat, keyEpoch, Date.now(), secretId)
    if (reply.status === 200) this.#presence.heard(beat.workerId, beat.state === 'gone')
    return reply
  }

  /** The answer to a heartbeat in a version of the protocol that this edge does not read. */
  unspoken(workerId: string, keyEpoch: number, version: number): HeartbeatReply {
    return this.#members.unspoken(workerId, keyEpoch, version, Date.now())
  }

  /** Reports the result of a probe that `heartbeat` requested. */
  probed(probe: Probed): void {
    this.#waiters.notify(probed(this.#fleet, probe, Date.now()))
  }

  /** Sets a worker's enrolment. A worker that already claims more gets no new requests. */
  enrol(enrolment: Enrolment, fence: KeyFence | undefined): void {
    this.#members.enrol(enrolment, fence, Date.now())
  }

  /** Refuses a worker's old keys from now on, permanently. */
  fence(added: KeyFence): void {
    this.#members.fence(added, Date.now())
    if (!this.#fleet.workers.has(added.workerId)) this.#presence.removed(added.workerId)
  }

  /** Frees the slots of receipts and measures speed. Returns, in order, whether each receipt's key is trusted. */
  receiptsCame(receipts: (RequestEnd & { keyEpoch: number })[]): boolean[] {
    return this.#members.receiptsCame(receipts, Date.now())
  }

  /** `complete` is true once every live worker has had time to send a heartbeat since this object started. */
  registry(): { present: WorkerEndpoint[]; missing: string[]; complete: boolean } {
    const now = this.#swept()
    return { ...registry(this.#fleet), complete: now - this.#startedAt > heartbeatLostMs }
  }

  view(): PoolView {
    this.#swept()
    return view(this.#fleet)
  }

  views(): Record<PoolName, PoolView> {
    this.#swept()
    return { latency: view(this.#fleet, 'latency'), throughput: view(this.#fleet, 'throughput') }
  }

  /** The operator's view of both pools, with the workers whose heartbeats are refused. */
  report(): FleetReport {
    return reportOn(this.#fleet, this.#members.enrolments, this.#swept())
  }

  workers(workerIds: string[]): WorkerReport[] {
    const now = this.#swept()
    return workerIds.map((workerId) => workerReport(this.#fleet, this.#members.enrolments, workerId, now))
  }

  /** Why a request went to its worker; undefined if the decision is no longer stored. See decisions.ts. */
  decision(requestId: string): Decision | undefined {
    return this.#fleet.decisions.find(requestId) ?? this.#decisionLog.find(requestId)
  }

  /** The decisions of the last requests of all tenants. `after` is the `next` of the page before; empty at first. */
  listDecisions(after: string, limit: number): { data: Decision[]; next: string | null } {
    return listDecisions(this.#fleet.decisions, this.#decisionLog, after, limit)
  }

  /** Alerts operators of lost workers. */
  override async alarm(): Promise<void> {
    this.#swept()
    await this.#presence.watch()
  }

  /** Drops expired state, and returns the time. */
  #swept(): number {
    const now = Date.now()
    this.#waiters.notify(sweep(this.#fleet, now))
    return now
  }

  /** Returns whether requests still wait. */
  #sweep(): boolean {
    this.#swept()
    return this.#waiters.size > 0
  }

  /** Returns whether more decisions are to be stored. */
  #writeDecisions(): boolean {
    const { decisions } = this.#fleet
    this.#decisionLog.add(decisions.take())
    return decisions.untaken
  }
}
