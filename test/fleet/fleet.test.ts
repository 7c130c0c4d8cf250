import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Heartbeat, heartbeatLostMs } from '../../backends/wire/heartbeat.ts'
import { lets } from '../../src/fleet/circuit-breaker.ts'
import { lease as leaseNotifying, release, releaseOn, workerFailed } from '../../src/fleet/fleet.ts'
import { type PriorityClass, waitingMax } from '../../src/fleet/queue/fair-queue.ts'
import { heartbeat, probeDue, probed, registry } from '../../src/fleet/registry.ts'
import { waitingTtlMs } from '../../src/fleet/shed.ts'
import { emptyFleet, type FleetState, type LeaseRequest, type Notification } from '../../src/fleet/state.ts'
import { sweep } from '../../src/fleet/sweep.ts'
import { view, waitView } from '../../src/fleet/views.ts'
import { testAsk, testBeat } from '../support/fleet.ts'

const beat = (workerId: string, change: Partial<Heartbeat> = {}) => testBeat(workerId, { slotsMax: 2, ...change })

const ask = (requestId: string, exclude: string[] = []) =>
  testAsk(requestId, { exclude, again: exclude.length > 0, promptTokens: 50, outputTokensMax: 50 })

/** A lease that must not change the outcome of another request. */
const lease = (pool: FleetState, request: LeaseRequest, now: number) =>
  leaseNotifying(pool, request, now, ({ requestId }) => expect.unreachable(`${requestId} had to leave`))

function poolOf(...workers: string[]): FleetState {
  const pool = emptyFleet()
  for (const worker of workers) heartbeat(pool, beat(worker), 1, 0)
  return pool
}

describe('fleet', () => {
  it('[POOL1] a request for a model without a worker is refused at once, not queued', () => {
    expect(lease(emptyFleet(), ask('r1'), 0)).toEqual({ kind: 'rejected-no-endpoints' })
    expect(lease(poolOf('a'), { ...ask('r1'), model: 'other' }, 0)).toEqual({ kind: 'rejected-no-endpoints' })
  })

  it('[POOL2] slots are leased on the emptiest worker first, and then requests wait in order', () => {
    const pool = poolOf('a', 'b')
    const granted = ['r1', 'r2', 'r3', 'r4'].map((id) => lease(pool, ask(id), 0))
    expect(granted.map((outcome) => outcome?.kind === 'granted' && outcome.endpoint.workerId).sort()).toEqual([
      'a',
      'a',
      'b',
      'b',
    ])
    expect(lease(pool, ask('r5'), 1)).toBeUndefined()
    expect(lease(pool, ask('r6'), 2)).toBeUndefined()
    const notifications = release(pool, 'r2', 7)
    expect(notifications).toMatchObject([{ requestId: 'r5', outcome: { kind: 'granted', waitedMs: 6 } }])
    expect(view(pool)).toMatchObject({ leased: 4, waiting: 1 })
  })

  it('[POOL3] a client that disconnects while it waits leaves the queue', () => {
    const pool = poolOf('a')
    for (const id of ['r1', 'r2', 'r3']) lease(pool, ask(id), 0)
    expect(release(pool, 'r3', 1)).toEqual([{ requestId: 'r3', outcome: { kind: 'evicted-cancelled' } }])
    expect(view(pool)).toMatchObject({ leased: 2, waiting: 0 })
  })

  it('[POOL4] a request that waits too long is evicted with a retry time', () => {
    const pool = poolOf('a')
    for (const id of ['r1', 'r2', 'r3']) lease(pool, ask(id), 0)
    const later = waitingTtlMs + 1
    heartbeat(pool, beat('a', { sentAt: later, running: ['r1', 'r2'] }), 1, later)
    expect(view(pool)).toMatchObject({ leased: 2, waiting: 0 })
    lease(pool, ask('r4'), later)
    const notifications = [later + 1_000, later + waitingTtlMs + 1].flatMap((now) =>
      heartbeat(pool, beat('a', { sentAt: now, running: ['r1', 'r2'] }), 1, now),
    )
    expect(notifications).toMatchObject([
      { requestId: 'r4', outcome: { kind: 'evicted-ttl', retryAfterMs: expect.any(Number) } },
    ])
  })

  it('[POOL5] a worker that misses three heartbeats loses its leases, and returns with the next one', () => {
    const pool = poolOf('a')
    lease(pool, ask('r1'), 0)
    expect(lease(pool, ask('r9'), heartbeatLostMs + 1)).toEqual({ kind: 'rejected-no-endpoints' })
    sweep(pool, heartbeatLostMs + 1)
    expect(view(pool)).toMatchObject({ workers: [], leased: 0 })
    heartbeat(pool, beat('a', { sentAt: 9_000 }), 1, 9_000)
    expect(lease(pool, ask('r2'), 9_001)?.kind).toBe('granted')
  })

  it('[POOL6] an unreachable worker gets no request until a probe reaches it, and its waiting requests are refused', () => {
    const pool = poolOf('a')
    for (const id of ['r1', 'r2', 'r3']) lease(pool, ask(id), 0)
    expect(workerFailed(pool, 'a', 'r1', 1)).toEqual([{ requestId: 'r3', outcome: { kind: 'rejected-no-endpoints' } }])
    expect(lease(pool, ask('r4'), 2)).toEqual({ kind: 'rejected-no-endpoints' })
    for (const sentAt of [3, 4]) heartbeat(pool, beat('a', { sentAt, running: ['r2'] }), 1, sentAt)
    expect(lease(pool, ask('r5'), 4)).toEqual({ kind: 'rejected-no-endpoints' })
    const probe = { workerId: 'a', instance: 'a.1', fault: undefined }
    probed(pool, { ...probe, fault: 'the edge cannot reach it' }, 5)
    expect(view(pool).workers[0]).toMatchObject({ state: 'unreachable', reason: 'the edge cannot reach it' })
    probed(pool, { ...probe, instance: 'another' }, 5)
    expect(lease(pool, ask('r5'), 5)).toEqual({ kind: 'rejected-no-endpoints' })
    probed(pool, probe, 6)
    expect(view(pool).workers[0]).toMatchObject({ state: 'ready', reason: null })
    expect(lease(pool, ask('r5'), 6)?.kind).toBe('granted')
  })

  it('[POOL7] a lease that its worker does not run is freed after the grace period', () => {
    const pool = poolOf('a')
    lease(pool, ask('r1'), 0)
    heartbeat(pool, beat('a', { sentAt: 1_000 }), 1, 1_000)
    expect(view(pool).leased).toBe(1)
    heartbeat(pool, beat('a', { sentAt: 11_000 }), 1, 11_000)
    expect(view(pool).leased).toBe(0)
  })

  it('[POOL8] a running request without a lease occupies a slot, so a restarted fleet overfills nothing', () => {
    const pool = emptyFleet()
    heartbeat(pool, beat('a', { running: ['x', 'y'] }), 1, 0)
    expect(lease(pool, ask('r1'), 0)).toBeUndefined()
    expect(heartbeat(pool, beat('a', { running: ['x'], sentAt: 1 }), 1, 1)).toMatchObject([
      { requestId: 'r1', outcome: { kind: 'granted' } },
    ])
  })

  it('[POOL9] a heartbeat from before a request’s end does not occupy its slot again', () => {
    const pool = poolOf('a')
    lease(pool, ask('r1'), 0)
    release(pool, 'r1', 100)
    heartbeat(pool, beat('a', { sentAt: 99, running: ['r1'] }), 1, 101)
    expect(view(pool)).toMatchObject({ leased: 0, unleased: 0 })
  })

  it('[POOL10] a draining or excluded worker gets nothing, and an older heartbeat has no effect', () => {
    const pool = emptyFleet()
    heartbeat(pool, beat('a', { state: 'draining', sentAt: 5 }), 1, 5)
    heartbeat(pool, beat('a', { state: 'ready', sentAt: 4 }), 1, 6)
    expect(lease(pool, ask('r1'), 7)).toEqual({ kind: 'rejected-no-endpoints' })
    heartbeat(pool, beat('b', { sentAt: 7 }), 1, 7)
    expect(lease(pool, ask('r2', ['b']), 8)).toEqual({ kind: 'rejected-no-endpoints' })
  })

  it('[POOL11] in any sequence no worker exceeds its slots, and each waiter gets one outcome', () => {
    const event = fc.record({
      kind: fc.constantFrom('lease', 'lease', 'release', 'beat', 'fail', 'probe', 'sweep'),
      request: fc.nat(40),
      worker: fc.constantFrom('a', 'b'),
      tenant: fc.constantFrom('t', 'u'),
      priorityClass: fc.constantFrom<PriorityClass>('interactive', 'batch'),
      exclude: fc.constantFrom<string[]>([], [], ['a'], ['b']),
      step: fc.nat(1_000),
    })
    fc.assert(
      fc.property(fc.array(event, { maxLength: 120, size: 'max' }), (events) => {
        const pool = poolOf('a', 'b')
        const waiting = new Map<string, string[]>()
        const running = new Map<string, string>()
        let now = 0
        let serial = 0
        const hear = (notifications: Notification[]) => {
          for (const { requestId, outcome } of notifications) {
            if (outcome.kind === 'granted') expect(waiting.get(requestId)).not.toContain(outcome.endpoint.workerId)
            expect(waiting.delete(requestId)).toBe(true)
            if (outcome.kind === 'granted') running.set(requestId, outcome.endpoint.workerId)
          }
        }
        for (const { kind, request, worker, tenant, priorityClass, exclude, step } of events) {
          now += step
          const requestId = `r${request}`
          if (kind === 'lease') {
            const id = `r${serial++}`
            const outcome = lease(pool, { ...ask(id, exclude), tenantId: tenant, priorityClass }, now)
            if (!outcome) waiting.set(id, exclude)
            else if (outcome.kind === 'granted') running.set(id, outcome.endpoint.workerId)
            if (outcome?.kind === 'granted') expect(exclude).not.toContain(outcome.endpoint.workerId)
          } else if (kind === 'release') {
            running.delete(requestId)
            hear(release(pool, requestId, now))
          } else if (kind === 'beat') {
            const ids = [...running].filter(([, on]) => on === worker).map(([id]) => id)
            hear(heartbeat(pool, beat(worker, { sentAt: now, running: ids }), 1, now))
          } else if (kind === 'probe') {
            if (probeDue(pool, worker, now))
              hear(probed(pool, { workerId: worker, instance: `${worker}.1`, fault: undefined }, now))
          } else if (kind === 'fail') hear(workerFailed(pool, worker, requestId, now))
          else hear(sweep(pool, now))
          for (const { workerId, leased, slots } of view(pool).workers) {
            expect(leased).toBeLessThanOrEqual(slots)
            const known = pool.workers.get(workerId)
            if (!known) throw new Error(`${workerId} is seen and not known`)
            // One that is left alone for its failures is tried again by the sweep after its time.
            const tried = known.breaker.openUntil === 0 || (kind === 'sweep' && lets(known.breaker, now))
            const usable =
              slots - leased - known.unleased > 0 && !known.failed && now - known.seenAt <= heartbeatLostMs && tried
            if (usable) for (const excluded of waiting.values()) expect(excluded).toContain(workerId)
          }
          expect(view(pool).leased).toBe(view(pool).workers.reduce((sum, { leased }) => sum + leased, 0))
          expect(view(pool).waiting).toBe(waiting.size)
        }
      }),
    )
  })

  it('[POOL12] a silent worker is listed as missing until its next heartbeat, one that signed off is not', () => {
    const pool = poolOf('a', 'b', 'c')
    heartbeat(pool, beat('b', { state: 'gone', sentAt: 1 }), 1, 1)
    expect(registry(pool).present.map((worker) => worker.workerId)).toEqual(['a', 'c'])
    heartbeat(pool, beat('c', { sentAt: 3_000 }), 1, 3_000)
    sweep(pool, heartbeatLostMs + 1)
    expect(registry(pool)).toMatchObject({ present: [{ workerId: 'c' }], missing: ['a'] })
    heartbeat(pool, beat('a', { sentAt: 9_000 }), 1, 9_000)
    expect(registry(pool).missing).toEqual(['c'])
  })

  it('[POOL13] a slot goes to the tenant whose turn it is by weight and class, not to the longest wait', () => {
    const pool = poolOf('a')
    for (const id of ['r1', 'r2']) lease(pool, ask(id), 0)
    lease(pool, { ...ask('batch'), tenantId: 'u', priorityClass: 'batch' }, 1)
    for (const id of ['f1', 'f2', 'f3', 'f4', 'f5']) lease(pool, ask(id), 2)
    lease(pool, { ...ask('single'), tenantId: 'v' }, 3)
    const order: string[] = []
    let running = 'r1'
    while (view(pool).waiting > 0) {
      for (const { requestId, outcome } of release(pool, running, 4)) {
        expect(outcome.kind).toBe('granted')
        order.push(requestId)
        running = requestId
      }
    }
    expect(order).toEqual(['f1', 'single', 'f2', 'f3', 'f4', 'f5', 'batch'])
  })

  it('[POOL14] the expected wait and the retry time follow the measured rate of free slots', () => {
    const pool = emptyFleet()
    heartbeat(pool, beat('a', { slotsMax: 1 }), 1, 0)
    lease(pool, ask('r0'), 0)
    for (let index = 1; index <= 20; index++) lease(pool, ask(`r${index}`), 0)
    expect(waitView(pool, 'r4', 0)).toEqual({ position: 4, of: 20, expectedWaitMs: null, askAgainMs: 1_000 })
    for (let index = 0; index < 8; index++) {
      const now = (index + 1) * 700
      heartbeat(pool, beat('a', { slotsMax: 1, sentAt: now, running: [`r${index}`] }), 1, now)
      expect(release(pool, `r${index}`, now)).toMatchObject([
        { requestId: `r${index + 1}`, outcome: { kind: 'granted', waitedMs: now, position: index + 1 } },
      ])
    }
    // The only request that can still be in time goes first.
    lease(pool, ask('r21'), 5_000)
    expect(waitView(pool, 'r12', 5_600)).toMatchObject({ position: 5, of: 13, expectedWaitMs: 3_500 })
    expect(waitView(pool, 'r8', 5_600)).toBeUndefined()
    // No slot becomes free, so the expected wait grows.
    expect(waitView(pool, 'r12', 8_400)?.expectedWaitMs).toBe(5_250)
    // At this rate not all requests can be served in time: the surplus is refused before its wait limit.
    const late = 60_001
    const running = { slotsMax: 1, sentAt: late, running: ['r8'] }
    const notifications = [...heartbeat(pool, beat('a', running), 1, late - 1), ...sweep(pool, late)]
    expect(notifications.map(({ outcome }) => outcome.kind).sort()).toEqual([
      ...Array<string>(7).fill('evicted-ttl'),
      ...Array<string>(5).fill('rejected-capacity'),
    ])
    const wait = { kind: 'evicted-ttl', retryAfterMs: Math.ceil((2 * late) / 8) }
    expect(notifications.find(({ outcome }) => outcome.kind === 'evicted-ttl')?.outcome).toEqual(wait)
  })

  it('[POOL19] a new wait starts with the last measured rate until it has its own', () => {
    const pool = emptyFleet()
    heartbeat(pool, beat('a', { slotsMax: 1 }), 1, 0)
    for (const id of ['r0', 'r1']) lease(pool, ask(id), 0)
    release(pool, 'r0', 500)
    heartbeat(pool, beat('a', { slotsMax: 1, sentAt: 10_000, running: ['r1'] }), 1, 10_000)
    lease(pool, ask('r2'), 10_000)
    expect(waitView(pool, 'r2', 10_000)?.expectedWaitMs).toBe(500)
    expect(waitView(pool, 'r2', 12_000)?.expectedWaitMs).toBe(2_000)
  })

  it('[POOL15] a full queue displaces the youngest batch request, or refuses the new one without batch', () => {
    const pool = poolOf('a')
    for (const id of ['r1', 'r2']) lease(pool, ask(id), 0)
    for (const id of ['b1', 'b2']) lease(pool, { ...ask(id), tenantId: 'u', priorityClass: 'batch' }, 0)
    for (let index = 2; index < waitingMax; index++) lease(pool, { ...ask(`w${index}`), tenantId: `t${index % 3}` }, 0)
    expect(waitView(pool, 'w2', 0)?.askAgainMs).toBe(waitingMax)
    const notifications: Notification[] = []
    const come = (id: string, priorityClass: PriorityClass) =>
      leaseNotifying(pool, { ...ask(id), tenantId: 'new', priorityClass }, 1, (each) => notifications.push(each))
    expect(come('n1', 'batch')).toEqual({ kind: 'rejected-capacity', retryAfterMs: 5_000 })
    expect(notifications).toEqual([])
    expect(come('n2', 'interactive')).toBeUndefined()
    expect(come('n3', 'interactive')).toBeUndefined()
    expect(notifications).toEqual(
      ['b2', 'b1'].map((requestId) => ({ requestId, outcome: { kind: 'rejected-capacity', retryAfterMs: 5_000 } })),
    )
    expect(come('n4', 'interactive')).toEqual({ kind: 'rejected-capacity', retryAfterMs: 5_000 })
    expect(view(pool).waiting).toBe(waitingMax)
  })

  it('[POOL16] the end of an attempt frees only its own worker’s slot', () => {
    const pool = poolOf('a', 'b')
    const first = lease(pool, ask('r1'), 0)
    const on = first?.kind === 'granted' ? first.endpoint.workerId : ''
    const other = on === 'a' ? 'b' : 'a'
    // The second attempt is leased before the end of the first is reported.
    expect(lease(pool, ask('r1', [on]), 1)).toMatchObject({ kind: 'granted', endpoint: { workerId: other } })
    expect(view(pool)).toMatchObject({
      leased: 1,
      workers: [{ leased: on === 'a' ? 0 : 1 }, { leased: on === 'a' ? 1 : 0 }],
    })
    expect(releaseOn(pool, on, 'r1', 2)).toEqual([])
    workerFailed(pool, on, 'r1', 2)
    expect(view(pool)).toMatchObject({ leased: 1, waiting: 0 })
    for (const id of ['r2', 'r3', 'r4']) lease(pool, ask(id), 3)
    lease(pool, ask('r5', [on]), 3)
    expect(releaseOn(pool, on, 'r5', 4)).toEqual([])
    expect(view(pool).waiting).toBe(3)
    expect(releaseOn(pool, other, 'r1', 5)).toMatchObject([{ requestId: 'r5', outcome: { kind: 'granted' } }])
  })

  it('[POOL17] a retried request goes first, never to the worker that failed it, and blocks no other', () => {
    const pool = emptyFleet()
    for (const id of ['a', 'b']) heartbeat(pool, beat(id, { slotsMax: 1 }), 1, 0)
    const held = new Map<string, string>()
    for (const id of ['r1', 'r2']) {
      const outcome = lease(pool, ask(id), 0)
      if (outcome?.kind === 'granted') held.set(outcome.endpoint.workerId, id)
    }
    lease(pool, ask('r3'), 1)
    lease(pool, ask('back', ['a']), 2)
    expect(release(pool, held.get('a') ?? '', 3)).toMatchObject([{ requestId: 'r3' }])
    lease(pool, ask('r4'), 4)
    expect(release(pool, held.get('b') ?? '', 5)).toMatchObject([
      { requestId: 'back', outcome: { kind: 'granted', endpoint: { workerId: 'b' } } },
    ])
    // The failed worker may have the most free slots.
    heartbeat(pool, beat('a', { slotsMax: 3, running: ['r3'], sentAt: 5 }), 1, 5)
    expect(view(pool)).toMatchObject({ leased: 3, waiting: 0 })
    lease(pool, ask('back 2', ['a']), 5)
    expect(view(pool)).toMatchObject({ leased: 3, waiting: 1 })
    expect(release(pool, 'back', 5)).toMatchObject([
      { requestId: 'back 2', outcome: { kind: 'granted', endpoint: { workerId: 'b' } } },
    ])
    for (const id of ['r5', 'r6']) lease(pool, ask(id), 6)
    lease(pool, ask('again', ['b']), 6)
    expect(workerFailed(pool, 'a', 'none', 7)).toEqual([
      { requestId: 'again', outcome: { kind: 'rejected-no-endpoints' } },
    ])
  })

  it('[POOL18] with 200 workers and 20,000 waiting, each is served once and every count is right', () => {
    const pool = emptyFleet()
    const names = Array.from({ length: 200 }, (_, index) => `w${index}`)
    for (const name of names) heartbeat(pool, beat(name, { slotsMax: 4 }), 1, 0)
    const running: string[] = []
    for (let index = 0; index < 800 + waitingMax; index++) {
      const priorityClass = index % 5 === 0 ? 'batch' : 'interactive'
      const request = {
        ...ask(`r${index}`),
        tenantId: `t${index % 300}`,
        priorityClass,
        costTokens: 50 + (index % 90),
      } as const
      if (lease(pool, request, 0)) running.push(request.requestId)
    }
    expect(view(pool)).toMatchObject({ leased: 800, waiting: waitingMax })
    const served = new Set(running)
    for (let place = 0; place < running.length; place++) {
      for (const { requestId, outcome } of release(pool, running[place] ?? '', 1)) {
        expect(outcome.kind).toBe('granted')
        expect(served.has(requestId)).toBe(false)
        served.add(requestId)
        running.push(requestId)
      }
      if (place % 5_000 === 0) {
        const { leased, waiting, workers } = view(pool)
        expect(leased).toBe(workers.reduce((sum, worker) => sum + worker.leased, 0))
        expect(leased + waiting).toBe(800 + waitingMax - place - 1)
        for (const worker of workers) expect(worker.leased).toBeLessThanOrEqual(4)
      }
    }
    expect(served.size).toBe(800 + waitingMax)
    expect(view(pool)).toMatchObject({ leased: 0, waiting: 0 })
  })
})
