import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { budgets } from '../../backends/model/budgets.ts'
import { type Heartbeat, heartbeatLostMs } from '../../backends/wire/heartbeat.ts'
import { checkClaims, joinEnrolments } from '../../src/fleet/enrolment.ts'
import { Enrolments } from '../../src/fleet/enrolment-check.ts'
import { lease } from '../../src/fleet/fleet.ts'
import { reportOn, workerReport } from '../../src/fleet/fleet-report.ts'
import { HeartbeatRate } from '../../src/fleet/heartbeat-rate.ts'
import { heartbeat, probeDue, probed } from '../../src/fleet/registry.ts'
import { emptyFleet, type FleetState } from '../../src/fleet/state.ts'
import { view } from '../../src/fleet/views.ts'
import { testAsk, testBeat, testEnrolment } from '../support/fleet.ts'

const start = 1_800_000_000_000
const minute = 60_000

const rollOf = (...workers: string[]) =>
  new Enrolments(
    workers.map((id) => testEnrolment(id)),
    [],
  )

/** A heartbeat of process `a.1` by default. */
const beat = (sentAt: number, change: Partial<Heartbeat> = {}) =>
  testBeat('a', { sentAt, instance: 'a.1', startedAt: start, ...change })

const other = (sentAt: number, change: Partial<Heartbeat> = {}) =>
  beat(sentAt, { instance: 'a.2', startedAt: start + 5_000, url: 'http://127.0.0.1:10/a', ...change })

describe('enrolment', () => {
  it('[WEN3] a heartbeat that claims more than its enrolment is refused, and the reason names both values', () => {
    const enrolment = testEnrolment('a', { url: 'http://127.0.0.1:9/a', pools: ['latency'], slotsMax: 4 })
    const claims = testBeat('a')
    expect(checkClaims(enrolment, claims)).toEqual({ ok: true, url: 'http://127.0.0.1:9/a' })
    const wrong: [Partial<Heartbeat>, RegExp][] = [
      [{ url: 'http://127.0.0.1:10/a' }, /127\.0\.0\.1:10\/a .*127\.0\.0\.1:9\/a/],
      [{ url: 'http://169.254.169.254/a' }, /169\.254\.169\.254.*metadata/],
      [{ url: 'http://u:p@127.0.0.1:9/a' }, /user name or a password/],
      [{ url: 'http://127.0.0.1:9/a?x=1' }, /query/],
      [{ pool: 'throughput' }, /pool throughput .*latency/],
      [{ model: 'mistral-small-4' }, /model mistral-small-4 .* m\./],
      [{ slotsMax: 5 }, /5 slots .*at most 4/],
    ]
    for (const [change, reason] of wrong) {
      const checked = checkClaims(enrolment, { ...claims, ...change })
      expect(checked, JSON.stringify(change)).toMatchObject({ ok: false, reason: expect.stringMatching(reason) })
    }
    const hostile = checkClaims(enrolment, { ...claims, model: `x\r\n${'y'.repeat(60)}` })
    expect(hostile.ok ? '' : hostile.reason).toMatch(/^[\x20-\x7e]{1,600}$/)
  })

  it('[WEN4] a worker without an enrolled address is pinned by its first heartbeat', () => {
    const roll = new Enrolments([testEnrolment('a', { url: null, models: null, slotsMax: null })], [])
    const heard = roll.hear(beat(start), 1, start)
    expect(heard).toMatchObject({ kind: 'taken', pinned: { url: 'http://127.0.0.1:9/a', models: ['m'], pinned: true } })
    expect(roll.hear(beat(start + 1), 1, start + 1)).toMatchObject({ kind: 'taken', pinned: undefined })
    const moved = beat(start + 10_000, { instance: 'a.2', url: 'http://10.0.0.1:9/a' })
    expect(roll.hear(moved, 1, start + 10_000)).toMatchObject({ kind: 'refused', status: 403, state: 'refused' })
    const secret = new Enrolments([testEnrolment('a', { url: null })], [])
    expect(secret.hear(beat(start, { url: 'http://169.254.169.254/' }), 1, start)).toMatchObject({ kind: 'refused' })
    expect(secret.view('a', start).enrolment?.url).toBeNull()
  })

  it('[WEN5] the newer change wins, and the fields that it does not set stay pinned', () => {
    const old = testEnrolment('a', { revision: 1, slotsMax: 4 })
    const newer = testEnrolment('a', { revision: 2, slotsMax: 8 })
    expect(joinEnrolments(old, newer).slotsMax).toBe(8)
    expect(joinEnrolments(newer, old).slotsMax).toBe(8)
    const pinned = testEnrolment('a', { url: 'http://127.0.0.1:9', pinned: true })
    const partly = testEnrolment('a', { revision: 2, url: null, slotsMax: 2 })
    expect(joinEnrolments(pinned, partly)).toMatchObject({ url: 'http://127.0.0.1:9', slotsMax: 2, pinned: true })
    expect(joinEnrolments(pinned, testEnrolment('a', { revision: 3 })).pinned).toBe(false)
  })
})

describe('heartbeats of enrolled workers', () => {
  it('[ROL1] a heartbeat that is more than a minute off is refused with the seconds', () => {
    const roll = rollOf('a')
    for (const sentAt of [start - minute - 1, start + minute + 1, start - 86_400_000]) {
      const heard = roll.hear(beat(sentAt), 1, start)
      expect(heard).toMatchObject({ kind: 'refused', status: 403, state: 'clock' })
    }
    expect(roll.hear(beat(start + 90_000), 1, start)).toMatchObject({
      reason: expect.stringMatching(/90\.0 s ahead of/),
    })
    expect(roll.view('a', start)).toMatchObject({ state: 'clock', seenAt: undefined })
    expect(roll.hear(beat(start - minute), 1, start).kind).toBe('taken')
  })

  it('[ROL2] a worker whose clock differs by more than dispatches tolerate gets no requests', () => {
    const roll = rollOf('a')
    const pool = emptyFleet()
    const hear = (aheadMs: number, now: number) => {
      const heard = roll.hear(beat(now + aheadMs, { instance: `a.${now}` }), 1, now)
      if (heard.kind !== 'taken') throw new Error(heard.kind)
      heartbeat(pool, heard.heartbeat, 1, now, heard.hold)
      return workerReport(pool, roll, 'a', now).state
    }
    expect(hear(-4_000, start)).toBe('ready')
    expect(hear(-6_000, start + 10_000)).toBe('clock')
    expect(lease(pool, testAsk('r1'), start + 10_000, () => undefined)).toEqual({ kind: 'rejected-no-endpoints' })
    expect(hear(36_000, start + 20_000)).toBe('clock')
    expect(hear(30_000, start + 30_000)).toBe('ready')
  })

  it('[ROL14] the reason of a worker whose engine is not ready is reported, without control characters', () => {
    const roll = rollOf('a')
    const pool = emptyFleet()
    const heard = roll.hear(beat(start, { state: 'down', reason: 'not ready:\u001b[2J 400' }), 1, start)
    if (heard.kind !== 'taken') throw new Error(heard.kind)
    heartbeat(pool, heard.heartbeat, 1, start, heard.hold)
    const { state, reason } = workerReport(pool, roll, 'a', start)
    expect([state, reason?.includes('\u001b'), reason]).toEqual([
      'down',
      false,
      expect.stringMatching(/^not ready:.*400$/),
    ])
  })

  it('[ROL3] a repeated heartbeat changes nothing, even after its process left or was replaced', () => {
    const roll = rollOf('a')
    expect(roll.hear(beat(start), 1, start).kind).toBe('taken')
    for (const sentAt of [start, start - 1]) expect(roll.hear(beat(sentAt), 1, start + 2_000).kind).toBe('repeated')
    expect(roll.view('a', start + 2_000).seenAt).toBe(start)
    // A repeated heartbeat does not keep a dead process alive.
    expect(roll.hear(other(start + 4_000), 1, start + 4_000).kind).toBe('taken')
    expect(roll.hear(beat(start), 1, start + 4_001).kind).toBe('repeated')
    expect(roll.view('a', start + 4_001).state).toBeUndefined()
    expect(roll.hear(other(start + 5_000, { state: 'gone' }), 1, start + 5_000).kind).toBe('taken')
    expect(roll.hear(other(start + 4_000), 1, start + 5_001).kind).toBe('repeated')
  })

  it('[ROL4] a second process is refused while the first is live, and each learns the other’s address', () => {
    const roll = rollOf('a')
    const pool = emptyFleet()
    const first = roll.hear(beat(start), 1, start)
    if (first.kind === 'taken') heartbeat(pool, first.heartbeat, 1, start, first.hold)
    const second = roll.hear(other(start + 100), 1, start + 100)
    expect(second).toMatchObject({ kind: 'refused', status: 409, state: 'duplicate' })
    expect(second).toMatchObject({
      reason: expect.stringMatching(
        /another process with worker id a is live at http:\/\/127\.0\.0\.1:9\/a, started 2027/,
      ),
    })
    expect(roll.hear(beat(start + 1_000), 1, start + 1_000).kind).toBe('taken')
    const report = reportOn(pool, roll, start + 1_000).latency.workers
    expect(report).toMatchObject([{ workerId: 'a', state: 'duplicate', url: 'http://127.0.0.1:9/a', slots: 4 }])
    expect(report[0]?.reason).toContain('http://127.0.0.1:10/a')
    // The first process serves as before.
    expect(lease(pool, testAsk('r1'), start + 1_000, () => undefined)).toMatchObject({
      kind: 'granted',
      endpoint: { url: 'http://127.0.0.1:9/a' },
    })
    // The second was stopped.
    const later = start + 100 + budgets.duplicateShownMs.value + 1
    roll.hear(beat(later), 1, later)
    expect(roll.view('a', later).state).toBeUndefined()
  })

  it('[ROL5] a second process takes over when the first left, is replaced by it or misses heartbeats', () => {
    const silent = rollOf('a')
    silent.hear(beat(start), 1, start)
    const soon = start + heartbeatLostMs
    expect(silent.hear(other(soon), 1, soon).kind).toBe('refused')
    expect(silent.hear(other(soon + 1), 1, soon + 1).kind).toBe('taken')
    // The first process was only slow: now it is the duplicate.
    expect(silent.hear(beat(soon + 2), 1, soon + 2)).toMatchObject({ kind: 'refused', status: 409 })
    const left = rollOf('a')
    left.hear(beat(start), 1, start)
    left.hear(beat(start + 1, { state: 'gone' }), 1, start + 1)
    expect(left.hear(other(start + 2), 1, start + 2).kind).toBe('taken')
    const replaced = rollOf('a')
    replaced.hear(beat(start), 1, start)
    expect(replaced.hear(other(start + 1, { replaces: 'a.0' }), 1, start + 1).kind).toBe('refused')
    expect(replaced.hear(other(start + 2, { replaces: 'a.1' }), 1, start + 2).kind).toBe('taken')
  })

  it('[ROL6] a second process that leaves ends neither the first one nor its leases', () => {
    const roll = rollOf('a')
    roll.hear(beat(start), 1, start)
    roll.hear(other(start + 1), 1, start + 1)
    expect(roll.hear(other(start + 2, { state: 'gone' }), 1, start + 2)).toMatchObject({ kind: 'refused', status: 409 })
    expect(roll.view('a', start + 3)).toMatchObject({ state: undefined, startedAt: start })
  })

  it('[ROL7] under any order of heartbeats one process is accepted at a time, and no heartbeat twice', () => {
    const event = fc.record({
      instance: fc.constantFrom('a.1', 'a.2', 'a.3'),
      step: fc.nat(3_000),
      lateMs: fc.nat(5_000),
      kind: fc.constantFrom('beat', 'beat', 'beat', 'replay', 'gone'),
    })
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (events) => {
        const roll = rollOf('a')
        const sent: Heartbeat[] = []
        const taken = new Set<string>()
        let live: { instance: string; seenAt: number } | undefined
        let now = start
        for (const { instance, step, lateMs, kind } of events) {
          now += step
          const known = sent[step % Math.max(1, sent.length)]
          const next = beat(now - lateMs, { instance, state: kind === 'gone' ? 'gone' : 'ready' })
          const came = kind === 'replay' && known ? known : next
          sent.push(came)
          if (roll.hear(came, 1, now).kind !== 'taken') continue
          const id = `${came.instance} ${came.sentAt}`
          expect(taken.has(id)).toBe(false)
          taken.add(id)
          if (live && live.instance !== came.instance) expect(now - live.seenAt).toBeGreaterThan(heartbeatLostMs)
          live = came.state === 'gone' ? undefined : { instance: came.instance, seenAt: now }
        }
      }),
      { numRuns: 2_000 },
    )
  })

  it('[ROL8] an old key is refused before anything else of the heartbeat counts', () => {
    const roll = rollOf('a')
    roll.fence({ workerId: 'a', epochMin: 2, nextMin: 0, nextAt: 0, epochRevoked: 0 })
    expect(roll.hear(beat(start), 1, start)).toMatchObject({
      kind: 'refused',
      status: 403,
      reason: expect.stringContaining('key 1'),
    })
    expect(roll.hear(beat(start), 2, start).kind).toBe('taken')
    expect(roll.hear(beat(start + 1, { state: 'gone' }), 1, start + 1).kind).toBe('refused')
    expect(roll.view('a', start + 1).startedAt).toBe(start)
  })

  it('[ROL9] a new process is probed once, and an unreachable one repeatedly until it is reached', () => {
    const pool = emptyFleet()
    const probe = { workerId: 'a', instance: 'a.1', fault: undefined }
    heartbeat(pool, beat(start), 1, start)
    expect([probeDue(pool, 'a', start), probeDue(pool, 'a', start)]).toEqual([true, false])
    probed(pool, { ...probe, fault: 'no route' }, start + 1)
    heartbeat(pool, beat(start + 1_000), 1, start + 1_000)
    expect(view(pool).workers[0]).toMatchObject({ state: 'unreachable', reason: 'no route' })
    expect(probeDue(pool, 'a', start + 1_000)).toBe(false)
    expect(probeDue(pool, 'a', start + budgets.workerProbeMs.value)).toBe(true)
    probed(pool, probe, start + 4_000)
    expect(view(pool).workers[0]).toMatchObject({ state: 'ready', reason: null })
    expect(probeDue(pool, 'a', start + 90_000)).toBe(false)
    heartbeat(pool, beat(start + 5_000, { instance: 'a.2' }), 1, start + 5_000)
    expect(probeDue(pool, 'a', start + 5_000)).toBe(true)
  })

  it('[ROL10] a live process beyond its enrolment keeps its running requests and gets no new ones', () => {
    const roll = rollOf('a')
    const pool = emptyFleet()
    const hear = (sentAt: number) => {
      const heard = roll.hear(beat(sentAt, { running: ['r1'] }), 1, sentAt)
      if (heard.kind === 'taken') heartbeat(pool, heard.heartbeat, 1, sentAt, heard.hold)
      return heard
    }
    hear(start)
    roll.enrol(testEnrolment('a', { revision: 2, slotsMax: 2 }))
    expect(roll.holdOf('a', beat(start))).toMatchObject({ state: 'refused' })
    expect(hear(start + 1_000)).toMatchObject({ kind: 'held', hold: { reason: expect.stringContaining('at most 2') } })
    roll.enrol(testEnrolment('a', { revision: 3 }))
    expect(hear(start + 2_000)).toMatchObject({ kind: 'taken', hold: undefined })
  })

  it('[ROL12] claimed tokens count only up to what the worker’s answers can have had', () => {
    const honest = emptyFleet()
    const lied = emptyFleet()
    for (const [pool, tokens] of [
      [honest, 300],
      [lied, Number.MAX_SAFE_INTEGER],
    ] as const) {
      for (let second = 0; second <= 5; second++) {
        const at = start + second * 1_000
        const running = ['r1', 'r2', 'r3', 'r4']
        heartbeat(pool, beat(at, { running, outputTokensTotal: Math.floor((tokens / 5) * second) }), 1, at)
      }
    }
    const written = (pool: FleetState) => pool.lengths.sums.get('throughput m')?.written ?? 0
    expect(written(lied)).toBeGreaterThan(written(honest))
    expect(written(lied)).toBeLessThan(500_000)
  })

  it('[ROL12] a worker that changes its kind with each heartbeat drops no other kind’s figures', () => {
    const pool = emptyFleet()
    heartbeat(pool, testBeat('b', { sentAt: start }), 1, start)
    const speed = pool.workers.get('b')?.speed
    for (let index = 1; index <= 2_000; index++) {
      const at = start + index
      heartbeat(pool, beat(at, { engine: `e ${index}` }), 1, at)
      if (index % 100 === 0) heartbeat(pool, testBeat('b', { sentAt: at }), 1, at)
    }
    expect(pool.workers.get('b')?.speed).toBe(speed)
    expect(pool.speeds.size).toBeLessThanOrEqual(256)
  })

  it('[ROL13] one worker can send at most twenty heartbeats a second, and does not limit others', () => {
    const rate = new HeartbeatRate()
    const taken = Array.from({ length: 1_000 }, (_, index) => rate.allows('a', start + (index % 1_000)))
    expect(taken.filter(Boolean).length).toBe(20)
    expect(rate.allows('b', start + 1)).toBe(true)
    expect(rate.allows('a', start + 1_000)).toBe(true)
    // A clock that is set back allows heartbeats and does not block them.
    expect(rate.allows('a', start - 50_000)).toBe(true)
    for (let index = 0; index < 5_000; index++) expect(rate.allows(`w${index}`, start)).toBe(true)
  })

  it('[ROL11] database lookups of unknown workers are bounded, per worker and in all', () => {
    const roll = rollOf()
    expect(roll.hear(beat(start), 1, start)).toEqual({ kind: 'unknown' })
    expect([roll.looksFor('a', start), roll.looksFor('a', start + 4_999), roll.looksFor('a', start + 5_000)]).toEqual([
      true,
      false,
      true,
    ])
    let lookups = 0
    for (let index = 0; index < 1_000; index++) if (roll.looksFor(`s${index}`, start + 5_000)) lookups += 1
    expect(lookups).toBe(99)
    expect(roll.looksFor('late', start + 10_001)).toBe(true)
  })
})
