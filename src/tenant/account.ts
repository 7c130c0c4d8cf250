/**
 * A tenant's account: combines the store, the pure cores and the hash chain, for use inside one transaction. Account
 * and keys stay in memory between calls and are written once per transaction, however many requests it settles;
 * `forget` drops them after a failed transaction. Synchronous, and `now` is passed in.
 */
import type { Rates } from '../../backends/model/money.ts'
import type { Settlement } from '../../backends/wire/receipt.ts'
import { type AdmissionRequest, admit, priorityClassOf, type RateRequest, readmit, takeRates } from './admission.ts'
import { type AdmissionRefusal, refuse } from './admission-refusals.ts'
import { watchMoney } from './alerts/watch.ts'
import { chainHash } from './ledger/hash-chain.ts'
import {
  close,
  correct,
  credit,
  type EarlierReceipts,
  type LedgerEntry,
  leftNano,
  type RequestDetails,
  type Reservation,
  reverse,
  settle,
} from './ledger/ledger.ts'
import { periodAt, type ZonedTime } from './limits/calendar.ts'
import { budgetTime, chargeLimits, moneyLeft, openLimits, settleLimits } from './limits/limits.ts'
import { ratesLeft } from './limits/rates-left.ts'
import type { Role } from './roles.ts'
import type { Admission, RatesTaken, ReadmitRequest } from './rpc.ts'
import { type Tenant, zoned } from './store/account-rows.ts'
import { type EntryLabels, noLabels } from './store/entry-rows.ts'
import type { KeyRow } from './store/key-rows.ts'
import { hostedCard } from './store/rate-card-rows.ts'
import type { Store } from './store/store.ts'

export class TenantAccount {
  readonly store: Store
  #tenant: Tenant | undefined
  readonly #keys = new Map<string, KeyRow>()
  #tenantChanged = false
  readonly #keysChanged = new Set<string>()
  /** When money was last spent or added in this transaction; the keys that spent it. */
  #moneyAt: number | undefined
  readonly #keysPaying = new Set<string>()
  #alertedAt: number | undefined

  constructor(store: Store) {
    this.store = store
  }

  tenant(): Tenant | undefined {
    this.#tenant ??= this.store.account.find()
    return this.#tenant
  }

  key(keyId: string): KeyRow | undefined {
    const known = this.#keys.get(keyId)
    if (known) return known
    const key = this.store.keys.find(keyId)
    if (key) this.#keys.set(keyId, key)
    return key
  }

  admit(request: AdmissionRequest, now: number): Admission | AdmissionRefusal {
    const tenant = this.tenant()
    if (!tenant) return noTenant
    const key = this.key(request.keyId)
    const openedAt = budgetTimeOf(tenant, key, now)
    const rows = {
      tenant: opened(tenant, zoned(tenant, openedAt)),
      key: key && opened(key, zoned(tenant, openedAt)),
      rates: this.store.rateCards.ratesAt(request.model, now),
      reservation: this.store.reservations.find(request.requestId),
    }
    const admitted = admit(request, rows, now)
    if (!admitted.ok) return admitted
    if (this.store.earlyVoids.has(request.requestId)) return abandoned(request.requestId)
    this.#put(admitted.tenant, admitted.key)
    this.store.reservations.put({ ...admitted.reservation, openedAt })
    return {
      ok: true,
      rates: admitted.rates,
      hostedRates: tenant.settings.hosted === 'last-resort' ? this.#hostedRates(request.model, now) : null,
      boundNano: admitted.reservation.boundNano,
      outputTokensMax: admitted.outputTokens,
      settleFirst: admitted.settleFirst,
      weight: admitted.tenant.settings.weight,
      priorityClass: priorityClassOf(admitted.tenant, admitted.key),
      responseDays: admitted.tenant.settings.responseDays,
      lowersEffort: admitted.tenant.settings.underLoad === 'lower-effort',
      ratesLeft: ratesLeft(admitted, now),
    }
  }

  readmit(request: ReadmitRequest, now: number): { ok: true; boundNano: number } | AdmissionRefusal {
    const tenant = this.tenant()
    const reservation = this.store.reservations.find(request.requestId)
    const key = reservation && this.key(reservation.keyId)
    const rates = this.store.rateCards.ratesAt(request.model, now)
    if (!tenant || !key || !rates) throw new Error(`no reservation ${request.requestId} to raise`)
    // If a new day or month has begun, the whole reservation moves there: its old window can no longer be checked.
    const openedAt = budgetTimeOf(tenant, key, reservation.openedAt)
    const move = <Limited extends Tenant | KeyRow>(limited: Limited): Limited =>
      opened(limited, zoned(tenant, openedAt), zoned(tenant, reservation.openedAt), reservation.boundNano)
    const rows = { tenant: move(tenant), key: move(key), rates, reservation: { ...reservation, openedAt } }
    const raised = readmit(request, reservation.state === 'reserved' ? rows : { tenant, key, rates, reservation }, now)
    if (!raised.ok) return raised
    if (raised.kept) return { ok: true, boundNano: reservation.boundNano }
    this.#put(raised.tenant, raised.key)
    this.store.reservations.put(raised.reservation)
    return { ok: true, boundNano: raised.reservation.boundNano }
  }

  /**
   * Takes requests and tokens from the rates of a key and its tenant, for work that is not billed. All or nothing, like
   * an admission.
   */
  takeRates(request: RateRequest, now: number): RatesTaken | AdmissionRefusal {
    const tenant = this.tenant()
    if (!tenant) return noTenant
    const taken = takeRates(request, { tenant, key: this.key(request.keyId) }, now)
    if (!taken.ok) return taken
    this.#put(taken.tenant, taken.key)
    return { ok: true, ratesLeft: ratesLeft(taken, now) }
  }

  /**
   * Settles one verified receipt. Returns posted, late, wasted, already-posted, unknown or impossible. `note` names who
   * vouches for a receipt without a worker's proof.
   */
  settle(receipt: Settlement, now: number, note: string | null = null): string {
    const tenant = this.tenant()
    const reservation = tenant && this.store.reservations.find(receipt.requestId)
    if (!tenant || !reservation) return 'unknown'
    const key = this.key(reservation.keyId)
    const past: EarlierReceipts = {
      known: this.store.entries.has(receipt.dispatchId),
      // Zero while the reservation is open, because a post closes it.
      postedNano: reservation.state === 'reserved' ? 0 : this.store.entries.postedNano(receipt.requestId),
    }
    // A late receipt charges the windows that are open now: those of its admission may have been used since.
    const lateAt = zoned(tenant, budgetTimeOf(tenant, key, now))
    const [lateTenant, lateKey] = [opened(tenant, lateAt), key && opened(key, lateAt)]
    const lateNano = Math.min(
      moneyLeft(lateTenant.limits, lateTenant.state, lateAt),
      lateKey ? moneyLeft(lateKey.limits, lateKey.state, lateAt) : Number.MAX_SAFE_INTEGER,
    )
    const failed = receipt.outcome === 'failed'
    const settled = settle(tenant, reservation, past, { ...receipt, failed }, lateNano, now)
    if (!('entry' in settled)) return settled.answer
    const { costNano } = settled.entry
    const used = { tokens: receipt.counts.promptTokens + receipt.counts.outputTokens, costNano }
    if (settled.answer === 'posted') this.#endHold({ ...tenant, ...settled.account }, key, reservation, used, now)
    else if (settled.answer === 'late')
      this.#charge({ ...tenant, ...settled.account, state: lateTenant.state }, lateKey, lateAt.at, costNano)
    const { model, pool, effort, workerId, outcome } = receipt
    const { keyId } = reservation
    if (costNano !== 0) this.watch(now, keyId)
    const labels = { ...noLabels, keyId, model, pool, effort, workerId, note, outcome }
    const details = settled.reservation.details
    this.#addEntry(settled.entry, labels)
    this.store.reservations.put({
      ...settled.reservation,
      ...(details && { details: { ...details, failed: details.failed || failed } }),
    })
    this.#addUsage(labels, settled.entry, details)
    return settled.answer
  }

  /**
   * Closes a reservation for which nothing was generated. Returns voided or expired, or how it had already ended. With
   * the charge `rate`, its tokens stay taken from the rates: it cost work, though no generated tokens.
   *
   * A void of an unknown request is remembered: its admission may arrive later, and no other call would close it.
   */
  close(requestId: string, kind: 'void' | 'expire', now: number, charge?: 'rate'): string {
    const tenant = this.tenant()
    if (!tenant) return 'unknown'
    const closed = close(tenant, this.store.reservations.find(requestId), kind, now)
    if (closed.answer === 'unknown' && kind === 'void') this.store.earlyVoids.add(requestId)
    if (!('entry' in closed)) return closed.answer
    const { reservation } = closed
    const used = { tokens: charge === 'rate' ? reservation.boundTokens : 0, costNano: 0 }
    this.#endHold({ ...tenant, ...closed.account }, this.key(reservation.keyId), reservation, used, now)
    this.#addEntry(closed.entry, { ...noLabels, keyId: reservation.keyId })
    this.store.reservations.put(reservation)
    return closed.answer
  }

  /** Extends the reservation of a request that is still running. */
  extend(requestId: string, expiresAt: number): void {
    const reservation = this.store.reservations.find(requestId)
    if (reservation?.state === 'reserved') this.store.reservations.put({ ...reservation, expiresAt })
  }

  credit(creditNano: number, note: string, now: number): void {
    const tenant = this.#existing()
    const { account, entry } = credit(tenant, creditNano, now)
    this.#put({ ...tenant, ...account })
    this.#addEntry(entry, { ...noLabels, note })
    this.watch(now)
  }

  /** Takes back credit. Returns the amount that remains if `creditNano` is more; otherwise undefined. */
  reverse(creditNano: number, note: string, now: number): number | undefined {
    const tenant = this.#existing()
    const reversed = reverse(tenant, creditNano, now)
    if (reversed.answer !== 'reversed') return leftNano(tenant)
    this.#put({ ...tenant, ...reversed.account })
    this.#addEntry(reversed.entry, { ...noLabels, note })
    this.watch(now)
    return undefined
  }

  /**
   * Adds a correction with the key, model and pool of its request. It changes the budgets of the days and months in
   * which the request was admitted, if they are not over. Returns the largest possible amount if it is too large.
   */
  correct(requestId: string | null, costNano: number, note: string, now: number): number | undefined {
    const tenant = this.#existing()
    const reservation = requestId === null ? undefined : this.store.reservations.find(requestId)
    const charged = requestId === null ? undefined : this.store.entries.chargedTo(requestId)
    const request = requestId === null ? null : { requestId, chargedNano: charged?.chargedNano ?? 0 }
    const corrected = correct(tenant, request, costNano, now)
    if (corrected.answer !== 'corrected') return corrected.leftNano
    const corrects = { ...tenant, ...corrected.account }
    if (reservation) this.#charge(corrects, this.key(reservation.keyId), reservation.openedAt, costNano)
    else this.#put(corrects)
    const { pool, effort, ...known } = charged?.labels ?? noLabels
    // A request that was never charged has no entry with its key.
    const keyId = known.keyId ?? reservation?.keyId ?? null
    const model = known.model ?? reservation?.details?.model ?? null
    this.watch(now, keyId ?? undefined)
    const labels = { ...noLabels, keyId, model, pool, effort, note, outcome: 'correction' }
    if (reservation?.state === 'reserved' && reservation.details) {
      const correctedNano = (reservation.details.correctedNano ?? 0) + costNano
      this.store.reservations.put({ ...reservation, details: { ...reservation.details, correctedNano } })
    }
    this.#addEntry(corrected.entry, labels)
    this.#addUsage(labels, corrected.entry, reservation?.details)
    return undefined
  }

  putTenant(tenant: Tenant): void {
    this.store.account.put(tenant)
    this.#tenant = tenant
  }

  putKey(key: KeyRow): void {
    this.store.keys.put(key)
    this.#keys.set(key.keyId, key)
  }

  /** Revokes all keys of these roles, except one. They are read again at their next use. */
  revokeKeys(roles: readonly Role[], exceptId: string | null, now: number): { revoked: number; kept: number } {
    const before = this.store.keys.countValid(now)
    this.store.keys.revokeAll(roles, exceptId, now)
    this.#keys.clear()
    const kept = this.store.keys.countValid(now)
    return { revoked: before - kept, kept }
  }

  rates(model: string, now: number): Rates | undefined {
    return this.store.rateCards.ratesAt(model, now)
  }

  /** Raises the alerts that the money or the limits of the tenant and this key cause, when the transaction ends. */
  watch(now: number, keyId?: string): void {
    this.#moneyAt = now
    if (keyId !== undefined) this.#keysPaying.add(keyId)
  }

  /** When the last transaction that ended added an alert; undefined if it added none. */
  get alertedAt(): number | undefined {
    return this.#alertedAt
  }

  /** Writes the changed account and keys. Call it at the end of every transaction. */
  write(): void {
    const added = this.#moneyAt !== undefined && this.#watchMoney(this.#moneyAt)
    this.#alertedAt = added ? this.#moneyAt : undefined
    if (this.#tenantChanged && this.#tenant) this.store.account.putBalances(this.#tenant)
    for (const keyId of this.#keysChanged) {
      const key = this.#keys.get(keyId)
      if (key) this.store.keys.putState(key)
    }
    this.store.write()
    this.#tenantChanged = false
    this.#keysChanged.clear()
    this.#moneyAt = undefined
    this.#keysPaying.clear()
  }

  /** Drops the in-memory state after a transaction was rolled back. */
  forget(): void {
    this.store.reload()
    this.#tenant = undefined
    this.#keys.clear()
    this.#tenantChanged = false
    this.#keysChanged.clear()
    this.#moneyAt = undefined
    this.#keysPaying.clear()
  }

  #watchMoney(now: number): boolean {
    const tenant = this.tenant()
    const keys = [...this.#keysPaying].map((keyId) => this.key(keyId)).filter((key) => key !== undefined)
    return tenant !== undefined && watchMoney(this.store.alerts, tenant, keys, now)
  }

  #hostedRates(model: string, now: number): Rates | null {
    return this.store.rateCards.ratesAt(hostedCard(model), now) ?? null
  }

  #endHold(
    tenant: Tenant,
    key: KeyRow | undefined,
    reservation: Reservation,
    used: { tokens: number; costNano: number },
    now: number,
  ): void {
    const { boundTokens, boundNano, openedAt } = reservation
    const admitted = { tokens: boundTokens, nano: boundNano, at: zoned(tenant, openedAt) }
    this.#put(
      { ...tenant, state: settleLimits(tenant.limits, tenant.state, admitted, used, now) },
      key && { ...key, state: settleLimits(key.limits, key.state, admitted, used, now) },
    )
  }

  #charge(tenant: Tenant, key: KeyRow | undefined, admittedAt: number, costNano: number): void {
    const at = zoned(tenant, admittedAt)
    this.#put(
      { ...tenant, state: chargeLimits(tenant.state, at, costNano) },
      key && { ...key, state: chargeLimits(key.state, at, costNano) },
    )
  }

  #put(tenant: Tenant, key?: KeyRow): void {
    this.#tenant = tenant
    this.#tenantChanged = true
    if (!key) return
    this.#keys.set(key.keyId, key)
    this.#keysChanged.add(key.keyId)
  }

  #addEntry(entry: LedgerEntry, labels: EntryLabels): void {
    const tenant = this.#existing()
    const seq = tenant.chainSeq + 1
    const hash = chainHash(tenant.chainHash, seq, entry)
    this.store.entries.add({ seq, hash, entry, labels })
    this.store.money.add(seq, entry, labels.note)
    this.#put({ ...tenant, chainSeq: seq, chainHash: hash })
  }

  /** Every sum of an entry outside the ledger: usage, usage by label, and the list of requests. */
  #addUsage(labels: EntryLabels, entry: LedgerEntry, details: RequestDetails | null | undefined): void {
    const { usage, usageLabels, requests } = this.store
    usage.add(labels, entry)
    requests.addEntry(labels, entry)
    if (details) usageLabels.add(periodAt('day', zoned(this.#existing(), entry.at)).from, details, labels, entry)
  }

  #existing(): Tenant {
    const tenant = this.tenant()
    if (!tenant) throw new Error('the tenant does not exist')
    return tenant
  }
}

const noTenant = refuse('invalid_api_key', 'Tenant not found.')

function abandoned(requestId: string): AdmissionRefusal {
  return refuse('internal_error', `Request id ${requestId} was voided before it was admitted.`)
}

/** The time that selects the day and month in which a request of this key counts. */
function budgetTimeOf(tenant: Tenant, key: KeyRow | undefined, now: number): number {
  return budgetTime(key ? [tenant.state, key.state] : [tenant.state], now)
}

function opened<Limited extends Tenant | KeyRow>(limited: Limited, to: ZonedTime, from = to, heldNano = 0): Limited {
  return { ...limited, state: openLimits(limited.state, to, from, heldNano) }
}
