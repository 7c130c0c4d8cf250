/**
 * A tenant object's shell around the real `Books`, store and `GroupCommit` on Node's SQLite: transactions, alarm and
 * eviction as in src/tenant/tenant-object.ts. The auditor receives the decisions of each committed transaction.
 */
import { DatabaseSync } from 'node:sqlite'
import { inquiredMax } from '../../backends/wire/inquiry.ts'
import type { Receipt } from '../../backends/wire/receipt.ts'
import { TenantAccount } from '../../src/tenant/account.ts'
import { type AdmissionRequest, reservationTtlMs } from '../../src/tenant/admission.ts'
import type { AdmissionRefusal } from '../../src/tenant/admission-refusals.ts'
import { GroupCommit } from '../../src/tenant/group-commit.ts'
import { judgeOverdue, type Known } from '../../src/tenant/overdue.ts'
import type { Admission } from '../../src/tenant/rpc.ts'
import type { Sql } from '../../src/tenant/store/sql.ts'
import { openStore } from '../../src/tenant/store/store.ts'
import { nodeSql } from '../support/tenant.ts'
import type { Report } from './auditor.ts'
import { Clock, type Timeline } from './timeline.ts'

const dayMs = 86_400_000
export type ReadmitOrder = Pick<AdmissionRequest, 'requestId' | 'model' | 'promptTokens' | 'outputTokens'>

export interface TenantParts {
  timeline: Timeline
  /** Milliseconds during which calls are gathered for one commit. */
  gatherMs: () => number
  committed: (reports: Report[]) => void
  inquire: (requestIds: string[]) => Promise<Known>
  note: (what: string) => void
}

export class TenantHost {
  readonly tenantId: string
  readonly db = new DatabaseSync(':memory:')
  readonly clock: Clock
  books: TenantAccount
  /** How many writes succeed before the storage fails once; a commit counts as a write. */
  failsAfter: number | null = null
  readonly #parts: TenantParts
  readonly #sql: Sql
  #commits: GroupCommit
  #reports: Report[] = []
  #incarnation = 0
  readonly #open = new Set<(reason: Error) => void>()
  /** The alarm time in storage, and the alarm time in the object's memory. */
  #storedAlarm: number | null = null
  #alarmAt: number | null = null
  #alarmTries = 0
  #alarmSerial = 0

  constructor(tenantId: string, parts: TenantParts) {
    this.tenantId = tenantId
    this.#parts = parts
    this.clock = new Clock(parts.timeline)
    const sql = nodeSql(this.db)
    const failing = <Result>(work: () => Result): Result => {
      if (this.failsAfter !== null && this.failsAfter-- <= 0) {
        this.failsAfter = null
        throw new Error('the storage failed')
      }
      return work()
    }
    this.#sql = { all: sql.all, run: (query, ...values) => failing(() => sql.run(query, ...values)) }
    this.#commitWrites = () => failing(() => this.db.exec('COMMIT'))
    this.books = new TenantAccount(openStore(this.#sql))
    this.#commits = this.#newCommits()
  }

  readonly #commitWrites: () => void

  /** One call that changes the books outside any group, as admin calls do. */
  change<Result>(work: (books: TenantAccount, now: number, report: (report: Report) => void) => Result): Result {
    return this.#transaction(() => work(this.books, this.clock.now(), (report) => this.#reports.push(report)))
  }

  admit(request: AdmissionRequest): Promise<Admission | AdmissionRefusal> {
    return this.#run(() => {
      const now = this.clock.now()
      const answer = this.books.admit(request, now)
      if (answer.ok) this.#wakeAt(now + reservationTtlMs)
      this.#reports.push({ kind: 'admit', order: request, answer, now })
      return answer
    }, 'statement')
  }

  readmit(request: ReadmitOrder): Promise<{ ok: true; boundNano: number } | AdmissionRefusal> {
    return this.#run(() => {
      const now = this.clock.now()
      const answer = this.books.readmit(request, now)
      this.#reports.push({ kind: 'readmit', order: request, answer, now })
      return answer
    })
  }

  settle(receipts: Receipt[]): Promise<string[]> {
    return this.#run(() =>
      receipts.map((receipt) => {
        const now = this.clock.now()
        const answer = this.books.settle(receipt, now)
        this.#reports.push({ kind: 'settle', receipt, answer, now })
        return answer
      }),
    )
  }

  void(requestId: string, charge?: 'rate'): Promise<string> {
    return this.#run(() => this.#close(requestId, 'void', charge))
  }

  /** Drops the memory and the waiting calls; storage remains. */
  evict(): void {
    this.#incarnation += 1
    for (const reject of this.#open) reject(new Error('the object was evicted'))
    this.#open.clear()
    this.failsAfter = null
    this.books = new TenantAccount(openStore(this.#sql))
    this.#commits = this.#newCommits()
    this.#alarmAt = this.#storedAlarm
  }

  /** Call this after setting the clock: the alarm follows the clock. */
  planAlarm(): void {
    const serial = ++this.#alarmSerial
    if (this.#storedAlarm === null) return
    const wait = Math.max(this.#storedAlarm - this.clock.now(), 0)
    this.#parts.timeline.after(wait, `${this.tenantId} alarm`, () => {
      if (serial === this.#alarmSerial) void this.#alarm()
    })
  }

  async #alarm(): Promise<void> {
    const incarnation = this.#incarnation
    this.#storedAlarm = null
    this.#alarmAt = null
    const { store } = this.books
    try {
      const overdue = store.reservations.overdue(this.clock.now(), inquiredMax)
      const known =
        overdue.length > 0 && (await this.#parts.inquire(overdue.map((reservation) => reservation.requestId)))
      // An alarm whose object was evicted during the run fires again.
      if (incarnation !== this.#incarnation) throw new Error('evicted')
      const now = this.clock.now()
      this.#transaction(() => {
        for (const { requestId } of known ? overdue : []) {
          const reservation = store.reservations.find(requestId)
          if (reservation?.state !== 'reserved' || !known) continue
          const judged = judgeOverdue(reservation, known, now)
          if (judged.kind === 'expire') this.#close(requestId, 'expire')
          else this.books.extend(requestId, judged.expiresAt)
        }
        const retentionDays = this.books.tenant()?.settings.retentionDays
        if (retentionDays !== undefined) this.#prune(now - retentionDays * dayMs, 2_000)
      })
      this.#alarmTries = 0
      const due = store.reservations.nextDue()
      if (due !== undefined) this.#wakeAt(due)
    } catch {
      this.#storedAlarm = Math.min(this.#storedAlarm ?? Number.POSITIVE_INFINITY, this.clock.now() + 2_000)
      this.#alarmTries += 1
      if (this.#alarmTries > 6) this.#parts.note(`${this.tenantId}: the platform gave up on the alarm`)
      this.planAlarm()
    }
  }

  prune(before: number, limit: number): void {
    this.#transaction(() => this.#prune(before, limit))
  }

  #prune(before: number, limit: number): void {
    this.books.store.pruned.prune(before, limit)
    this.#reports.push({ kind: 'prune', before, now: this.clock.now() })
  }

  #close(requestId: string, kind: 'void' | 'expire', charge?: 'rate'): string {
    const now = this.clock.now()
    const answer = this.books.close(requestId, kind, now, charge)
    this.#reports.push({ kind: 'close', requestId, how: kind, answer, now })
    return answer
  }

  #run<Result>(work: () => Result, kind?: 'statement'): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#open.add(reject)
      this.#commits.run(work, kind).then(
        (result) => {
          this.#open.delete(reject)
          resolve(result)
        },
        (error) => {
          this.#open.delete(reject)
          reject(error)
        },
      )
    })
  }

  #newCommits(): GroupCommit {
    const incarnation = this.#incarnation
    return new GroupCommit(
      {
        transaction: (work) => this.#transaction(work),
        statement: (work) => this.#statement(work),
        flushed: (then) =>
          this.#parts.timeline.after(this.#parts.gatherMs(), `${this.tenantId} commits`, () => {
            if (incarnation === this.#incarnation) then()
          }),
        // Worlds are small: with the product's threshold almost no calls would be grouped.
      },
      2,
    )
  }

  /** As in the tenant object: storage and memory change together or not at all. */
  #transaction<Result>(work: () => Result): Result {
    this.#reports = []
    const [alarm, alarmAt] = [this.#storedAlarm, this.#alarmAt]
    this.db.exec('BEGIN')
    try {
      const result = work()
      this.books.write()
      this.#commitWrites()
      if (this.#storedAlarm !== alarm) this.planAlarm()
      this.#parts.committed(this.#reports)
      return result
    } catch (error) {
      this.db.exec('ROLLBACK')
      this.books.forget()
      // Setting the alarm is a write, and is rolled back with the others.
      this.#storedAlarm = alarm
      this.#alarmAt = alarmAt
      this.#parts.note(`${this.tenantId}: a transaction was rolled back: ${String(error)}`)
      throw error
    }
  }

  /** As in the tenant object. Without a surrounding transaction, each statement commits by itself. */
  #statement<Result>(work: () => Result): Result {
    this.#reports = []
    try {
      const result = work()
      this.books.write()
      this.#parts.committed(this.#reports)
      return result
    } catch (error) {
      this.books.forget()
      this.#parts.note(`${this.tenantId}: a statement failed: ${String(error)}`)
      throw error
    }
  }

  #wakeAt(time: number): void {
    if (this.#alarmAt !== null && this.#alarmAt <= time) return
    this.#alarmAt = time
    this.#storedAlarm = time
    this.planAlarm()
  }
}
