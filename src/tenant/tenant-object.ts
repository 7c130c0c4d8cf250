/**
 * One Durable Object per tenant: the only writer of its keys, limits and ledger. Each method reads, decides in a core
 * and writes in one synchronous transaction. Fields in memory are a cache of rows; whatever fails drops it.
 */
import { DurableObject } from 'cloudflare:workers'
import type { Receipt } from '../../backends/protocol/receipt.ts'
import { close, settle } from '../ledger/ledger.ts'
import { fullBucket } from '../limits/bucket.ts'
import { type AdmissionOrder, admit, listPrice, type Refused, readmit, reservationTtlMs } from './admission.ts'
import type { Admission, NewKey, NewTenant, TenantSummary } from './calls.ts'
import { type KeyRow, openStore, type Row, type Sql, type Store, type Tenant } from './store.ts'

const sweptPerAlarm = 500

export class TenantObject extends DurableObject {
  readonly #store: Store
  #tenant: Tenant | undefined
  #keys: Map<string, KeyRow> | undefined
  #open: number | undefined
  #alarmSet = false

  constructor(state: DurableObjectState, env: unknown) {
    super(state, env as never)
    this.#store = state.storage.transactionSync(() => openStore(durableSql(state.storage.sql)))
  }

  /** Creates the tenant, or answers false when it exists. */
  create(tenant: NewTenant): boolean {
    const now = Date.now()
    return this.#transaction(() => {
      if (this.#store.tenant()) return false
      this.#store.putTenant({
        tenantId: tenant.tenantId,
        name: tenant.name,
        createdAt: now,
        creditNano: tenant.creditNano,
        postedNano: 0,
        reservedNano: 0,
        requestsPerMinute: 0,
        concurrentMax: tenant.concurrentMax ?? 0,
        effortUnknown: 'map',
      })
      for (const model of tenant.models) this.#store.putRates(model, now, listPrice)
      return true
    })
  }

  /** Adds a key, or answers false when the tenant does not exist. */
  addKey(key: NewKey): boolean {
    const now = Date.now()
    return this.#transaction(() => {
      if (!this.#store.tenant()) return false
      const bucket = fullBucket(key.requestsPerMinute, now)
      this.#store.putKey({ ...key, createdAt: now, revokedAt: null, bucket })
      this.#forget()
      return true
    })
  }

  /** Revokes a key, with effect on the very next request. False when there is no such key. */
  revokeKey(keyId: string): boolean {
    const now = Date.now()
    return this.#transaction(() => {
      const key = this.#store.keys().find((row) => row.keyId === keyId)
      if (!key) return false
      this.#store.putKey({ ...key, revokedAt: key.revokedAt ?? now })
      this.#forget()
      return true
    })
  }

  /** Checks the key, the limits and the money, and reserves, all or nothing. */
  admit(order: AdmissionOrder): Admission | Refused {
    const now = Date.now()
    return this.#transaction(() => {
      const tenant = this.#loadTenant()
      if (!tenant) return { ok: false, code: 'invalid_api_key', message: 'no such tenant', retryAfterMs: null }
      const keys = this.#loadKeys()
      const key = keys.get(order.keyId)
      const open = this.#loadOpen()
      const rates = this.#store.rates(order.model, now)
      const booking = this.#store.booking(order.requestId)
      const admitted = admit(order, { tenant, key, rates, booking, open }, now)
      if (!admitted.ok) return admitted
      this.#store.putBooking(admitted.booking)
      this.#putBalances(admitted.tenant, open + 1)
      if (key && admitted.bucket) {
        this.#store.putBucket(key.keyId, admitted.bucket)
        keys.set(key.keyId, { ...key, bucket: admitted.bucket })
      }
      this.#wakeLater(now)
      return {
        ok: true,
        rates: admitted.rates,
        boundNano: admitted.booking.boundNano,
        outputTokensMax: admitted.outputTokensMax,
        effortUnknown: admitted.tenant.effortUnknown,
        requestsPerMinute: key?.requestsPerMinute ?? 0,
        requestsLeft: admitted.requestsLeft,
      }
    })
  }

  /** Raises an open reservation to the worker's exact prompt count. Answers the new bound. */
  readmit(
    order: Pick<AdmissionOrder, 'requestId' | 'model' | 'promptTokens' | 'outputTokens'>,
  ): { ok: true; boundNano: number } | Refused {
    const now = Date.now()
    return this.#transaction(() => {
      const tenant = this.#loadTenant()
      const rates = this.#store.rates(order.model, now)
      if (!tenant || !rates) throw new Error('a reservation without tenant or rates')
      const raised = readmit(order, { tenant, rates, booking: this.#store.booking(order.requestId) })
      if (!raised.ok) return raised
      this.#store.putBooking(raised.booking)
      this.#putBalances(raised.tenant, this.#loadOpen())
      return { ok: true, boundNano: raised.booking.boundNano }
    })
  }

  /** Settles receipts that were verified before. Answers, in order, what became of each. */
  settle(receipts: Receipt[]): string[] {
    const now = Date.now()
    return this.#transaction(() => receipts.map((receipt) => this.#settleOne(receipt, now)))
  }

  /** Closes a reservation of a request that no engine began. */
  void(requestId: string): string {
    const now = Date.now()
    return this.#transaction(() => this.#closeOne(requestId, 'void', now))
  }

  summary(): TenantSummary | undefined {
    const tenant = this.#store.tenant()
    if (!tenant) return undefined
    const { tenantId, name, creditNano, postedNano, reservedNano } = tenant
    const openReservations = this.#store.openBookings()
    return { tenantId, name, creditNano, postedNano, reservedNano, openReservations, totals: this.#store.totals() }
  }

  /** The ledger's entries of one request. */
  entries(requestId: string): { booking: string | null; entries: Row[] } {
    return { booking: this.#store.booking(requestId)?.state ?? null, entries: this.#store.entriesOf(requestId) }
  }

  override alarm(): void {
    this.#alarmSet = false
    const now = Date.now()
    this.#transaction(() => {
      for (const booking of this.#store.overdue(now, sweptPerAlarm)) this.#closeOne(booking.requestId, 'expire', now)
    })
    if (this.#loadOpen() > 0) this.#wakeLater(now)
  }

  #settleOne(receipt: Receipt, now: number): string {
    const tenant = this.#loadTenant()
    if (!tenant) return 'unknown'
    const booking = this.#store.booking(receipt.requestId)
    const known = this.#store.hasEntry(receipt.dispatchId)
    const settled = settle(tenant, booking, known, { ...receipt, failed: receipt.outcome === 'failed' }, now)
    if (!('entry' in settled)) return settled.answer
    const { keyId, model, pool, effort, workerId, outcome } = receipt
    this.#store.addEntry(settled.entry, { keyId, model, pool, effort, workerId, outcome })
    this.#store.putBooking(settled.booking)
    this.#putBalances({ ...tenant, ...settled.account }, this.#loadOpen() - (settled.answer === 'posted' ? 1 : 0))
    return settled.answer
  }

  #closeOne(requestId: string, kind: 'void' | 'expire', now: number): string {
    const tenant = this.#loadTenant()
    if (!tenant) return 'unknown'
    const closed = close(tenant, this.#store.booking(requestId), kind, now)
    if (!('entry' in closed)) return closed.answer
    const { keyId } = closed.booking
    const nothing = { model: null, pool: null, effort: null, workerId: null, outcome: null }
    this.#store.addEntry(closed.entry, { keyId, ...nothing })
    this.#store.putBooking(closed.booking)
    this.#putBalances({ ...tenant, ...closed.account }, this.#loadOpen() - 1)
    return closed.answer
  }

  /** All or nothing, in storage and in the cache. */
  #transaction<Result>(work: () => Result): Result {
    try {
      return this.ctx.storage.transactionSync(work)
    } catch (error) {
      this.#forget()
      throw error
    }
  }

  #forget(): void {
    this.#tenant = undefined
    this.#keys = undefined
    this.#open = undefined
  }

  #putBalances(tenant: Tenant, open: number): void {
    this.#store.putBalances(tenant)
    this.#tenant = tenant
    this.#open = open
  }

  #loadTenant(): Tenant | undefined {
    this.#tenant ??= this.#store.tenant()
    return this.#tenant
  }

  #loadKeys(): Map<string, KeyRow> {
    this.#keys ??= new Map(this.#store.keys().map((key) => [key.keyId, key]))
    return this.#keys
  }

  #loadOpen(): number {
    this.#open ??= this.#store.openBookings()
    return this.#open
  }

  /** One alarm is enough: it looks for what is overdue and sets the next. */
  #wakeLater(now: number): void {
    if (this.#alarmSet) return
    this.#alarmSet = true
    this.ctx.waitUntil(this.ctx.storage.setAlarm(now + reservationTtlMs))
  }
}

function durableSql(sql: SqlStorage): Sql {
  return {
    all: (query, ...values) => sql.exec<Row>(query, ...values).toArray(),
    run: (query, ...values) => void sql.exec(query, ...values),
  }
}
