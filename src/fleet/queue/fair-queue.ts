/**
 * The order of waiting requests: start-time fair queueing (Goyal, Vin and Cheng, 1996) over tenants, by token cost.
 *
 * Each waiting tenant has a tag, the virtual time at which its next request starts. The queue serves the lowest tag.
 * Virtual time becomes that tag, and the tenant's tag grows by cost / weight. A new tenant starts at virtual time.
 *
 * - Fairness: while two tenants of one class both wait in one lane, their granted tokens, each divided by the tenant's
 *   weight, differ by at most one largest request of each. No pattern of requests can change that.
 * - Delay: a new tenant without debt is served after at most one request of every other waiting tenant of its class.
 *   Its debt is the charge of its last grant, at most one request.
 *
 * Why this algorithm: its bounds hold for any rate of free slots, which is unknown here (weighted fair queueing needs
 * it). A newcomer does not wait for a whole round, as in deficit round robin. And a tag does not depend on the cost of
 * the request at the head, so a request can leave from any position without correction.
 *
 * Extensions:
 * - Each lane (see `laneOf`) holds requests that the same workers can serve. No lane blocks another.
 * - Each lane has two classes. Interactive goes first, but at least one of every `batchEvery` grants is batch while
 *   batch waits: the n-th batch request in its class's order is served within n × `batchEvery` grants.
 * - A retried request, granted before and not answered, has paid already. Retried requests go before all others, first
 *   come, first served. Each follows an earlier grant, so this at most doubles the wait of others.
 * - When a class of a lane is empty, its debts are forgotten: service while no request waited delayed no other tenant.
 * - A request that has waited longer than its first-token target (`dueMs`) is late. Requests that can still be in time
 *   go before late ones: always before late ones of the same tenant, and before those of another tenant as long as that
 *   tenant is delayed by at most `lateCredit` requests. Under overload some requests then meet their target, instead of
 *   none. The fairness bound grows by that credit only.
 *
 * Enqueue, dequeue and cancel are O(log n) in the number of waiting tenants; a position is O(1).
 *
 * Order is decided with integers only. A charge is cost × `scale` / weight, rounded up, which is less than a token too
 * much for every tenant alike. Costs stay below 2^22 and charges below 2^32, and tags are reset when virtual time
 * passes 2^50, so every sum is exact. Positions and waits are estimates and decide nothing.
 */
import { Heap } from './heap.ts'
import { type Link, LinkedList } from './linked-list.ts'

export const priorityClasses = ['interactive', 'batch'] as const
export type PriorityClass = (typeof priorityClasses)[number]

export const waitingMax = 20_000
/** One tenant cannot fill the queue. */
export const waitingPerTenantMax = 10_000
export const batchEvery = 8
export const weightMax = 1_000
/** Measured in requests of the tenant that goes first. */
export const lateCredit = 8
const costMax = 2 ** 22 - 1
const scale = 1_000
const virtualMax = 2 ** 50
/** Empty lanes beyond this number are deleted; others keep their state. */
const lanesKept = 64
const idleFlowsMax = 2 * waitingMax

export interface Queued {
  requestId: string
  tenantId: string
  model: string
  /** From the tenant's settings, 1 to 1,000: weight 200 gets twice the share of weight 100. */
  weight: number
  priorityClass: PriorityClass
  /** Reserved tokens, prompt and output. */
  costTokens: number
  /** Whether this is a retry: the request had a slot before and got no answer. */
  again: boolean
  /** The request is late after this wait, in milliseconds. */
  dueMs: number
}

/** A request's position in its lane. `FairQueue.standing` states its precision. */
export interface Standing {
  position: number
  of: number
}

export interface QueueEntry<Item extends Queued> {
  readonly item: Item
  readonly since: number
  /** Queue position on arrival. */
  position: number
}

interface WaitingEntry<Item extends Queued> extends QueueEntry<Item> {
  readonly lane: Lane<Item>
  /** Undefined for a retried request. */
  readonly flow: Flow<Item> | undefined
  /** All requests and tokens that were ever added to the flow before this one. */
  readonly ordinal: number
  readonly tokensBefore: number
  late: boolean
  /** Links in the flow's list or the lane's retry list, and in the list of all entries. */
  link: Link<WaitingEntry<Item>> | undefined
  byAge: Link<WaitingEntry<Item>> | undefined
}

/** One tenant's requests of one class in one lane. An empty flow is kept while its tag is ahead of virtual time. */
interface Flow<Item extends Queued> {
  readonly tenantId: string
  readonly rank: Rank<Item>
  weight: number
  tag: number
  /** Flows with equal tags are served in the order in which the tags were set. */
  serial: number
  /** Index among flows with the same tag. */
  tie: number
  /** Requests in time, and requests known to be late. */
  readonly entries: LinkedList<WaitingEntry<Item>>
  readonly late: LinkedList<WaitingEntry<Item>>
  costTokens: number
  cameRequests: number
  cameTokens: number
}

/** One class of one lane. */
interface Rank<Item extends Queued> {
  readonly priorityClass: PriorityClass
  virtual: number
  readonly flows: Map<string, Flow<Item>>
  readonly order: Heap<Flow<Item>>
  /** Flows with a request that is not known to be late. */
  readonly inTime: Heap<Flow<Item>>
  serial: number
  /** For each tag in the heap: how many flows got it, and how many of them have left it. */
  readonly ties: Map<number, { assigned: number; left: number }>
  /** Sums over the waiting flows. */
  waiting: number
  costTokens: number
  weights: number
  tidyAt: number
}

interface Lane<Item extends Queued> {
  readonly name: string
  readonly back: LinkedList<WaitingEntry<Item>>
  readonly interactive: Rank<Item>
  readonly batch: Rank<Item>
  /** Interactive grants since the last batch one, while batch waits. */
  passedBatch: number
}

export type Added<Item extends Queued> =
  | { kind: 'full' }
  /** `displaced` was removed to make space. */
  | { kind: 'waiting'; displaced: QueueEntry<Item> | undefined }

export class FairQueue<Item extends Queued> {
  readonly #laneOf: (item: Item) => string
  readonly #lanes = new Map<string, Lane<Item>>()
  readonly #requests = new Map<string, WaitingEntry<Item>>()
  readonly #byAge = new LinkedList<WaitingEntry<Item>>()
  readonly #ofTenant = new Map<string, number>()
  /** Batch flows by waiting tokens over weight, the flow furthest over its share first. */
  readonly #batchLoad = new Heap<Flow<Item>>((a, b) => a.costTokens * b.weight > b.costTokens * a.weight)

  /** @param laneOf the name of a request's lane */
  constructor(laneOf: (item: Item) => string) {
    this.#laneOf = laneOf
  }

  get size(): number {
    return this.#requests.size
  }

  /** Throws if a request with this id already waits: that is an error of the caller. */
  add(item: Item, now: number): Added<Item> {
    if (this.#requests.has(item.requestId)) throw new Error(`request ${item.requestId} is already waiting`)
    const ofTenant = this.#ofTenant.get(item.tenantId) ?? 0
    const tenantFull = ofTenant >= waitingPerTenantMax
    let displaced: WaitingEntry<Item> | undefined
    if (tenantFull || this.size >= waitingMax) {
      displaced = item.priorityClass === 'interactive' ? this.#youngestBatch(tenantFull ? item : undefined) : undefined
      if (!displaced) return { kind: 'full' }
      this.#detach(displaced)
    }
    this.#attach(item, now)
    return { kind: 'waiting', displaced }
  }

  /** The next request of a lane, not counting retried ones; see `takeBack`. */
  next(name: string, now: number, skips: Skips<Item> = skipsNone): QueueEntry<Item> | undefined {
    const lane = this.#lanes.get(name)
    return lane && nextIn(nextRank(lane), now, skips)?.entry
  }

  /** Removes and returns the request that `next` returns. */
  take(name: string, now: number, skips: Skips<Item> = skipsNone): QueueEntry<Item> | undefined {
    const lane = this.#lanes.get(name)
    const rank = lane && nextRank(lane)
    const next = rank && nextIn(rank, now, skips)
    if (!lane || !rank || !next) return undefined
    const { flow, entry } = next
    rank.virtual = Math.max(rank.virtual, flow.tag)
    setTag(flow, flow.tag + chargeOf(entry.item.costTokens, flow.weight))
    if (rank.priorityClass === 'batch') lane.passedBatch = 0
    else if (lane.batch.waiting > 0) lane.passedBatch += 1
    this.#detach(entry)
    if (rank.virtual > virtualMax) setBack(rank)
    return entry
  }

  /** Removes and returns the first retried request that `fits`, among the first `lookMax`. */
  takeBack(name: string, fits: (item: Item) => boolean, lookMax: number): QueueEntry<Item> | undefined {
    let link = this.#lanes.get(name)?.back.first
    for (let looked = 0; link && looked < lookMax; looked++, link = link.after) {
      if (!fits(link.value.item)) continue
      this.#detach(link.value)
      return link.value
    }
    return undefined
  }

  remove(requestId: string): QueueEntry<Item> | undefined {
    const entry = this.#requests.get(requestId)
    if (entry) this.#detach(entry)
    return entry
  }

  /** Removes and returns the requests that have waited since before `time`. */
  removeOlder(time: number): QueueEntry<Item>[] {
    const removed: QueueEntry<Item>[] = []
    for (let first = this.#byAge.first; first && first.value.since < time; first = this.#byAge.first) {
      this.#detach(first.value)
      removed.push(first.value)
    }
    return removed
  }

  /** Names of the lanes with waiting requests. */
  lanes(): string[] {
    return [...this.#lanes.values()].filter((lane) => waitingIn(lane) > 0).map((lane) => lane.name)
  }

  /** All waiting requests of a lane, in no particular order. Linear time. */
  waitingFor(name: string): QueueEntry<Item>[] {
    const lane = this.#lanes.get(name)
    if (!lane) return []
    const flows = [lane.interactive, lane.batch].flatMap((rank) => [...rank.flows.values()])
    return [...lane.back, ...flows.flatMap((flow) => [...flow.late, ...flow.entries])]
  }

  /** The first `lookMax` retried requests of a lane. */
  back(name: string, lookMax: number): QueueEntry<Item>[] {
    const entries: QueueEntry<Item>[] = []
    for (const entry of this.#lanes.get(name)?.back ?? []) if (entries.push(entry) >= lookMax) break
    return entries
  }

  /** Number of waiting requests in a lane, without retried ones. */
  backlog(name: string): number {
    const lane = this.#lanes.get(name)
    return lane ? lane.interactive.waiting + lane.batch.waiting : 0
  }

  /**
   * The request to shed first: the youngest batch request of the tenant with the most waiting batch tokens over weight,
   * otherwise the oldest late request of the tenant with the most waiting tokens over weight. Undefined if none is
   * late.
   */
  surplus(name: string): QueueEntry<Item> | undefined {
    const lane = this.#lanes.get(name)
    if (!lane) return undefined
    const batch = heaviest(lane.batch, (flow) => lengthOf(flow) > 0)
    return batch ? youngestOf(batch) : heaviest(lane.interactive, (flow) => flow.late.length > 0)?.late.first?.value
  }

  entry(requestId: string): QueueEntry<Item> | undefined {
    return this.#requests.get(requestId)
  }

  /**
   * Estimated position, in constant time: requests of the same tenant ahead are counted, those of other tenants are
   * estimated from weights and costs. Exact if one tenant waits and no request left from its middle. For tenants with
   * equal backlogs the error is at most one request per tenant; for tenants with shorter backlogs it is too high.
   * Always between 1 and `of`. Newcomers may still be served earlier.
   */
  standing(requestId: string): Standing | undefined {
    const entry = this.#requests.get(requestId)
    if (!entry) return undefined
    const { lane, flow } = entry
    const of = waitingIn(lane)
    if (!flow) return { position: Math.min(of, placeAmong(lane.back, entry)), of }
    const inClass = placeInRank(entry, flow)
    const otherClass =
      flow.rank === lane.interactive
        ? Math.min(lane.batch.waiting, Math.floor((inClass + lane.passedBatch) / batchEvery))
        : Math.min(lane.interactive.waiting, Math.max(0, inClass * (batchEvery - 1) - lane.passedBatch))
    return { position: Math.min(of, lane.back.length + inClass + otherClass), of }
  }

  #attach(item: Item, since: number): void {
    const lane = this.#lane(this.#laneOf(item))
    const flow = item.again ? undefined : flowOf(lane[item.priorityClass], item)
    const ordinal = flow?.cameRequests ?? 0
    const tokensBefore = flow?.cameTokens ?? 0
    const entry: WaitingEntry<Item> = {
      item,
      since,
      position: 0,
      lane,
      flow,
      ordinal,
      tokensBefore,
      late: false,
      link: undefined,
      byAge: undefined,
    }
    entry.byAge = this.#byAge.add(entry)
    entry.link = (flow?.entries ?? lane.back).add(entry)
    if (flow) this.#grow(flow, item)
    this.#requests.set(item.requestId, entry)
    this.#ofTenant.set(item.tenantId, (this.#ofTenant.get(item.tenantId) ?? 0) + 1)
    entry.position = this.standing(item.requestId)?.position ?? 1
  }

  #grow(flow: Flow<Item>, item: Item): void {
    const { rank } = flow
    const cost = boundedCost(item.costTokens)
    flow.cameRequests += 1
    flow.cameTokens += cost
    flow.costTokens += cost
    rank.waiting += 1
    rank.costTokens += cost
    if (!rank.order.has(flow)) {
      rank.weights += flow.weight
      setTag(flow, Math.max(rank.virtual, flow.tag))
      rank.order.add(flow)
      rank.inTime.add(flow)
      if (rank.priorityClass === 'batch') this.#batchLoad.add(flow)
      return
    }
    if (!rank.inTime.has(flow)) rank.inTime.add(flow)
    if (rank.priorityClass === 'batch') this.#batchLoad.moved(flow)
  }

  #detach(entry: WaitingEntry<Item>): void {
    const { item, lane, flow } = entry
    this.#requests.delete(item.requestId)
    this.#byAge.remove(entry.byAge)
    const ofTenant = (this.#ofTenant.get(item.tenantId) ?? 1) - 1
    if (ofTenant > 0) this.#ofTenant.set(item.tenantId, ofTenant)
    else this.#ofTenant.delete(item.tenantId)
    if (flow) {
      listOf(flow, entry).remove(entry.link)
      this.#shrink(flow, item)
    } else lane.back.remove(entry.link)
    if (waitingIn(lane) === 0 && this.#lanes.size > lanesKept) this.#lanes.delete(lane.name)
  }

  #shrink(flow: Flow<Item>, item: Item): void {
    const { rank } = flow
    const cost = boundedCost(item.costTokens)
    flow.costTokens -= cost
    rank.waiting -= 1
    rank.costTokens -= cost
    if (flow.entries.length === 0) rank.inTime.remove(flow)
    if (lengthOf(flow) > 0) {
      if (rank.priorityClass === 'batch') this.#batchLoad.moved(flow)
      return
    }
    untie(flow)
    rank.order.remove(flow)
    rank.weights -= flow.weight
    this.#batchLoad.remove(flow)
    if (rank.waiting === 0) {
      rank.flows.clear()
      rank.ties.clear()
      rank.virtual = 0
    } else if (flow.tag <= rank.virtual) rank.flows.delete(flow.tenantId)
    else if (rank.flows.size > rank.tidyAt) tidy(rank)
  }

  /** The youngest batch request of `of`'s tenant, or else of the tenant furthest over its share. */
  #youngestBatch(of: Item | undefined): WaitingEntry<Item> | undefined {
    if (!of) return youngestOf(this.#batchLoad.first())
    const own = [...this.#lanes.values()].flatMap((lane) => youngestOf(lane.batch.flows.get(of.tenantId)) ?? [])
    return own.sort((a, b) => b.since - a.since)[0]
  }

  #lane(name: string): Lane<Item> {
    const known = this.#lanes.get(name)
    if (known) return known
    const lane: Lane<Item> = {
      name,
      back: new LinkedList(),
      interactive: newRank('interactive'),
      batch: newRank('batch'),
      passedBatch: 0,
    }
    this.#lanes.set(name, lane)
    return lane
  }
}

function nextRank<Item extends Queued>(lane: Lane<Item>): Rank<Item> {
  const { interactive, batch } = lane
  if (interactive.waiting === 0) return batch
  return batch.waiting > 0 && lane.passedBatch >= batchEvery - 1 ? batch : interactive
}

/** Whether to pass over the tenant of this request. At most `skippedMax` tenants lose one turn and nothing else. */
type Skips<Item> = (item: Item) => boolean

const skipsNone = () => false
const skippedMax = 4

function nextIn<Item extends Queued>(rank: Rank<Item>, now: number, skips: Skips<Item>) {
  const skipped: Flow<Item>[] = []
  let next = firstIn(rank, now)
  while (next && skips(next.entry.item) && skipped.length < skippedMax) {
    rank.order.remove(next.flow)
    rank.inTime.remove(next.flow)
    skipped.push(next.flow)
    next = firstIn(rank, now)
  }
  for (const flow of skipped) {
    rank.order.add(flow)
    if (flow.entries.length > 0) rank.inTime.add(flow)
  }
  return next && skips(next.entry.item) ? undefined : next
}

/** The flow whose turn it is; see the file header on late requests. */
function firstIn<Item extends Queued>(
  rank: Rank<Item>,
  now: number,
): { flow: Flow<Item>; entry: WaitingEntry<Item> } | undefined {
  const first = rank.order.first()
  const entry = first && headOf(first, now)
  if (!first || !entry?.late) return first && entry && { flow: first, entry }
  for (let flow = rank.inTime.first(); flow; flow = rank.inTime.first()) {
    const other = headOf(flow, now)
    if (!other || other.late) continue
    const credit = lateCredit * chargeOf(other.item.costTokens, flow.weight)
    // A flow so far ahead of the late one must wait for its own turn.
    const mayPass = flow.tag - first.tag <= credit
    return mayPass ? { flow, entry: other } : { flow: first, entry }
  }
  return { flow: first, entry }
}

/** The flow's next request. Moves requests that have become late to the `late` list, each once. */
function headOf<Item extends Queued>(flow: Flow<Item>, now: number): WaitingEntry<Item> | undefined {
  for (let first = flow.entries.first?.value; first; first = flow.entries.first?.value) {
    if (now - first.since <= first.item.dueMs) return first
    flow.entries.remove(first.link)
    first.late = true
    first.link = flow.late.add(first)
  }
  flow.rank.inTime.remove(flow)
  return flow.late.first?.value
}

function listOf<Item extends Queued>(flow: Flow<Item>, entry: WaitingEntry<Item>): LinkedList<WaitingEntry<Item>> {
  return entry.late ? flow.late : flow.entries
}

function lengthOf<Item extends Queued>(flow: Flow<Item>): number {
  return flow.entries.length + flow.late.length
}

function youngestOf<Item extends Queued>(flow: Flow<Item> | undefined): WaitingEntry<Item> | undefined {
  return flow?.entries.last?.value ?? flow?.late.last?.value
}

function heaviest<Item extends Queued>(
  rank: Rank<Item>,
  counts: (flow: Flow<Item>) => boolean,
): Flow<Item> | undefined {
  let heaviest: Flow<Item> | undefined
  for (const flow of rank.flows.values()) {
    if (!counts(flow)) continue
    if (!heaviest || flow.costTokens * heaviest.weight > heaviest.costTokens * flow.weight) heaviest = flow
  }
  return heaviest
}

function waitingIn<Item extends Queued>(lane: Lane<Item>): number {
  return lane.back.length + lane.interactive.waiting + lane.batch.waiting
}

function isBefore<Item extends Queued>(a: Flow<Item>, b: Flow<Item>): boolean {
  return a.tag < b.tag || (a.tag === b.tag && a.serial < b.serial)
}

function newRank<Item extends Queued>(priorityClass: PriorityClass): Rank<Item> {
  return {
    priorityClass,
    virtual: 0,
    flows: new Map(),
    order: new Heap(isBefore),
    inTime: new Heap(isBefore),
    serial: 0,
    ties: new Map(),
    waiting: 0,
    costTokens: 0,
    weights: 0,
    tidyAt: 256,
  }
}

/** The item's flow, updated to the tenant's current weight. */
function flowOf<Item extends Queued>(rank: Rank<Item>, item: Item): Flow<Item> {
  const weight = Math.min(weightMax, Math.max(1, Math.trunc(item.weight)))
  const known = rank.flows.get(item.tenantId)
  if (known) {
    if (lengthOf(known) > 0) rank.weights += weight - known.weight
    known.weight = weight
    return known
  }
  const flow: Flow<Item> = {
    tenantId: item.tenantId,
    rank,
    weight,
    tag: 0,
    serial: 0,
    tie: 0,
    entries: new LinkedList(),
    late: new LinkedList(),
    costTokens: 0,
    cameRequests: 0,
    cameTokens: 0,
  }
  rank.flows.set(item.tenantId, flow)
  return flow
}

/** Sets a flow's next tag and reorders the heaps. */
function setTag<Item extends Queued>(flow: Flow<Item>, tag: number): void {
  const { rank } = flow
  const inOrder = rank.order.has(flow)
  if (inOrder) untie(flow)
  flow.tag = tag
  flow.serial = rank.serial++
  const tie = rank.ties.get(tag)
  flow.tie = tie?.assigned ?? 0
  if (tie) tie.assigned += 1
  else rank.ties.set(tag, { assigned: 1, left: 0 })
  if (inOrder) rank.order.moved(flow)
  if (rank.inTime.has(flow)) rank.inTime.moved(flow)
}

function untie<Item extends Queued>({ rank, tag }: Flow<Item>): void {
  const tie = rank.ties.get(tag)
  if (!tie) return
  tie.left += 1
  if (tie.left === tie.assigned) rank.ties.delete(tag)
}

/** Estimated position in the class; 1 is next. */
function placeInRank<Item extends Queued>(entry: WaitingEntry<Item>, flow: Flow<Item>): number {
  const { rank } = flow
  const head = listOf(flow, entry).first?.value ?? entry
  const ownBefore = entry.ordinal - head.ordinal + (entry.late ? flow.entries.length : 0)
  const others = rank.waiting - lengthOf(flow)
  if (others === 0) return 1 + ownBefore
  const distance = flow.tag - rank.virtual + ((entry.tokensBefore - head.tokensBefore) * scale) / flow.weight
  const othersTokens = (distance * (rank.weights - flow.weight)) / scale
  const meanCost = (rank.costTokens - flow.costTokens) / others
  const tied = Math.max(0, flow.tie - (rank.ties.get(flow.tag)?.left ?? 0))
  return 1 + ownBefore + Math.min(others, Math.max(0, Math.floor(othersTokens / meanCost)) + tied)
}

/** Counts up to a bound: more requests are retried at once only after the loss of a large worker. */
function placeAmong<Item extends Queued>(back: LinkedList<WaitingEntry<Item>>, entry: WaitingEntry<Item>): number {
  let position = 1
  for (let link = back.first; link && link.value !== entry && position < 1_000; link = link.after) position += 1
  return position
}

/** Deletes flows without requests and debts; every empty flow if there are too many. */
function tidy<Item extends Queued>(rank: Rank<Item>): void {
  const tooMany = rank.flows.size > idleFlowsMax
  for (const flow of rank.flows.values()) {
    if (lengthOf(flow) === 0 && (tooMany || flow.tag <= rank.virtual)) rank.flows.delete(flow.tenantId)
  }
  rank.tidyAt = Math.max(256, 2 * rank.flows.size)
}

/** Resets virtual time to 0 and keeps each flow's distance from it. */
function setBack<Item extends Queued>(rank: Rank<Item>): void {
  const by = rank.virtual
  rank.virtual = 0
  for (const flow of rank.flows.values()) flow.tag = Math.max(0, flow.tag - by)
  const ties = [...rank.ties]
  rank.ties.clear()
  for (const [tag, tie] of ties) rank.ties.set(tag - by, tie)
}

function chargeOf(costTokens: number, weight: number): number {
  return Math.ceil((boundedCost(costTokens) * scale) / weight)
}

function boundedCost(costTokens: number): number {
  return Math.min(costMax, Math.max(1, Math.trunc(costTokens)))
}
