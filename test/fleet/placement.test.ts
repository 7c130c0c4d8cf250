/** Placement: speed, output length, demand, pool split, scores, prefixes, circuit breakers. */
import { describe, expect, it } from 'vitest'
import type { Heartbeat } from '../../backends/wire/heartbeat.ts'
import { began, breakerFailures, broke, lets, newBreaker, undecided, worked } from '../../src/fleet/circuit-breaker.ts'
import { lease, release, requestEnded, workerFailed } from '../../src/fleet/fleet.ts'
import { came, moveSplit, newModelLoad } from '../../src/fleet/placement/model-load.ts'
import { expectedLength, newLengths, observeLength, observeWritten } from '../../src/fleet/placement/output-length.ts'
import { poolSplit, type WorkerCapacity } from '../../src/fleet/placement/pool-split.ts'
import { prefixHashes } from '../../src/fleet/placement/prefix-hash.ts'
import { Affinity } from '../../src/fleet/placement/prefix-holders.ts'
import type { ModelSnapshot } from '../../src/fleet/placement/score.ts'
import {
  batchWithin,
  newSpeed,
  observePrompt,
  observeTokens,
  tokenMsAt,
} from '../../src/fleet/placement/worker-speed.ts'
import { gave, isOverShare, newShares, took } from '../../src/fleet/queue/running-shares.ts'
import { heartbeat, probed } from '../../src/fleet/registry.ts'
import { emptyFleet, type FleetState, type LeaseRequest } from '../../src/fleet/state.ts'
import { sweep } from '../../src/fleet/sweep.ts'
import { testAsk, testBeat } from '../support/fleet.ts'

const beat = (workerId: string, change: Partial<Heartbeat> = {}) => testBeat(workerId, { slotsMax: 64, ...change })

let serial = 0

const ask = (change: Partial<LeaseRequest> = {}) => testAsk(`r${++serial}`, change)

const place = (pool: FleetState, request: LeaseRequest, now = 0) => {
  const outcome = lease(pool, request, now, () => undefined)
  return outcome?.kind === 'granted' ? outcome.endpoint.workerId : outcome?.kind
}

/** One worker of each pool, with a measured speed at small batches. */
function fleet(spill = true): FleetState {
  const pool = emptyFleet(spill)
  heartbeat(pool, beat('quick'), 1, 0)
  heartbeat(pool, beat('long', { pool: 'throughput', slotsMax: 256 }), 1, 0)
  return pool
}

/** Sets the time per token of all workers at every batch size. */
function learn(pool: FleetState, tokenMs: (batch: number) => number): void {
  for (const speed of pool.speeds.values()) {
    for (const batch of [1, 2, 4, 8, 16, 32, 64]) observeTokens(speed, batch, 100_000, 100_000 / tokenMs(batch), 0)
  }
}

describe('learning', () => {
  it('[LRN1] time per token is interpolated, never falls with the batch, and grows with its root beyond', () => {
    const speed = newSpeed(undefined)
    expect(tokenMsAt(speed, 5)).toBe(0)
    expect(batchWithin(speed, 20, 64)).toBe(64)
    observeTokens(speed, 4, 1_000, 100, 0)
    observeTokens(speed, 16, 2_000, 100, 0)
    expect(tokenMsAt(speed, 4)).toBe(10)
    expect(tokenMsAt(speed, 10)).toBe(15)
    expect(tokenMsAt(speed, 64)).toBe(40)
    expect(tokenMsAt(speed, 1)).toBe(5)
    expect(batchWithin(speed, 30, 512)).toBe(36)
    // A falling value is pooled with its neighbour.
    observeTokens(speed, 32, 1_000, 100, 0)
    expect(tokenMsAt(speed, 32)).toBeGreaterThanOrEqual(tokenMsAt(speed, 16))
  })

  it('[LRN5] a large batch that measured too slow is tried again later, and small ones stay known', () => {
    const speed = newSpeed(undefined)
    observeTokens(speed, 4, 40_000, 4_000, 0)
    // One second in which a long prompt was read.
    observeTokens(speed, 8, 8_000, 14, 1_000)
    expect(batchWithin(speed, 72, 512)).toBe(4)
    for (let at = 2_000; at <= 31_000; at += 1_000) observeTokens(speed, 4, 4_000, 400, at)
    expect(tokenMsAt(speed, 8)).toBeGreaterThan(500)
    observeTokens(speed, 4, 4_000, 400, 31_001)
    expect(batchWithin(speed, 72, 512)).toBeGreaterThan(100)
    // A batch of that size is used again once it is measured.
    for (let at = 32_000; at < 200_000; at += 1_000) observeTokens(speed, 64, 64_000, 2_000, at)
    expect(tokenMsAt(speed, 64)).toBe(32)
    expect(tokenMsAt(speed, 4)).toBeCloseTo(10)
  })

  it('[LRN2] a worker kind without measurements uses those of its model', () => {
    const wide = newSpeed(undefined)
    const [known, fresh] = [newSpeed(wide), newSpeed(wide)]
    observeTokens(known, 8, 1_000, 100, 0)
    expect(tokenMsAt(fresh, 8)).toBe(10)
    observeTokens(fresh, 8, 3_000, 100, 0)
    expect(tokenMsAt(fresh, 8)).toBe(30)
  })

  it('[LRN3] expected length is learnt by model and effort, and never exceeds the request’s bound', () => {
    const lengths = newLengths()
    expect(expectedLength(lengths, 'm', 'high', 9_999)).toBe(13 * expectedLength(lengths, 'm', 'none', 9_999))
    for (let index = 0; index < 500; index++) observeLength(lengths, 'm', 'none', 40)
    expect(Math.abs(expectedLength(lengths, 'm', 'none', 9_999) - 40)).toBeLessThan(10)
    expect(expectedLength(lengths, 'm', 'none', 16)).toBe(16)
    expect(expectedLength(lengths, 'other', 'none', 9_999)).toBe(300)
  })

  it('[LRN4] unfinished answers correct the expected length while only short ones have ended', () => {
    const lengths = newLengths()
    for (let index = 0; index < 300; index++) {
      observeLength(lengths, 'm', 'high', 500)
      observeWritten(lengths, 'm', 'throughput', 1_500)
    }
    const expected = expectedLength(lengths, 'm', 'high', 9_999)
    expect(expected).toBeGreaterThan(1_000)
    expect(expected).toBeLessThan(2_500)
  })
})

describe('the pool split', () => {
  const post = (preferredPool: WorkerCapacity['preferredPool']): WorkerCapacity => {
    return { preferredPool, latencyBatch: 40, throughputBatch: 200, tokenMs: (batch) => 5 + Math.sqrt(batch) * 2 }
  }
  const row = [...Array(4).fill(post('latency')), ...Array(4).fill(post('throughput'))] as WorkerCapacity[]
  const demand = (quick: number, long: number) => ({
    latency: { perSecond: quick, tokens: 300 },
    throughput: { perSecond: long, tokens: 3_900 },
  })

  it('[BRD1] with enough capacity the split is the operator’s', () => {
    expect(poolSplit(row, demand(1, 0.2), 4)).toBe(4)
    expect(poolSplit(row, demand(1, 0.2), undefined)).toBe(4)
  })

  it('[BRD2] the split moves towards demand, as far as the other pool can spare workers', () => {
    expect(poolSplit(row, demand(0.1, 9), 4)).toBeLessThan(4)
    expect(poolSplit(row, demand(30, 5), 4)).toBeGreaterThan(4)
    expect(poolSplit(row, demand(0, 20), 4)).toBe(0)
  })

  it('[BRD5] the throughput pool counts for short answers only with its free slots', () => {
    const narrow = (preferredPool: WorkerCapacity['preferredPool']): WorkerCapacity => {
      return {
        preferredPool,
        latencyBatch: 24,
        throughputBatch: 200,
        tokenMs: (batch) => 6 + 2.5 * Math.sqrt(batch),
      }
    }
    const mixed = [...Array(4).fill(narrow('latency')), ...Array(4).fill(narrow('throughput'))] as WorkerCapacity[]
    for (const quick of [18, 20, 22]) expect(poolSplit(mixed, demand(quick, 1.5), 4)).toBeGreaterThan(4)
  })

  it('[BRD6] the split never moves away from the only pool that waits, and moves to it sooner', () => {
    const movedIn = (waits: ModelSnapshot['waits']) => {
      const pool = emptyFleet()
      for (const id of ['a', 'b', 'c', 'd']) heartbeat(pool, beat(id), 1, 0)
      for (const id of ['e', 'f']) heartbeat(pool, beat(id, { pool: 'throughput', slotsMax: 256 }), 1, 0)
      learn(pool, (batch) => 2 * batch + 2)
      const modelLoad = newModelLoad(0)
      for (let now = 0; now < 20_000; now += 100) {
        came(modelLoad, 'throughput', 100, 1, now)
        moveSplit(modelLoad, 'm', pool.workers.values(), { latency: 300, throughput: 3_900 }, waits, true, now)
        for (const worker of pool.workers.values()) worker.seenAt = now
        if ((modelLoad.count ?? 4) < 4) return now
      }
      return undefined
    }
    const estimated = movedIn({ latency: false, throughput: false })
    expect(estimated).toBeGreaterThanOrEqual(8_000)
    expect(movedIn({ latency: true, throughput: true })).toBe(estimated)
    expect(movedIn({ latency: false, throughput: true })).toBeLessThan(estimated ?? 0)
    expect(movedIn({ latency: true, throughput: false })).toBeUndefined()
  })

  it('[BRD3] neither pool loses its last worker while it has demand', () => {
    for (const [quick, long] of [
      [0.01, 1_000],
      [1_000, 0.01],
      [1_000, 1_000],
    ] as const) {
      const count = poolSplit(row, demand(quick, long), 4)
      expect(count).toBeGreaterThanOrEqual(1)
      expect(count).toBeLessThanOrEqual(7)
    }
  })
})

describe('placement', () => {
  it('[BRD4] one tenant’s requests beyond its share do not move the pool split', () => {
    const moved = (tenantOf: (index: number) => string) => {
      const pool = emptyFleet()
      for (const id of ['a', 'b']) heartbeat(pool, beat(id), 1, 0)
      for (const id of ['c', 'd']) heartbeat(pool, beat(id, { pool: 'throughput', slotsMax: 256 }), 1, 0)
      learn(pool, (batch) => 2 * batch + 2)
      for (const tenantId of ['e', 'f', 'g']) place(pool, ask({ tenantId }), 0)
      let sentAt = 0
      for (let at = 0; at < 60_000; at += 100) {
        place(pool, ask({ tenantId: tenantOf(at / 100) }), at)
        if (at % 1_000 !== 0) continue
        sentAt += 1
        for (const [id, { leases, heartbeat: last }] of pool.workers) {
          heartbeat(pool, { ...last, running: [...leases.keys()], sentAt, workerId: id }, 1, at)
        }
      }
      return pool.modelLoads.get('m')?.latencyWanted ?? 0
    }
    const fair = moved((index) => `t${index % 50}`)
    expect(moved(() => 'flood')).toBeLessThan(fair / 2)
  })

  it('[PLC1] effort decides the preferred pool, which serves the request while its target holds', () => {
    const pool = fleet()
    expect(place(pool, ask({ effort: 'none' }))).toBe('quick')
    expect(place(pool, ask({ effort: 'high' }))).toBe('long')
  })

  it('[PLC2] a batch grows within its pool’s target, then a short request is spilled or waits', () => {
    const pool = fleet()
    learn(pool, (batch) => 2 * batch + 2)
    const places = Array.from({ length: 40 }, () => place(pool, ask()))
    expect(places.filter((each) => each === 'quick').length).toBe(8)
    expect(places.filter((each) => each === 'long').length).toBe(8)
    expect(places.filter((each) => each === undefined).length).toBe(24)
  })

  it('[PLC3] without spill a request leaves its preferred pool only when that has no worker', () => {
    const pool = fleet(false)
    learn(pool, (batch) => 2 * batch + 2)
    const places = Array.from({ length: 40 }, () => place(pool, ask()))
    expect(new Set(places)).toEqual(new Set(['quick', undefined]))
    heartbeat(pool, beat('quick', { state: 'gone', sentAt: 1 }), 1, 1)
    expect(place(pool, ask(), 2)).not.toBe('rejected-no-endpoints')
  })

  it('[PLC3] a request that the only worker of its pool failed goes to the other pool, with spill and without', () => {
    for (const spill of [true, false]) {
      const pool = fleet(spill)
      expect(place(pool, ask({ exclude: ['quick'], again: true }))).toBe('long')
      expect(place(pool, ask({ effort: 'high', exclude: ['long'], again: true }))).toBe('quick')
    }
  })

  it('[PLC4] a target that the hardware cannot meet does not limit the batch', () => {
    const pool = fleet()
    learn(pool, () => 500)
    const places = Array.from({ length: 20 }, () => place(pool, ask()))
    expect(places.every((each) => each === 'quick')).toBe(true)
  })

  it('[PLC5] a request goes to the worker with its prefix, up to that worker’s share', () => {
    const pool = emptyFleet()
    for (const id of ['a', 'b', 'c', 'd']) heartbeat(pool, beat(id), 1, 0)
    for (const speed of pool.speeds.values()) {
      speed.promptPerMs = 10
      observeTokens(speed, 1, 1_000, 100, 0)
      observeTokens(speed, 64, 1_000, 60, 0)
    }
    const hot = () => ask({ promptTokens: 2_000, prefix: [{ hash: 7, tokens: 1_900 }] })
    const first = place(pool, hot())
    // Once it is read.
    expect(place(pool, hot(), 300)).toBe(first)
    const count = new Map<string | undefined, number>()
    for (let index = 0; index < 38; index++) {
      const at = place(pool, hot(), 301)
      count.set(at, (count.get(at) ?? 0) + 1)
    }
    expect(Math.max(...count.values())).toBeLessThanOrEqual(14)
    expect(count.size).toBe(4)
  })

  it('[PLC6] a worker gets no request beyond the likely capacity of its KV cache', () => {
    const pool = emptyFleet()
    heartbeat(pool, beat('a', { pool: 'throughput', kvTokensMax: 20_000 }), 1, 0)
    const places = Array.from({ length: 8 }, () => place(pool, ask({ effort: 'high', promptTokens: 600 })))
    expect(places.filter((each) => each === 'a').length).toBe(4)
  })

  it('[PLC7] the last slots are reserved for tenants under twice their share', () => {
    const shares = newShares()
    for (let index = 0; index < 9; index++) took(shares, 'flood', 100)
    expect(isOverShare(shares, 'flood', 100)).toBe(false)
    for (const tenant of ['b', 'c', 'd']) took(shares, tenant, 100)
    expect(isOverShare(shares, 'flood', 100)).toBe(true)
    expect(isOverShare(shares, 'b', 100)).toBe(false)
    expect(isOverShare(shares, 'flood', 1_000)).toBe(false)
    for (const tenant of ['b', 'c', 'd']) gave(shares, tenant)
    expect(isOverShare(shares, 'flood', 100)).toBe(false)
    took(shares, 'b', 100)
    expect(isOverShare(shares, 'flood', 100)).toBe(true)
    const pool = emptyFleet()
    heartbeat(pool, beat('a', { pool: 'throughput', kvTokensMax: 60_000 }), 1, 0)
    const high = (tenantId: string) => ask({ tenantId, effort: 'high', promptTokens: 100 })
    for (const tenant of ['b', 'c', 'd']) expect(place(pool, high(tenant))).toBe('a')
    const flood = Array.from({ length: 12 }, () => place(pool, high('flood')))
    expect(flood.filter((each) => each === 'a').length).toBe(10)
    expect(place(pool, high('e'))).toBe('a')
  })

  it('[PLC7] on a small worker the last slot is reserved, also where only two tenants are', () => {
    const pool = emptyFleet()
    heartbeat(pool, beat('a', { slotsMax: 8 }), 1, 0)
    expect(place(pool, ask({ tenantId: 'little' }))).toBe('a')
    const flood = Array.from({ length: 8 }, () => place(pool, ask({ tenantId: 'flood' })))
    expect(flood.filter((each) => each === 'a').length).toBe(6)
    expect(place(pool, ask({ tenantId: 'little' }))).toBe('a')
  })

  it('[PLC24] a tenant under its share waits a moment only for the pace of a worker that another tenant fills', () => {
    const served = (tenantIds: string[]) => {
      const pool = fleet(false)
      learn(pool, (batch) => 5 * batch)
      for (const tenantId of tenantIds) expect(place(pool, ask({ tenantId }))).toBe('quick')
      expect(place(pool, ask({ tenantId: 'little' }))).toBeUndefined()
      expect(sweep(pool, 200)).toEqual([])
      return sweep(pool, 260).map(({ outcome }) => outcome.kind)
    }
    expect(served(['flood', 'flood', 'flood'])).toEqual(['granted'])
    expect(served(['b', 'c', 'd'])).toEqual([])
  })

  it('[PLC25] a worker whose requests have ended has no unread prompts, however low its measured reading rate', () => {
    const pool = emptyFleet()
    heartbeat(pool, beat('a'), 1, 0)
    for (const speed of pool.speeds.values()) observePrompt(speed, 1_000, 100_000)
    const first = ask({ promptTokens: 5_000 })
    const second = ask({ promptTokens: 100 })
    const predicted = (request: LeaseRequest, now: number) => {
      expect(place(pool, request, now)).toBe('a')
      return pool.decisions.find(request.requestId)?.attempts[0]?.best[0]?.score ?? 0
    }
    predicted(first, 0)
    const behind = predicted(second, 1)
    for (const { requestId } of [first, second]) release(pool, requestId, 2)
    const alone = predicted(ask({ promptTokens: 100 }), 3)
    expect(behind / alone).toBeGreaterThan(40)
  })

  it('[PLC8] under load a tenant that agreed gets the lower effort at once, another tenant waits', () => {
    const pool = fleet(false)
    heartbeat(pool, beat('long', { pool: 'throughput', slotsMax: 1, sentAt: 1 }), 1, 1)
    const long = (effortUnderLoad: LeaseRequest['effortUnderLoad']) => ask({ effort: 'high', effortUnderLoad })
    expect(place(pool, long('none'), 2)).toBe('long')
    expect(place(pool, long(null), 2)).toBeUndefined()
    expect(place(pool, long(null), 2)).toBeUndefined()
    expect(lease(pool, long('none'), 3, () => undefined)).toEqual({ kind: 'lower-effort', effort: 'none' })
    expect(place(pool, long(null), 3)).toBeUndefined()
  })

  it('[PLC22] an unknown speed of a worker is null, never zero', () => {
    const pool = fleet()
    const predicted = (request: LeaseRequest) => pool.decisions.find(request.requestId)?.attempts[0]?.best[0]
    const first = ask()
    place(pool, first, 5)
    expect(predicted(first)).toMatchObject({ firstTokenMs: null, tokenMs: null })
    const end = { workerId: 'quick', effort: 'none', outcome: 'finished', finished: true } as const
    requestEnded(
      pool,
      {
        ...end,
        requestId: first.requestId,
        promptTokens: 90,
        cachedTokens: 0,
        outputTokens: 41,
        firstTokenMs: 9,
        ms: 409,
      },
      500,
    )
    heartbeat(pool, beat('quick', { sentAt: 1_000, outputTokensTotal: 41 }), 1, 1_000)
    const second = ask()
    place(pool, second, 1_001)
    // The prompt is too short to measure the reading rate.
    expect(predicted(second)).toMatchObject({ firstTokenMs: null, tokenMs: 10 })
  })

  it('[PLC9] a decision records candidates, scores, waits and what the worker reported', () => {
    const pool = fleet()
    const request = ask()
    place(pool, request, 5)
    const end = {
      requestId: request.requestId,
      workerId: 'quick',
      effort: 'none',
      outcome: 'finished',
      finished: true,
    } as const
    requestEnded(pool, { ...end, promptTokens: 90, cachedTokens: 10, outputTokens: 30, firstTokenMs: 12, ms: 200 }, 300)
    expect(pool.decisions.find(request.requestId)).toMatchObject({
      tenantId: 't',
      preferredPool: 'latency',
      cameAt: 5,
      attempts: [
        {
          workerId: 'quick',
          assignedPool: 'latency',
          counts: { fits: 2 },
          best: [{ workerId: 'quick' }, { workerId: 'long' }],
        },
      ],
      outcome: 'finished',
      engine: { promptTokens: 90, cachedTokens: 10, outputTokens: 30, firstTokenMs: 12, ms: 200 },
    })
    for (let index = 0; index < 8_192; index++) release(pool, ask().requestId, 6 + Number(place(pool, ask(), 6) === ''))
    expect(pool.decisions.find(request.requestId)).toBeUndefined()
  })

  it('[PLC23] a decision is handed over once, a while after its end, and not during a retry', () => {
    const pool = fleet()
    const taken = () => pool.decisions.take().map(({ requestId }) => requestId)
    const [first, second] = [ask(), ask()]
    place(pool, first)
    place(pool, second)
    expect(pool.decisions.untaken).toBe(false)
    release(pool, first.requestId, 1)
    pool.decisions.end(first.requestId, 'finished')
    pool.decisions.end(second.requestId, 'failed')
    expect(taken()).toEqual([])
    place(pool, { ...second, again: true }, 2)
    expect(pool.decisions.untaken).toBe(true)
    expect(taken()).toEqual([first.requestId])
    expect(pool.decisions.find(first.requestId)).toBeUndefined()
    expect(pool.decisions.untaken).toBe(false)
    pool.decisions.end(second.requestId, 'finished')
    expect([taken(), taken(), taken()]).toEqual([[], [second.requestId], []])
  })
})

describe('circuit breaker', () => {
  it('[BRK1] three failures open it, longer each time; one request tries it, and an answer closes it', () => {
    const breaker = newBreaker()
    for (let index = 1; index < breakerFailures; index++) broke(breaker, `r${index}`, 0)
    expect(lets(breaker, 0)).toBe(true)
    broke(breaker, 'r3', 0)
    expect(lets(breaker, 1_999)).toBe(false)
    expect(lets(breaker, 2_000)).toBe(true)
    began(breaker, 'trial')
    expect(lets(breaker, 2_001)).toBe(false)
    broke(breaker, 'old', 2_002)
    expect(lets(breaker, 2_003)).toBe(false)
    broke(breaker, 'trial', 3_000)
    expect(lets(breaker, 6_999)).toBe(false)
    began(breaker, 'trial 2')
    undecided(breaker, 'trial 2')
    expect(lets(breaker, 7_000)).toBe(true)
    worked(breaker)
    expect(lets(breaker, 7_001)).toBe(true)
    broke(breaker, 'x', 7_002)
    expect(lets(breaker, 7_003)).toBe(true)
  })

  it('[BRK2] a worker that fails every request gets no lease, despite its heartbeats', () => {
    const pool = emptyFleet()
    heartbeat(pool, beat('a'), 1, 0)
    for (let index = 1; index <= breakerFailures; index++) {
      const request = ask()
      expect(place(pool, request, index)).toBe('a')
      workerFailed(pool, 'a', request.requestId, index)
      heartbeat(pool, beat('a', { sentAt: index }), 1, index)
      probed(pool, { workerId: 'a', instance: 'a.1', fault: undefined }, index)
    }
    expect(place(pool, ask(), 100)).toBe('rejected-no-endpoints')
    heartbeat(pool, beat('a', { sentAt: 3_000 }), 1, 3_000)
    expect(place(pool, ask(), 3_000)).toBe('a')
    expect(place(pool, ask(), 3_001)).toBe('rejected-no-endpoints')
  })
})

describe('prefix hashes', () => {
  const text = (content: string) => [{ kind: 'text' as const, text: content }]
  const prompted = (turns: string[], change: { effort?: 'none' | 'high'; tenantId?: string } = {}) =>
    prefixHashes(
      {
        tenantId: 't',
        model: 'm',
        effort: 'none',
        ...change,
        chat: {
          tools: [],
          messages: [
            { role: 'system', content: text('You are a careful assistant. '.repeat(40)) },
            ...turns.map((turn) => ({ role: 'user' as const, content: text(turn) })),
          ],
        },
      },
      4,
    ).map(({ hash }) => hash)

  it('[PFX1] a longer prompt has all hashes of its beginning; another tenant, effort or text has none', () => {
    const first = prompted(['word '.repeat(300)])
    const second = prompted(['word '.repeat(300), 'and now the next turn '.repeat(100)])
    expect(first.length).toBeGreaterThan(5)
    expect(second.slice(0, first.length)).toEqual(first)
    expect(second.length).toBeGreaterThan(first.length)
    for (const other of [
      prompted(['word '.repeat(300)], { effort: 'high' }),
      prompted(['word '.repeat(300)], { tenantId: 'u' }),
    ]) {
      expect(other.filter((hash) => first.includes(hash))).toEqual([])
    }
    const changed = prompted([`other ${'word '.repeat(300)}`])
    expect(changed.filter((hash) => first.includes(hash)).length).toBeLessThan(first.length)
  })

  it('[PFX2] a prompt of a million characters has at most 64 hashes, all safe integers', () => {
    const hashes = prompted(['x'.repeat(1_000_000)])
    expect(hashes.length).toBeLessThanOrEqual(64)
    expect(hashes.every(Number.isSafeInteger)).toBe(true)
    expect(new Set(hashes).size).toBe(hashes.length)
  })

  it('[PFX4] an image is identified by a sample, counts its tokens, and affects the later hashes', () => {
    const url = (seed: string) => `data:image/png;base64,${'A'.repeat(1_000)}${seed.repeat(5_000_000)}`
    const seen = (image: string, question: string) =>
      prefixHashes(
        {
          ...{ tenantId: 't', model: 'm', effort: 'none' },
          chat: {
            tools: [],
            messages: [{ role: 'user', content: [{ kind: 'image', url: image }, ...text(question)] }],
          },
        },
        4,
      )
    const first = seen(url('b'), 'what is this? '.repeat(300))
    expect(first[0]?.tokens).toBeGreaterThan(1_000)
    expect(first[0]?.tokens).toBeLessThan(10_000)
    const again = seen(url('b'), `what is this? ${'and that? '.repeat(300)}`)
    expect(again[0]).toEqual(first[0])
    expect(again[1]).not.toEqual(first[1])
    const other = seen(url('c'), 'what is this? '.repeat(300))
    expect(other.filter(({ hash }) => first.some((each) => each.hash === hash))).toEqual([])
  })

  it('[PFX3] the longest prefix per worker is found, and the oldest are forgotten', () => {
    const affinity = new Affinity()
    affinity.given([{ hash: 1, tokens: 100 }], 'a')
    affinity.given(
      [
        { hash: 1, tokens: 100 },
        { hash: 2, tokens: 300 },
      ],
      'b',
    )
    const prefix = [
      { hash: 1, tokens: 100 },
      { hash: 2, tokens: 300 },
      { hash: 3, tokens: 500 },
    ]
    expect([...affinity.held(prefix)].sort()).toEqual([
      ['a', 100],
      ['b', 300],
    ])
    for (let index = 0; index < 100_001; index++) affinity.given([{ hash: 10 + index, tokens: 1 }], 'c')
    expect([...affinity.held(prefix)]).toEqual([])
  })
})
