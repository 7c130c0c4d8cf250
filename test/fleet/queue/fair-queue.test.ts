import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  batchEvery,
  FairQueue,
  lateCredit,
  type PriorityClass,
  type Queued,
  waitingMax,
  waitingPerTenantMax,
} from '../../../src/fleet/queue/fair-queue.ts'
import { Heap } from '../../../src/fleet/queue/heap.ts'

let serial = 0

function request(tenantId: string, change: Partial<Queued> = {}): Queued {
  serial += 1
  return {
    requestId: `r${serial}`,
    tenantId,
    model: 'm',
    weight: 100,
    priorityClass: 'interactive',
    costTokens: 100,
    again: false,
    dueMs: 1_000_000,
    ...change,
  }
}

function fill(queue: FairQueue<Queued>, tenantId: string, count: number, change: Partial<Queued> = {}): void {
  for (let index = 0; index < count; index++) queue.add(request(tenantId, change), 0)
}

/** The tenants of the next requests. */
function drain(queue: FairQueue<Queued>, count = Number.MAX_SAFE_INTEGER, model = 'm'): string[] {
  const tenants: string[] = []
  while (tenants.length < count) {
    const entry = queue.take(model, 0)
    if (!entry) break
    tenants.push(entry.item.tenantId)
  }
  return tenants
}

/** The charge of a grant, in the queue's unit. */
const chargeOf = (costTokens: number, weight: number) => Math.ceil((costTokens * 1_000) / weight)

describe('the fair queue', () => {
  it('[QUE1] grants of two waiting tenants, by weight, differ by at most one largest request of each', () => {
    const costMax = 1_000
    const weights = fc.array(fc.integer({ min: 1, max: 1_000 }), { minLength: 2, maxLength: 5 })
    const takes = fc.constantFrom(0, 0, 1, 1, 1, 2)
    const event = fc.record({ tenant: fc.nat(4), cost: fc.integer({ min: 1, max: costMax }), takes })
    fc.assert(
      fc.property(weights, fc.array(event, { maxLength: 300, size: 'max' }), (weightOf, events) => {
        const queue = new FairQueue<Queued>(({ model }) => model)
        const waiting = weightOf.map(() => 0)
        const pairs = weightOf.flatMap((_, a) => weightOf.slice(a + 1).map((__, b) => ({ a, b: a + 1 + b })))
        const paths = pairs.map((pair) => ({ ...pair, at: 0, least: 0, most: 0 }))
        const bound = (tenant: number) => chargeOf(costMax, weightOf[tenant] ?? 1)
        for (const [index, { tenant: chosen, cost, takes }] of events.entries()) {
          // Tenants join the waiting ones one by one.
          const tenant = chosen % Math.min(weightOf.length, 1 + Math.floor(index / 20))
          queue.add(request(`t${tenant}`, { weight: weightOf[tenant] ?? 1, costTokens: cost }), 0)
          waiting[tenant] = (waiting[tenant] ?? 0) + 1
          for (let take = 0; take < takes; take++) {
            const entry = queue.take('m', 0)
            if (!entry) break
            const taken = Number(entry.item.tenantId.slice(1))
            const charge = chargeOf(entry.item.costTokens, entry.item.weight)
            for (const path of paths) {
              if (path.a === taken) path.at += charge
              if (path.b === taken) path.at -= charge
              path.least = Math.min(path.least, path.at)
              path.most = Math.max(path.most, path.at)
              expect(path.most - path.least).toBeLessThanOrEqual(bound(path.a) + bound(path.b))
            }
            waiting[taken] = (waiting[taken] ?? 0) - 1
            // Both tenants no longer wait at the same time.
            for (const path of paths) {
              if (waiting[path.a] === 0 || waiting[path.b] === 0) Object.assign(path, { at: 0, least: 0, most: 0 })
            }
          }
        }
      }),
      { numRuns: 300 },
    )
  })

  it('[QUE2] a single request waits for at most one request of each other tenant', () => {
    const queue = new FairQueue<Queued>(({ model }) => model)
    fill(queue, 'abuser', waitingPerTenantMax, { costTokens: 1 })
    drain(queue, 500)
    queue.add(request('quiet', { costTokens: 200_000 }), 0)
    expect(drain(queue, 2)).toContain('quiet')
    for (const other of ['b', 'c', 'd']) fill(queue, other, 50, { costTokens: 70 })
    drain(queue, 37)
    queue.add(request('late', { weight: 1, costTokens: 200_000 }), 0)
    expect(drain(queue, 5)).toContain('late')
  })

  it('[QUE3] one of every eight grants is batch while batch waits, otherwise interactive goes first', () => {
    const arrivals = fc.array(fc.constantFrom<PriorityClass | 'take'>('interactive', 'batch', 'take', 'take'), {
      maxLength: 400,
      size: 'max',
    })
    fc.assert(
      fc.property(arrivals, (events) => {
        const queue = new FairQueue<Queued>(({ model }) => model)
        fill(queue, 'a', 40)
        const waiting = { interactive: 40, batch: 0 }
        let passed = 0
        for (const event of events) {
          if (event !== 'take') {
            queue.add(request(`t${serial % 3}`, { priorityClass: event }), 0)
            waiting[event] += 1
            continue
          }
          const taken = queue.take('m', 0)?.item.priorityClass
          if (!taken) continue
          if (taken === 'batch') {
            expect(waiting.interactive === 0 || passed >= batchEvery - 1).toBe(true)
            passed = 0
          } else if (waiting.batch > 0) passed += 1
          waiting[taken] -= 1
          expect(passed).toBeLessThan(batchEvery)
        }
      }),
    )
  })

  it('[QUE4] a removed request leaves from any position, and the others keep their order', () => {
    const costs = fc.array(fc.record({ tenant: fc.nat(3), cost: fc.integer({ min: 1, max: 9 }) }), {
      minLength: 2,
      maxLength: 60,
      size: 'max',
    })
    fc.assert(
      fc.property(costs, fc.nat(), (asked, pick) => {
        const requests = asked.map(({ tenant, cost }) => request(`t${tenant}`, { costTokens: cost }))
        const gone = requests[pick % requests.length] as Queued
        const with_ = new FairQueue<Queued>(({ model }) => model)
        for (const each of requests) with_.add(each, 0)
        expect(with_.remove(gone.requestId)?.item).toBe(gone)
        expect(with_.remove(gone.requestId)).toBeUndefined()
        expect(with_.size).toBe(requests.length - 1)
        const without = new FairQueue<Queued>(({ model }) => model)
        for (const each of requests) if (each !== gone) without.add(each, 0)
        const order = (queue: FairQueue<Queued>) => requests.slice(1).map(() => queue.take('m', 0)?.item.requestId)
        // Equal tags are served in the order in which they were set, including by a tenant that left again.
        if (requests.filter((each) => each.tenantId === gone.tenantId)[0] !== gone) {
          expect(order(with_)).toEqual(order(without))
        } else expect(new Set(order(with_))).toEqual(new Set(order(without)))
      }),
    )
  })

  it('[QUE5] each request is taken, removed or waiting exactly once, and a tenant’s class is in order of arrival', () => {
    const event = fc.record({
      kind: fc.constantFrom('add', 'add', 'add', 'take', 'take-back', 'remove', 'age'),
      tenant: fc.nat(4),
      model: fc.constantFrom('m', 'n'),
      priorityClass: fc.constantFrom<PriorityClass>('interactive', 'batch'),
      cost: fc.integer({ min: 0, max: 5_000_000 }),
      weight: fc.integer({ min: 0, max: 2_000 }),
      again: fc.boolean(),
      pick: fc.nat(),
    })
    fc.assert(
      fc.property(fc.array(event, { maxLength: 150, size: 'max' }), (events) => {
        const queue = new FairQueue<Queued>(({ model }) => model)
        const waiting = new Map<string, { item: Queued; since: number }>()
        const leave = (entry: { item: Queued } | undefined) => {
          if (entry) expect(waiting.delete(entry.item.requestId)).toBe(true)
          return entry?.item
        }
        const isFirst = (item: Queued | undefined) => {
          if (!item) return
          const line = (each: Queued) =>
            each.again ? `${each.model} again` : `${each.model} ${each.priorityClass} ${each.tenantId}`
          for (const other of waiting.values()) {
            if (line(other.item) === line(item))
              expect(Number(other.item.requestId.slice(1))).toBeGreaterThan(Number(item.requestId.slice(1)))
          }
        }
        events.forEach(({ kind, tenant, model, priorityClass, cost, weight, again, pick }, now) => {
          if (kind === 'add') {
            const item = request(`t${tenant}`, { model, priorityClass, costTokens: cost, weight, again })
            expect(queue.add(item, now)).toEqual({ kind: 'waiting', displaced: undefined })
            waiting.set(item.requestId, { item, since: now })
          } else if (kind === 'take') isFirst(leave(queue.take(model, 0)))
          else if (kind === 'take-back') isFirst(leave(queue.takeBack(model, () => true, 1)))
          else if (kind === 'remove') leave(queue.remove([...waiting.keys()][pick % (waiting.size || 1)] ?? 'none'))
          else {
            for (const entry of queue.removeOlder(now - 40)) leave(entry)
            for (const { since } of waiting.values()) expect(since).toBeGreaterThanOrEqual(now - 40)
          }
          expect(queue.size).toBe(waiting.size)
          const ids = queue.lanes().flatMap((each) => queue.waitingFor(each).map((entry) => entry.item.requestId))
          expect(ids.sort()).toEqual([...waiting.keys()].sort())
          for (const id of ids) {
            const { position, of } = queue.standing(id) ?? { position: 0, of: 0 }
            expect(Number.isInteger(position) && position >= 1 && position <= of).toBe(true)
          }
        })
      }),
    )
  })

  it('[QUE6] a model without a free slot does not block another model', () => {
    const queue = new FairQueue<Queued>(({ model }) => model)
    fill(queue, 'a', 3, { model: 'busy' })
    fill(queue, 'b', 2)
    expect(drain(queue, 9)).toEqual(['b', 'b'])
    expect(queue.lanes()).toEqual(['busy'])
  })

  it('[QUE7] a full queue displaces the youngest batch request of the tenant furthest over its share', () => {
    const queue = new FairQueue<Queued>(({ model }) => model)
    fill(queue, 'heavy', 60, { priorityClass: 'batch', weight: 300 })
    fill(queue, 'flood', 40, { priorityClass: 'batch', weight: 100 })
    fill(queue, 'a', waitingPerTenantMax)
    fill(queue, 'b', waitingMax - waitingPerTenantMax - 100)
    const youngest = `r${serial - waitingMax + 100}`
    expect(queue.add(request('new', { priorityClass: 'batch' }), 1)).toEqual({ kind: 'full' })
    expect(queue.add(request('new'), 1)).toMatchObject({
      kind: 'waiting',
      displaced: { item: { tenantId: 'flood', requestId: youngest } },
    })
    expect(queue.size).toBe(waitingMax)
    // With weights 100 and 300, 20 requests weigh as much as 60: `flood` shrinks to 20, then both shrink in turn.
    const left = Array.from({ length: 99 }, (_, index) => queue.add(request(`n${index}`), 1))
    const tenants = left.map((added) => added.kind === 'waiting' && added.displaced?.item.tenantId)
    expect(new Set(tenants.slice(0, 19))).toEqual(new Set(['flood']))
    expect(new Set(tenants)).toEqual(new Set(['flood', 'heavy']))
    expect(queue.add(request('new'), 1)).toEqual({ kind: 'full' })
  })

  it('[QUE8] one tenant cannot fill the queue, and at its limit displaces only its own batch', () => {
    const queue = new FairQueue<Queued>(({ model }) => model)
    fill(queue, 'other', 1, { priorityClass: 'batch' })
    fill(queue, 'a', 2, { priorityClass: 'batch' })
    const youngest = `r${serial}`
    fill(queue, 'a', waitingPerTenantMax - 2)
    expect(queue.add(request('a', { priorityClass: 'batch' }), 1)).toEqual({ kind: 'full' })
    expect(queue.add(request('a'), 1)).toMatchObject({ displaced: { item: { tenantId: 'a', requestId: youngest } } })
    expect(queue.add(request('a'), 1)).toMatchObject({ displaced: { item: { tenantId: 'a', priorityClass: 'batch' } } })
    expect(queue.add(request('a'), 1)).toEqual({ kind: 'full' })
    expect(queue.add(request('other'), 1).kind).toBe('waiting')
  })

  it('[QUE9] a retried request goes first where a slot fits it, and delays no other request', () => {
    const queue = new FairQueue<Queued>(({ model }) => model)
    fill(queue, 'a', 2)
    const [first, second] = [request('b', { again: true }), request('c', { again: true })]
    queue.add(first, 0)
    queue.add(second, 0)
    expect(queue.standing(second.requestId)).toEqual({ position: 2, of: 4 })
    expect(queue.standing(`r${serial - 3}`)).toEqual({ position: 3, of: 4 })
    expect(queue.takeBack('m', (item) => item !== first, 64)?.item).toBe(second)
    expect(queue.takeBack('m', () => false, 64)).toBeUndefined()
    expect(drain(queue)).toEqual(['a', 'a'])
    expect(queue.takeBack('m', () => true, 64)?.item).toBe(first)
  })

  it('[QUE10] a position is exact for one tenant, and within one request of each of several equal tenants', () => {
    const shape = fc.record({ tenants: fc.integer({ min: 1, max: 8 }), each: fc.integer({ min: 1, max: 8 }) })
    fc.assert(
      fc.property(shape, fc.nat(), fc.boolean(), ({ tenants, each }, pick, mixed) => {
        const queue = new FairQueue<Queued>(({ model }) => model)
        const priorityClass = (index: number) => (mixed && index % 2 === 0 ? 'batch' : 'interactive')
        for (let index = 0; index < tenants * each; index++) {
          queue.add(request(`t${index % tenants}`, { priorityClass: priorityClass(index % tenants) }), 0)
        }
        drain(queue, pick % (tenants * each))
        const said = new Map(
          queue.waitingFor('m').map(({ item }) => [item.requestId, queue.standing(item.requestId)?.position ?? 0]),
        )
        for (let place = 1; place <= said.size; place++) {
          const position = said.get(queue.take('m', 0)?.item.requestId ?? '') ?? 0
          expect(Math.abs(position - place)).toBeLessThanOrEqual(tenants === 1 ? 0 : tenants)
        }
      }),
    )
  })

  it('[QUE11] shares stay the same when the virtual time is reset', () => {
    const queue = new FairQueue<Queued>(({ model }) => model)
    const large = { weight: 1, costTokens: 4_000_000 }
    fill(queue, 'a', 3, { ...large, weight: 2 })
    fill(queue, 'b', 2, large)
    const served = { a: 0, b: 0 }
    // Each request of b costs 4 × 10⁹ units: virtual time passes 2^50 after about 280,000.
    for (let grants = 0; grants < 900_000; grants++) {
      const taken = queue.take('m', 0)?.item.tenantId === 'a' ? 'a' : 'b'
      served[taken] += 1
      queue.add(request(taken, { ...large, weight: taken === 'a' ? 2 : 1 }), 0)
      if (Math.abs(served.a - 2 * served.b) > 3) expect.unreachable(`${served.a} to ${served.b} at grant ${grants}`)
    }
    expect(served.b).toBeGreaterThan(290_000)
  })

  it('[QUE12] a tenant that empties its queue keeps its debt until the whole queue is empty', () => {
    const queue = new FairQueue<Queued>(({ model }) => model)
    fill(queue, 'a', 1, { costTokens: 1_000 })
    fill(queue, 'b', 30)
    expect(drain(queue, 1)).toEqual(['a'])
    fill(queue, 'a', 1)
    // The request of a cost as much as ten of b.
    expect(drain(queue, 11).indexOf('a')).toBe(10)
    drain(queue)
    fill(queue, 'a', 1, { costTokens: 1_000 })
    drain(queue)
    fill(queue, 'b', 5)
    fill(queue, 'a', 1)
    expect(drain(queue, 2)).toContain('a')
  })

  it('[QUE13] the first item has the lowest rank after every insertion, removal and change', () => {
    const event = fc.record({ kind: fc.constantFrom('add', 'add', 'remove', 'move'), rank: fc.nat(99), pick: fc.nat() })
    fc.assert(
      fc.property(fc.array(event, { maxLength: 150, size: 'max' }), (events) => {
        const heap = new Heap<{ rank: number }>((a, b) => a.rank < b.rank)
        const items: { rank: number }[] = []
        for (const { kind, rank, pick } of events) {
          const place = pick % (items.length || 1)
          const item = items[place]
          if (kind === 'add') {
            items.push({ rank })
            heap.add(items.at(-1) ?? { rank })
          } else if (item && kind === 'remove') {
            heap.remove(item)
            items.splice(place, 1)
          } else if (item) {
            item.rank = rank
            heap.moved(item)
          }
          expect(heap.first()?.rank).toBe(items.length > 0 ? Math.min(...items.map((each) => each.rank)) : undefined)
        }
      }),
      { numRuns: 300 },
    )
  })

  it('[QUE14] timely requests go before the tenant’s late ones, and before others’ late ones up to a credit', () => {
    const queue = new FairQueue<Queued>(({ model }) => model)
    const add = (tenantId: string, requestId: string, now: number) =>
      queue.add(request(tenantId, { requestId, dueMs: 1_000 }), now)
    const takeAll = (now: number) => {
      const ids: (string | undefined)[] = []
      while (queue.size > 0) ids.push(queue.take('m', now)?.item.requestId)
      return ids
    }
    for (const id of ['a1', 'a2']) add('a', id, 0)
    add('a', 'a3', 1_500)
    expect(queue.next('m', 2_000)?.item.requestId).toBe('a3')
    expect(takeAll(2_000)).toEqual(['a3', 'a1', 'a2'])
    add('late', 'l1', 0)
    for (let index = 0; index < 40; index++) add('b', `b${index}`, 1_500)
    const order = takeAll(2_000)
    expect(order.indexOf('l1')).toBeGreaterThan(0)
    expect(order.indexOf('l1')).toBeLessThanOrEqual(lateCredit + 1)
  })
})
