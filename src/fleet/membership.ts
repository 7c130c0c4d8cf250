/**
 * Which workers belong to the fleet: applies heartbeats, enrolments and key fences to the enrolment checks, to storage
 * and to the fleet's state.
 */
import type { Heartbeat, HeartbeatAnswer } from '../../backends/wire/heartbeat.ts'
import type { Enrolment } from './enrolment.ts'
import { Enrolments, type HeartbeatOutcome, type HeartbeatRefusal } from './enrolment-check.ts'
import { requestEnded } from './fleet.ts'
import { workerReport } from './fleet-report.ts'
import { heartbeatAllowed, type KeyFence, receiptAllowed } from './key-fence.ts'
import { expel, heartbeat, holdWorker, probeDue, workersMax } from './registry.ts'
import type { FleetState, Notification, RequestEnd } from './state.ts'

/** The fleet's answer to one heartbeat, and what the caller must do next. */
export interface HeartbeatReply {
  status: 200 | 403 | 409
  answer: Omit<HeartbeatAnswer, 'protocol'>
  /** Probe the worker at this address and report the result with `probed`. */
  probe?: { url: string; instance: string; keyEpoch: number; secretId: string | undefined; protocol: number }
  /** No enrolment is known. Look up the worker in the operator's database; if it is there, call `heartbeat` again. */
  lookUp?: true
}

/** Storage of the operator's decisions; see `EnrolmentRows`. */
export interface MembershipRows {
  enrolments(): Enrolment[]
  fences(): KeyFence[]
  keepEnrolment(enrolment: Enrolment): void
  keepFence(fence: KeyFence): void
}

export class Membership {
  readonly enrolments: Enrolments
  readonly #fleet: FleetState
  readonly #rows: MembershipRows
  readonly #notify: (notifications: Notification[]) => void

  constructor(fleet: FleetState, rows: MembershipRows, notify: (notifications: Notification[]) => void) {
    this.enrolments = new Enrolments(rows.enrolments(), rows.fences())
    this.#fleet = fleet
    this.#rows = rows
    this.#notify = notify
  }

  heartbeat(beat: Heartbeat, keyEpoch: number, now: number, secretId?: string): HeartbeatReply {
    const { workerId } = beat
    const full = this.#fleet.workers.size >= workersMax && !this.#fleet.workers.has(workerId)
    const heard: HeartbeatOutcome = full ? fleetFull : this.enrolments.hear(beat, keyEpoch, now)
    if (heard.kind === 'unknown' || heard.kind === 'refused') return this.#refusal(heard, workerId, now)
    if (heard.kind === 'held') this.#notify(holdWorker(this.#fleet, workerId, heard.hold, now, now))
    if (heard.kind === 'taken') {
      if (heard.pinned) this.#rows.keepEnrolment(heard.pinned)
      this.#notify(heartbeat(this.#fleet, heard.heartbeat, keyEpoch, now, heard.hold, secretId))
    }
    return this.#accepted(beat, keyEpoch, heard.kind === 'taken', now)
  }

  /** The answer to a heartbeat in a version of the protocol that this edge does not read. */
  unspoken(workerId: string, keyEpoch: number, version: number, now: number): HeartbeatReply {
    return this.#refusal(this.enrolments.hearUnspoken(workerId, keyEpoch, version, now), workerId, now)
  }

  /** Sets a worker's enrolment. A worker that already claims more gets no new requests. */
  enrol(enrolment: Enrolment, fence: KeyFence | undefined, now: number): void {
    if (fence) this.fence(fence, now)
    this.#rows.keepEnrolment(this.enrolments.enrol(enrolment))
    const worker = this.#fleet.workers.get(enrolment.workerId)
    const hold = worker && this.enrolments.holdOf(enrolment.workerId, worker.heartbeat)
    if (hold) this.#notify(holdWorker(this.#fleet, enrolment.workerId, hold, worker.seenAt, now))
  }

  /** Refuses a worker's old keys from now on, permanently. */
  fence(added: KeyFence, now: number): void {
    const fence = this.enrolments.fence(added)
    this.#rows.keepFence(fence)
    const epoch = this.#fleet.workers.get(fence.workerId)?.keyEpoch ?? 0
    if (heartbeatAllowed(fence, epoch, now)) return
    this.enrolments.forget(fence.workerId)
    this.#notify(expel(this.#fleet, fence.workerId, receiptAllowed(fence, epoch), now))
  }

  /** Frees the slots of receipts and measures speed. Returns, in order, whether each receipt's key is trusted. */
  receiptsCame(receipts: (RequestEnd & { keyEpoch: number })[], now: number): boolean[] {
    const trusted = receipts.map(({ workerId, keyEpoch }) =>
      receiptAllowed(this.enrolments.fenceOf(workerId), keyEpoch),
    )
    for (const [index, end] of receipts.entries()) if (trusted[index]) this.#notify(requestEnded(this.#fleet, end, now))
    return trusted
  }

  #refusal(heard: HeartbeatRefusal, workerId: string, now: number): HeartbeatReply {
    if (heard.kind === 'unknown') {
      const answer = { edgeNow: now, state: 'refused' as const, reason: notEnrolled(workerId) }
      return { status: 403, answer, ...(this.enrolments.looksFor(workerId, now) && { lookUp: true }) }
    }
    const { status, state, reason } = heard
    return { status, answer: { edgeNow: now, state, reason } }
  }

  #accepted(beat: Heartbeat, keyEpoch: number, taken: boolean, now: number): HeartbeatReply {
    const { workerId, instance } = beat
    const { state, reason } = workerReport(this.#fleet, this.enrolments, workerId, now)
    const answer = { edgeNow: now, state: state ?? beat.state, ...(reason !== null && { reason }) }
    const worker = this.#fleet.workers.get(workerId)
    const url = worker?.heartbeat.url
    const due = url !== undefined && taken && probeDue(this.#fleet, workerId, now)
    const probe = { url: url ?? '', instance, keyEpoch, secretId: worker?.secretId, protocol: beat.protocol }
    return { status: 200, answer, ...(due && { probe }) }
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
