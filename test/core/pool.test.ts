import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Heartbeat, heartbeatLostMs } from '../../backends/protocol/heartbeat.ts'
import {
  emptyPool,
  heartbeat,
  lease,
  type PoolState,
  registry,
  release,
  sweep,
  view,
  waitingTtlMs,
  workerFailed,
} from '../../src/routing/pool.ts'

function beat(workerId: string, change: Partial<Heartbeat> = {}): Heartbeat {
  return {
    workerId,
    pool: 'latency',
    url: `http://127.0.0.1:1/${workerId}`,
    model: 'm',
    engine: 'e 1',
    state: 'ready',
    slotsMax: 2,
    contextTokens: 4_096,
    vision: false,
    running: [],
    kvTokens: 0,
    kvTokensMax: 0,
    promptTokensTotal: 0,
    cachedTokensTotal: 0,
    outputTokensTotal: 0,
    sentAt: 0,
    ...change,
  }
}

const ask = (requestId: string, exclude: string[] = []) => ({ requestId, tenantId: 't', model: 'm', exclude })

function poolOf(...workers: string[]): PoolState {
  const pool = emptyPool()
  for (const worker of workers) heartbeat(pool, beat(worker), 1, 0)
  return pool
}

describe('pool', () => {
  it('[POOL1] a request for a model that nobody serves is refused at once, not queued', () => {
    expect(lease(emptyPool(), ask('r1'), 0)).toEqual({ kind: 'rejected-no-endpoints' })
    expect(lease(poolOf('a'), { ...ask('r1'), model: 'other' }, 0)).toEqual({ kind: 'rejected-no-endpoints' })
  })

  it('[POOL2] slots are leased up to each worker’s bound, the emptiest worker first, and then requests wait in order', () => {
    const pool = poolOf('a', 'b')
    const granted = ['r1', 'r2', 'r3', 'r4'].map((id) => lease(pool, ask(id), 0))
    expect(granted.map((outcome) => outcome?.kind === 'granted' && outcome.place.workerId).sort()).toEqual([
      'a',
      'a',
      'b',
      'b',
    ])
    expect(lease(pool, ask('r5'), 1)).toBeUndefined()
    expect(lease(pool, ask('r6'), 2)).toBeUndefined()
    const told = release(pool, 'r2', 7)
    expect(told).toMatchObject([{ requestId: 'r5', outcome: { kind: 'granted', waitedMs: 6 } }])
    expect(view(pool)).toMatchObject({ leased: 4, waiting: 1 })
  })

  it('[POOL3] a client that leaves while it waits is out of the queue', () => {
    const pool = poolOf('a')
    for (const id of ['r1', 'r2', 'r3']) lease(pool, ask(id), 0)
    expect(release(pool, 'r3', 1)).toEqual([{ requestId: 'r3', outcome: { kind: 'evicted-cancelled' } }])
    expect(view(pool)).toMatchObject({ leased: 2, waiting: 0 })
  })

  it('[POOL4] who waits too long is evicted with a time to come back', () => {
    const pool = poolOf('a')
    for (const id of ['r1', 'r2', 'r3']) lease(pool, ask(id), 0)
    const later = waitingTtlMs + 1
    heartbeat(pool, beat('a', { sentAt: later, running: ['r1', 'r2'] }), 1, later)
    expect(view(pool)).toMatchObject({ leased: 2, waiting: 0 })
    lease(pool, ask('r4'), later)
    const told = [later + 1_000, later + waitingTtlMs + 1].flatMap((now) =>
      heartbeat(pool, beat('a', { sentAt: now, running: ['r1', 'r2'] }), 1, now),
    )
    expect(told).toMatchObject([
      { requestId: 'r4', outcome: { kind: 'evicted-ttl', retryAfterMs: expect.any(Number) } },
    ])
  })

  it('[POOL5] a worker that misses three heartbeats is out with its leases, and one that comes back is in', () => {
    const pool = poolOf('a')
    lease(pool, ask('r1'), 0)
    sweep(pool, heartbeatLostMs + 1)
    expect(view(pool)).toMatchObject({ workers: [], leased: 0 })
    heartbeat(pool, beat('a', { sentAt: 9_000 }), 1, 9_000)
    expect(lease(pool, ask('r2'), 9_001)?.kind).toBe('granted')
  })

  it('[POOL6] a worker that could not be reached gets nothing until it is heard of again, and its waiters are told', () => {
    const pool = poolOf('a')
    for (const id of ['r1', 'r2', 'r3']) lease(pool, ask(id), 0)
    expect(workerFailed(pool, 'a', 'r1', 1)).toEqual([{ requestId: 'r3', outcome: { kind: 'rejected-no-endpoints' } }])
    expect(lease(pool, ask('r4'), 2)).toEqual({ kind: 'rejected-no-endpoints' })
    heartbeat(pool, beat('a', { sentAt: 3, running: ['r2'] }), 1, 3)
    expect(lease(pool, ask('r5'), 4)?.kind).toBe('granted')
  })

  it('[POOL7] a lease that its worker does not run is freed after the grace: a lost isolate leaks no slot', () => {
    const pool = poolOf('a')
    lease(pool, ask('r1'), 0)
    heartbeat(pool, beat('a', { sentAt: 1_000 }), 1, 1_000)
    expect(view(pool).leased).toBe(1)
    heartbeat(pool, beat('a', { sentAt: 11_000 }), 1, 11_000)
    expect(view(pool).leased).toBe(0)
  })

  it('[POOL8] what runs without a lease occupies its slot: a restarted pool does not overfill its workers', () => {
    const pool = emptyPool()
    heartbeat(pool, beat('a', { running: ['x', 'y'] }), 1, 0)
    expect(lease(pool, ask('r1'), 0)).toBeUndefined()
    expect(heartbeat(pool, beat('a', { running: ['x'], sentAt: 1 }), 1, 1)).toMatchObject([
      { requestId: 'r1', outcome: { kind: 'granted' } },
    ])
  })

  it('[POOL9] a heartbeat sent before a request ended does not occupy its slot again', () => {
    const pool = poolOf('a')
    lease(pool, ask('r1'), 0)
    release(pool, 'r1', 100)
    heartbeat(pool, beat('a', { sentAt: 99, running: ['r1'] }), 1, 101)
    expect(view(pool)).toMatchObject({ leased: 0, unleased: 0 })
  })

  it('[POOL10] a draining worker, an excluded one and one older than what is known get nothing', () => {
    const pool = emptyPool()
    heartbeat(pool, beat('a', { state: 'draining', sentAt: 5 }), 1, 5)
    heartbeat(pool, beat('a', { state: 'ready', sentAt: 4 }), 1, 6)
    expect(lease(pool, ask('r1'), 7)).toEqual({ kind: 'rejected-no-endpoints' })
    heartbeat(pool, beat('b', { sentAt: 7 }), 1, 7)
    expect(lease(pool, ask('r2', ['b']), 8)).toEqual({ kind: 'rejected-no-endpoints' })
  })

  it('[POOL11] under any sequence of events no worker is leased beyond its slots, and every waiter is told once', () => {
    const event = fc.record({
      kind: fc.constantFrom('lease', 'release', 'beat', 'fail', 'sweep'),
      request: fc.nat(12),
      worker: fc.constantFrom('a', 'b'),
      step: fc.nat(2_000),
    })
    fc.assert(
      fc.property(fc.array(event, { maxLength: 120 }), (events) => {
        const pool = poolOf('a', 'b')
        const waiting = new Set<string>()
        const running = new Map<string, string>()
        let now = 0
        let serial = 0
        const hear = (told: ReturnType<typeof release>) => {
          for (const { requestId, outcome } of told) {
            expect(waiting.delete(requestId)).toBe(true)
            if (outcome.kind === 'granted') running.set(requestId, outcome.place.workerId)
          }
        }
        for (const each of events) {
          now += each.step
          const requestId = `r${each.request}`
          if (each.kind === 'lease') {
            const id = `r${serial++}`
            const outcome = lease(pool, ask(id), now)
            if (!outcome) waiting.add(id)
            else if (outcome.kind === 'granted') running.set(id, outcome.place.workerId)
          } else if (each.kind === 'release') {
            running.delete(requestId)
            hear(release(pool, requestId, now))
          } else if (each.kind === 'beat') {
            const ids = [...running].filter(([, worker]) => worker === each.worker).map(([id]) => id)
            hear(heartbeat(pool, beat(each.worker, { sentAt: now, running: ids }), 1, now))
          } else if (each.kind === 'fail') hear(workerFailed(pool, each.worker, requestId, now))
          else hear(sweep(pool, now))
          for (const worker of view(pool).workers) expect(worker.leased).toBeLessThanOrEqual(worker.slots)
          expect(view(pool).waiting).toBe(waiting.size)
        }
      }),
    )
  })

  it('[POOL12] a worker that fell silent is remembered as missing until it is heard of; one that took leave is not', () => {
    const pool = poolOf('a', 'b', 'c')
    heartbeat(pool, beat('b', { state: 'gone', sentAt: 1 }), 1, 1)
    expect(registry(pool).present.map((place) => place.workerId)).toEqual(['a', 'c'])
    heartbeat(pool, beat('c', { sentAt: 3_000 }), 1, 3_000)
    sweep(pool, heartbeatLostMs + 1)
    expect(registry(pool)).toMatchObject({ present: [{ workerId: 'c' }], missing: ['a'] })
    heartbeat(pool, beat('a', { sentAt: 9_000 }), 1, 9_000)
    expect(registry(pool).missing).toEqual(['c'])
  })
})
