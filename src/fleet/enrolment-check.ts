/**
 * Checks heartbeats: which workers are enrolled, which process of each is live, and why others are refused.
 *
 *   no process ──heartbeat──▶ live ──silent, gone, or replaced by its successor──▶ no process
 *                               │
 *                               └─ heartbeats of another process: refused as duplicates, and reported to both
 *
 * A heartbeat is accepted if its key is valid, its clock is close, it is newer than every earlier one of its process,
 * no other process of the worker is live, and it claims no more than the enrolment allows. Pure: `now` is passed in.
 */

import { budgets } from '../../backends/model/budgets.ts'
import { cleanText } from '../../backends/model/clean-text.ts'
import { clockSkewMs, dispatchTtlMs, type PoolName } from '../../backends/wire/dispatch.ts'
import { type Heartbeat, heartbeatLostMs, type WorkerState } from '../../backends/wire/heartbeat.ts'
import { unspokenText } from '../../backends/wire/protocol.ts'
import { checkClaims, type Enrolment, joinEnrolments, pinTo } from './enrolment.ts'
import { heartbeatAllowed, joinFences, type KeyFence, receiptAllowed } from './key-fence.ts'

/** Why a worker gets no requests although it sends heartbeats. */
export interface Hold {
  state: Extract<WorkerState, 'clock' | 'refused'>
  reason: string
}

export type HeartbeatOutcome =
  /** Accepted. `hold` keeps requests away; the caller stores `pinned`. */
  | { kind: 'taken'; heartbeat: Heartbeat; hold: Hold | undefined; pinned: Enrolment | undefined }
  /** The live process claims more than its enrolment allows: its requests continue, and it gets no new ones. */
  | { kind: 'held'; hold: Hold }
  /** Not newer than the last heartbeat of its process: changes nothing. */
  | { kind: 'repeated' }
  | HeartbeatRefusal

export type HeartbeatRefusal =
  | { kind: 'refused'; status: 403 | 409; state: WorkerState; reason: string }
  /** The worker id has no enrolment here. */
  | { kind: 'unknown' }

type Claimed = Pick<Heartbeat, 'workerId' | 'pool' | 'url'>

/** One process of a worker. */
interface Instance {
  instance: string
  startedAt: number
  url: string
  sentAt: number
  seenAt: number
  lastEnd: string | null
}

interface EnrolledWorker {
  live: Instance | undefined
  rival: Instance | undefined
  /** Last `sentAt` of earlier processes, so that a replayed heartbeat is ignored. */
  past: Map<string, number>
  refused: { state: WorkerState; reason: string; at: number; pool: PoolName; url: string } | undefined
}

/** The operator's view of one worker, in addition to the fleet's state. */
export interface EnrolmentView {
  enrolment: Enrolment | undefined
  /** Undefined if the fleet's own state applies. */
  state: WorkerState | undefined
  reason: string | undefined
  /** Last heartbeat of the process that is or was live. */
  seenAt: number | undefined
  /** Start of the live process. */
  startedAt: number | null
  lastEnd: string | null
  /** Pool and address that a refused process claimed, because no pool lists it. */
  claimed: { pool: PoolName; url: string } | undefined
}

const pastMax = 8
/** Worker ids with a valid key but no enrolment: the database was lost, or the key outlived its row. */
const strangersMax = 100
const strangerAskedEveryMs = 5_000

export class Enrolments {
  readonly #enrolments: Map<string, Enrolment>
  readonly #fences: Map<string, KeyFence>
  readonly #entries = new Map<string, EnrolledWorker>()
  /** When each unknown worker id was last looked up in the operator's database. */
  readonly #strangers = new Map<string, number>()

  constructor(enrolments: Iterable<Enrolment>, fences: Iterable<KeyFence>) {
    this.#enrolments = new Map([...enrolments].map((each) => [each.workerId, each]))
    this.#fences = new Map([...fences].map((each) => [each.workerId, each]))
  }

  /** Returns the enrolment to store. */
  enrol(added: Enrolment): Enrolment {
    const enrolment = joinEnrolments(this.#enrolments.get(added.workerId), added)
    this.#enrolments.set(enrolment.workerId, enrolment)
    this.#strangers.delete(enrolment.workerId)
    return enrolment
  }

  /** Returns the fence to store. A revoked worker has no live process and appears in no list. */
  fence(added: KeyFence): KeyFence {
    const fence = joinFences(this.#fences.get(added.workerId), added)
    this.#fences.set(fence.workerId, fence)
    return fence
  }

  fenceOf(workerId: string): KeyFence | undefined {
    return this.#fences.get(workerId)
  }

  /** Call when the fleet has expelled the worker. */
  forget(workerId: string): void {
    this.#entries.delete(workerId)
  }

  /** Whether to look up this unknown worker id in the operator's database now: once in a few seconds per id. */
  looksFor(workerId: string, now: number): boolean {
    const isRecent = (asked: number | undefined) => asked !== undefined && now - asked < strangerAskedEveryMs
    if (isRecent(this.#strangers.get(workerId))) return false
    this.#strangers.delete(workerId)
    const [oldest] = this.#strangers
    if (oldest && this.#strangers.size >= strangersMax) {
      if (isRecent(oldest[1])) return false
      this.#strangers.delete(oldest[0])
    }
    this.#strangers.set(workerId, now)
    return true
  }

  /** The reason to hold a worker whose live process claims more than its enrolment allows; otherwise undefined. */
  holdOf(workerId: string, claims: Heartbeat): Hold | undefined {
    const enrolment = this.#enrolments.get(workerId)
    const checked = enrolment && checkClaims(enrolment, claims)
    return checked && !checked.ok ? { state: 'refused', reason: checked.reason } : undefined
  }

  hear(heartbeat: Heartbeat, keyEpoch: number, now: number): HeartbeatOutcome {
    const { workerId } = heartbeat
    const enrolment = this.#enrolments.get(workerId)
    const fenced = this.#fenced(heartbeat, keyEpoch, now)
    if (fenced) return fenced
    if (!enrolment) return { kind: 'unknown' }
    const entry = this.#entry(workerId)
    if (isRepeated(entry, heartbeat)) return { kind: 'repeated' }
    const aheadMs = heartbeat.sentAt - now
    if (Math.abs(aheadMs) > budgets.heartbeatClockMs.value)
      return this.#refuse(enrolment, heartbeat, now, {
        status: 403,
        state: 'clock',
        reason: clockReason(workerId, aheadMs),
      })
    if (!this.#leads(entry, heartbeat, now)) return this.#duplicate(entry, heartbeat, now)
    if (heartbeat.state === 'gone') return this.#leave(entry, heartbeat)
    const checked = checkClaims(enrolment, heartbeat)
    if (!checked.ok) {
      const { reason } = checked
      if (entry.live?.instance !== heartbeat.instance)
        return this.#refuse(enrolment, heartbeat, now, { status: 403, state: 'refused', reason })
      Object.assign(entry.live, { sentAt: heartbeat.sentAt, seenAt: now })
      return { kind: 'held', hold: { state: 'refused', reason } }
    }
    const taken = { ...heartbeat, ...cleaned(heartbeat), url: checked.url }
    const pinned = pinTo(enrolment, taken)
    if (pinned) this.#enrolments.set(workerId, pinned)
    lead(entry, taken, now)
    return { kind: 'taken', heartbeat: taken, hold: clockHold(workerId, aheadMs), pinned }
  }

  /** A signed heartbeat in a version of the protocol that this edge does not read. Its claims are unknown. */
  hearUnspoken(workerId: string, keyEpoch: number, version: number, now: number): HeartbeatRefusal {
    const enrolment = this.#enrolments.get(workerId)
    const claimed = { workerId, pool: enrolment?.pools[0] ?? 'latency', url: enrolment?.url ?? '' }
    const fenced = this.#fenced(claimed, keyEpoch, now)
    if (fenced) return fenced
    if (!enrolment) return { kind: 'unknown' }
    const reason = unspokenText(`worker ${workerId}`, version, 'this edge')
    return this.#refuse(enrolment, claimed, now, { status: 403, state: 'incompatible', reason })
  }

  /** The message about a duplicate process, for the live process and for the operator. */
  duplicateReason(workerId: string, now: number): string | undefined {
    const rival = this.#entries.get(workerId)?.rival
    return rival && now - rival.seenAt <= budgets.duplicateShownMs.value ? otherProcess(workerId, rival) : undefined
  }

  view(workerId: string, now: number): EnrolmentView {
    const entry = this.#entries.get(workerId)
    const live = entry?.live && now - entry.live.seenAt <= heartbeatLostMs ? entry.live : undefined
    const duplicate = this.duplicateReason(workerId, now)
    const refused =
      live === undefined && entry?.refused && now - entry.refused.at <= refusedShownMs ? entry.refused : undefined
    return {
      enrolment: this.#enrolments.get(workerId),
      state: live && duplicate ? 'duplicate' : refused?.state,
      reason: live ? duplicate : refused?.reason,
      seenAt: entry?.live?.seenAt,
      startedAt: live?.startedAt ?? null,
      lastEnd: live?.lastEnd ?? null,
      claimed: refused && { pool: refused.pool, url: refused.url },
    }
  }

  /** Workers whose heartbeats are refused, so that no pool lists them. */
  refusedNow(now: number): string[] {
    return [...this.#entries.keys()].filter((workerId) => this.view(workerId, now).claimed !== undefined)
  }

  #entry(workerId: string): EnrolledWorker {
    const known = this.#entries.get(workerId)
    if (known) return known
    const entry: EnrolledWorker = { live: undefined, rival: undefined, past: new Map(), refused: undefined }
    this.#entries.set(workerId, entry)
    return entry
  }

  #leads({ live }: EnrolledWorker, heartbeat: Heartbeat, now: number): boolean {
    if (!live || live.instance === heartbeat.instance) return true
    return now - live.seenAt > heartbeatLostMs || heartbeat.replaces === live.instance
  }

  #duplicate(entry: EnrolledWorker, heartbeat: Heartbeat, now: number): HeartbeatOutcome {
    entry.rival = heartbeat.state === 'gone' ? undefined : instanceOf(heartbeat, now)
    if (heartbeat.state === 'gone') remember(entry, heartbeat.instance, heartbeat.sentAt)
    const { workerId } = heartbeat
    const reason = entry.live ? otherProcess(workerId, entry.live) : `another process of worker ${workerId} is live`
    return { kind: 'refused', status: 409, state: 'duplicate', reason }
  }

  #leave(entry: EnrolledWorker, heartbeat: Heartbeat): HeartbeatOutcome {
    if (entry.live) remember(entry, entry.live.instance, entry.live.sentAt)
    remember(entry, heartbeat.instance, heartbeat.sentAt)
    entry.live = undefined
    entry.refused = undefined
    if (entry.rival?.instance === heartbeat.instance) entry.rival = undefined
    return { kind: 'taken', heartbeat, hold: undefined, pinned: undefined }
  }

  /** The refusal of a key that is no longer valid; undefined if it is. */
  #fenced(heartbeat: Claimed, keyEpoch: number, now: number): HeartbeatRefusal | undefined {
    const { workerId } = heartbeat
    const fence = this.#fences.get(workerId)
    if (heartbeatAllowed(fence, keyEpoch, now)) return undefined
    const reason = `key ${keyEpoch} of worker ${workerId} was rotated or revoked. Start the worker with its newest key.`
    // A revoked worker is not listed: the operator does not expect it.
    const listed = receiptAllowed(fence, keyEpoch) ? this.#enrolments.get(workerId) : undefined
    return this.#refuse(listed, heartbeat, now, { status: 403, state: 'refused', reason })
  }

  #refuse(
    enrolment: Enrolment | undefined,
    heartbeat: Claimed,
    now: number,
    refusal: Omit<Extract<HeartbeatRefusal, { kind: 'refused' }>, 'kind'>,
  ): HeartbeatRefusal {
    const { state, reason } = refusal
    if (enrolment) {
      const { pool } = heartbeat
      this.#entry(heartbeat.workerId).refused = { state, reason, at: now, pool, url: cleanText(heartbeat.url, 120) }
    }
    return { kind: 'refused', ...refusal }
  }
}

/** Longer than the longest interval between two heartbeats of a refused worker. */
const refusedShownMs = 3 * budgets.heartbeatRetryMs.value

function isRepeated({ live, past, rival }: EnrolledWorker, { instance, sentAt }: Heartbeat): boolean {
  const known = [live, rival].filter((each) => each?.instance === instance).map((each) => each?.sentAt)
  return [...known, past.get(instance)].some((last) => last !== undefined && sentAt <= last)
}

/** A worker's texts reach the operator. */
function cleaned({ engine, reason }: Heartbeat): Pick<Heartbeat, 'engine' | 'reason'> {
  const why = reason == null ? reason : cleanText(reason, budgets.workerReasonCharacters.value)
  return { engine: cleanText(engine, 64), reason: why }
}

function lead(entry: EnrolledWorker, heartbeat: Heartbeat, now: number): void {
  const { live, rival } = entry
  if (live && live.instance !== heartbeat.instance) remember(entry, live.instance, live.sentAt)
  if (rival?.instance === heartbeat.instance) entry.rival = undefined
  entry.live = instanceOf(heartbeat, now)
  entry.refused = undefined
}

function remember({ past }: EnrolledWorker, instance: string, sentAt: number): void {
  past.delete(instance)
  past.set(instance, sentAt)
  for (const oldest of past.keys()) {
    if (past.size <= pastMax) return
    past.delete(oldest)
  }
}

function instanceOf({ instance, startedAt, url, sentAt, lastEnd }: Heartbeat, now: number): Instance {
  return { instance, startedAt, url: cleanText(url, 120), sentAt, seenAt: now, lastEnd }
}

function otherProcess(workerId: string, { url, startedAt }: Instance): string {
  return `another process with worker id ${workerId} is live at ${url}, started ${isoTime(startedAt)}. Stop one of them, or enrol the second under its own id.`
}

function isoTime(at: number): string {
  return Math.abs(at) < 8.64e15 ? new Date(at).toISOString() : 'at an unknown time'
}

/** A dispatch carries the edge's time. Beyond these bounds the worker refuses every dispatch. */
function clockHold(workerId: string, aheadMs: number): Hold | undefined {
  const usable = aheadMs >= -clockSkewMs && aheadMs <= dispatchTtlMs + clockSkewMs
  return usable ? undefined : { state: 'clock', reason: clockReason(workerId, aheadMs) }
}

function clockReason(workerId: string, aheadMs: number): string {
  const seconds = (Math.abs(aheadMs) / 1_000).toFixed(1)
  const way = aheadMs > 0 ? 'ahead of' : 'behind'
  return `the clock of worker ${workerId} is ${seconds} s ${way} the edge's clock. Synchronise it with NTP; at most ${clockSkewMs / 1_000} s are allowed.`
}
