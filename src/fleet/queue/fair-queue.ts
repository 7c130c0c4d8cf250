/**
 * Who is served next: start-time fair queueing (Goyal, Vin and Cheng, 1996) over tenants, by token cost.
 *
 * Each tenant that waits has a tag, the virtual time at which its next request starts. The lowest tag is served; virtual
 * time becomes that tag, and the tenant's tag grows by cost / weight. A tenant that comes anew starts at virtual time.
 *
 * - Fairness: while two tenants of one class both wait in one lane, the tokens that they were granted, each divided by
 *   its weight, differ by at most one largest request of each, divided by its weight. What one sends cannot change it.
 * - Delay: a tenant that comes anew, without debt, is served after at most one request of every other of its class that
 *   waits. Its debt is what its last grant put it ahead, one request at most.
 *
 * Why this one: the bounds hold whatever the rate at which slots come free, which nobody knows (weighted fair queueing
 * must know it), and a newcomer does not wait for others' quanta (in deficit round robin it waits for a whole round). And
 * since a tag does not depend on the cost of the request at the head, a request can leave from anywhere at no price.
 *
 * Around it:
 * - Requests that no worker could serve alike stand in lanes of their own (see `laneOf`): none blocks another lane.
 * - Two classes in each lane. Interactive goes first, but of every `batchEvery` grants at least one is batch while batch
 *   waits: the n-th batch request in its class's order is served within n × `batchEvery` grants.
 * - A request that comes back, granted before and not answered, has paid already: it goes before all, first come, first
 *   served. Each follows a grant of its own, so this at most doubles what others wait.
 * - When a class of a lane is empty its debts are forgotten: what was served while nobody waited took from nobody.
 *
 * - A request that has waited longer than it was promised its first token in (`dueMs`) is late. Requests that can still
 *   be in time go before late ones: a tenant's own always, and other tenants' as long as the one that has only late ones
 *   is not put back by more than `lateCredit` requests. Under overload what there is is spent where it counts, instead of
 *   making everything late; and the bound of fairness grows by that credit, no further.
 *
 * Enqueue, dequeue and cancel are O(log n) in the tenants that wait, a position is O(1).
 *
 * Integers only where order is decided. A charge is cost × `scale` / weight rounded up: less than a token too much, for
 * every tenant alike. Costs stay below 2^22, a charge below 2^32, and tags are set back when virtual time passes 2^50:
 * every sum is exact. Positions and waits are estimates, and nothing is decided by them.
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
/** In requests of the one that goes before. */
export const lateCredit = 8
const costMax = 2 ** 22 - 1
const scale = 1_000
const virtualMax = 2 ** 50
/** Lanes that nobody waits in are kept, for their figures, up to so many. */
const lanesKept = 64
const idleFlowsMax = 2 * waitingMax

export interface Queued {
  requestId: string
  tenantId: string
  model: string
  /** From the tenant's plan, 1 to 1,000: a tenant of weight 200 gets twice what one of 100 gets. */
  weight: number
  priorityClass: PriorityClass
  /** What was reserved: prompt and output. */
  costTokens: number
  /** It had a slot before and comes back without an answer. */
  again: boolean
  /** After so long a wait it is late, in milliseconds. */
  dueMs: number
}

/** Where a request stands among those that wait in its lane. See `FairQueue.standing` for how exact it is. */
export interface Standing {
  position: number
  of: number
}

export interface QueueEntry<Item extends Queued> {
  readonly item: Item
  readonly since: number
  /** What `standing` said when it came. */
  position: number
}

interface WaitingEntry<Item extends Queued> extends QueueEntry<Item> {
  readonly lane: Lane<Item>
  /** None for a request that came back. */
  readonly flow: Flow<Item> | undefined
  /** Requests and tokens that came in its flow before it, ever. */
  readonly ordinal: number
  readonly tokensBefore: number
  late: boolean
  /** In its flow, or among those that came back; and among all. */
  link: Link<WaitingEntry<Item>> | undefined
  byAge: Link<WaitingEntry<Item>> | undefined
}

/** One tenant's requests of one class in one lane. Kept while it is ahead of virtual time, also when it is empty. */
interface Flow<Item extends Queued> {
  readonly tenantId: string
  readonly rank: Rank<Item>
  weight: number
  tag: number
  /** Equal tags go in the order in which they were set. */
  serial: number
  /** Its place among equal tags. */
  tie: number
  /** Those in time, and those that are known to be late. */
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
  /** Those of them that have a request which is not known to be late. */
  readonly inTime: Heap<Flow<Item>>
  serial: number
  /** Of each tag in the heap: how many flows were given it, and how many of them have gone on. */
  readonly ties: Map<number, { given: number; gone: number }>
  /** Sums over the flows that wait. */
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
  /** `displaced` had to leave for it. */
  | { kind: 'waiting'; displaced: QueueEntry<Item> | undefined }

export class FairQueue<Item extends Queued> {
  readonly #laneOf: (item: Item) => string
  readonly #lanes = new Map<string, Lane<Item>>()
  readonly #requests = new Map<string, WaitingEntry<Item>>()
  readonly #byAge = new LinkedList<WaitingEntry<Item>>()
  readonly #ofTenant = new Map<string, number>()
  /** Flows of class batch by what waits in them over their weight, the furthest over its share first. */
  readonly #batchLoad = new Heap<Flow<Item>>((a, b) => a.costTokens * b.weight > b.costTokens * a.weight)

  /** @param laneOf the name of a request's lane */
  constructor(laneOf: (item: Item) => string) {
    this.#laneOf = laneOf
  }

  get size(): number {
    return this.#requests.size
  }

  /** A request must not wait twice: an id that waits is an error of the caller's. */
  add(item: Item, now: number): Added<Item> {
    if (this.#requests.has(item.requestId)) throw new Error(`request ${item.requestId} waits already`)
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

  /** Who is next in this lane. Those that came back are `takeBack`'s. */
  next(name: string, now: number, skips: Skips<Item> = nobody): QueueEntry<Item> | undefined {
    const lane = this.#lanes.get(name)
    return lane && nextIn(nextRank(lane), now, skips)?.entry
  }

  /** Takes who is next in this lane: the one that `next` names. */
  take(name: string, now: number, skips: Skips<Item> = nobody): QueueEntry<Item> | undefined {
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

  /** Takes the first of those that came back which `fits`, of the first `lookMax`. */
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

  /** Removes those that have waited since before `time`. */
  removeOlder(time: number): QueueEntry<Item>[] {
    const removed: QueueEntry<Item>[] = []
    for (let first = this.#byAge.first; first && first.value.since < time; first = this.#byAge.first) {
      this.#detach(first.value)
      removed.push(first.value)
    }
    return removed
  }

  /** Lanes that somebody waits in. */
  lanes(): string[] {
    return [...this.#lanes.values()].filter((lane) => waitingIn(lane) > 0).map((lane) => lane.name)
  }

  /** Who waits in this lane, in no order that matters. For the rare cases that concern all of them. */
  waitingFor(name: string): QueueEntry<Item>[] {
    const lane = this.#lanes.get(name)
    if (!lane) return []
    const flows = [lane.interactive, lane.batch].flatMap((rank) => [...rank.flows.values()])
    return [...lane.back, ...flows.flatMap((flow) => [...flow.late, ...flow.entries])]
  }

  /** Those that came back in this lane, the first `lookMax`. */
  back(name: string, lookMax: number): QueueEntry<Item>[] {
    const entries: QueueEntry<Item>[] = []
    for (const entry of this.#lanes.get(name)?.back ?? []) if (entries.push(entry) >= lookMax) break
    return entries
  }

  /** How many wait in this lane, without those that came back. */
  backlog(name: string): number {
    const lane = this.#lanes.get(name)
    return lane ? lane.interactive.waiting + lane.batch.waiting : 0
  }

  /**
   * Who in this lane is missed least: the youngest batch request of the tenant that has most of it waiting over its
   * weight, else the oldest late one of the tenant that has most waiting over its weight. None where nobody is late.
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
   * Where it stands, in constant time, so by estimate: its own tenant's requests before it are counted, and of the other
   * tenants' so many as their weights and costs make likely before its turn. Exact where one tenant waits and nobody left
   * from its middle. Among tenants with as much waiting it is off by at most a request for each of them; where many have
   * less waiting than this one it is too high. Never below 1 or above `of`. Newcomers may yet come before.
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

  /** Of one tenant, or of the one that is furthest over its share. */
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

/** Tenants that are passed over, a few at most, told by their next request. They lose nothing but the turn. */
type Skips<Item> = (item: Item) => boolean

const nobody = () => false
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

/** Whose turn it is: see the header on late requests. */
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
    // Who has late ones itself has asked for more than its share: it waits for its turn.
    const mayPass = flow.tag - first.tag <= credit
    return mayPass ? { flow, entry: other } : { flow: first, entry }
  }
  return { flow: first, entry }
}

/** The tenant's next request. Those before it that have become late are set aside, each once. */
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

/** The item's flow, with the weight that its plan gives now. */
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

/** Gives a flow its next tag; in the heap, its next place. */
function setTag<Item extends Queued>(flow: Flow<Item>, tag: number): void {
  const { rank } = flow
  const inOrder = rank.order.has(flow)
  if (inOrder) untie(flow)
  flow.tag = tag
  flow.serial = rank.serial++
  const tie = rank.ties.get(tag)
  flow.tie = tie?.given ?? 0
  if (tie) tie.given += 1
  else rank.ties.set(tag, { given: 1, gone: 0 })
  if (inOrder) rank.order.moved(flow)
  if (rank.inTime.has(flow)) rank.inTime.moved(flow)
}

function untie<Item extends Queued>({ rank, tag }: Flow<Item>): void {
  const tie = rank.ties.get(tag)
  if (!tie) return
  tie.gone += 1
  if (tie.gone === tie.given) rank.ties.delete(tag)
}

/** Its place in its class, 1 for the next. */
function placeInRank<Item extends Queued>(entry: WaitingEntry<Item>, flow: Flow<Item>): number {
  const { rank } = flow
  const head = listOf(flow, entry).first?.value ?? entry
  const ownBefore = entry.ordinal - head.ordinal + (entry.late ? flow.entries.length : 0)
  const others = rank.waiting - lengthOf(flow)
  if (others === 0) return 1 + ownBefore
  const distance = flow.tag - rank.virtual + ((entry.tokensBefore - head.tokensBefore) * scale) / flow.weight
  const othersTokens = (distance * (rank.weights - flow.weight)) / scale
  const meanCost = (rank.costTokens - flow.costTokens) / others
  const tied = Math.max(0, flow.tie - (rank.ties.get(flow.tag)?.gone ?? 0))
  return 1 + ownBefore + Math.min(others, Math.max(0, Math.floor(othersTokens / meanCost)) + tied)
}

/** Counted up to a bound: so many come back at once only when a large worker was lost. */
function placeAmong<Item extends Queued>(back: LinkedList<WaitingEntry<Item>>, entry: WaitingEntry<Item>): number {
  let endpoint = 1
  for (let link = back.first; link && link.value !== entry && endpoint < 1_000; link = link.after) endpoint += 1
  return endpoint
}

/** Forgets the flows that have neither requests nor debts; all that are empty when there are too many. */
function tidy<Item extends Queued>(rank: Rank<Item>): void {
  const tooMany = rank.flows.size > idleFlowsMax
  for (const flow of rank.flows.values()) {
    if (lengthOf(flow) === 0 && (tooMany || flow.tag <= rank.virtual)) rank.flows.delete(flow.tenantId)
  }
  rank.tidyAt = Math.max(256, 2 * rank.flows.size)
}

/** Virtual time starts anew; what each flow is ahead of it stays. */
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
