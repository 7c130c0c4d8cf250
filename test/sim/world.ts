/**
 * A seeded world around the money path in virtual time: clients, edge isolates, the fleet, workers, tenant objects and a
 * network between them. Every part that can fail does fail. The auditor checks after each step.
 *
 * Real: `Books` with store, schema, ledger, limits and admission; `GroupCommit`; `verifyBooks`; `judgeOverdue`; the
 * pool's core; the worker's slots, used dispatches, bound, prices, and its outbox on disk. Modelled: the tenant
 * object's shell (tenant.ts), the pool object's (pool.ts), the edge's steps from admission to the last byte (edge.ts),
 * the worker's server, engine and delivery (worker.ts), inquiries and the network (here). Left out: signatures, HTTP,
 * bodies, webhook events, and clock jumps of hours in a pool.
 *
 * One seed is one world: every random value comes from the seed, and no code reads a real clock.
 */
import { type Dispatch, poolNames, type Refusal } from '../../backends/wire/dispatch.ts'
import type { Receipt, ReceiptsAnswer } from '../../backends/wire/receipt.ts'
import type { WorkerEndpoint } from '../../src/fleet/state.ts'
import { believe } from '../../src/tenant/believe.ts'
import { keyBudgets, type Limits, newLimitState, noLimits, tenantBudgets } from '../../src/tenant/limits/limits.ts'
import type { Known } from '../../src/tenant/overdue.ts'
import { verifyBooks } from '../../src/tenant/verify.ts'
import { testKey, testRates, testTenant } from '../support/tenant.ts'
import { Auditor, type Violation } from './auditor.ts'
import { type EdgeRequest, type Exchange, fleet, Isolate, type Network } from './edge.ts'
import { type Fault, type FaultCounts, noFaults, pickFaults } from './faults.ts'
import { FleetHost } from './fleet.ts'
import { Random } from './random.ts'
import type { Shelf } from './shelf.ts'
import { TenantHost } from './tenant.ts'
import { Clock, Timeline } from './timeline.ts'
import { type Connection, type Script, Worker } from './worker.ts'

const hourMs = 3_600_000
const stepsMax = 100_000
const tailKept = 20
/** Start times: midday; just before the end of a month; just before the end of a day. */
const beginnings = [Date.UTC(2026, 2, 15, 12), Date.UTC(2026, 2, 31, 23, 59, 40), Date.UTC(2026, 2, 15, 23, 59, 50)]

export interface Outcome {
  seed: number
  steps: number
  requests: number
  faults: FaultCounts
  violation: (Violation & { step: number; tail: string[] }) | undefined
}

export async function runSeed(seed: number, outboxes: Shelf, trace?: (line: string) => void): Promise<Outcome> {
  return new World(seed, outboxes, trace).run()
}

interface Client {
  request: EdgeRequest
  isolate: Isolate
  controller: AbortController
}

interface Open {
  exchange: Exchange
  break: () => void
}

class World implements Network {
  readonly #seed: number
  readonly #random: Random
  readonly #outboxes: Shelf
  readonly #trace: ((line: string) => void) | undefined
  readonly #timeline: Timeline
  readonly #begunAt: number
  readonly #auditor = new Auditor()
  readonly #faults: ReadonlySet<Fault>
  readonly #counts = noFaults()
  readonly #tenants = new Map<string, TenantHost>()
  readonly #fleet: FleetHost
  readonly #workers = new Map<string, Worker>()
  readonly #scripts = new Map<string, Script>()
  readonly #edgeClock: Clock
  #isolates: Isolate[] = []
  readonly #clients = new Set<Client>()
  readonly #open = new Set<Open>()
  readonly #tail: string[] = []
  readonly #activeMs: number
  #calm = false
  #beating = true
  #commits = 0
  #serial = 0
  #step = 0

  constructor(seed: number, outboxes: Shelf, trace: ((line: string) => void) | undefined) {
    this.#seed = seed
    this.#outboxes = outboxes
    this.#trace = trace
    const random = new Random(seed)
    this.#random = random
    this.#begunAt = random.pick(beginnings)
    this.#timeline = new Timeline(this.#begunAt)
    this.#edgeClock = new Clock(this.#timeline)
    this.#faults = pickFaults(random)
    this.#activeMs = random.pick([2_000, 8_000, 30_000])
    this.#fleet = new FleetHost(this.#timeline)
    this.#isolates = Array.from({ length: random.int(1, 3) }, () => this.#newIsolate())
    for (let index = random.int(1, 2); index > 0; index--) this.#openTenant(`t${index}`)
    const slots = random.pick([1, 2, 4])
    for (let index = random.int(1, 4); index > 0; index--) this.#startWorker(`w${index}`, slots)
    this.#planRequests()
    this.#planFaults()
    this.#beatAll()
    this.#timeline.after(this.#activeMs, 'faults end', () => this.#becomeCalm())
  }

  async run(): Promise<Outcome> {
    const auditor = this.#auditor
    for (;;) {
      const planned = this.#timeline.take()
      if (!planned) break
      this.#step += 1
      this.#log(planned.what)
      planned.run()
      await turn()
      if (auditor.violation) break
      if (this.#step > stepsMax) auditor.violate('the world comes to rest', `${stepsMax} steps`)
    }
    if (!auditor.violation) this.#finish()
    const { violation } = auditor
    for (const worker of this.#workers.values()) this.#outboxes.put(worker)
    for (const tenant of this.#tenants.values()) tenant.db.close()
    return {
      seed: this.#seed,
      steps: this.#step,
      requests: this.#serial,
      faults: this.#counts,
      violation: violation && { ...violation, step: this.#step, tail: this.#tail },
    }
  }

  #finish(): void {
    const auditor = this.#auditor
    for (const worker of this.#workers.values()) {
      const { running, owed } = worker.outbox.counts()
      if (running + owed > 0)
        auditor.violate('every outbox empties', `${worker.workerId}: ${running} run, ${owed} owed`)
      if (worker.slotsHeld().length > 0) auditor.violate('every slot comes free', worker.workerId)
    }
    const { leased, unleased, waiting } = this.#fleet.view()
    if (leased + unleased + waiting > 0)
      auditor.violate('every lease ends', `${leased} leased, ${unleased} unleased, ${waiting} waiting`)
    for (const tenant of this.#tenants.values()) this.#verify(tenant)
    auditor.finish(new Set([...this.#workers.values()].flatMap(({ kept }) => [...kept])))
  }

  #verify(tenant: TenantHost): void {
    const { faults } = verifyBooks(tenant.books.store)
    if (faults.length > 0) this.#auditor.violate('the ledger verifies', `${tenant.tenantId}: ${faults.join('; ')}`)
  }

  // Setup.

  #openTenant(tenantId: string): void {
    const random = this.#random
    let audit: ReturnType<Auditor['open']> | undefined
    const host = new TenantHost(tenantId, {
      timeline: this.#timeline,
      gatherMs: () => random.int(0, 12),
      committed: (reports) => {
        audit?.committed(reports)
        this.#commits += 1
        if (this.#commits % 40 !== 0) return
        audit?.compareRows()
        this.#verify(host)
      },
      inquire: (requestIds) => this.#inquire(requestIds),
      note: (what) => this.#log(what),
    })
    audit = this.#auditor.open(tenantId, host.db)
    this.#tenants.set(tenantId, host)
    const creditNano = random.pick([4_000, 20_000, 100_000, 1e12])
    const limits = this.#limits(['day', 'month'])
    host.change((books, now, report) => {
      books.putTenant({
        ...testTenant(limits),
        tenantId,
        createdAt: now,
        state: newLimitState(limits, tenantBudgets, now),
      })
      books.store.rateCards.put('m', 0, testRates)
      books.credit(creditNano, 'opening credit', now)
      report({ kind: 'tenant', creditNano, limits, now })
      report({ kind: 'rates', effectiveAt: 0, rates: testRates })
      for (const keyId of ['k', 'l']) {
        const own = this.#limits(keyBudgets)
        books.putKey({ ...testKey(keyId, own), createdAt: now, state: newLimitState(own, keyBudgets, now) })
        report({ kind: 'key', keyId, limits: own, revoked: false, now })
      }
    })
  }

  #limits(kinds: readonly ('total' | 'day' | 'month')[]): Limits {
    const random = this.#random
    const maybe = (values: number[]) => (random.chance(0.3) ? random.pick(values) : null)
    const budgetNano = { ...noLimits.budgetNano }
    for (const kind of kinds) budgetNano[kind] = maybe([2_000, 9_000, 30_000])
    return {
      requestsPerMinute: maybe([4, 20, 60]),
      tokensPerMinute: maybe([100, 600, 3_000]),
      concurrentMax: maybe([1, 3, 8]),
      budgetNano,
    }
  }

  #startWorker(workerId: string, slots: number): void {
    const pool = this.#random.pick(poolNames)
    const { folder, outbox } = this.#outboxes.take()
    const worker = new Worker(workerId, pool, folder, outbox, {
      timeline: this.#timeline,
      random: this.#random,
      auditor: this.#auditor,
      post: (receipts) => this.#post(receipts),
      beat: (beat) =>
        this.#timeline.after(this.#calm ? 0 : this.#random.int(1, 20), `${workerId} heartbeat arrives`, () =>
          this.#fleet.heartbeat(beat),
        ),
      script: (requestId) => this.#scripts.get(requestId) ?? { promptTokens: 1, cachedTokens: 0, outputTokens: 1 },
      slots,
    })
    this.#workers.set(workerId, worker)
    worker.beat()
  }

  #newIsolate(): Isolate {
    return new Isolate(this, () => this.#edgeClock.now())
  }

  /** Sends heartbeats once a second while anything is active. */
  #beatAll(): void {
    for (const worker of this.#workers.values()) worker.beat()
    this.#fleet.sweep()
    this.#beating = !this.#calm || this.#isActive()
    if (this.#beating) this.#timeline.after(1_000, 'all workers send heartbeats', () => this.#beatAll())
  }

  #isActive(): boolean {
    if (this.#timeline.now > this.#begunAt + this.#activeMs + 20 * 60_000) return false
    if (this.#clients.size > 0) return true
    for (const worker of this.#workers.values()) if (worker.running > 0) return true
    const { leased, unleased, waiting } = this.#fleet.view()
    return leased + unleased + waiting > 0
  }

  // Clients.

  #planRequests(): void {
    const random = this.#random
    const bursts = random.chance(0.3)
    for (let index = random.int(3, random.pick([8, 20, 45])); index > 0; index--) {
      const at = bursts ? random.int(0, 3) * (this.#activeMs / 5) + random.int(0, 30) : random.int(0, this.#activeMs)
      this.#timeline.after(at, 'a client sends a request', () => this.#ask())
    }
  }

  #ask(): void {
    const random = this.#random
    const serial = String(this.#serial++).padStart(20, '0')
    const requestId = `req_${this.#edgeClock.now().toString(16).padStart(12, '0')}${serial}`
    const promptTokens = random.int(1, 40)
    const over = random.chance(0.2)
    const request: EdgeRequest = {
      requestId,
      tenantId: random.pick([...this.#tenants.keys()]),
      keyId: random.pick(['k', 'l']),
      secretHash: 'hash',
      promptTokensEstimate: over ? Math.max(1, promptTokens - random.int(1, 20)) : promptTokens + random.int(0, 10),
      outputTokens: random.int(1, 24),
      stream: random.chance(0.6),
      effort: random.pick(['none', 'high']),
      effortUnderLoad: random.chance(0.3) ? 'none' : null,
    }
    this.#scripts.set(requestId, {
      promptTokens,
      cachedTokens: random.chance(0.5) ? random.int(0, promptTokens) : 0,
      outputTokens: random.int(1, 40),
    })
    const client = { request, isolate: random.pick(this.#isolates), controller: new AbortController() }
    this.#clients.add(client)
    void client.isolate.chat(request, client.controller.signal).then((end) => {
      this.#clients.delete(client)
      this.#log(`${requestId}: ${end}`)
    })
    if (this.#faults.has('client left') && random.chance(0.3))
      this.#timeline.after(random.int(0, random.pick([60, 600, 3_000])), `${requestId} disconnects`, () => {
        if (!this.#clients.has(client)) return
        this.#counts['client left'] += 1
        client.controller.abort()
      })
  }

  // Faults.

  #planFaults(): void {
    const random = this.#random
    for (const kind of this.#faults) {
      for (let index = random.int(1, 4); index > 0; index--) {
        this.#timeline.after(random.int(0, this.#activeMs), kind, () => this.#inject(kind))
      }
    }
  }

  #inject(kind: Fault): void {
    const random = this.#random
    const tenant = random.pick([...this.#tenants.values()])
    const worker = random.pick([...this.#workers.values()])
    if (this.#perform(kind, tenant, worker)) this.#counts[kind] += 1
  }

  /** Injects the fault; returns false if it had no target. */
  #perform(kind: Fault, tenant: TenantHost, worker: Worker): boolean {
    const random = this.#random
    switch (kind) {
      case 'tenant evicted':
        tenant.evict()
        return true
      case 'storage failed':
        tenant.failsAfter = random.int(0, 12)
        return true
      case 'isolate killed':
        return this.#killIsolate()
      case 'worker killed':
        return this.#killWorker(worker)
      case 'worker paused':
        if (worker.state !== 'up') return false
        worker.pause()
        this.#timeline.after(random.pick([200, 2_000, 9_000]), `${worker.workerId} resumes`, () => {
          if (worker.state === 'paused') worker.resume()
        })
        return true
      case 'engine died': {
        if (worker.state === 'up' && worker.engineDies()) return true
        // The engine dies only while it is running a request.
        if (!this.#calm) this.#timeline.after(random.int(20, 300), kind, () => this.#inject(kind))
        return false
      }
      case 'clock forward':
        return this.#setClock(tenant, worker, 1)
      case 'clock back':
        return this.#setClock(tenant, worker, -1)
      case 'fleet evicted':
        this.#fleet.evict()
        return true
      case 'key revoked':
        return this.#changeKey(tenant, true)
      case 'limits changed':
        return random.chance(0.5) ? this.#changeKey(tenant, false) : this.#changeTenant(tenant)
      case 'rates changed':
        return this.#changeRates(tenant)
      case 'credit added':
        return attempt(() =>
          tenant.change((books, now, report) => {
            const nano = random.int(1, 9_000)
            books.credit(nano, 'more', now)
            report({ kind: 'credit', nano, now })
          }),
        )
      case 'corrected':
        return attempt(() =>
          tenant.change((books, now, report) => {
            const nano = random.int(-4_000, 3_000)
            report({ kind: 'correct', nano, done: books.correct(null, nano, 'amended', now), now })
          }),
        )
      case 'pruned': {
        const before = tenant.clock.now() - random.pick([0, hourMs, 24 * hourMs])
        return attempt(() => tenant.prune(before, random.pick([1, 5, 2_000])))
      }
      // These faults affect messages and clients at random moments.
      case 'client left':
      case 'connection broken':
      case 'call lost':
      case 'answer lost':
      case 'call repeated':
      case 'receipt repeated':
      case 'delayed':
        return false
    }
  }

  #killIsolate(): boolean {
    const index = this.#random.int(0, this.#isolates.length - 1)
    const killed = this.#isolates[index]
    if (!killed) return false
    killed.kill()
    for (const client of this.#clients) if (client.isolate === killed) this.#clients.delete(client)
    this.#isolates[index] = this.#newIsolate()
    return true
  }

  #killWorker(worker: Worker): boolean {
    if (worker.state === 'down') return false
    worker.kill()
    this.#timeline.after(this.#random.pick([10, 800, 6_000, 20_000]), `${worker.workerId} restarts`, () => {
      if (worker.state === 'down') worker.restart()
    })
    return true
  }

  #setClock(tenant: TenantHost, worker: Worker, sign: 1 | -1): boolean {
    const random = this.#random
    const ms = sign * random.pick([2_000, 20 * 60_000, 3 * hourMs, 26 * hourMs, 32 * 24 * hourMs])
    if (random.chance(0.75)) {
      tenant.clock.offsetMs += ms
      tenant.planAlarm()
    } else if (random.chance(0.5)) worker.clock.offsetMs += sign * random.int(0, 8_000)
    else this.#edgeClock.offsetMs += sign * random.int(0, 8_000)
    return true
  }

  #changeKey(tenant: TenantHost, revoke: boolean): boolean {
    return attempt(() =>
      tenant.change((books, now, report) => {
        const keyId = this.#random.pick(['k', 'l'])
        const key = books.key(keyId)
        if (!key) return
        const revoked = revoke || key.revokedAt !== null
        const limits = revoke ? key.limits : this.#limits(keyBudgets)
        books.putKey({ ...key, limits, revokedAt: revoked ? now : null })
        report({ kind: 'key', keyId, limits, revoked, now })
      }),
    )
  }

  #changeTenant(host: TenantHost): boolean {
    return attempt(() =>
      host.change((books, now, report) => {
        const tenant = books.tenant()
        if (!tenant) return
        const limits = this.#limits(['day', 'month'])
        books.putTenant({ ...tenant, limits })
        report({ kind: 'tenant', creditNano: 0, limits, now })
      }),
    )
  }

  #changeRates(host: TenantHost): boolean {
    const random = this.#random
    return attempt(() =>
      host.change((books, now, report) => {
        const rates = { inputNano: random.int(0, 20), cachedNano: 0, outputNano: random.int(0, 150) }
        rates.cachedNano = random.int(0, rates.inputNano)
        const effectiveAt = now + random.pick([0, 0, 500, hourMs])
        books.store.rateCards.put('m', effectiveAt, rates)
        report({ kind: 'rates', effectiveAt, rates })
      }),
    )
  }

  /** Ends all faults and restarts everything that is down, so that every request can end. */
  #becomeCalm(): void {
    this.#calm = true
    for (const worker of this.#workers.values()) {
      if (worker.state === 'paused') worker.resume()
      if (worker.state === 'down') worker.restart()
    }
    for (const tenant of this.#tenants.values()) tenant.failsAfter = null
  }

  // The network.

  admit: Network['admit'] = (tenantId, request) =>
    this.#call(`admit ${request.requestId}`, async () => {
      // The product never repeats a call after the retention; a clock jump in the simulation could.
      if (this.#auditor.tenants.get(tenantId)?.requests.get(request.requestId)?.pruned) throw new Error('long ago')
      return this.#tenant(tenantId).admit(request)
    })
  readmit: Network['readmit'] = (tenantId, request) =>
    this.#call(`readmit ${request.requestId}`, () => this.#tenant(tenantId).readmit(request))
  void: Network['void'] = (tenantId, requestId, charge) =>
    this.#call(`void ${requestId}`, () => this.#tenant(tenantId).void(requestId, charge))
  settle: Network['settle'] = (tenantId, receipts) =>
    this.#call(`settle ${receipts.map((receipt) => receipt.dispatchId).join(' ')}`, () =>
      this.#tenant(tenantId).settle(receipts),
    )
  lease: Network['lease'] = (request) =>
    this.#call(
      `lease ${request.requestId}`,
      () => {
        const leased = this.#fleet.lease(request)
        if (!this.#beating) this.#beatAll()
        return leased
      },
      false,
    )
  release: Network['release'] = (requestIds) =>
    this.#call(`release ${requestIds.join(' ')}`, async () => this.#fleet.release(requestIds))
  releaseOn: Network['releaseOn'] = (workerId, requestId) =>
    this.#call(`release ${requestId} on ${workerId}`, async () => this.#fleet.releaseOn(workerId, requestId))
  workerFailed: Network['workerFailed'] = (workerId, requestId) =>
    this.#call(`${workerId} failed ${requestId}`, async () => this.#fleet.workerFailed(workerId, requestId))

  /** A call and its answer each take time; either may be lost, and a call may be made twice. */
  #call<Value>(what: string, call: () => Promise<Value>, repeatable = true): Promise<Value> {
    return new Promise((resolve, reject) => {
      if (this.#befalls('call lost')) {
        this.#timeline.after(this.#delayMs(), `${what} is lost`, () => reject(new Error('the call was lost')))
        return
      }
      if (repeatable && this.#befalls('call repeated'))
        this.#timeline.after(this.#delayMs(), `${what} again`, () => void call().catch(() => undefined))
      const answer = (deliver: () => void) => {
        const lost = this.#befalls('answer lost')
        this.#timeline.after(this.#delayMs(), `${what} is ${lost ? 'not ' : ''}answered`, () =>
          lost ? reject(new Error('the answer was lost')) : deliver(),
        )
      }
      this.#timeline.after(this.#delayMs(), what, () => {
        call().then(
          (value) => answer(() => resolve(value)),
          (error) => answer(() => reject(error)),
        )
      })
    })
  }

  open(place: WorkerEndpoint, dispatch: Dispatch): Exchange {
    const worker = this.#workers.get(place.workerId)
    if (!worker) throw new Error(`no worker ${place.workerId}`)
    const head = Promise.withResolvers<'head' | 'lost'>()
    const prelude = Promise.withResolvers<Refusal | 'prepared' | 'lost'>()
    const first = Promise.withResolvers<'first' | 'lost'>()
    const rest = Promise.withResolvers<'done' | 'lost'>()
    let closed = false
    let broken = false
    // Messages on one connection keep their order.
    let lastAt = 0
    const toEdge = (what: string, deliver: () => void) => {
      lastAt = Math.max(lastAt, this.#timeline.now + this.#delayMs())
      this.#timeline.after(lastAt - this.#timeline.now, `${dispatch.dispatchId} ${what}`, () => {
        if (!closed && !broken) deliver()
      })
    }
    const end = () => {
      head.resolve('lost')
      prelude.resolve('lost')
      first.resolve('lost')
      rest.resolve('lost')
      this.#open.delete(open)
    }
    const connection: Connection = {
      refused: (refusal) =>
        toEdge(`is refused: ${refusal.code}`, () => {
          head.resolve('head')
          prelude.resolve(refusal)
          end()
        }),
      accepted: () => toEdge('is accepted', () => head.resolve('head')),
      prepared: () => toEdge('is prepared', () => prelude.resolve('prepared')),
      first: () => toEdge('begins', () => first.resolve('first')),
      done: () =>
        toEdge('is complete', () => {
          first.resolve('first')
          rest.resolve('done')
          end()
        }),
      lost: () => toEdge('is lost', end),
      onClose: () => undefined,
    }
    const gone = () =>
      worker.reach(
        this.#delayMs(),
        `loses ${dispatch.dispatchId}`,
        () => connection.onClose(),
        () => undefined,
      )
    const exchange: Exchange = {
      head: head.promise,
      prelude: prelude.promise,
      first: first.promise,
      rest: rest.promise,
      close: () => {
        if (closed) return
        closed = true
        this.#open.delete(open)
        gone()
      },
    }
    const open: Open = {
      exchange,
      break: () => {
        broken = true
        end()
        gone()
      },
    }
    this.#open.add(open)
    if (!this.#calm && this.#faults.has('connection broken') && this.#random.chance(0.15))
      this.#timeline.after(this.#random.int(0, 400), `${dispatch.dispatchId} breaks`, () => {
        if (!this.#open.has(open)) return
        this.#counts['connection broken'] += 1
        open.break()
      })
    const arrives = () => {
      // A dispatch whose sender disconnected may arrive or not.
      if ((closed || broken) && this.#random.chance(0.5)) return
      worker.dispatch(dispatch, connection)
      if (closed || broken) connection.onClose()
    }
    worker.reach(this.#delayMs(), `gets ${dispatch.dispatchId}`, arrives, () => connection.lost())
    return exchange
  }

  /** A worker's delivery to any isolate, which may die during the call; the worker waits ten seconds. */
  #post(receipts: Receipt[]): Promise<ReceiptsAnswer> {
    const what = `receipts ${receipts.map((receipt) => receipt.dispatchId).join(' ')}`
    if (this.#befalls('receipt repeated')) {
      const ms = this.#random.pick([500, 60_000, 20 * 60_000, 30 * hourMs])
      this.#timeline.after(ms, `${what} again`, () => void this.#receive(receipts).catch(() => undefined))
    }
    return new Promise((resolve, reject) => {
      this.#timeline.after(10_000, `${what} time out`, () => reject(new Error('no answer in time')))
      this.#call(what, () => this.#receive(receipts)).then(resolve, reject)
    })
  }

  #receive(receipts: Receipt[]): Promise<ReceiptsAnswer> {
    return this.#random.pick(this.#isolates).receipts(receipts)
  }

  /** As in src/tenant/inquire.ts: asks every worker, five seconds each. */
  async #inquire(requestIds: string[]): Promise<Known> {
    // Heartbeats are still due once a second, but the calm world no longer plans them.
    if (this.#calm) for (const worker of this.#workers.values()) worker.beat()
    await new Promise<void>((resolve) => this.#timeline.after(1, 'the registry is read', resolve))
    const { present, missing } = this.#fleet.registry()
    const answers = await Promise.all(present.map(({ workerId }) => this.#askWorker(workerId, requestIds)))
    const heard = answers.filter((answer) => answer !== undefined)
    const known = {
      running: new Set(heard.flatMap((answer) => answer.running)),
      owed: new Set(heard.flatMap((answer) => answer.owed)),
      silent: heard.length < answers.length || missing.length > 0,
    }
    this.#auditor.inquired(requestIds, known)
    return known
  }

  #askWorker(workerId: string, requestIds: string[]): Promise<{ running: string[]; owed: string[] } | undefined> {
    return new Promise((resolve) => {
      const worker = this.#workers.get(workerId)
      this.#timeline.after(5_000, `${workerId} has not answered`, () => resolve(undefined))
      const answer = () => {
        worker?.deliver()
        const about = worker && believe(fleet, workerId, worker.outbox.about(requestIds))
        this.#timeline.after(this.#delayMs(), `${workerId} answers an inquiry`, () => resolve(about))
      }
      if (!this.#befalls('call lost')) worker?.reach(this.#delayMs(), 'is asked', answer, () => undefined)
    })
  }

  #befalls(kind: 'call lost' | 'answer lost' | 'call repeated' | 'receipt repeated' | 'delayed'): boolean {
    if (this.#calm || !this.#faults.has(kind) || !this.#random.chance(0.06)) return false
    this.#counts[kind] += 1
    return true
  }

  #delayMs(): number {
    return this.#befalls('delayed') ? this.#random.int(300, 15_000) : this.#random.int(1, 25)
  }

  #tenant(tenantId: string): TenantHost {
    const tenant = this.#tenants.get(tenantId)
    if (!tenant) throw new Error(`no tenant ${tenantId}`)
    return tenant
  }

  #log(what: string): void {
    const line = `${String(this.#step).padStart(5)} ${new Date(this.#timeline.now).toISOString()} ${what}`
    this.#trace?.(line)
    if (this.#tail.push(line) > tailKept) this.#tail.shift()
  }
}

/** Applies a change that the storage may refuse; a refused change has no effect. */
function attempt(change: () => void): boolean {
  try {
    change()
    return true
  } catch {
    return false
  }
}

/** Waits until every promise that can settle has settled. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
