/**
 * One Durable Object per tenant: the only writer of its keys, limits and ledger. A shell around `Books`: each call is
 * one synchronous transaction, and calls that come close together share one.
 */
import { DurableObject } from 'cloudflare:workers'
import { inquiredMax } from '../../backends/wire/inquiry.ts'
import type { Settlement } from '../../backends/wire/receipt.ts'
import { type Env, settings } from '../env.ts'
import { inquire } from '../settlement/inquire.ts'
import { judgeOverdue } from '../settlement/overdue.ts'
import { TenantAccount } from './account.ts'
import {
  type AdmissionRefusal,
  type AdmissionRequest,
  listPrice,
  type RateRequest,
  reservationTtlMs,
} from './admission.ts'
import type { Requester, TenantResult } from './desk.ts'
import * as desk from './desk.ts'
import { GroupCommit } from './group-commit.ts'
import { chainStart } from './ledger/hash-chain.ts'
import { newLimitState, tenantBudgets } from './limits/limits.ts'
import type { Right } from './roles.ts'
import type { Sql, SqlRow } from './rows.ts'
import type { Admission, MeterView, NewKey, NewTenant, RatesTaken, TenantSummary } from './rpc.ts'
import { openStore, type TenantStatus } from './store.ts'
import type { UsageQuery, UsageRow } from './usage/report.ts'
import { type VerificationReport, verifyBooks } from './verify.ts'
import { meterAfter, meterGatherMs, nextMeterBatch, viewMeter } from './webhooks/cursor.ts'
import { dropMeter, putMeter, readMeter, type WebhookCursor } from './webhooks/cursor-rows.ts'
import { deliverBatch } from './webhooks/deliver.ts'
import { formatMeterSecret, meterSecret } from './webhooks/event.ts'

const prunedPerAlarm = 2_000
const pruneAgainMs = 1_000
const dayMs = 86_400_000
const batchesPerAlarm = 50

export class TenantObject extends DurableObject {
  readonly #books: TenantAccount
  readonly #commits: GroupCommit
  /** When the alarm goes off, as far as it is set. */
  #alarmAt: number | null = null
  /** Whether meter events are wanted; undefined until looked up. */
  #meterKnown: boolean | undefined

  constructor(state: DurableObjectState, env: unknown) {
    super(state, env as never)
    this.#books = new TenantAccount(state.storage.transactionSync(() => openStore(durableSql(state.storage.sql))))
    void state.blockConcurrencyWhile(async () => {
      this.#alarmAt = await state.storage.getAlarm()
    })
    this.#commits = new GroupCommit({
      transaction: (work) => this.#transaction(work),
      statement: (work) => this.#statement(work),
      flushed: (then) => void state.storage.sync().then(then),
    })
  }

  /** Creates the tenant, or answers false when it exists. */
  create(order: NewTenant): boolean {
    const now = Date.now()
    return this.#transaction(() => {
      if (this.#books.tenant()) return false
      this.#books.putTenant({
        tenantId: order.tenantId,
        name: order.name,
        status: 'active',
        createdAt: now,
        creditNano: 0,
        postedNano: 0,
        reservedNano: 0,
        chainSeq: 0,
        chainHash: chainStart,
        limits: order.limits,
        state: newLimitState(order.limits, tenantBudgets, now),
        settings: order.settings,
      })
      for (const model of order.models) this.#books.store.putRates(model, 0, listPrice)
      for (const card of order.rateCards ?? []) this.#books.store.putRates(card.model, card.effectiveAt, card.rates)
      if (order.creditNano > 0) this.#books.credit(order.creditNano, 'opening credit', now)
      return true
    })
  }

  /** Checks the key, the limits and the money, and reserves, all or nothing. */
  admit(order: AdmissionRequest): Promise<Admission | AdmissionRefusal> {
    return this.#commits.run(() => {
      const now = Date.now()
      const admitted = this.#books.admit(order, now)
      if (admitted.ok) this.#wakeAt(now + reservationTtlMs)
      return admitted
      // One row is all that an admission writes; see reservations.ts.
    }, 'statement')
  }

  /** Raises an open reservation to the worker's exact prompt count. Answers the new bound. */
  readmit(
    order: Pick<AdmissionRequest, 'requestId' | 'model' | 'promptTokens' | 'outputTokens'>,
  ): Promise<{ ok: true; boundNano: number } | AdmissionRefusal> {
    return this.#commits.run(() => this.#books.readmit(order, Date.now()))
  }

  /** Settles verified receipts, and the edge's own words on hosted answers. Answers, in order, what became of each. */
  settle(receipts: Settlement[]): Promise<string[]> {
    return this.#commits.run(() => {
      if (this.#metered()) this.#wakeAt(Date.now() + meterGatherMs)
      return receipts.map((receipt) => this.#books.settle(receipt, Date.now()))
    })
  }

  /** Before a request is sent to a second worker while a first has it: one of them at most is paid for. */
  hedge(requestId: string): Promise<void> {
    return this.#commits.run(() => this.#books.hedge(requestId))
  }

  /** Before the other one is stopped. Answers the dispatch that is paid for: this one, or one that was named before. */
  hedgeWon(requestId: string, dispatchId: string): Promise<string> {
    return this.#commits.run(() => this.#books.hedgeWon(requestId, dispatchId))
  }

  /**
   * Closes a reservation of a request that no engine began. With the charge `rate` its tokens stay taken from the rates.
   * Safe to repeat, and for unknown requests: an admission that arrives after its void is refused.
   */
  void(requestId: string, charge?: 'rate'): Promise<string> {
    return this.#commits.run(() => this.#books.close(requestId, 'void', Date.now(), charge))
  }

  /** Takes from the rates of a key and its tenant what work costs that bills nothing, such as counting a prompt. */
  takeRates(order: RateRequest): Promise<RatesTaken | AdmissionRefusal> {
    return this.#commits.run(() => this.#books.takeRates(order, Date.now()))
  }

  /** `totals` reads every entry that is kept: for small tenants, and by hand. */
  summary(totals: boolean): TenantSummary | undefined {
    const tenant = this.#books.tenant()
    if (!tenant) return undefined
    const { limits, state, chainSeq: _, chainHash: __, ...rest } = tenant
    return { ...rest, limits, openReservations: state.running, totals: totals ? this.#books.store.totals() : null }
  }

  /** What the list of tenants says of this one. Reads no entries, however many there are. */
  listing(): { name: string; status: TenantStatus; createdAt: number } | undefined {
    const tenant = this.#books.tenant()
    return tenant && { name: tenant.name, status: tenant.status, createdAt: tenant.createdAt }
  }

  /** The ledger's entries of one request. */
  entries(requestId: string): { reservation: string | null; entries: SqlRow[] } {
    const { store } = this.#books
    return { reservation: store.reservation(requestId)?.state ?? null, entries: store.entriesOf(requestId) }
  }

  verify(): VerificationReport {
    // Of the rows themselves: what is remembered is not what is verified.
    return verifyBooks(openStore(this.#books.store.sql))
  }

  /** Whether this is a good key that may do this: anything, unless it is said. */
  identify(by: Requester, right: Right = 'read-usage'): TenantResult<desk.Identity> {
    return desk.identify(this.#books, by, right, Date.now())
  }

  /** Where this tenant's browsers may ask from. */
  origins(): string[] {
    return this.#books.tenant()?.settings.corsOrigins ?? []
  }

  change(change: desk.TenantChange): TenantResult<{ before: desk.TenantView; after: desk.TenantView }> {
    return this.#transaction(() => desk.changeTenant(this.#books, change))
  }

  listKeys(by: Requester, page: desk.KeyPage): TenantResult<{ keys: desk.KeyView[]; next: string | null }> {
    return desk.listKeys(this.#books, by, page, Date.now())
  }

  showKey(by: Requester, keyId: string): TenantResult<desk.KeyView> {
    return desk.showKey(this.#books, by, keyId, Date.now())
  }

  addKey(order: NewKey, by: Requester = { kind: 'operator' }): TenantResult<desk.KeyView> {
    return this.#transaction(() => desk.addKey(this.#books, by, order, Date.now()))
  }

  changeKey(
    by: Requester,
    keyId: string,
    change: desk.KeyChange,
  ): TenantResult<{ before: desk.KeyView; after: desk.KeyView }> {
    return this.#transaction(() => desk.changeKey(this.#books, by, keyId, change, Date.now()))
  }

  rotateKey(by: Requester, keyId: string, secret: desk.NewSecret, overlapMs: number): TenantResult<desk.KeyView> {
    return this.#transaction(() => desk.rotateKey(this.#books, by, keyId, secret, overlapMs, Date.now()))
  }

  /** Revokes a key, with effect on the very next request. */
  revokeKey(keyId: string, by: Requester = { kind: 'operator' }): TenantResult<desk.KeyView> {
    return this.#transaction(() => desk.revokeKey(this.#books, by, keyId, Date.now()))
  }

  usage(by: Requester, query: UsageQuery): TenantResult<UsageRow[]> {
    return desk.usageOf(this.#books, by, query, Date.now())
  }

  limits(by: Requester & { kind: 'key' }): TenantResult<desk.LimitsView> {
    return desk.limitsOf(this.#books, by, Date.now())
  }

  rateCards(): SqlRow[] | undefined {
    return this.#books.tenant() && this.#books.store.rateCards()
  }

  addRates(card: desk.NewRates): TenantResult<{ effectiveAt: number }> {
    return this.#transaction(() => desk.addRates(this.#books, card, Date.now()))
  }

  postMoney(order: desk.MoneyEntry): TenantResult<{ seq: number; repeated: boolean }> {
    return this.#transaction(() => {
      if (this.#metered()) this.#wakeAt(Date.now() + meterGatherMs)
      return desk.postMoney(this.#books, order, Date.now())
    })
  }

  settleRefused(run: desk.RefusedRun): TenantResult<desk.SettledRun> {
    return this.#transaction(() => {
      if (this.#metered()) this.#wakeAt(Date.now() + meterGatherMs)
      return desk.settleRefused(this.#books, run, Date.now())
    })
  }

  meter(): MeterView | null {
    const tenant = this.#books.tenant()
    const meter = readMeter(this.#books.store.sql)
    return tenant && meter ? viewMeter(this.#books.store, tenant, meter) : null
  }

  /**
   * Sends meter events to `order.url` from now on. A new stream begins behind the last entry; one that was there goes on
   * where it is, at once. Answers the secret when it is a new one: at the first time, and when `newSecret` asks for it.
   */
  async setMeter(order: {
    url: string
    eventName: string
    customerId: string
    newSecret: boolean
  }): Promise<{ meter: MeterView; secret: string | null } | undefined> {
    const { newSecret, ...target } = order
    const { macKey } = await settings(this.env as Env)
    const now = Date.now()
    const version = this.#transaction(() => {
      const tenant = this.#books.tenant()
      if (!tenant) return undefined
      const { sql } = this.#books.store
      const old = readMeter(sql)
      const secretVersion = old ? old.secretVersion + (newSecret ? 1 : 0) : now
      const progress = old ?? { sentSeq: tenant.chainSeq, batchSeq: null }
      const { sentSeq, batchSeq } = progress
      putMeter(sql, { ...target, secretVersion, sentSeq, batchSeq, attempts: 0, nextAt: 0, lastFault: null })
      return { secretVersion, fresh: !old || newSecret }
    })
    this.#meterKnown = undefined
    const tenant = this.#books.tenant()
    const meter = this.meter()
    if (!version || !tenant || !meter) return undefined
    this.#wakeAt(now + meterGatherMs)
    const secret = version.fresh ? await meterSecret(macKey, tenant.tenantId, version.secretVersion) : null
    return { meter, secret: secret && formatMeterSecret(secret) }
  }

  /** No more meter events. False when there were none. */
  dropMeter(): boolean {
    const had = this.#metered()
    this.#transaction(() => dropMeter(this.#books.store.sql))
    this.#meterKnown = undefined
    return had
  }

  /**
   * Sends what is due, batch by batch, until it is all sent or the receiver does not take it. Answers when to come back,
   * or undefined when nothing is left. Never throws for what a receiver does.
   */
  async deliverMeterEvents(now: number): Promise<number | undefined> {
    for (let batches = 0; batches < batchesPerAlarm; batches++) {
      const tenant = this.#books.tenant()
      const meter = readMeter(this.#books.store.sql)
      if (!tenant || !meter) return undefined
      if (meter.nextAt > now) return meter.nextAt
      const { batch, skipped } = nextMeterBatch(this.#books.store, tenant, meter)
      this.#transaction(() => putMeter(this.#books.store.sql, batch?.meter ?? skipped))
      if (!batch) return undefined
      const { macKey } = await settings(this.env as Env)
      const secret = await meterSecret(macKey, tenant.tenantId, meter.secretVersion)
      const fault = await deliverBatch(meter.url, secret, batch.id, batch.events, Date.now())
      const after = meterAfter(batch.meter, fault, Date.now())
      this.#transaction(() => this.#noteDelivery(after))
      if (fault !== undefined) return after.nextAt
    }
    return Date.now()
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
        overdue.map((reservation) => reservation.requestId),
        Date.now(),
      ))
    const now = Date.now()
    const pruned = this.#transaction(() => {
      for (const { requestId } of known ? overdue : []) {
        // It may have been settled while the workers were asked.
        const reservation = store.reservation(requestId)
        if (reservation?.state !== 'reserved' || !known) continue
        const judged = judgeOverdue(reservation, known, now)
        if (judged.kind === 'expire') this.#books.close(requestId, 'expire', now)
        else this.#books.extend(requestId, judged.expiresAt)
      }
      const retentionDays = this.#books.tenant()?.settings.retentionDays
      return retentionDays === undefined ? 0 : store.prune(now - retentionDays * dayMs, prunedPerAlarm)
    })
    const more = pruned >= prunedPerAlarm ? now + pruneAgainMs : undefined
    const due = [store.nextDue(), more, await this.deliverMeterEvents(Date.now())].filter((time) => time !== undefined)
    if (due.length > 0) this.#wakeAt(Math.min(...due))
  }

  /** Unless the endpoint was changed or dropped while its answer was awaited. */
  #noteDelivery(after: WebhookCursor): void {
    const { sql } = this.#books.store
    const current = readMeter(sql)
    if (!current) return
    const { url, eventName, customerId, secretVersion } = current
    const same = url === after.url && secretVersion === after.secretVersion
    if (same) putMeter(sql, { ...after, eventName, customerId })
    else if (after.lastFault === null) putMeter(sql, { ...current, sentSeq: after.sentSeq, batchSeq: null })
  }

  #metered(): boolean {
    this.#meterKnown ??= readMeter(this.#books.store.sql) !== undefined
    return this.#meterKnown
  }

  /** All or nothing, in storage and in memory. */
  #transaction<Result>(work: () => Result): Result {
    const alarmAt = this.#alarmAt
    try {
      return this.ctx.storage.transactionSync(() => {
        const result = work()
        this.#books.write()
        return result
      })
    } catch (error) {
      this.#books.forget()
      // An alarm that was set within is rolled back with the rest.
      this.#alarmAt = alarmAt
      throw error
    }
  }

  /** A work that writes with one statement at most. An alarm that it set stays, and finds nothing due. */
  #statement<Result>(work: () => Result): Result {
    try {
      const result = work()
      this.#books.write()
      return result
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
    all: (query, ...values) => sql.exec<SqlRow>(query, ...values).toArray(),
    run: (query, ...values) => void sql.exec(query, ...values),
  }
}
