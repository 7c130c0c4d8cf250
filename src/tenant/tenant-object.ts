/**
 * One Durable Object per tenant: the only writer of its keys, limits and ledger. A shell around `Books`: each call is
 * one synchronous transaction, and calls that come close together share one.
 */
import { DurableObject } from 'cloudflare:workers'
import { inquiredMax } from '../../backends/protocol/inquiry.ts'
import type { Receipt } from '../../backends/protocol/receipt.ts'
import type { Env } from '../env.ts'
import { chainStart } from '../ledger/chain.ts'
import { keyBudgets, newHolder, tenantBudgets } from '../limits/holder.ts'
import { inquire } from '../settlement/inquire.ts'
import { judgeOverdue } from '../settlement/overdue.ts'
import { type AdmissionOrder, listPrice, type Refused, reservationTtlMs } from './admission.ts'
import { Books } from './books.ts'
import type { Admission, NewKey, NewTenant, TenantSummary } from './calls.ts'
import { GroupCommit } from './group-commit.ts'
import { openStore, type Row, type Sql } from './store.ts'
import { type Verdict, verifyBooks } from './verify.ts'

const prunedPerAlarm = 2_000
const dayMs = 86_400_000
/** From this many open requests on, calls come close enough together for a shared commit to pay. */
const shareFromRunning = 4

export class TenantObject extends DurableObject {
  readonly #books: Books
  readonly #commits: GroupCommit
  /** When the alarm goes off, as far as it is set. */
  #alarmAt: number | null = null

  constructor(state: DurableObjectState, env: unknown) {
    super(state, env as never)
    this.#books = new Books(state.storage.transactionSync(() => openStore(durableSql(state.storage.sql))))
    void state.blockConcurrencyWhile(async () => {
      this.#alarmAt = await state.storage.getAlarm()
    })
    this.#commits = new GroupCommit(
      (work) => this.#transaction(work),
      (flush) => setTimeout(flush, 0),
    )
  }

  /** Creates the tenant, or answers false when it exists. */
  create(order: NewTenant): boolean {
    const now = Date.now()
    return this.#transaction(() => {
      if (this.#books.tenant()) return false
      this.#books.putTenant({
        tenantId: order.tenantId,
        name: order.name,
        createdAt: now,
        creditNano: 0,
        postedNano: 0,
        reservedNano: 0,
        chainSeq: 0,
        chainHash: chainStart,
        limits: order.limits,
        state: newHolder(order.limits, tenantBudgets, now),
        settings: order.settings,
      })
      for (const model of order.models) this.#books.store.putRates(model, 0, listPrice)
      if (order.creditNano > 0) this.#books.credit(order.creditNano, 'opening credit', now)
      return true
    })
  }

  /** Adds a key, or answers false when the tenant does not exist. */
  addKey(order: NewKey): boolean {
    const now = Date.now()
    return this.#transaction(() => {
      if (!this.#books.tenant()) return false
      const state = newHolder(order.limits, keyBudgets, now)
      this.#books.putKey({ ...order, createdAt: now, revokedAt: null, lastUsedAt: null, state })
      return true
    })
  }

  /** Revokes a key, with effect on the very next request. False when there is no such key. */
  revokeKey(keyId: string): boolean {
    const now = Date.now()
    return this.#transaction(() => {
      const key = this.#books.key(keyId)
      if (!key) return false
      this.#books.putKey({ ...key, revokedAt: key.revokedAt ?? now })
      return true
    })
  }

  /** Checks the key, the limits and the money, and reserves, all or nothing. */
  admit(order: AdmissionOrder): Promise<Admission | Refused> {
    return this.#commits.run(() => {
      const now = Date.now()
      const admitted = this.#books.admit(order, now)
      if (admitted.ok) this.#wakeAt(now + reservationTtlMs)
      return admitted
    }, this.#busy())
  }

  /** Raises an open reservation to the worker's exact prompt count. Answers the new bound. */
  readmit(
    order: Pick<AdmissionOrder, 'requestId' | 'model' | 'promptTokens' | 'outputTokens'>,
  ): Promise<{ ok: true; boundNano: number } | Refused> {
    return this.#commits.run(() => this.#books.readmit(order, Date.now()), this.#busy())
  }

  /** Settles receipts that were verified before. Answers, in order, what became of each. */
  settle(receipts: Receipt[]): Promise<string[]> {
    return this.#commits.run(() => receipts.map((receipt) => this.#books.settle(receipt, Date.now())), this.#busy())
  }

  /** Closes a reservation of a request that no engine began. */
  void(requestId: string): Promise<string> {
    return this.#commits.run(() => this.#books.close(requestId, 'void', Date.now()), this.#busy())
  }

  summary(): TenantSummary | undefined {
    const tenant = this.#books.tenant()
    if (!tenant) return undefined
    const { tenantId, name, creditNano, postedNano, reservedNano, state } = tenant
    const totals = this.#books.store.totals()
    return { tenantId, name, creditNano, postedNano, reservedNano, openReservations: state.running, totals }
  }

  /** The ledger's entries of one request. */
  entries(requestId: string): { booking: string | null; entries: Row[] } {
    const { store } = this.#books
    return { booking: store.booking(requestId)?.state ?? null, entries: store.entriesOf(requestId) }
  }

  verify(): Verdict {
    return verifyBooks(this.#books.store)
  }

  /** Looks for overdue reservations, asks the workers about them, and prunes what is old. */
  override async alarm(): Promise<void> {
    this.#alarmAt = null
    const { store } = this.#books
    const overdue = store.overdue(Date.now(), inquiredMax)
    const known =
      overdue.length > 0 &&
      (await inquire(
        this.env as Env,
        overdue.map((booking) => booking.requestId),
        Date.now(),
      ))
    const now = Date.now()
    this.#transaction(() => {
      for (const { requestId } of known ? overdue : []) {
        // It may have been settled while the workers were asked.
        const booking = store.booking(requestId)
        if (booking?.state !== 'reserved' || !known) continue
        const judged = judgeOverdue(booking, known, now)
        if (judged.kind === 'expire') this.#books.close(requestId, 'expire', now)
        else this.#books.extend(requestId, judged.expiresAt)
      }
      const retentionDays = this.#books.tenant()?.settings.retentionDays
      if (retentionDays !== undefined) store.prune(now - retentionDays * dayMs, prunedPerAlarm)
    })
    const due = store.nextDue()
    if (due !== undefined) this.#wakeAt(due)
  }

  #busy(): boolean {
    return (this.#books.tenant()?.state.running ?? 0) >= shareFromRunning
  }

  /** All or nothing, in storage and in memory. */
  #transaction<Result>(work: () => Result): Result {
    try {
      return this.ctx.storage.transactionSync(() => {
        const result = work()
        this.#books.write()
        return result
      })
    } catch (error) {
      this.#books.forget()
      throw error
    }
  }

  /** One alarm is enough: it looks for what is due and sets the next. */
  #wakeAt(time: number): void {
    if (this.#alarmAt !== null && this.#alarmAt <= time) return
    this.#alarmAt = time
    this.ctx.waitUntil(this.ctx.storage.setAlarm(time))
  }
}

function durableSql(sql: SqlStorage): Sql {
  return {
    all: (query, ...values) => sql.exec<Row>(query, ...values).toArray(),
    run: (query, ...values) => void sql.exec(query, ...values),
  }
}
