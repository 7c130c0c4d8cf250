/**
 * The auditor keeps its own books in the simplest way: a list of requests and a list of lines, summed again each time.
 * Its sources are the tokens that engines really generated and the results of committed transactions, never the state
 * of `Books`. It predicts every result. After each commit it reads the rows in storage with its own SQL and compares
 * them with the prediction. It shares no code with the ledger or the limits.
 */
import type { DatabaseSync } from 'node:sqlite'
import type { Counts, Rates } from '../../backends/model/money.ts'
import type { Dispatch } from '../../backends/wire/dispatch.ts'
import type { Settlement } from '../../backends/wire/receipt.ts'
import { type AdmissionRequest, type RateRequest, shortestOutput } from '../../src/tenant/admission.ts'
import type { AdmissionRefusal } from '../../src/tenant/admission-refusals.ts'
import type { Limits } from '../../src/tenant/limits/limits.ts'
import type { Admission, RatesTaken } from '../../src/tenant/rpc.ts'
import { hostedCard } from '../../src/tenant/store/rate-card-rows.ts'
import type { Coverage } from './coverage.ts'
import type { HostedTruth } from './hosted-api.ts'

type ReadmitOrder = Pick<AdmissionRequest, 'requestId' | 'model' | 'promptTokens' | 'outputTokens' | 'mayShorten'>

export type Report =
  | { kind: 'admit'; order: AdmissionRequest; answer: Admission | AdmissionRefusal; now: number }
  | { kind: 'readmit'; order: ReadmitOrder; answer: { ok: true; boundNano: number } | AdmissionRefusal; now: number }
  | { kind: 'take'; order: RateRequest; answer: RatesTaken | AdmissionRefusal; now: number }
  | { kind: 'settle'; receipt: Settlement; answer: string; now: number }
  | { kind: 'close'; requestId: string; how: 'void' | 'expire'; answer: string; now: number }
  | { kind: 'prune'; before: number }
  | { kind: 'tenant'; limits: Limits; now: number }
  | { kind: 'key'; keyId: string; limits: Limits; revoked: boolean; now: number }
  | { kind: 'rates'; model: string; effectiveAt: number; rates: Rates }
  | { kind: 'credit'; nano: number; now: number }
  | { kind: 'reverse'; nano: number; done: boolean; now: number }
  | { kind: 'correct'; requestId: string | null; nano: number; done: boolean; now: number }

export interface Violation {
  invariant: string
  detail: string
}

interface AuditedRequest {
  requestId: string
  keyId: string
  state: 'reserved' | 'posted' | 'voided' | 'expired'
  boundNano: number
  boundTokens: number
  costNano: number
  openedAt: number
  /** The moment that selects the day and month whose budget the request counts against. */
  burdens: number
  pruned: boolean
  /** The price of a hosted answer. */
  hostedRates: Rates | null
}

interface Line {
  requestId: string | null
  dispatchId: string | null
  kind: string
  costNano: number
  creditNano: number
  shortNano: number
  counts: Counts | null
  estimated: boolean
  at: number
}

interface Late {
  keyId: string
  costNano: number
  burdens: number
}

/** The units taken from a rate limit and returned to it. A new log starts with a full bucket. */
interface RateLog {
  moves: { at: number; units: number }[]
  latest: number
}

interface Holder {
  limits: Limits
  createdAt: number
  revoked: boolean
  requests: RateLog
  tokens: RateLog
}

interface Truth {
  dispatch: Dispatch
  beganAt: number
  counts: Counts
  /** Tokens generated when the worker was killed, which no component recorded. */
  unnoted: number
}

type Budget = 'total' | 'day' | 'month'

export class Auditor {
  violation: Violation | undefined
  readonly coverage: Coverage
  readonly truths = new Map<string, Truth>()
  readonly hosted: HostedTruth[] = []
  readonly tenants = new Map<string, TenantAudit>()
  /** Calls that settle a hosted answer and failed, by dispatch. */
  readonly hostedFailures = new Map<string, number>()
  /** Complete answers that clients have, by dispatch. */
  readonly #delivered: { tenantId: string; dispatchId: string; tokens: number }[] = []

  /** Whether a reachable worker has a record of this request, as far as the fleet must know it. */
  readonly workerKnows: (tenantId: string, requestId: string) => boolean
  /** The world has no fault that loses a call, a process or a connection. */
  readonly #gentle: boolean

  constructor(coverage: Coverage, gentle: boolean, workerKnows: Auditor['workerKnows']) {
    this.coverage = coverage
    this.#gentle = gentle
    this.workerKnows = workerKnows
  }

  /** A reservation expires only if the edge could not close it. */
  expired(requestId: string): void {
    if (this.#gentle) this.violate('without faults no reservation is left to expire', requestId)
  }

  /** Whether any reservation is open. */
  get anyOpen(): boolean {
    return [...this.tenants.values()].some((tenant) => tenant.open)
  }

  /** A hosted API enforces no bound, so the possible cost must have been reserved. */
  hostedCalled(truth: HostedTruth, outputTokensMax: number): void {
    this.hosted.push(truth)
    const { scope, counts } = truth
    const request = this.tenants.get(scope.tenantId)?.requests.get(scope.requestId ?? '')
    if (!request?.hostedRates) return void this.violate('a hosted call has a price', String(scope.requestId))
    const possible = costOf({ ...counts, outputTokens: outputTokensMax }, request.hostedRates)
    if (request.state === 'reserved' && possible > request.boundNano)
      this.violate('a hosted call costs at most its reservation', `${request.requestId}: ${possible}`)
  }

  delivered(tenantId: string, dispatchId: string, tokens: number): void {
    this.#delivered.push({ tenantId, dispatchId, tokens })
  }

  violate(invariant: string, detail: string): void {
    this.violation ??= { invariant, detail }
  }

  open(tenantId: string, db: DatabaseSync): TenantAudit {
    const audit = new TenantAudit(tenantId, db, this)
    this.tenants.set(tenantId, audit)
    return audit
  }

  /** An engine starts. Its possible cost must have been reserved. */
  began(dispatch: Dispatch, beganAt: number): void {
    if (this.truths.has(dispatch.dispatchId)) this.violate('a dispatch runs once', dispatch.dispatchId)
    const counts = { promptTokens: 0, cachedTokens: 0, outputTokens: 0, reasoningTokens: 0 }
    this.truths.set(dispatch.dispatchId, { dispatch, beganAt, counts, unnoted: 0 })
    const audited = this.tenants.get(dispatch.tenantId)?.requests.get(dispatch.requestId)
    if (!audited || dispatch.costNanoMax > audited.boundNano)
      this.violate('an engine spends at most its reservation', `${dispatch.dispatchId}: ${dispatch.costNanoMax}`)
  }

  generated(dispatch: Dispatch, counts: Counts): void {
    const truth = this.truths.get(dispatch.dispatchId)
    if (!truth) return void this.violate('an engine runs only a started dispatch', dispatch.dispatchId)
    truth.counts = counts
    const cost = costOf(counts, dispatch.rates)
    if (cost > dispatch.costNanoMax)
      this.violate('generation never costs more than the reservation', `${dispatch.dispatchId}: ${cost}`)
  }

  /** The worker refused the dispatch after all, before a token. */
  forgot({ dispatchId }: Dispatch): void {
    const { promptTokens = 0, outputTokens = 0 } = this.truths.get(dispatchId)?.counts ?? {}
    if (promptTokens + outputTokens > 0) this.violate('a refused dispatch generated nothing', dispatchId)
    this.truths.delete(dispatchId)
  }

  unnoted(dispatch: Dispatch): void {
    const truth = this.truths.get(dispatch.dispatchId)
    if (truth) truth.unnoted = 1
  }

  /** Called when everything has drained. `refused` are the receipts that workers keep for the operator. */
  finish(refused: ReadonlySet<string>): void {
    for (const tenant of this.tenants.values()) tenant.finish()
    const lines = new Map(
      [...this.tenants.values()].flatMap(({ lines }) =>
        lines.flatMap((line) => (line.dispatchId === null ? [] : [[line.dispatchId, line] as const])),
      ),
    )
    const sums = { engines: 0, ledger: 0, unnoted: 0, kept: 0 }
    for (const [dispatchId, { dispatch, counts, unnoted }] of this.truths) {
      const tokens = counts.promptTokens + counts.outputTokens
      sums.engines += tokens + unnoted
      sums.unnoted += unnoted
      const line = lines.get(dispatchId)
      if (!line) {
        const request = this.tenants.get(dispatch.tenantId)?.requests.get(dispatch.requestId)
        if (refused.has(dispatchId) && request?.pruned) sums.kept += tokens
        else
          this.violate('every token that an engine generated is in the ledger', `${dispatchId}: ${tokens} are missing`)
        continue
      }
      sums.ledger += (line.counts?.promptTokens ?? 0) + (line.counts?.outputTokens ?? 0)
      if (JSON.stringify(line.counts) !== JSON.stringify(counts))
        this.violate('the ledger has the engine’s counts', `${dispatchId}: ${JSON.stringify([line.counts, counts])}`)
      if (unnoted > 0 && !line.estimated) this.violate('a count that may miss a token is marked estimated', dispatchId)
      const owed = line.kind === 'waste' ? 0 : costOf(counts, dispatch.rates)
      if (line.costNano + line.shortNano !== owed)
        this.violate('charge plus shortfall is the cost', `${dispatchId}: ${owed}`)
    }
    if (sums.ledger + sums.kept + sums.unnoted !== sums.engines)
      this.violate('sum(ledger) = sum(engines)', JSON.stringify(sums))
    for (const truth of this.hosted) this.#hostedEnded(truth, lines)
    for (const { tenantId, dispatchId, tokens } of this.#delivered) {
      const line = lines.get(dispatchId)
      const isHosted = dispatchId.endsWith('.0')
      const unsettled = isHosted || this.tenants.get(tenantId)?.isPruned(dispatchId)
      const same = line?.counts?.outputTokens === tokens || (isHosted && line?.estimated)
      if (line ? line.kind === 'waste' || !same : !unsettled)
        this.violate('a complete answer is billed with its tokens', `${dispatchId}: ${tokens}, ${JSON.stringify(line)}`)
    }
  }

  /** The edge settles a hosted answer itself, unless its isolate died or its tenant was unreachable. */
  #hostedEnded({ scope, counts, usage, end }: HostedTruth, lines: ReadonlyMap<string, Line>): void {
    const dispatchId = `${scope.requestId}.0`
    const tenant = this.tenants.get(scope.tenantId)
    const request = tenant?.requests.get(scope.requestId ?? '')
    const line = lines.get(dispatchId)
    if (!request || request.pruned) return
    if (!line) {
      const lost = scope.isolate.state === 'down' || (this.hostedFailures.get(dispatchId) ?? 0) >= hostedTries
      if (end !== 'refused' && !lost) this.violate('a hosted answer is settled', `${dispatchId}: ${end}`)
      return
    }
    this.coverage.count('ledger', `hosted ${line.kind}`)
    if (end === 'refused') this.violate('a refused hosted call is not settled', dispatchId)
    if (end === 'broken' && line.costNano + line.shortNano > 0 && !scope.left)
      this.violate('a hosted answer that broke off is not billed', dispatchId)
    if (!request.hostedRates || !line.counts) return void this.violate('a hosted answer has a price', dispatchId)
    const owed = line.kind === 'waste' ? 0 : costOf(line.counts, request.hostedRates)
    if (line.costNano + line.shortNano !== owed)
      this.violate(
        'a hosted answer costs its own rates',
        `${dispatchId}: ${line.costNano} + ${line.shortNano}, not ${owed}`,
      )
    const same = line.counts.promptTokens === counts.promptTokens && line.counts.outputTokens === counts.outputTokens
    if (!line.estimated && !(usage && same))
      this.violate('an unknown count is marked estimated', `${dispatchId}: ${JSON.stringify([line.counts, counts])}`)
    if (line.counts.promptTokens === 0) this.violate('nothing unknown is stored as zero', dispatchId)
  }
}

/** A settlement and its retries. */
const hostedTries = 5

export class TenantAudit {
  readonly requests = new Map<string, AuditedRequest>()
  readonly lines: Line[] = []
  readonly tenantId: string
  readonly #auditor: Auditor
  readonly #rows: ReturnType<typeof readers>
  readonly #lates: Late[] = []
  readonly #keys = new Map<string, Holder>()
  readonly #rates: { model: string; effectiveAt: number; rates: Rates }[] = []
  #tenant: Holder = newHolder(noLimits, 0)
  /** Requests that were voided before their admission arrived. */
  readonly #earlyVoids = new Set<string>()
  #creditNano = 0
  #postedNano = 0
  #prunedLines = 0
  /** The budget calendar never moves back: the latest moment that any request counted against. */
  #calendar = 0

  constructor(tenantId: string, db: DatabaseSync, auditor: Auditor) {
    this.tenantId = tenantId
    this.#auditor = auditor
    this.#rows = readers(db)
  }

  /** Records the result of one committed transaction, in commit order. */
  committed(reports: Report[]): void {
    for (const report of reports) this.#heed(report)
    this.#compareSums()
  }

  #heed(report: Report): void {
    switch (report.kind) {
      case 'admit':
        return void this.#admitted(report.order, report.answer, report.now)
      case 'readmit':
        return void this.#readmitted(report.order, report.answer, report.now)
      case 'take':
        return void this.#taken(report.order, report.answer, report.now)
      case 'settle':
        return void this.#settled(report.receipt, report.answer, report.now)
      case 'close':
        return void this.#closed(report.requestId, report.how, report.answer, report.now)
      case 'prune':
        return void this.#pruned(report.before)
      case 'tenant':
        if (this.#tenant.createdAt === 0) {
          this.#tenant = newHolder(report.limits, report.now)
          this.#calendar = report.now
        } else this.#tenant = changed(this.#tenant, report.limits)
        return
      case 'key': {
        const key = this.#keys.get(report.keyId)
        const holder = key ? changed(key, report.limits) : newHolder(report.limits, report.now)
        // A revoked key stays revoked.
        if (key?.revoked && !report.revoked) this.#violate('a key is revoked once and for all', report.keyId)
        this.#keys.set(report.keyId, { ...holder, revoked: report.revoked })
        return
      }
      case 'rates':
        this.#rates.push(report)
        return
      case 'credit':
        return void this.#credited(report.nano, report.now)
      case 'correct':
        return void this.#corrected(report)
      case 'reverse':
        return void this.#reversed(report.nano, report.done, report.now)
    }
  }

  #admitted(request: AdmissionRequest, answer: Admission | AdmissionRefusal, now: number): void {
    const { requestId, keyId } = request
    const key = this.#key(keyId)
    const rates = this.#ratesAt(request.model, now)
    const outputTokens = answer.ok ? answer.outputTokensMax : request.outputTokens
    const boundNano = request.promptTokens * rates.inputNano + outputTokens * rates.outputNano
    const burdens = Math.max(now, this.#calendarOf(key))
    const over = this.#over(keyId, boundNano, burdens, undefined)
    const full = [key, this.#tenant].some(
      ({ limits: { concurrentMax } }, index) =>
        concurrentMax !== null && this.#openOf(index === 0 ? keyId : undefined) >= concurrentMax,
    )
    const known = this.requests.get(requestId)
    const inUse = (known !== undefined && !known.pruned) || this.#earlyVoids.has(requestId)
    if (!answer.ok) return void this.#justified(answer, { key, over, full, inUse }, requestId)
    if (key.revoked) this.#violate('a revoked key is refused', requestId)
    if (inUse) this.#violate('a request is admitted once', requestId)
    if (full) this.#violate('concurrent requests stay within the limit', requestId)
    if (over) this.#violate('a budget is never overshot', `${requestId} is admitted over ${over}`)
    if (answer.boundNano !== boundNano) this.#violate('a reservation is the upper bound', `${requestId}: ${boundNano}`)
    const shortest = request.mayShorten ? Math.min(shortestOutput, request.outputTokens) : request.outputTokens
    if (outputTokens > request.outputTokens || outputTokens < shortest)
      this.#violate('an output bound is kept, or shortened', `${requestId}: ${outputTokens}`)
    const boundTokens = request.promptTokens + outputTokens
    this.#take(key, 'requests', 1, now)
    this.#take(this.#tenant, 'requests', 1, now)
    this.#take(key, 'tokens', boundTokens, now)
    this.#take(this.#tenant, 'tokens', boundTokens, now)
    this.#calendar = burdens
    this.requests.set(requestId, {
      ...{ requestId, keyId, boundNano, boundTokens, burdens, openedAt: now },
      ...{ state: 'reserved', costNano: 0, pruned: false, hostedRates: this.#ratesAt(hostedCard(request.model), now) },
    })
  }

  /** Checks that a refusal is justified. A leak elsewhere shows here first, as a refusal without a reason. */
  #justified(
    refused: AdmissionRefusal,
    why: { key: Holder; over: string | undefined; full: boolean; inUse: boolean },
    requestId: string,
  ): void {
    const rates = (holder: Holder) => holder.limits.requestsPerMinute !== null || holder.limits.tokensPerMinute !== null
    const reasons: Partial<Record<AdmissionRefusal['code'], boolean>> = {
      invalid_api_key: why.key.revoked,
      insufficient_quota: why.over !== undefined,
      rate_limit_exceeded: why.full || rates(why.key) || rates(this.#tenant),
      internal_error: why.inUse,
    }
    if (!reasons[refused.code]) this.#violate('a refusal has a reason', `${requestId}: ${refused.message}`)
  }

  #readmitted(request: ReadmitOrder, answer: { ok: true; boundNano: number } | AdmissionRefusal, now: number): void {
    const { requestId } = request
    const audited = this.requests.get(requestId)
    if (!audited || audited.pruned) return void this.#violate('an unknown reservation is not raised', requestId)
    const rates = this.#ratesAt(request.model, now)
    const boundNano = Math.max(
      audited.boundNano,
      request.promptTokens * rates.inputNano + request.outputTokens * rates.outputNano,
    )
    const burdens = Math.max(audited.burdens, this.#calendarOf(this.#key(audited.keyId)))
    const over = this.#over(audited.keyId, boundNano, burdens, audited)
    const open = audited.state === 'reserved'
    if (!answer.ok) {
      if (answer.code === 'internal_error' ? open : !over) this.#violate('a refusal has a reason', answer.message)
      return
    }
    if (!open) this.#violate('a closed reservation is not raised', requestId)
    // It stays as it is, and the worker shortens the output.
    if (over && request.mayShorten && answer.boundNano === audited.boundNano) return
    if (over) this.#violate('a budget is never overshot', `${requestId} is raised over ${over}`)
    if (answer.boundNano !== boundNano) this.#violate('a reservation is the upper bound', `${requestId}: ${boundNano}`)
    audited.boundNano = boundNano
    audited.burdens = burdens
    this.#calendar = burdens
  }

  /** Work that is not billed takes one request from the rates. */
  #taken({ keyId, tokens }: RateRequest, answer: RatesTaken | AdmissionRefusal, now: number): void {
    const key = this.#key(keyId)
    if (!answer.ok) return void this.#justified(answer, { key, over: undefined, full: false, inUse: false }, keyId)
    if (key.revoked) this.#violate('a revoked key is refused', keyId)
    for (const holder of [key, this.#tenant]) {
      this.#take(holder, 'requests', 1, now)
      this.#take(holder, 'tokens', tokens, now)
    }
  }

  /** A receipt says what its engine generated, for the tenant and by the worker of its dispatch. */
  #isTrue({ dispatchId, tenantId, workerId, counts, estimated, pool }: Settlement): boolean {
    if (pool === 'hosted') return this.#auditor.hosted.some(({ scope }) => `${scope.requestId}.0` === dispatchId)
    const truth = this.#auditor.truths.get(dispatchId)
    if (!truth || truth.dispatch.tenantId !== tenantId || truth.dispatch.workerId !== workerId) return false
    return estimated || JSON.stringify(truth.counts) === JSON.stringify(counts)
  }

  #settled(receipt: Settlement, answer: string, now: number): void {
    const { requestId, dispatchId, counts, estimated } = receipt
    this.#auditor.coverage.count('ledger', answer)
    if (!this.#isTrue(receipt)) this.#violate('no receipt is settled that its engine did not earn', dispatchId)
    const audited = this.requests.get(requestId)
    const failed = receipt.outcome === 'failed'
    const seen = this.lines.some((line) => line.dispatchId === dispatchId)
    const expected =
      !audited || audited.pruned
        ? 'unknown'
        : seen
          ? 'already-posted'
          : failed
            ? 'wasted'
            : audited.state === 'reserved'
              ? 'posted'
              : 'late'
    if (answer !== expected)
      return void this.#violate(
        'a receipt is settled once, and a repeat gets the same result',
        `${dispatchId}: ${answer}, not ${expected}`,
      )
    if (!audited || expected === 'unknown' || expected === 'already-posted') return
    const claimed = failed ? 0 : receipt.costNano
    if (receipt.pool !== 'hosted' && claimed > audited.boundNano)
      this.#violate('a receipt never exceeds its reservation', dispatchId)
    const receipts = this.lines.filter((line) => line.requestId === requestId && line.dispatchId !== null)
    const before = receipts.reduce((sum, line) => sum + line.costNano, 0)
    const wanted = Math.min(claimed, audited.boundNano - before)
    let costNano = wanted
    if (expected === 'late') {
      const key = this.#key(audited.keyId)
      const burdens = Math.max(now, this.#calendarOf(key))
      costNano = Math.min(wanted, audited.boundNano - before, Math.max(0, this.#left(audited.keyId, burdens)))
      this.#lates.push({ keyId: audited.keyId, costNano, burdens })
      this.#calendar = Math.max(this.#calendar, burdens)
    }
    if (expected === 'posted') {
      audited.costNano = wanted
      this.#close(audited, 'posted', counts.promptTokens + counts.outputTokens, now)
    }
    if (before + costNano > audited.boundNano)
      this.#violate('the receipts of one request post at most the bound', `${dispatchId}: ${before} + ${costNano}`)
    this.#postedNano += costNano
    const kind = { posted: 'post', late: 'late', wasted: 'waste' }[expected]
    this.lines.push({
      ...{ requestId, dispatchId, kind, costNano, creditNano: 0, counts, estimated, at: now },
      shortNano: claimed - costNano,
    })
    this.#auditor.coverage.count('ledger', kind ?? '')
  }

  #closed(requestId: string, how: 'void' | 'expire', answer: string, now: number): void {
    const audited = this.requests.get(requestId)
    const closed = how === 'void' ? 'voided' : 'expired'
    const expected =
      !audited || audited.pruned
        ? 'unknown'
        : audited.state === 'reserved'
          ? closed
          : (`already-${audited.state}` as const)
    if (answer !== expected)
      return void this.#violate('a reservation ends once, and a repeat gets the same result', `${requestId}: ${answer}`)
    if (expected === 'unknown' && how === 'void') this.#earlyVoids.add(requestId)
    if (!audited || expected !== closed) return
    this.#auditor.coverage.count('ledger', how)
    if (how === 'expire') {
      this.#auditor.expired(requestId)
      if (now - audited.openedAt < 24 * 3_600_000 && this.#auditor.workerKnows(this.tenantId, requestId))
        this.#violate('within a day a reservation expires only if no worker has a record', requestId)
    }
    this.#close(audited, closed, 0, now)
    this.lines.push({ ...plain, requestId, kind: how, at: now })
  }

  #close(audited: AuditedRequest, state: AuditedRequest['state'], tokens: number, now: number): void {
    audited.state = state
    const spare = Math.max(0, audited.boundTokens - tokens)
    for (const holder of [this.#key(audited.keyId), this.#tenant]) give(holder.tokens, spare, now)
  }

  #credited(nano: number, now: number): void {
    this.#creditNano += nano
    this.lines.push({ ...plain, kind: 'credit', creditNano: nano, at: now })
  }

  #reversed(nano: number, done: boolean, now: number): void {
    const allowed = nano <= this.#creditLeft()
    if (done !== allowed) this.#violate('a reversal stays within the credit that is left', `${nano}: ${done}`)
    if (!done) return
    this.#creditNano -= nano
    this.lines.push({ ...plain, kind: 'reversal', creditNano: -nano, at: now })
  }

  #corrected({ requestId, nano, done, now }: Report & { kind: 'correct' }): void {
    const charged = this.lines
      .filter((line) => line.requestId === requestId && ['post', 'late', 'correction'].includes(line.kind))
      .reduce((sum, line) => sum + line.costNano, 0)
    const refundable = requestId === null ? this.#postedNano : Math.min(charged, this.#postedNano)
    const allowed = nano <= this.#creditLeft() && refundable + nano >= 0
    if (done !== allowed) this.#violate('a correction stays within the charge and the credit', `${nano}: ${done}`)
    if (!done) return
    const audited = this.requests.get(requestId ?? '')
    if (audited) this.#lates.push({ keyId: audited.keyId, costNano: nano, burdens: audited.burdens })
    this.#postedNano += nano
    this.lines.push({ ...plain, requestId, kind: 'correction', costNano: nano, at: now })
    this.#auditor.coverage.count('ledger', requestId === null ? 'correction' : 'correction of a request')
  }

  /** Pruned rows were old and closed, and their sums remain. */
  #pruned(before: number): void {
    const pruned = this.#rows.pruned()
    const gone = this.lines.slice(0, pruned.seq)
    const first = this.#prunedLines
    this.#prunedLines = pruned.seq
    if (gone.length > first) this.#auditor.coverage.count('ledger', 'pruned')
    if (gone.slice(first).some((line) => line.at >= before))
      this.#violate('only old rows are pruned', `before ${before}`)
    const sum = (read: (line: Line) => number) => gone.reduce((total, line) => total + read(line), 0)
    if (sum((line) => line.costNano) !== pruned.cost_nano || sum((line) => line.creditNano) !== pruned.credit_nano)
      this.#violate('pruned rows stay in the sums', JSON.stringify(pruned))
    const kept = new Set(this.#rows.reservations().map((row) => row.request_id))
    for (const audited of this.requests.values()) {
      if (audited.pruned || kept.has(audited.requestId)) continue
      if (audited.state === 'reserved') this.#violate('an open reservation is never pruned', audited.requestId)
      audited.pruned = true
    }
  }

  /** Compares the sums in storage with the auditor's own. */
  #compareSums(): void {
    const account = this.#rows.account()
    const reservedNano = this.#reserved()
    const expect = (what: string, stored: unknown, own: unknown) => {
      if (stored !== own) this.#violate(`storage matches the decisions: ${what}`, `${stored}, not ${own}`)
    }
    expect('credit', account.credit_nano, this.#creditNano)
    expect('posted', account.posted_nano, this.#postedNano)
    expect('reserved', account.reserved_nano, reservedNano)
    if (this.#postedNano + reservedNano > this.#creditNano)
      this.#violate('posted + reserved ≤ credit', `${this.#postedNano} + ${reservedNano} > ${this.#creditNano}`)
    expect('entries', account.chain_seq, this.lines.length)
    const entries = this.#rows.sums()
    const kept = this.lines.slice(this.#prunedLines)
    const sum = (read: (line: Line) => number) => kept.reduce((total, line) => total + read(line), 0)
    expect('entries kept', entries.entries, kept.length)
    expect('the usage report’s cost', this.#rows.usage().cost_nano, this.#postedNano)
    expect(
      'entries’ cost',
      entries.cost_nano,
      sum((line) => line.costNano),
    )
    expect(
      'entries’ shortfall',
      entries.short_nano,
      sum((line) => line.shortNano),
    )
    expect(
      'entries’ tokens',
      entries.tokens,
      sum(({ counts }) => (counts ? counts.promptTokens + counts.outputTokens : 0)),
    )
    const open = this.#rows.open()
    expect('open reservations', open.open, this.#openOf(undefined))
    expect('open bounds', open.bound_nano, reservedNano)
    this.#compareHolder('tenant', account.state, undefined, ['day', 'month'])
    for (const row of this.#rows.keys()) this.#compareHolder(String(row.key_id), row.state, String(row.key_id), budgets)
  }

  #compareHolder(name: string, json: unknown, keyId: string | undefined, kinds: readonly Budget[]): void {
    const state = JSON.parse(String(json)) as {
      running: number
      windows: Record<Budget, { window: number; postedNano: number; reservedNano: number } | undefined>
    }
    const expect = (what: string, stored: unknown, own: unknown) => {
      if (stored !== own) this.#violate(`${what} matches the decisions`, `${name}: ${stored}, not ${own}`)
    }
    if (state.running < 0) this.#violate('no counter is negative', `${name} runs ${state.running}`)
    expect('running', state.running, this.#openOf(keyId))
    for (const kind of kinds) {
      const current = state.windows[kind]
      if (!current) return void this.#violate('every budget has its window', `${name} ${kind}`)
      const used = this.#usedIn(keyId, kind, current.window, undefined)
      expect(`${kind} posted`, current.postedNano, used.posted)
      expect(`${kind} reserved`, current.reservedNano, used.reserved)
    }
  }

  /** Compares row by row, since sums can hide two errors. */
  compareRows(): void {
    for (const row of this.#rows.entries()) {
      const line = this.lines[Number(row.seq) - 1]
      const stored = JSON.stringify([row.request_id, row.dispatch_id, row.kind, row.cost_nano, row.short_nano, row.at])
      const own =
        line && JSON.stringify([line.requestId, line.dispatchId, line.kind, line.costNano, line.shortNano, line.at])
      if (stored !== own)
        this.#violate('an entry is written once and never changed', `${row.seq}: ${stored}, not ${own}`)
    }
    for (const row of this.#rows.reservations()) {
      const audited = this.requests.get(String(row.request_id))
      if (audited?.state !== row.state || audited?.boundNano !== row.bound_nano)
        this.#violate('a reservation matches its decision', JSON.stringify([row, audited]))
    }
  }

  finish(): void {
    this.compareRows()
    for (const audited of this.requests.values()) {
      if (audited.state === 'reserved') this.#violate('every reservation ends', audited.requestId)
      const ends = this.lines.filter(
        ({ requestId, kind }) => requestId === audited.requestId && ['post', 'void', 'expire'].includes(kind),
      )
      if (ends.length !== 1 && audited.state !== 'reserved')
        this.#violate('every reservation ends in exactly one of post, void, expire', audited.requestId)
    }
    if (this.#rows.account().reserved_nano !== 0) this.#violate('nothing stays reserved', this.tenantId)
  }

  #violate(invariant: string, detail: string): void {
    this.#auditor.violate(invariant, `${this.tenantId}: ${detail}`)
  }

  #key(keyId: string): Holder {
    return this.#keys.get(keyId) ?? newHolder(noLimits, 0)
  }

  get open(): boolean {
    return this.#openOf(undefined) > 0
  }

  isPruned(dispatchId: string): boolean {
    return this.requests.get(dispatchId.slice(0, dispatchId.lastIndexOf('.')))?.pruned ?? true
  }

  #ratesAt(model: string, now: number): Rates {
    let card: { effectiveAt: number; rates: Rates } | undefined
    for (const each of this.#rates)
      if (each.model === model && each.effectiveAt <= now && each.effectiveAt >= (card?.effectiveAt ?? 0)) card = each
    return card?.rates ?? { inputNano: 0, cachedNano: 0, outputNano: 0 }
  }

  #calendarOf(key: Holder): number {
    return Math.max(this.#calendar, key.createdAt)
  }

  #openOf(keyId: string | undefined): number {
    let open = 0
    for (const audited of this.requests.values())
      if (audited.state === 'reserved' && (keyId === undefined || audited.keyId === keyId)) open += 1
    return open
  }

  #reserved(): number {
    let reserved = 0
    for (const audited of this.requests.values()) if (audited.state === 'reserved') reserved += audited.boundNano
    return reserved
  }

  #creditLeft(): number {
    return this.#creditNano - this.#postedNano - this.#reserved()
  }

  /** The cost posted and reserved in the window that contains `time`. */
  #usedIn(keyId: string | undefined, kind: Budget, time: number, except: AuditedRequest | undefined) {
    const window = windowOf(kind, time)
    const used = { posted: 0, reserved: 0 }
    for (const audited of this.requests.values()) {
      if (audited === except || (keyId !== undefined && audited.keyId !== keyId)) continue
      if (windowOf(kind, audited.burdens) !== window) continue
      if (audited.state === 'reserved') used.reserved += audited.boundNano
      else used.posted += audited.costNano
    }
    for (const late of this.#lates)
      if ((keyId === undefined || late.keyId === keyId) && windowOf(kind, late.burdens) === window)
        used.posted += late.costNano
    return used
  }

  /** The budget that cannot cover `boundNano`, if any. */
  #over(keyId: string, boundNano: number, burdens: number, except: AuditedRequest | undefined): string | undefined {
    if (boundNano - (except?.boundNano ?? 0) > this.#creditLeft()) return 'the credit'
    for (const [holder, id, kinds] of this.#holders(keyId)) {
      for (const kind of kinds) {
        const budget = holder.limits.budgetNano[kind]
        if (budget === null) continue
        const used = this.#usedIn(id, kind, burdens, except)
        if (used.posted + used.reserved + boundNano > budget) return `the ${id === undefined ? 'tenant' : id}’s ${kind}`
      }
    }
    return undefined
  }

  #left(keyId: string, burdens: number): number {
    const lefts = [this.#creditLeft()]
    for (const [holder, id, kinds] of this.#holders(keyId)) {
      for (const kind of kinds) {
        const budget = holder.limits.budgetNano[kind]
        const used = this.#usedIn(id, kind, burdens, undefined)
        if (budget !== null) lefts.push(budget - used.posted - used.reserved)
      }
    }
    return Math.min(...lefts)
  }

  #holders(keyId: string): [Holder, string | undefined, readonly Budget[]][] {
    return [
      [this.#tenant, undefined, ['day', 'month']],
      [this.#key(keyId), keyId, budgets],
    ]
  }

  /** Between any two moments, a client takes at most the bucket's content plus refills plus returned units. */
  #take(holder: Holder, rate: 'requests' | 'tokens', units: number, now: number): void {
    const perMinute = rate === 'requests' ? holder.limits.requestsPerMinute : holder.limits.tokensPerMinute
    const log = holder[rate]
    log.latest = Math.max(log.latest, now)
    log.moves.push({ at: log.latest, units })
    if (perMinute === null) return
    let taken = 0
    for (let index = log.moves.length - 1; index >= 0; index--) {
      const move = log.moves[index]
      if (!move) return
      taken += move.units
      if (taken * 60_000 > perMinute * (60_000 + log.latest - move.at))
        return void this.#violate('a rate is never exceeded', `${rate}: ${taken} since ${move.at}`)
    }
  }
}

const budgets: readonly Budget[] = ['total', 'day', 'month']
const noLimits: Limits = {
  requestsPerMinute: null,
  tokensPerMinute: null,
  concurrentMax: null,
  budgetNano: { total: null, day: null, month: null },
}
const plain = {
  requestId: null,
  dispatchId: null,
  costNano: 0,
  creditNano: 0,
  shortNano: 0,
  counts: null,
  estimated: false,
}

function newHolder(limits: Limits, createdAt: number): Holder {
  return { limits, createdAt, revoked: false, requests: { moves: [], latest: 0 }, tokens: { moves: [], latest: 0 } }
}

/** Restarts the rate logs and their clock after a change of limits, from a full bucket: the most that a client can hold. */
function changed(holder: Holder, limits: Limits): Holder {
  return {
    ...holder,
    limits,
    requests: { moves: [], latest: 0 },
    tokens: { moves: [], latest: 0 },
  }
}

function give(log: RateLog, units: number, now: number): void {
  log.latest = Math.max(log.latest, now)
  log.moves.push({ at: log.latest, units: -units })
}

function windowOf(kind: Budget, time: number): string {
  return kind === 'total' ? '' : new Date(time).toISOString().slice(0, kind === 'day' ? 10 : 7)
}

function costOf(counts: Counts, rates: Rates): number {
  return (
    (counts.promptTokens - counts.cachedTokens) * rates.inputNano +
    counts.cachedTokens * rates.cachedNano +
    counts.outputTokens * rates.outputNano
  )
}

function readers(db: DatabaseSync) {
  // The newest balances are in their own row, or on the last reservation after it.
  const account = db.prepare(
    `SELECT coalesce(newest ->> 'creditNano', credit_nano) AS credit_nano,
      coalesce(newest ->> 'postedNano', posted_nano) AS posted_nano,
      coalesce(newest ->> 'reservedNano', reserved_nano) AS reserved_nano,
      coalesce(newest ->> 'chainSeq', chain_seq) AS chain_seq, coalesce(newest -> 'state', state) AS state
      FROM account LEFT JOIN (SELECT seq, balances AS newest FROM reservations WHERE balances IS NOT NULL
        ORDER BY seq DESC LIMIT 1) ON seq > version WHERE id = 1`,
  )
  const keys = db.prepare(
    `SELECT key_id, coalesce((SELECT key_state -> 'state' FROM reservations WHERE key_id = api_keys.key_id
      AND seq > api_keys.version AND key_state IS NOT NULL ORDER BY seq DESC LIMIT 1), state) AS state FROM api_keys`,
  )
  const sums = db.prepare(
    `SELECT count(*) AS entries, coalesce(sum(cost_nano), 0) AS cost_nano, coalesce(sum(short_nano), 0) AS short_nano,
      coalesce(sum(prompt_tokens), 0) + coalesce(sum(output_tokens), 0) AS tokens FROM entries`,
  )
  const usage = db.prepare('SELECT coalesce(sum(cost_nano), 0) AS cost_nano FROM usage_quarters')
  const open = db.prepare('SELECT count(*) AS open, coalesce(sum(bound_nano), 0) AS bound_nano FROM reservations')
  const reservations = db.prepare(
    `SELECT request_id, state, bound_nano FROM bookings
      UNION ALL SELECT request_id, 'reserved', bound_nano FROM reservations`,
  )
  const entries = db.prepare(
    `SELECT seq, request_id, CASE WHEN kind IN ('post', 'late', 'waste') THEN ref END AS dispatch_id, kind, cost_nano,
      short_nano, at FROM entries ORDER BY seq`,
  )
  const pruned = db.prepare('SELECT seq, cost_nano, credit_nano FROM pruned WHERE id = 1')
  return {
    account: () => account.get() ?? {},
    keys: () => keys.all(),
    sums: () => sums.get() ?? {},
    usage: () => usage.get() ?? {},
    open: () => open.get() ?? {},
    reservations: () => reservations.all(),
    entries: () => entries.all(),
    pruned: () => {
      const row = pruned.get()
      return {
        seq: Number(row?.seq ?? 0),
        cost_nano: Number(row?.cost_nano ?? 0),
        credit_nano: Number(row?.credit_nano ?? 0),
      }
    },
  }
}
