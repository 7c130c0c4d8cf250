/**
 * One Durable Object per tenant: the only writer of its keys, limits and ledger. A shell around `TenantAccount`: each
 * call is one synchronous transaction, and concurrent calls may share one.
 */
import { DurableObject } from 'cloudflare:workers'
import type { Settlement } from '../../backends/wire/receipt.ts'
import { type ConfigVariables, settings } from '../config.ts'
import { type AlertSinkBinding, alertSink } from '../fleet/alert-sink.ts'
import type { FleetBinding } from '../fleet/client.ts'
import { TenantAccount } from './account.ts'
import { type AdmissionRequest, type RateRequest, reservationTtlMs } from './admission.ts'
import type { Alarm } from './alarm.ts'
import type { AlertCall } from './alerts/alert-calls.ts'
import { type AlertThresholds, TenantAlerts } from './alerts/tenant-alerts.ts'
import { createTenant } from './create-tenant.ts'
import { type MoneyEntry, postMoney } from './credits.ts'
import { durableAlarm, durableSql } from './durable-storage.ts'
import { GroupCommit } from './group-commit.ts'
import { inquire } from './inquire.ts'
import * as keys from './keys.ts'
import type { ExportedRow } from './life/export-format.ts'
import type { ExportCursor } from './life/export-rows.ts'
import type { RestoreTarget } from './life/restore-rows.ts'
import { TenantLife } from './life/tenant-life.ts'
import { listEntries } from './list-entries.ts'
import { listRequests, showRequest } from './list-requests.ts'
import { type MaintenanceParts, maintain } from './maintenance.ts'
import { identify, type Requester } from './permissions.ts'
import { pricesOf } from './prices.ts'
import { addRates, type NewRates } from './rate-cards.ts'
import { type RefusedRun, settleRefused } from './refused-runs.ts'
import type { RequestListQuery } from './request-filter.ts'
import { type CreditReturn, returnCredit } from './return-credit.ts'
import { revokeAllKeys } from './revoke-keys.ts'
import type { Right } from './roles.ts'
import type { NewKey, NewTenant, ReadmitRequest, WebhookTarget } from './rpc.ts'
import { changeTenant, limitsOf, type TenantChange } from './settings.ts'
import { listStatements, showStatement } from './statements/read-statements.ts'
import type { EntryPage } from './store/entry-rows.ts'
import { openStore } from './store/store.ts'
import { listingOf, summaryOf } from './summary.ts'
import { Transactions } from './transactions.ts'
import { usageOf } from './usage/read-usage.ts'
import type { UsageQuery } from './usage/report.ts'
import { copyUsage, copyUsageEveryMs } from './usage/usage-days.ts'
import { writeUsageDays } from './usage/write-usage-days.ts'
import { verifyBooks } from './verify.ts'
import { deliver } from './webhooks/deliver.ts'
import { WebhookDeliveries } from './webhooks/deliveries.ts'

export class TenantObject extends DurableObject {
  readonly #account: TenantAccount
  readonly #alarm: Alarm
  readonly #transactions: Transactions
  readonly #commits: GroupCommit
  readonly #webhook: WebhookDeliveries
  readonly #life: TenantLife
  readonly #alerts: TenantAlerts
  readonly #maintenance: MaintenanceParts

  constructor(state: DurableObjectState, env: ConfigVariables & FleetBinding & AlertSinkBinding & { DB: D1Database }) {
    super(state, env as never)
    const { storage } = state
    const account = new TenantAccount(storage.transactionSync(() => openStore(durableSql(storage.sql))))
    const alarm = durableAlarm(state)
    const transactions = new Transactions(storage, account, alarm)
    const parts = { account, alarm, transactions, now: Date.now }
    const macKeys = async () => (await settings(env)).macKeys
    const webhook = new WebhookDeliveries({ ...parts, macKeys, send: deliver })
    const alerts = new TenantAlerts({ ...parts, macKeys, send: deliver, sink: alertSink(env) })
    this.#account = account
    this.#alarm = alarm
    this.#transactions = transactions
    this.#commits = new GroupCommit(transactions)
    this.#webhook = webhook
    this.#alerts = alerts
    const life = new TenantLife({ ...parts, sql: durableSql(storage.sql), process: crypto.randomUUID() })
    this.#life = life
    this.#maintenance = {
      ...{ ...parts, webhook, alerts, purge: (limit) => life.purge(limit) },
      inquire: (requestIds, now) => inquire(env, requestIds, now),
      copyUsage: (now) => copyUsage({ ...parts, write: (...rows) => writeUsageDays(env.DB, ...rows) }, now),
    }
  }

  create(options: NewTenant) {
    return this.#transaction(() => createTenant(this.#account, options, Date.now()))
  }

  /** Checks the key, the limits and the credit, and reserves the bound, all or nothing. */
  admit(request: AdmissionRequest) {
    // An admission writes one row; see open-reservations.ts.
    return this.#commits.run(() => this.#admit(request, Date.now()), 'statement')
  }

  /** Raises an open reservation to the worker's exact prompt count. Returns the new bound. */
  readmit(request: ReadmitRequest) {
    return this.#commits.run(() => this.#account.readmit(request, Date.now()))
  }

  /** Settles verified receipts, and the edge's own settlements of hosted answers. Returns each result, in order. */
  settle(receipts: Settlement[]): Promise<string[]> {
    const settle = () => receipts.map((receipt) => this.#account.settle(receipt, Date.now()))
    return this.#commits.run(() => this.#metered(settle))
  }

  /** Closes the reservation of a request that no engine began. Idempotent, and safe for unknown requests. */
  void(requestId: string, charge?: 'rate'): Promise<string> {
    return this.#commits.run(() => this.#account.close(requestId, 'void', Date.now(), charge))
  }

  /** Takes from the rates of a key and its tenant, for work that is not billed, such as counting a prompt. */
  takeRates(request: RateRequest) {
    return this.#commits.run(() => this.#account.takeRates(request, Date.now()))
  }

  summary(totals: boolean) {
    return summaryOf(this.#account, totals)
  }

  listing() {
    return listingOf(this.#account)
  }

  /** The ledger's entries of one request. */
  entries(requestId: string) {
    const { reservations, entries } = this.#account.store
    return { reservation: reservations.find(requestId)?.state ?? null, entries: entries.ofRequest(requestId) }
  }

  listEntries(by: Requester, page: EntryPage) {
    return listEntries(this.#account, by, page, Date.now())
  }

  listRequests(by: Requester, query: RequestListQuery) {
    return listRequests(this.#account, by, query, Date.now())
  }

  showRequest(by: Requester, requestId: string) {
    return showRequest(this.#account, by, requestId, Date.now())
  }

  /** Those of these requests that the tenant has. */
  requestViews(requestIds: string[]) {
    return requestIds.flatMap((requestId) => this.#account.store.requests.find(requestId) ?? [])
  }

  listStatements(by: Requester) {
    return listStatements(this.#account, by, Date.now())
  }

  showStatement(by: Requester, period: string) {
    return showStatement(this.#account, by, period, Date.now())
  }

  /** Verifies the stored rows, not the in-memory state. */
  verify() {
    return verifyBooks(openStore(durableSql(this.ctx.storage.sql)))
  }

  /** Checks that the key is valid and has the permission; by default the lowest one. */
  identify(by: Requester, right: Right = 'read-usage') {
    return identify(this.#account, by, right, Date.now())
  }

  /** The origins that may call the API from browsers. */
  origins(): string[] {
    return this.#account.tenant()?.settings.corsOrigins ?? []
  }

  change(change: TenantChange) {
    this.#alerts.keysChanged()
    return this.#transaction(() => changeTenant(this.#account, change, Date.now()))
  }

  listKeys(by: Requester, page: keys.KeyPage) {
    return keys.listKeys(this.#account, by, page, Date.now())
  }

  showKey(by: Requester, keyId: string) {
    return keys.showKey(this.#account, by, keyId, Date.now())
  }

  addKey(options: NewKey, by: Requester = { kind: 'operator' }) {
    this.#alerts.keysChanged()
    return this.#transaction(() => keys.addKey(this.#account, by, options, Date.now()))
  }

  changeKey(by: Requester, keyId: string, change: keys.KeyChange) {
    this.#alerts.keysChanged()
    return this.#transaction(() => keys.changeKey(this.#account, by, keyId, change, Date.now()))
  }

  rotateKey(by: Requester, keyId: string, secret: keys.NewSecret, overlapMs: number) {
    return this.#transaction(() => keys.rotateKey(this.#account, by, keyId, secret, overlapMs, Date.now()))
  }

  revokeKey(keyId: string, by: Requester = { kind: 'operator' }) {
    return this.#transaction(() => keys.revokeKey(this.#account, by, keyId, Date.now()))
  }

  revokeAllKeys(by: Requester, includeOwn: boolean) {
    return this.#transaction(() => revokeAllKeys(this.#account, by, includeOwn, Date.now()))
  }

  usage(by: Requester, query: UsageQuery) {
    return usageOf(this.#account, by, query, Date.now())
  }

  limits(by: Requester & { kind: 'key' }) {
    return limitsOf(this.#account, by, Date.now())
  }

  prices(by: Requester) {
    return pricesOf(this.#account, by, Date.now())
  }

  rateCards() {
    return this.#account.tenant() && this.#account.store.rateCards.all()
  }

  addRates(card: NewRates) {
    return this.#transaction(() => addRates(this.#account, card, Date.now()))
  }

  postMoney(entry: MoneyEntry) {
    return this.#transaction(() => this.#metered(() => postMoney(this.#account, entry, Date.now())))
  }

  /** Reverses a credit whose payment was returned. */
  returnCredit(returned: CreditReturn) {
    return this.#transaction(() => this.#metered(() => returnCredit(this.#account, returned, Date.now())))
  }

  settleRefused(run: RefusedRun) {
    return this.#transaction(() => this.#metered(() => settleRefused(this.#account, run, Date.now())))
  }

  exportPage(cursor: ExportCursor | null) {
    return this.#life.exportPage(cursor)
  }

  beginRestore(target: RestoreTarget) {
    return this.#life.begin(target)
  }

  restoreRows(rows: ExportedRow[]) {
    return this.#life.rows(rows)
  }

  /** Returns the faults of the restored ledger. Without faults, the tenant exists. */
  finishRestore() {
    return this.#life.finish()
  }

  dropRestore() {
    this.#life.drop()
  }

  deleteTenant(confirm: string, retentionDays: number) {
    return this.#life.delete(confirm, retentionDays)
  }

  meter() {
    return this.#webhook.view()
  }

  /** Sends usage events to `options.url` from now on. Returns the secret only if it is new. */
  setMeter(options: WebhookTarget & { newSecret: boolean }) {
    return this.#webhook.set(options, options.newSecret)
  }

  dropMeter(): boolean {
    return this.#webhook.drop()
  }

  deliverMeterEvents(now: number): Promise<number | undefined> {
    return this.#webhook.deliver(now)
  }

  testMeter() {
    return this.#webhook.test()
  }

  /** Sends every entry since `from`, in Unix milliseconds, again. */
  replayMeter(from: number) {
    return this.#webhook.replay(from)
  }

  alerts(by: Requester, call: AlertCall) {
    return this.#alerts.call(by, call)
  }

  alertThresholds(by: Requester, change?: Partial<AlertThresholds>) {
    return this.#alerts.thresholds(by, change)
  }

  /** Inquires about overdue reservations, prunes old entries, delivers usage events and alerts. */
  override async alarm(): Promise<void> {
    this.#alarm.fired()
    const next = await maintain(this.#maintenance)
    if (next !== undefined) this.#alarm.wakeAt(next)
  }

  #admit(request: AdmissionRequest, now: number) {
    const admitted = this.#account.admit(request, now)
    if (admitted.ok) this.#alarm.wakeAt(now + reservationTtlMs)
    return admitted
  }

  /** Runs work that adds billed entries, and sends their events soon. */
  #metered<Result>(work: () => Result): Result {
    this.#webhook.gather()
    this.#alarm.wakeAt(Date.now() + copyUsageEveryMs)
    return work()
  }

  #transaction<Result>(work: () => Result): Result {
    return this.#transactions.transaction(work)
  }
}
