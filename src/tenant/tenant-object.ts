/**
 * One Durable Object per tenant: the only writer of its keys, limits and ledger. A shell around `TenantAccount`: each
 * call is one synchronous transaction, and concurrent calls may share one.
 */
import { DurableObject } from 'cloudflare:workers'
import { inquiredMax } from '../../backends/wire/inquiry.ts'
import type { Settlement } from '../../backends/wire/receipt.ts'
import { type ConfigVariables, settings } from '../config.ts'
import type { FleetBinding } from '../fleet/client.ts'
import { TenantAccount } from './account.ts'
import {
  type AdmissionRefusal,
  type AdmissionRequest,
  listPrice,
  type RateRequest,
  reservationTtlMs,
} from './admission.ts'
import { type MoneyEntry, postMoney } from './credits.ts'
import { GroupCommit } from './group-commit.ts'
import { inquire } from './inquire.ts'
import {
  addKey,
  changeKey,
  type KeyChange,
  type KeyPage,
  type KeyView,
  listKeys,
  type NewSecret,
  revokeKey,
  rotateKey,
  showKey,
} from './keys.ts'
import { chainStart } from './ledger/hash-chain.ts'
import { newLimitState, tenantBudgets } from './limits/limits.ts'
import { judgeOverdue } from './overdue.ts'
import { type Identity, identify, type Requester, type TenantResult } from './permissions.ts'
import { addRates, type NewRates } from './rate-cards.ts'
import { type RefusedRun, type SettledRun, settleRefused } from './refused-runs.ts'
import type { Right } from './roles.ts'
import type { Admission, MeterView, NewKey, NewTenant, RatesTaken, TenantSummary } from './rpc.ts'
import { changeTenant, type LimitsView, limitsOf, type TenantChange, type TenantView } from './settings.ts'
import type { Sql, SqlRow } from './store/sql.ts'
import { openStore, type TenantStatus } from './store/store.ts'
import { dropMeter, putMeter, readMeter, type WebhookCursor } from './store/webhook-rows.ts'
import { usageOf } from './usage/read-usage.ts'
import type { UsageQuery, UsageRow } from './usage/report.ts'
import { type VerificationReport, verifyBooks } from './verify.ts'
import { meterAfter, meterGatherMs, nextMeterBatch, viewMeter } from './webhooks/cursor.ts'
import { deliverBatch } from './webhooks/deliver.ts'
import { formatMeterSecret, meterSecret } from './webhooks/event.ts'

const prunedPerAlarm = 2_000
const pruneAgainMs = 1_000
const dayMs = 86_400_000
const batchesPerAlarm = 50

export class TenantObject extends DurableObject {
  readonly #account: TenantAccount
  readonly #commits: GroupCommit
  readonly #bindings: ConfigVariables & FleetBinding
  /** Time of the alarm, if one is set. */
  #alarmAt: number | null = null
  /** Whether the tenant has a webhook; undefined until looked up. */
  #meterKnown: boolean | undefined

  constructor(state: DurableObjectState, env: ConfigVariables & FleetBinding) {
    super(state, env as never)
    this.#bindings = env
    this.#account = new TenantAccount(state.storage.transactionSync(() => openStore(durableSql(state.storage.sql))))
    void state.blockConcurrencyWhile(async () => {
      this.#alarmAt = await state.storage.getAlarm()
    })
    this.#commits = new GroupCommit({
      transaction: (work) => this.#transaction(work),
      statement: (work) => this.#statement(work),
      flushed: (then) => void state.storage.sync().then(then),
    })
  }

  /** Creates the tenant. Returns false if it exists. */
  create(options: NewTenant): boolean {
    const now = Date.now()
    return this.#transaction(() => {
      if (this.#account.tenant()) return false
      this.#account.putTenant({
        tenantId: options.tenantId,
        name: options.name,
        status: 'active',
        createdAt: now,
        creditNano: 0,
        postedNano: 0,
        reservedNano: 0,
        chainSeq: 0,
        chainHash: chainStart,
        limits: options.limits,
        state: newLimitState(options.limits, tenantBudgets, now),
        settings: options.settings,
      })
      for (const model of options.models) this.#account.store.putRates(model, 0, listPrice)
      for (const card of options.rateCards ?? []) this.#account.store.putRates(card.model, card.effectiveAt, card.rates)
      if (options.creditNano > 0) this.#account.credit(options.creditNano, 'opening credit', now)
      return true
    })
  }

  /** Checks the key, the limits and the credit, and reserves the bound, all or nothing. */
  admit(request: AdmissionRequest): Promise<Admission | AdmissionRefusal> {
    return this.#commits.run(() => {
      const now = Date.now()
      const admitted = this.#account.admit(request, now)
      if (admitted.ok) this.#wakeAt(now + reservationTtlMs)
      return admitted
      // An admission writes one row; see open-reservations.ts.
    }, 'statement')
  }

  /** Raises an open reservation to the worker's exact prompt count. Returns the new bound. */
  readmit(
    request: Pick<AdmissionRequest, 'requestId' | 'model' | 'promptTokens' | 'outputTokens'>,
  ): Promise<{ ok: true; boundNano: number } | AdmissionRefusal> {
    return this.#commits.run(() => this.#account.readmit(request, Date.now()))
  }

  /** Settles verified receipts, and the edge's own settlements of hosted answers. Returns each result, in order. */
  settle(receipts: Settlement[]): Promise<string[]> {
    return this.#commits.run(() => {
      if (this.#metered()) this.#wakeAt(Date.now() + meterGatherMs)
      return receipts.map((receipt) => this.#account.settle(receipt, Date.now()))
    })
  }

  /**
   * Closes the reservation of a request that no engine began. With the charge `rate`, its tokens stay taken from the
   * rates. Idempotent, and safe for unknown requests: an admission that arrives after its void is refused.
   */
  void(requestId: string, charge?: 'rate'): Promise<string> {
    return this.#commits.run(() => this.#account.close(requestId, 'void', Date.now(), charge))
  }

  /** Takes from the rates of a key and its tenant, for work that is not billed, such as counting a prompt. */
  takeRates(request: RateRequest): Promise<RatesTaken | AdmissionRefusal> {
    return this.#commits.run(() => this.#account.takeRates(request, Date.now()))
  }

  /** `totals` reads every stored entry: use it only for small tenants or manual checks. */
  summary(totals: boolean): TenantSummary | undefined {
    const tenant = this.#account.tenant()
    if (!tenant) return undefined
    const { limits, state, chainSeq: _, chainHash: __, ...rest } = tenant
    return { ...rest, limits, openReservations: state.running, totals: totals ? this.#account.store.totals() : null }
  }

  /** The tenant's row in the list of tenants. Reads no entries. */
  listing(): { name: string; status: TenantStatus; createdAt: number } | undefined {
    const tenant = this.#account.tenant()
    return tenant && { name: tenant.name, status: tenant.status, createdAt: tenant.createdAt }
  }

  /** The ledger's entries of one request. */
  entries(requestId: string): { reservation: string | null; entries: SqlRow[] } {
    const { store } = this.#account
    return { reservation: store.reservation(requestId)?.state ?? null, entries: store.entriesOf(requestId) }
  }

  verify(): VerificationReport {
    // Verifies the stored rows, not the in-memory state.
    return verifyBooks(openStore(this.#account.store.sql))
  }

  /** Checks that the key is valid and has the permission; by default the lowest one. */
  identify(by: Requester, right: Right = 'read-usage'): TenantResult<Identity> {
    return identify(this.#account, by, right, Date.now())
  }

  /** The origins that may call the API from browsers. */
  origins(): string[] {
    return this.#account.tenant()?.settings.corsOrigins ?? []
  }

  change(change: TenantChange): TenantResult<{ before: TenantView; after: TenantView }> {
    return this.#transaction(() => changeTenant(this.#account, change))
  }

  listKeys(by: Requester, page: KeyPage): TenantResult<{ keys: KeyView[]; next: string | null }> {
    return listKeys(this.#account, by, page, Date.now())
  }

  showKey(by: Requester, keyId: string): TenantResult<KeyView> {
    return showKey(this.#account, by, keyId, Date.now())
  }

  addKey(options: NewKey, by: Requester = { kind: 'operator' }): TenantResult<KeyView> {
    return this.#transaction(() => addKey(this.#account, by, options, Date.now()))
  }

  changeKey(by: Requester, keyId: string, change: KeyChange): TenantResult<{ before: KeyView; after: KeyView }> {
    return this.#transaction(() => changeKey(this.#account, by, keyId, change, Date.now()))
  }

  rotateKey(by: Requester, keyId: string, secret: NewSecret, overlapMs: number): TenantResult<KeyView> {
    return this.#transaction(() => rotateKey(this.#account, by, keyId, secret, overlapMs, Date.now()))
  }

  /** Revokes a key from the next request on. */
  revokeKey(keyId: string, by: Requester = { kind: 'operator' }): TenantResult<KeyView> {
    return this.#transaction(() => revokeKey(this.#account, by, keyId, Date.now()))
  }

  usage(by: Requester, query: UsageQuery): TenantResult<UsageRow[]> {
    return usageOf(this.#account, by, query, Date.now())
  }

  limits(by: Requester & { kind: 'key' }): TenantResult<LimitsView> {
    return limitsOf(this.#account, by, Date.now())
  }

  rateCards(): SqlRow[] | undefined {
    return this.#account.tenant() && this.#account.store.rateCards()
  }

  addRates(card: NewRates): TenantResult<{ effectiveAt: number }> {
    return this.#transaction(() => addRates(this.#account, card, Date.now()))
  }

  postMoney(entry: MoneyEntry): TenantResult<{ seq: number; repeated: boolean }> {
    return this.#transaction(() => {
      if (this.#metered()) this.#wakeAt(Date.now() + meterGatherMs)
      return postMoney(this.#account, entry, Date.now())
    })
  }

  settleRefused(run: RefusedRun): TenantResult<SettledRun> {
    return this.#transaction(() => {
      if (this.#metered()) this.#wakeAt(Date.now() + meterGatherMs)
      return settleRefused(this.#account, run, Date.now())
    })
  }

  meter(): MeterView | null {
    const tenant = this.#account.tenant()
    const meter = readMeter(this.#account.store.sql)
    return tenant && meter ? viewMeter(this.#account.store, tenant, meter) : null
  }

  /**
   * Sends usage events to `options.url` from now on. A new webhook starts after the last entry; an existing one
   * continues at its position, at once. Returns the secret only if it is new: at creation, or if `newSecret` is true.
   */
  async setMeter(options: {
    url: string
    eventName: string
    customerId: string
    newSecret: boolean
  }): Promise<{ meter: MeterView; secret: string | null } | undefined> {
    const { newSecret, ...target } = options
    const { macKey } = await settings(this.#bindings)
    const now = Date.now()
    const version = this.#transaction(() => {
      const tenant = this.#account.tenant()
      if (!tenant) return undefined
      const { sql } = this.#account.store
      const old = readMeter(sql)
      const secretVersion = old ? old.secretVersion + (newSecret ? 1 : 0) : now
      const progress = old ?? { sentSeq: tenant.chainSeq, batchSeq: null }
      const { sentSeq, batchSeq } = progress
      putMeter(sql, { ...target, secretVersion, sentSeq, batchSeq, attempts: 0, nextAt: 0, lastFault: null })
      return { secretVersion, fresh: !old || newSecret }
    })
    this.#meterKnown = undefined
    const tenant = this.#account.tenant()
    const meter = this.meter()
    if (!version || !tenant || !meter) return undefined
    this.#wakeAt(now + meterGatherMs)
    const secret = version.fresh ? await meterSecret(macKey, tenant.tenantId, version.secretVersion) : null
    return { meter, secret: secret && formatMeterSecret(secret) }
  }

  /** Deletes the webhook. Returns false if there was none. */
  dropMeter(): boolean {
    const had = this.#metered()
    this.#transaction(() => dropMeter(this.#account.store.sql))
    this.#meterKnown = undefined
    return had
  }

  /**
   * Sends due events batch by batch, until all are sent or the receiver fails. Returns the time of the next attempt, or
   * undefined if all events are sent. Never throws because of a receiver.
   */
  async deliverMeterEvents(now: number): Promise<number | undefined> {
    for (let batches = 0; batches < batchesPerAlarm; batches++) {
      const tenant = this.#account.tenant()
      const meter = readMeter(this.#account.store.sql)
      if (!tenant || !meter) return undefined
      if (meter.nextAt > now) return meter.nextAt
      const { batch, skipped } = nextMeterBatch(this.#account.store, tenant, meter)
      this.#transaction(() => putMeter(this.#account.store.sql, batch?.meter ?? skipped))
      if (!batch) return undefined
      const { macKey } = await settings(this.#bindings)
      const secret = await meterSecret(macKey, tenant.tenantId, meter.secretVersion)
      const fault = await deliverBatch(meter.url, secret, batch.id, batch.events, Date.now())
      const after = meterAfter(batch.meter, fault, Date.now())
      this.#transaction(() => this.#noteDelivery(after))
      if (fault !== undefined) return after.nextAt
    }
    return Date.now()
  }

  /** Inquires about overdue reservations, prunes old entries and delivers usage events. */
  override async alarm(): Promise<void> {
    this.#alarmAt = null
    const { store } = this.#account
    const overdue = store.overdue(Date.now(), inquiredMax)
    const known =
      overdue.length > 0 &&
      (await inquire(
        this.#bindings,
        overdue.map((reservation) => reservation.requestId),
        Date.now(),
      ))
    const now = Date.now()
    const pruned = this.#transaction(() => {
      for (const { requestId } of known ? overdue : []) {
        // It may have been settled during the inquiry.
        const reservation = store.reservation(requestId)
        if (reservation?.state !== 'reserved' || !known) continue
        const judged = judgeOverdue(reservation, known, now)
        if (judged.kind === 'expire') this.#account.close(requestId, 'expire', now)
        else this.#account.extend(requestId, judged.expiresAt)
      }
      const retentionDays = this.#account.tenant()?.settings.retentionDays
      return retentionDays === undefined ? 0 : store.prune(now - retentionDays * dayMs, prunedPerAlarm)
    })
    const more = pruned >= prunedPerAlarm ? now + pruneAgainMs : undefined
    const due = [store.nextDue(), more, await this.deliverMeterEvents(Date.now())].filter((time) => time !== undefined)
    if (due.length > 0) this.#wakeAt(Math.min(...due))
  }

  /** Stores the result of a delivery, unless the webhook was changed or deleted meanwhile. */
  #noteDelivery(after: WebhookCursor): void {
    const { sql } = this.#account.store
    const current = readMeter(sql)
    if (!current) return
    const { url, eventName, customerId, secretVersion } = current
    const same = url === after.url && secretVersion === after.secretVersion
    if (same) putMeter(sql, { ...after, eventName, customerId })
    else if (after.lastFault === null) putMeter(sql, { ...current, sentSeq: after.sentSeq, batchSeq: null })
  }

  #metered(): boolean {
    this.#meterKnown ??= readMeter(this.#account.store.sql) !== undefined
    return this.#meterKnown
  }

  /** All or nothing, in storage and in memory. */
  #transaction<Result>(work: () => Result): Result {
    const alarmAt = this.#alarmAt
    try {
      return this.ctx.storage.transactionSync(() => {
        const result = work()
        this.#account.write()
        return result
      })
    } catch (error) {
      this.#account.forget()
      // An alarm that the transaction set is rolled back too.
      this.#alarmAt = alarmAt
      throw error
    }
  }

  /** For work with at most one writing statement. If it fails, an alarm that it set stays and finds nothing due. */
  #statement<Result>(work: () => Result): Result {
    try {
      const result = work()
      this.#account.write()
      return result
    } catch (error) {
      this.#account.forget()
      throw error
    }
  }

  /** Sets the alarm, unless an earlier one is set. The alarm handler sets the next one. */
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
