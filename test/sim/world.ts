/**
 * A seeded world around the product in virtual time: clients, edge isolates, durable objects, workers, a hosted API, and
 * a network between them. Every part that can fail does fail. The auditor checks after each commit and at the end.
 *
 * Real: the edge's entry with its routes, attempts, delivery, settlement and idempotency; the tenant, fleet and
 * responses objects; the worker's program with its port, slots, outbox (on a real disk), delivery and heartbeats.
 * Modelled: the network, clocks, crashes, storage faults, the platform of durable objects (durable-object.ts) and of
 * HTTP (http-exchange.ts), engines (tokens come from the request), documents, and the hosted API. Left out: webhooks.
 *
 * One seed is one world: every random value comes from the seed, and no code reads a real clock.
 */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { poolNames } from '../../backends/wire/dispatch.ts'
import { type Heartbeat, heartbeatLostMs } from '../../backends/wire/heartbeat.ts'
import type { Receipt } from '../../backends/wire/receipt.ts'
import { seal, sealKey } from '../../backends/wire/seal.ts'
import { keyIdOf, parseWorkerKey, type WorkerKey } from '../../backends/wire/worker-key.ts'
import { newApiKey } from '../../src/auth/api-key.ts'
import { Secret } from '../../src/auth/secret.ts'
import { newWorkerKey } from '../../src/auth/worker-key.ts'
import type { LeaseRequest } from '../../src/fleet/state.ts'
import type { MoneyEntry } from '../../src/tenant/credits.ts'
import type { Limits } from '../../src/tenant/limits/limits.ts'
import { hostedCard } from '../../src/tenant/store/rate-card-rows.ts'
import { TenantSettings } from '../../src/tenant/tenant-settings.ts'
import { Auditor, type Violation } from './auditor.ts'
import { Clients, Isolate } from './clients.ts'
import { Coverage } from './coverage.ts'
import { ObjectHost, type ObjectParts } from './durable-object.ts'
import { type Fault, type FaultCounts, Faults, faultKinds, type Mood, pickFaults, pickMood } from './faults.ts'
import { forge } from './forger.ts'
import { HostedApi, type RequestScope, requestScope } from './hosted-api.ts'
import { Machine } from './machine.ts'
import { Network } from './network.ts'
import { emptyDatabase } from './operator-database.ts'
import { type FetchInit, runsIn, turn } from './platform.ts'
import { edge } from './product.ts'
import { Random } from './random.ts'
import { watchAttempts } from './stand-ins/attempts.ts'
import { TenantWatch, watches } from './tenant-watch.ts'
import { Clock, Timeline } from './timeline.ts'
import { WorkerProcess, worldModel } from './worker.ts'

const hourMs = 3_600_000
const stepsMax = 200_000
/** A reservation made while its tenant's clock was a month ahead is due a month later. */
const restMs = 100 * 24 * hourMs
const tailKept = 40
const tickMs = 1_000
/** Longer than any wait, answer and delivery of a receipt together take while no fault begins. */
const busyMs = 10 * 60_000
/** Longer than an inquiry takes while no fault befalls it. */
const awakeMs = 4_000
/** Start times: midday; just before the end of a month; just before the end of a day. */
const beginnings = [Date.UTC(2026, 2, 15, 12), Date.UTC(2026, 2, 31, 23, 59, 40), Date.UTC(2026, 2, 15, 23, 59, 50)]
/** Isolates cache by time. Worlds far apart share nothing. */
const worldApartMs = 140 * 24 * hourMs
/** Then the times begin again: dates after the year 9999 have another form. */
const worldsMax = 20_000
/** How often a world wakes that fell asleep with work in it. */
const wakesMax = 3

const fleetSecret = new Secret('f'.repeat(40))
const keySecret = 'k'.repeat(40)
const variables = {
  ...{ MODELS: worldModel.id, KEY_SECRET: keySecret, FLEET_SECRET: fleetSecret.reveal() },
  ...{ OPERATOR_KEY_SHA256: '0'.repeat(64), HOSTED_URL: 'https://hosted/v1', HOSTED_MODEL: 'h', HOSTED_KEY: 'secret' },
}
const rates = { inputNano: 10, cachedNano: 1, outputNano: 100 }
const hostedRates = { inputNano: 17, cachedNano: 3, outputNano: 170 }

export interface Outcome {
  seed: number
  steps: number
  requests: number
  faults: FaultCounts
  coverage: Coverage
  violation: (Violation & { step: number; tail: string[] }) | undefined
}

/** @param root folder for the workers' disks */
export async function runSeed(seed: number, root: string, trace?: (line: string) => void): Promise<Outcome> {
  const world = new World(seed, join(root, `seed-${seed}`), trace)
  runsIn(world)
  try {
    return await world.run()
  } finally {
    runsIn(undefined)
    watches.clear()
    rmSync(world.root, { recursive: true, force: true })
  }
}

/** A worker as its operator enrolled it, and its processes, the oldest first. */
interface EnrolledHost {
  key: WorkerKey
  pool: (typeof poolNames)[number]
  slots: number
  vision: boolean
  processes: WorkerProcess[]
}

class World {
  readonly random: Random
  readonly root: string
  readonly #seed: number
  readonly #trace: ((line: string) => void) | undefined
  readonly #timeline: Timeline
  readonly #begunAt: number
  readonly #mood: Mood
  readonly #faults: Faults
  readonly #coverage = new Coverage()
  readonly #auditor: Auditor
  readonly #network: Network
  readonly #hosted: HostedApi
  readonly #env: object
  readonly #tenants = new Map<string, ObjectHost>()
  readonly #responses = new Map<string, ObjectHost>()
  readonly #keys: { tenantId: string; apiKey: string }[] = []
  readonly #workers: EnrolledHost[] = []
  readonly #receipts: Receipt[] = []
  /** When each tenant's last alarm rang. */
  readonly #alarms = new Map<string, number>()
  /** The process of each worker whose heartbeat was accepted last. */
  readonly #heardAt = new Map<string, number>()
  /** Requests whose call for a slot is open. */
  readonly #leasing = new Set<string>()
  readonly #live = new Map<string, { instance: string; at: number }>()
  readonly #edgeClock: Clock
  readonly #tail: string[] = []
  readonly #activeMs: number
  #fleet: ObjectHost | undefined
  #alerts: ObjectHost | undefined
  #isolates: Isolate[] = []
  #clients: Clients | undefined
  #asleep = false
  #awakeUntil = 0
  #awakeSince = 0
  #wakes = 0
  /** Workers that will start again. */
  #restarts = 0
  #serial = 0
  #commits = 0
  #step = 0
  /** The fleet may not know every worker: it restarted, or a second process of a worker took over. */
  #fleetMayForget = false

  constructor(seed: number, root: string, trace: ((line: string) => void) | undefined) {
    this.#seed = seed
    this.root = root
    this.#trace = trace
    const random = new Random(seed)
    this.random = random
    this.#begunAt = random.pick(beginnings) + (seed % worldsMax) * worldApartMs
    this.#timeline = new Timeline(this.#begunAt)
    this.#edgeClock = new Clock(this.#timeline)
    this.#mood = pickMood(random)
    this.#faults = new Faults(pickFaults(random, this.#mood), random)
    this.#activeMs = random.pick([1_500, 4_000, 10_000])
    this.#auditor = new Auditor(this.#coverage, this.#mood === 'gentle', (tenantId, requestId) =>
      this.#workerKnows(tenantId, requestId),
    )
    this.#network = new Network(this.#timeline, random, this.#faults)
    this.#hosted = new HostedApi({
      ...{ timeline: this.#timeline, random, faults: this.#faults, network: this.#network },
      called: (truth, outputTokensMax) => this.#auditor.hostedCalled(truth, outputTokensMax),
    })
    this.#env = this.#bindings()
    watchAttempts((state, event, { step }) => {
      const failed = 'on' in event && [...state.failedOn, ...state.unsupportedOn].includes(event.on.workerId)
      if (failed) this.#auditor.violate('a worker that failed a request is not tried again', state.requestId)
      this.#coverage.count('event', event.kind)
      this.#coverage.count('step', step.kind)
      if (event.kind !== 'refused') return
      const { code } = event.refusal
      this.#coverage.count('refusal', code)
      if (code === 'no_slot' && this.#slotsAgree)
        this.#auditor.violate('a leased slot is free', `${state.requestId} on ${event.on.workerId}`)
    })
  }

  async run(): Promise<Outcome> {
    await this.#open()
    const auditor = this.#auditor
    while (!auditor.violation) {
      if (this.#faults.calm && this.#isAtRest() && !this.#wakeUnlessQuiet()) break
      const planned = this.#timeline.take()
      if (!planned) break
      this.#step += 1
      this.log(planned.what)
      planned.run()
      await turn()
      if (this.#step > stepsMax || this.#timeline.now > this.#begunAt + restMs)
        auditor.violate('the world comes to rest', this.#unrest())
    }
    if (!auditor.violation) this.#finish()
    for (const { processes } of this.#workers) for (const process of processes) process.kill()
    const { violation } = auditor
    for (const host of [...this.#tenants.values(), ...this.#responses.values(), this.#fleetHost, this.#alertsHost])
      host.db.close()
    return {
      ...{ seed: this.#seed, steps: this.#step, requests: this.#clientPopulation.sent, coverage: this.#coverage },
      faults: this.#faults.counts,
      violation: violation && { ...violation, step: this.#step, tail: this.#tail },
    }
  }

  log(what: string): void {
    const line = `${String(this.#step).padStart(5)} ${new Date(this.#timeline.now).toISOString()} ${what}`
    this.#trace?.(line)
    if (this.#tail.push(line) > tailKept) this.#tail.shift()
  }

  listens(server: Parameters<WorkerProcess['listens']>[0]): void {
    this.#processes()
      .find(({ machine }) => machine === Machine.current)
      ?.listens(server)
  }

  fetch(url: URL, init: FetchInit): Promise<Response> {
    if (url.host === 'hosted') return this.#hosted.fetch(init)
    if (url.host === 'edge') return this.#fetchEdge(url, init)
    const at = () => this.#processes().findLast((process) => process.description.host === url.host && process.up)
    return this.#network.fetchWorker(at, url, init)
  }

  get #alertsHost(): ObjectHost {
    if (!this.#alerts) throw new Error('the alerts are not open')
    return this.#alerts
  }

  get #fleetHost(): ObjectHost {
    if (!this.#fleet) throw new Error('the fleet is not open')
    return this.#fleet
  }

  get #clientPopulation(): Clients {
    if (!this.#clients) throw new Error('the clients are not there')
    return this.#clients
  }

  /** No fault separates the fleet's view of a slot from the worker's. A preparation ends after its client has left. */
  get #slotsAgree(): boolean {
    return (this.#mood === 'gentle' || this.#mood === 'engines') && !this.#faults.has('client left')
  }

  #processes(): WorkerProcess[] {
    return this.#workers.flatMap(({ processes }) => processes)
  }

  // Setup.

  async #open(): Promise<void> {
    const random = this.random
    this.#fleet = this.#newObject('fleet', edge.FleetObject)
    this.#alerts = this.#newObject('alerts', edge.AlertsObject)
    this.#isolates = Array.from({ length: random.int(1, 3) }, () => this.#newIsolate())
    for (let index = random.int(1, 2); index > 0; index--) await this.#openTenant(`tenant${index}`)
    const slots = random.pick([1, 1, 2, 4])
    const vision = random.pick([0, 0.5, 0.5, 1])
    const count = random.pick([0, 1, 1, 2, 2, 3, 3])
    for (let index = count; index > 0; index--) await this.#enrol(`worker-${index}`, slots, random.chance(vision))
    this.#clients = new Clients({
      ...{ timeline: this.#timeline, random, faults: this.#faults, network: this.#network, auditor: this.#auditor },
      ...{ coverage: this.#coverage, keys: this.#keys, log: (line: string) => this.log(line) },
      isolate: () => random.pick(this.#isolates),
      faultless: (tenantId) => this.#mood === 'one-tenant' && tenantId !== [...this.#tenants.keys()][0],
    })
    this.#planRequests()
    this.#planFaults()
    this.#tick()
    this.#timeline.after(this.#activeMs, 'faults end', () => this.#becomeCalm())
  }

  #newIsolate(): Isolate {
    return new Isolate(new Machine(`isolate ${++this.#serial}`, this.#edgeClock, this.#timeline), this.#env)
  }

  #newObject(name: string, objectClass: typeof edge.FleetObject, more: Partial<ObjectParts> = {}): ObjectHost {
    const { random } = this
    const log = (line: string) => this.log(line)
    return new ObjectHost(name, objectClass, { timeline: this.#timeline, random, env: this.#env, log, ...more })
  }

  async #openTenant(tenantId: string): Promise<void> {
    const random = this.random
    let watch: TenantWatch | undefined
    const host = this.#newObject(tenantId, edge.TenantObject, {
      committed: () => watch?.commit(),
      rolledBack: () => {
        if (watch) watch.reports = []
      },
      beforeAlarm: () => {
        this.#alarms.set(tenantId, this.#timeline.now)
        return this.#beforeAlarm()
      },
    })
    const audit = this.#auditor.open(tenantId, host.db)
    watch = new TenantWatch(
      (reports) => {
        audit.committed(reports)
        this.#commits += 1
        if (this.#commits % 40 !== 0) return
        audit.compareRows()
        this.#verify(host)
      },
      () => host.inTransaction,
    )
    watches.set(tenantId, watch)
    this.#tenants.set(tenantId, host)
    const hosted = random.chance(0.6)
    host.direct('create', {
      ...{
        tenantId,
        name: tenantId,
        creditNano: random.pick([20_000, 100_000, 400_000, 1e12]),
        models: [worldModel.id],
      },
      rateCards: [
        { model: worldModel.id, effectiveAt: 0, rates },
        ...(hosted ? [{ model: hostedCard(worldModel.id), effectiveAt: 0, rates: hostedRates }] : []),
      ],
      limits: this.#limits(['day', 'month']),
      settings: TenantSettings.parse({
        hosted: hosted ? 'last-resort' : 'never',
        underLoad: random.pick(['wait', 'lower-effort']),
        retentionDays: random.pick([1, 90]),
        responseDays: random.pick([0, 30]),
      }),
    })
    const macKey = await sealKey(new Uint8Array(new TextEncoder().encode(keySecret)))
    for (const keyId of ['key1', 'key2']) {
      const secret = Uint8Array.from({ length: 20 }, () => random.int(0, 255))
      const { key, prefix, secretHash } = await newApiKey('test', tenantId, keyId, secret, macKey)
      const limits = this.#limits(['total', 'day', 'month'])
      const fixed = { name: keyId, role: 'member', models: null, class: null, allowedIps: null, expiresAt: null }
      host.direct('addKey', { ...fixed, keyId, prefix, secretHash, limits })
      this.#keys.push({ tenantId, apiKey: key.reveal() })
    }
  }

  #limits(kinds: readonly ('total' | 'day' | 'month')[]): Limits {
    const random = this.random
    const maybe = (values: number[]) => (random.chance(0.25) ? random.pick(values) : null)
    const budgetNano: Limits['budgetNano'] = { total: null, day: null, month: null }
    for (const kind of kinds) budgetNano[kind] = maybe([5_000, 12_000, 60_000])
    return {
      requestsPerMinute: maybe([4, 20, 60]),
      tokensPerMinute: maybe([600, 3_000, 12_000]),
      concurrentMax: maybe([1, 3, 8]),
      budgetNano,
    }
  }

  async #enrol(workerId: string, slots: number, vision: boolean): Promise<void> {
    const key = parseWorkerKey(await newWorkerKey(fleetSecret, workerId, 1))
    if (!key) throw new Error('the worker key cannot be read')
    const pool = this.random.pick(poolNames)
    const models = [worldModel.id]
    const enrolment = { workerId, revision: 1, url: null, pools: poolNames, models, slotsMax: 8, pinned: false }
    // The second process of a worker has another address: only its host differs.
    this.#fleetHost.direct('enrol', { ...enrolment, url: `http://${workerId}:*` }, undefined)
    const worker: EnrolledHost = { key, pool, slots, vision, processes: [] }
    this.#workers.push(worker)
    this.#startProcess(worker, workerId)
  }

  #startProcess(worker: EnrolledHost, host: string, clock = new Clock(this.#timeline)): WorkerProcess {
    const { key, pool, slots, vision } = worker
    const process: WorkerProcess = new WorkerProcess(
      { key, pool, slots, vision, host, clock },
      {
        ...{ timeline: this.#timeline, random: this.random, root: this.root, log: (line: string) => this.log(line) },
        began: (dispatch) => this.#auditor.began(dispatch, this.#timeline.now),
        forgot: (dispatch) => this.#auditor.forgot(dispatch),
        finished: (receipt) => void this.#receipts.push(receipt),
        generated: (dispatch, counts) => this.#auditor.generated(dispatch, counts),
        violate: (invariant, detail) => this.#auditor.violate(invariant, detail),
        unnoted: (dispatch) => this.#auditor.unnoted(dispatch),
        died: (dead) => this.#network.died(dead),
      },
    )
    worker.processes.push(process)
    return process
  }

  // The bindings of the edge.

  #bindings(): object {
    const stub = (name: string, host: () => ObjectHost) =>
      new Proxy(
        {},
        {
          get:
            (_, method) =>
            (...args: unknown[]) =>
              this.#callObject(name, host, String(method), args),
        },
      )
    const DB = emptyDatabase((what, work) => this.#network.call(what, work))
    return {
      ...variables,
      DB,
      FLEET: { getByName: () => stub('fleet', () => this.#fleetHost) },
      TENANT: { getByName: (tenantId: string) => stub(tenantId, () => this.#tenant(tenantId)) },
      ALERTS: { getByName: () => stub('alerts', () => this.#alertsHost) },
      RESPONSES: { getByName: (tenantId: string) => stub(`responses ${tenantId}`, () => this.#responsesOf(tenantId)) },
    }
  }

  async #callObject(name: string, host: () => ObjectHost, method: string, args: unknown[]): Promise<unknown> {
    const sent = structuredClone(args)
    const scope = requestScope.getStore()
    if (scope && method === 'admit') scope.requestId = (sent[0] as { requestId: string }).requestId
    if (method === 'release') for (const requestId of sent[0] as string[]) this.#leasing.delete(requestId)
    const ids = JSON.stringify(sent).match(/req_[0-9a-f]{32}(\.\d)?/g) ?? []
    const what = `${name}.${method} ${[...new Set(ids)].slice(0, 3).join(' ')}`
    if (method === 'lease') return this.#leaseCall(scope, host(), what, sent)
    try {
      return await this.#network.call(what, () => this.#execute(host(), method, sent), repeatable.has(method))
    } catch (error) {
      this.#callFailed(method, sent)
      throw error
    }
  }

  /** A client that is known to have left asks for no slot, and gives up the one that it waits for. */
  async #leaseCall(scope: RequestScope | undefined, host: ObjectHost, what: string, sent: unknown[]): Promise<unknown> {
    const { requestId } = sent[0] as LeaseRequest
    if (scope?.reported) this.#auditor.violate('a client that left asks for no slot', requestId)
    this.#leasing.add(requestId)
    try {
      return await this.#network.call(what, () => this.#execute(host, 'lease', sent))
    } finally {
      if (this.#leasing.delete(requestId) && scope?.reported)
        this.#auditor.violate('a client that left leaves the queue', requestId)
    }
  }

  async #execute(host: ObjectHost, method: string, sent: unknown[]): Promise<unknown> {
    const answer = await host.invoke(method, sent)
    if (method === 'lease') this.#coverage.count('lease', (answer as { kind: string }).kind)
    if (method === 'heartbeat') this.#heard(sent[0] as Heartbeat, answer as HeartbeatReply)
    return answer
  }

  /** Two processes of one worker are never both accepted, unless the first is silent or has handed over. */
  #heard({ workerId, instance, replaces, state, sentAt }: Heartbeat, { status, answer }: HeartbeatReply): void {
    this.#coverage.count('heartbeat', answer.state)
    // A repeated heartbeat is answered and changes nothing.
    const isRepeated = sentAt <= (this.#heardAt.get(instance) ?? 0)
    if (!isRepeated) this.#heardAt.set(instance, sentAt)
    if (status !== 200 || isRepeated) return
    const last = this.#live.get(workerId)
    const { now } = this.#timeline
    const rival = last && last.instance !== instance && last.instance !== replaces && now - last.at < heartbeatLostMs
    if (rival) this.#auditor.violate('one process of a worker is live', `${workerId}: ${last.instance}, ${instance}`)
    if (state === 'gone') this.#live.delete(workerId)
    else this.#live.set(workerId, { instance, at: now })
  }

  #callFailed(method: string, sent: unknown[]): void {
    if (method === 'finish') this.#clientPopulation.storesLost.add(String(sent[1]))
    if (method === 'keep') this.#clientPopulation.storesLost.add((sent[0] as { responseId: string }).responseId)
    if (method !== 'settle') return
    for (const { dispatchId } of sent[0] as { dispatchId: string }[]) {
      const { hostedFailures } = this.#auditor
      hostedFailures.set(dispatchId, (hostedFailures.get(dispatchId) ?? 0) + 1)
    }
  }

  #tenant(tenantId: string): ObjectHost {
    const tenant = this.#tenants.get(tenantId)
    if (!tenant) throw new Error(`no tenant ${tenantId}`)
    return tenant
  }

  #responsesOf(tenantId: string): ObjectHost {
    const known = this.#responses.get(tenantId)
    if (known) return known
    const host = this.#newObject(`responses ${tenantId}`, edge.ResponsesObject)
    this.#responses.set(tenantId, host)
    return host
  }

  /** A worker's call to any isolate, which may die during the call. */
  #fetchEdge(url: URL, init: FetchInit): Promise<Response> {
    const { method, headers, body, signal } = init
    const send = async () => {
      const request = () => new Request(url, { method, headers, ...(body !== undefined && { body: body as string }) })
      const response = await this.random.pick(this.#isolates).handle(request)
      return { status: response.status, text: await response.text() }
    }
    if (url.pathname.endsWith('/receipts') && this.#faults.befalls('receipt repeated'))
      this.#network.muchLater(
        this.random.pick([500, 60_000, 20 * 60_000, 30 * hourMs]),
        'receipts again',
        () => void send(),
      )
    const late = url.pathname.endsWith('/receipts') && this.#faults.befalls('receipt late')
    const sent = late ? this.#sendLate(send) : this.#network.call(url.pathname, send)
    return new Promise((resolve, reject) => {
      signal?.addEventListener('abort', () => reject(signal.reason), { once: true })
      sent.then(({ status, text }) => resolve(new Response(text, { status })), reject)
    })
  }

  /** The call arrives after the worker has given up. */
  #sendLate<Value>(send: () => Promise<Value>): Promise<Value> {
    return new Promise((resolve, reject) => {
      const ms = this.random.pick([11_000, 16 * 60_000])
      this.#network.muchLater(ms, 'late receipts arrive', () => void send().then(resolve, reject))
    })
  }

  // Time.

  /** Once a second: looks whether only open reservations are left, which need no heartbeats until their alarm. */
  #tick(): void {
    const rested = this.#timeline.now >= this.#awakeUntil
    if (this.#faults.calm && !this.#asleep && rested && this.#isQuiet()) {
      this.#asleep = true
      for (const process of this.#processes()) process.machine.pause()
    }
    if (this.#faults.calm && this.#timeline.now - this.#awakeSince > busyMs)
      this.#auditor.violate('the world comes to rest', this.#unrest())
    if (!this.#asleep) this.#timeline.after(tickMs, 'tick', () => this.#tick())
  }

  /** A fleet object that has just restarted knows no worker yet when the alarm asks for them. */
  async #beforeAlarm(): Promise<void> {
    await this.#wakeWorkers()
    const { kinds } = this.#faults
    const early = kinds.has('clock forward') || kinds.has('fleet evicted')
    const restarts = early && ![...kinds].some((kind) => heartbeatFaults.has(kind)) && this.random.chance(0.6)
    if (restarts) this.#evictFleet()
  }

  #evictFleet(): void {
    this.#live.clear()
    this.#fleetHost.evict()
  }

  /** An alarm asks every worker; each sends a heartbeat before, as it would each second. */
  async #wakeWorkers(): Promise<void> {
    if (!this.#asleep) return
    this.#wake()
    await new Promise<void>((resolve) => this.#timeline.after(2_500, 'the workers are awake', resolve))
  }

  #wake(): void {
    if (!this.#asleep) return
    this.#asleep = false
    this.#awakeSince = this.#timeline.now
    this.#awakeUntil = this.#timeline.now + awakeMs
    for (const process of this.#processes()) process.machine.resume()
    this.#tick()
  }

  #isQuiet(): boolean {
    if (this.#clientPopulation.waiting > 0 || this.#restarts > 0) return false
    if (this.#processes().some((process) => process.up && !process.idle)) return false
    const { leased, unleased, waiting } = this.#fleetHost.direct('view') as Record<string, number>
    return (leased ?? 0) + (unleased ?? 0) + (waiting ?? 0) === 0
  }

  /** A message that arrived late may have left work behind. A lease that never ends must not keep the world awake. */
  #wakeUnlessQuiet(): boolean {
    if (this.#isQuiet() || this.#wakes >= wakesMax) return false
    this.#wakes += 1
    this.#wake()
    return true
  }

  #isAtRest(): boolean {
    return this.#asleep && this.#network.later === 0 && !this.#auditor.anyOpen
  }

  #unrest(): string {
    const open = [...this.#auditor.tenants.values()].filter((tenant) => tenant.open).map(({ tenantId }) => tenantId)
    const busy = this.#processes()
      .filter((process) => process.up && !process.idle)
      .map(({ machine }) => machine.name)
    const { leased, unleased, waiting } = this.#fleetHost.direct('view') as Record<string, number>
    return JSON.stringify({
      clients: this.#clientPopulation.waiting,
      open,
      busy,
      leased,
      unleased,
      waiting,
      steps: this.#step,
    })
  }

  // The end.

  #finish(): void {
    const auditor = this.#auditor
    const kept = new Set<string>()
    for (const { processes } of this.#workers) {
      for (const process of processes) {
        if (!process.up || !process.outbox) continue
        const { running, owed } = process.outbox.counts()
        if (running + owed > 0)
          auditor.violate('every outbox empties', `${process.machine.name}: ${running} run, ${owed} owed`)
        if (process.executing) auditor.violate('every connection ends', process.machine.name)
      }
    }
    for (const { dispatchId } of this.#receipts) kept.add(dispatchId)
    const { leased, unleased, waiting } = this.#fleetHost.direct('view') as Record<string, number>
    if ((leased ?? 0) + (unleased ?? 0) + (waiting ?? 0) > 0)
      auditor.violate('every lease ends', `${leased} leased, ${unleased} unleased, ${waiting} waiting`)
    if (this.#clientPopulation.waiting > 0)
      auditor.violate('every request ends', `${this.#clientPopulation.waiting} wait`)
    for (const tenant of this.#tenants.values()) this.#verify(tenant)
    auditor.finish(kept)
    for (const kind of faultKinds) this.#coverage.count('fault', kind, this.#faults.counts[kind])
  }

  #verify(tenant: ObjectHost): void {
    const { faults } = tenant.direct('verify') as { faults: string[] }
    if (faults.length > 0) this.#auditor.violate('the ledger verifies', `${tenant.name}: ${faults.join('; ')}`)
  }

  #workerKnows(tenantId: string, requestId: string): boolean {
    if (this.#fleetMayForget) return false
    const rang = this.#alarms.get(tenantId) ?? 0
    return this.#processes().some((process) => {
      if (process.machine.state !== 'up' || !process.outbox) return false
      const { running, owed } = process.outbox.about([requestId])
      // A dispatch may begin while the workers answer the inquiry.
      const began = (dispatchId: string) => this.#auditor.truths.get(dispatchId)?.beganAt ?? Number.POSITIVE_INFINITY
      return [...running, ...owed].some(({ dispatchId }) => began(dispatchId) < rang)
    })
  }

  // Clients and faults.

  #planRequests(): void {
    const random = this.random
    const bursts = random.chance(0.3)
    for (let index = random.int(3, random.pick([6, 12, 25])); index > 0; index--) {
      const at = bursts ? random.int(0, 3) * (this.#activeMs / 5) + random.int(0, 30) : random.int(0, this.#activeMs)
      this.#timeline.after(at, 'a client sends a request', () => this.#clientPopulation.send())
    }
  }

  #planFaults(): void {
    const random = this.random
    for (const kind of this.#faults.kinds) {
      for (let index = kind === 'key revoked' ? 1 : random.int(1, 3); index > 0; index--)
        this.#timeline.after(random.int(0, this.#activeMs), kind, () => this.#inject(kind))
    }
  }

  #inject(kind: Fault): void {
    if (!this.#faults.calm && this.#perform(kind)) this.#faults.counts[kind] += 1
  }

  /** Injects the fault; returns false if it had no target. */
  #perform(kind: Fault): boolean {
    const random = this.random
    const tenants = [...this.#tenants.values()]
    const tenant = (this.#mood === 'one-tenant' ? tenants[0] : random.pick(tenants)) as ObjectHost
    const worker = this.#workers.length > 0 ? random.pick(this.#workers) : undefined
    const process = worker?.processes.findLast(({ machine }) => machine.state === 'up')
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
        return worker !== undefined && process !== undefined && this.#killWorker(worker, process)
      case 'worker paused':
        if (!process) return false
        process.machine.pause()
        this.#timeline.after(random.pick([200, 2_000, 9_000]), 'a worker resumes', () => {
          if (!this.#faults.calm) process.machine.resume()
        })
        return true
      case 'worker drained':
        if (!worker || !process) return false
        process.stop(() => this.#restartLater(worker, process))
        return true
      case 'worker started twice':
        return worker !== undefined && this.#startTwice(worker)
      case 'worker clock wrong':
        if (!process) return false
        this.#fleetMayForget = true
        process.description.clock.offsetMs += random.pick([-1, 1]) * random.pick([3_000, 8_000, 40_000, hourMs])
        return true
      case 'engine died':
        if (process?.engineDies()) return true
        // The engine dies only while it is running a request.
        this.#timeline.after(random.int(20, 300), kind, () => this.#inject(kind))
        return false
      case 'clock forward':
        return this.#setClock(tenant, 1)
      case 'clock back':
        return this.#setClock(tenant, -1)
      case 'fleet evicted':
        // A heartbeat that is late may be later than the fleet's first answer about its workers.
        this.#fleetMayForget ||= [...this.#faults.kinds].some((kind) => heartbeatFaults.has(kind))
        this.#evictFleet()
        return true
      case 'responses evicted': {
        const [host] = this.#responses.values()
        host?.evict()
        return host !== undefined
      }
      case 'receipt forged':
        return worker !== undefined && this.#forge(worker)
      case 'key revoked':
        return attempt(() => tenant.direct('revokeKey', random.pick(['key1', 'key2'])))
      case 'limits changed':
        return attempt(() =>
          random.chance(0.5)
            ? tenant.direct('changeKey', { kind: 'operator' }, random.pick(['key1', 'key2']), {
                limits: this.#limits(['total', 'day', 'month']),
              })
            : tenant.direct('change', { limits: this.#limits(['day', 'month']) }),
        )
      case 'rates changed':
        return this.#changeRates(tenant)
      case 'credit added':
        return random.chance(0.6) ? this.#credit(tenant) : this.#reverse(tenant)
      case 'corrected':
        return this.#correct(tenant)
      // These faults meet messages, calls and clients at random moments.
      case 'client left':
      case 'connection broken':
      case 'call lost':
      case 'answer lost':
      case 'call repeated':
      case 'receipt repeated':
      case 'receipt late':
      case 'delayed':
      case 'hosted refused':
      case 'hosted broken':
      case 'hosted usage missing':
        return false
    }
  }

  #killIsolate(): boolean {
    const index = this.random.int(0, this.#isolates.length - 1)
    const killed = this.#isolates[index]
    if (!killed) return false
    killed.machine.kill()
    this.#clientPopulation.lost(killed)
    this.#isolates[index] = this.#newIsolate()
    return true
  }

  #killWorker(worker: EnrolledHost, process: WorkerProcess): boolean {
    process.kill()
    this.#restartLater(worker, process)
    return true
  }

  #restartLater(worker: EnrolledHost, { description }: WorkerProcess): void {
    this.#restarts += 1
    this.#timeline.after(this.random.pick([10, 800, 6_000, 20_000]), 'a worker restarts', () => {
      this.#restarts -= 1
      this.#restart(worker, description)
    })
  }

  #restart(worker: EnrolledHost, { host, clock }: WorkerProcess['description']): void {
    if (worker.processes.some((each) => each.up && each.description.host === host)) return
    this.#wake()
    this.#startProcess(worker, host, clock)
  }

  /** On the same host the folder is locked. Another port of the host has its own folder, as a second container has. */
  #startTwice(worker: EnrolledHost): boolean {
    this.#fleetMayForget = true
    const { workerId } = worker.key
    const host = this.random.chance(0.3) ? workerId : `${workerId}:81`
    if (host !== workerId && worker.processes.some((each) => each.up && each.description.host === host)) return false
    this.#startProcess(worker, host)
    return true
  }

  #setClock(tenant: ObjectHost, sign: 1 | -1): boolean {
    const random = this.random
    if (random.chance(0.75)) {
      tenant.clock.offsetMs += sign * random.pick([2_000, 20 * 60_000, 3 * hourMs, 26 * hourMs, 32 * 24 * hourMs])
      tenant.planAlarm()
    } else this.#edgeClock.offsetMs += sign * random.int(0, 8_000)
    return true
  }

  #changeRates(tenant: ObjectHost): boolean {
    const random = this.random
    return attempt(() => {
      const inputNano = random.int(0, 20)
      const changed = { inputNano, cachedNano: random.int(0, inputNano), outputNano: random.int(0, 150) }
      const effectiveAt = random.chance(0.5) ? null : tenant.clock.now() + random.pick([500, hourMs])
      return tenant.direct('addRates', { model: worldModel.id, effectiveAt, rates: changed })
    })
  }

  #credit(tenant: ObjectHost): boolean {
    const amountNano = this.random.int(1, 9_000)
    return this.#postMoney(tenant, { kind: 'credit', amountNano, requestId: null, creditId: null })
  }

  /** Of a credit that was added before, or of the first one. */
  #reverse(tenant: ObjectHost): boolean {
    const creditId = this.random.chance(0.5) ? 'opening-credit' : `order-${this.random.int(1, this.#serial + 1)}`
    const amountNano = this.random.int(1, 6_000)
    return this.#postMoney(tenant, { kind: 'reversal', amountNano, requestId: null, creditId })
  }

  #correct(tenant: ObjectHost): boolean {
    const requests = [...(this.#auditor.tenants.get(tenant.name)?.requests.values() ?? [])]
    const requestId = requests.length > 0 && this.random.chance(0.6) ? this.random.pick(requests).requestId : null
    const amountNano = this.random.int(-4_000, 3_000)
    return this.#postMoney(tenant, { kind: 'correction', amountNano, requestId, creditId: null })
  }

  #postMoney(tenant: ObjectHost, money: Pick<MoneyEntry, 'kind' | 'amountNano' | 'requestId' | 'creditId'>): boolean {
    const orderId = `order-${++this.#serial}`
    return attempt(() => tenant.direct('postMoney', { ...money, orderId, note: money.kind }))
  }

  /** A dishonest worker sends a receipt that no engine earned. */
  #forge(worker: EnrolledHost): boolean {
    const receipt = this.#receipts.length > 0 ? this.random.pick(this.#receipts) : undefined
    const forged = receipt && forge(receipt, worker.key.workerId, this.random)
    if (!forged) return false
    const machine = new Machine('forger', new Clock(this.#timeline), this.#timeline)
    machine.run(() => {
      const send = async () => {
        const claims = { ...forged, workerId: worker.key.workerId }
        const token = await seal('receipt', claims, keyIdOf(worker.key), await sealKey(worker.key.secret))
        const body = JSON.stringify({ receipts: [token] })
        const headers = { 'content-type': 'application/json' }
        const response = await fetch('https://edge/internal/receipts', { method: 'POST', headers, body })
        const answer = (await response.json()) as { done?: string[] }
        if (answer.done?.length) this.#auditor.violate('a forged receipt is refused', JSON.stringify([forged, answer]))
        this.#coverage.count('forgery', 'refused')
      }
      void send().catch(() => undefined)
    })
    return true
  }

  /** Ends all faults and restarts everything that is down, so that every request can end. */
  #becomeCalm(): void {
    this.#faults.calm = true
    this.#awakeSince = this.#timeline.now
    this.#awakeUntil = this.#timeline.now + awakeMs
    this.#edgeClock.offsetMs = 0
    for (const tenant of this.#tenants.values()) {
      tenant.failsAfter = null
      tenant.clock.offsetMs = 0
      tenant.planAlarm()
    }
    for (const worker of this.#workers) {
      for (const process of worker.processes) {
        process.machine.resume()
        process.description.clock.offsetMs = 0
      }
      for (const { description, up } of [...worker.processes]) if (!up) this.#restart(worker, description)
    }
  }
}

/** Faults that may keep a live worker's heartbeats away. */
const heartbeatFaults: ReadonlySet<Fault> = new Set([
  ...(['delayed', 'call lost', 'answer lost', 'isolate killed', 'worker paused', 'worker killed'] as const),
])

interface HeartbeatReply {
  status: number
  answer: { state: string }
}

/** Calls that the network may deliver twice: the product promises that a repetition changes nothing. */
const repeatable: ReadonlySet<string> = new Set([
  ...['admit', 'readmit', 'void', 'settle', 'release', 'releaseOn', 'workerFailed', 'receiptsCame', 'probed'],
  ...['finish', 'abandon', 'keep', 'identify', 'heartbeat', 'registry', 'view', 'position', 'suggest'],
])

/** Whether the change was made; the storage may refuse it. */
function attempt(change: () => unknown): boolean {
  try {
    const result = change() as { ok?: boolean } | undefined
    return result?.ok !== false
  } catch {
    return false
  }
}
