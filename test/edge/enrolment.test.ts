/** Enrolment of workers on the real routes, with D1 and the fleet object. */
import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import type { Heartbeat } from '../../backends/wire/heartbeat.ts'
import { testBeat } from '../support/fleet.ts'
import { type Answer, enrol, operate, operatorKey, send, sendBeat } from './client.ts'
import { evict } from './evict.ts'

let lastSentAt = 0
/** A time that is newer than all earlier ones. */
function now(): number {
  lastSentAt = Math.max(Date.now(), lastSentAt + 1)
  return lastSentAt
}

function beat(workerId: string, change: Partial<Heartbeat> = {}): Promise<Answer> {
  return sendBeat(testBeat(workerId, { model: 'mistral-small-4', sentAt: now(), ...change }))
}

async function rowOf(workerId: string) {
  return operate('GET', `/admin/workers/${workerId}`)
}

async function inPools(workerId: string) {
  const pools = await operate('GET', '/admin/pools')
  const rows = Object.entries(pools as Record<string, { workers: { workerId: string }[] }>)
  return rows.flatMap(([pool, { workers }]) =>
    workers.filter((each) => each.workerId === workerId).map((each) => ({ pool, ...each })),
  )
}

describe('enrolment', () => {
  it('[WEN6] a body without a valid address, or with a field out of bounds, returns 400 with the field and the advice', async () => {
    const wrong: [Record<string, unknown>, string, RegExp][] = [
      [{}, 'url', /url/],
      [{ url: 'http://169.254.169.254/' }, 'url', /link-local, metadata or reserved.* Use /],
      [{ url: 'http://gpu.example.com:9000' }, 'url', /http on a public host.* Use https/],
      [{ url: 'https://u:p@gpu.example.com' }, 'url', /user name or a password\. Remove/],
      [{ url: `https://gpu.example.com/${'x'.repeat(600)}` }, 'url', /512/],
      [{ url: 'https://gpu.example.com', pools: [] }, 'pools', /latency, throughput/],
      [{ url: 'https://gpu.example.com', pools: ['fast'] }, 'pools[0]', /latency/],
      [{ url: 'https://gpu.example.com', models: ['gpt-4o'] }, 'models[0]', /catalogue.*tramontane-tiny/],
      [{ url: 'https://gpu.example.com', models: [] }, 'models', /one model/],
      [{ url: 'https://gpu.example.com', slotsMax: 1_025 }, 'slots_max', /1024/],
      [{ url: 'https://gpu.example.com', slotsMax: 0.5 }, 'slots_max', /whole number/],
      [{ url: 'https://gpu.example.com', slots: 4 }, 'slots', /not a known field/],
    ]
    for (const [body, param, sentence] of wrong) {
      const answer = await send('POST', '/admin/workers', { workerId: 'bad', ...body })
      expect(answer, JSON.stringify(body)).toMatchObject({ status: 400, body: { param } })
      expect(answer.body.message).toMatch(sentence)
    }
    expect((await send('GET', '/admin/workers/bad')).status).toBe(404)
    const { workerKey, ...row } = await operate('POST', '/admin/workers', {
      workerId: 'good',
      url: 'https://GPU.example.com',
    })
    expect(workerKey).toMatch(/^tw_good_1_/)
    expect(row).toMatchObject({
      ...{ url: 'https://gpu.example.com:443', pools: ['latency', 'throughput'], models: ['tramontane-tiny'] },
      ...{ slotsMax: 256, status: 'enrolled', pinned: false },
    })
    expect(await send('PATCH', '/admin/workers/good', {})).toMatchObject({ status: 400 })
    expect(await send('PATCH', '/admin/workers/absent', { slotsMax: 1 })).toMatchObject({ status: 404 })
    const reader = await operatorKey(['workers:read'])
    expect((await send('PATCH', '/admin/workers/good', { slotsMax: 1 }, reader)).status).toBe(403)
    expect((await send('GET', '/admin/workers/good', undefined, reader)).status).toBe(200)
  })

  it('[WEN7] a heartbeat that claims more than the enrolment gets 403, and the operator sees the worker with the reason', async () => {
    await enrol('pinned', { pools: ['latency'], models: ['mistral-small-4'], slotsMax: 4 })
    const wrong: [Partial<Heartbeat>, RegExp][] = [
      [{ url: 'http://169.254.169.254/latest' }, /169\.254\.169\.254/],
      [{ url: 'http://127.0.0.1:10/pinned' }, /127\.0\.0\.1:10/],
      [{ pool: 'throughput' }, /pool throughput/],
      [{ model: 'tramontane-tiny' }, /model tramontane-tiny/],
      [{ slotsMax: 1_024 }, /1024 slots/],
    ]
    for (const [change, reason] of wrong) {
      const answer = await beat('pinned', change)
      expect(answer, JSON.stringify(change)).toMatchObject({ status: 403, body: { state: 'refused' } })
      expect(answer.body.reason).toMatch(reason)
      expect(await inPools('pinned')).toMatchObject([{ state: 'refused', slots: 0, reason: answer.body.reason }])
      expect(await rowOf('pinned')).toMatchObject({
        state: 'refused',
        reason: answer.body.reason,
        heartbeatAgeMs: null,
      })
    }
    expect(await beat('pinned')).toMatchObject({ status: 200 })
    expect(await inPools('pinned')).toMatchObject([{ pool: 'latency', slots: 4, url: 'http://127.0.0.1:9/pinned' }])
    const listed = (await operate('GET', '/admin/workers')).data.find(
      (row: { workerId: string }) => row.workerId === 'pinned',
    )
    expect(listed).toMatchObject({ slotsMax: 4, heartbeatAgeMs: expect.any(Number), startedAt: 0 })
  })

  it('[WEN8] a worker id that was never enrolled is refused even with a valid key', async () => {
    const answer = await beat('stranger')
    expect(answer).toMatchObject({
      status: 403,
      body: { state: 'refused', reason: expect.stringContaining('not enrolled') },
    })
    expect(await inPools('stranger')).toEqual([])
  })

  it('[WEN4] an enrolment without an address is pinned to the first heartbeat, and shown as pinned', async () => {
    await env.DB.prepare('INSERT INTO workers (worker_id, epoch, enrolled_at) VALUES (?, 1, 1)').bind('legacy').run()
    expect(await rowOf('legacy')).toMatchObject({ url: null, models: null, pinned: false, state: null })
    expect(await beat('legacy', { url: 'http://169.254.169.254/' })).toMatchObject({ status: 403 })
    expect(await beat('legacy')).toMatchObject({ status: 200 })
    expect(await rowOf('legacy')).toMatchObject({
      url: 'http://127.0.0.1:9/legacy',
      models: ['mistral-small-4'],
      pinned: true,
    })
    await evict(env.FLEET.getByName('fleet'))
    expect(await beat('legacy', { url: 'http://127.0.0.1:10/legacy', instance: 'x' })).toMatchObject({ status: 403 })
    await operate('PATCH', '/admin/workers/legacy', { url: 'http://127.0.0.1:10/legacy' })
    expect(await beat('legacy', { url: 'http://127.0.0.1:10/legacy', instance: 'x' })).toMatchObject({ status: 200 })
    expect(await beat('legacy', { slotsMax: 257, url: 'http://127.0.0.1:10/legacy', instance: 'x' })).toMatchObject({
      body: { state: 'refused', reason: expect.stringContaining('at most 256') },
    })
  })

  it('[WEN9] a change needs no new key, is audited, and stops new requests to a live worker that exceeds it', async () => {
    await enrol('change', { slotsMax: 8 })
    expect(await beat('change')).toMatchObject({ status: 200 })
    const changed = await operate('PATCH', '/admin/workers/change', { slotsMax: 2 })
    expect(changed).toMatchObject({
      epoch: 1,
      slotsMax: 2,
      state: 'refused',
      reason: expect.stringContaining('at most 2'),
    })
    expect(changed.workerKey).toBeUndefined()
    // The worker is live, so its running requests may finish.
    expect(await beat('change')).toMatchObject({ status: 200, body: { state: 'refused' } })
    expect(await inPools('change')).toMatchObject([{ state: 'refused', slots: 4 }])
    await operate('PATCH', '/admin/workers/change', { slotsMax: 4 })
    expect((await beat('change')).body.state).not.toBe('refused')
    const { data } = await operate('GET', '/admin/audit?limit=1000')
    const row = data
      .filter((each: { action: string; target: string }) => each.action.startsWith('PATCH') && each.target === 'change')
      .at(-1)
    expect(row).toMatchObject({ target: 'change', status: 200, before: { slotsMax: 8 }, after: { slotsMax: 2 } })
    await operate('POST', '/admin/workers/change/revoke')
    expect((await send('PATCH', '/admin/workers/change', { slotsMax: 4 })).status).toBe(404)
    expect(await beat('change')).toMatchObject({ status: 403 })
    expect(await inPools('change')).toEqual([])
  })

  it('[WEN10] enrolments hold after an eviction and without D1', async () => {
    await enrol('kept', { slotsMax: 4 })
    await evict(env.FLEET.getByName('fleet'))
    await env.DB.exec('ALTER TABLE workers RENAME TO workers_away')
    try {
      expect(await beat('kept', { slotsMax: 5 })).toMatchObject({ status: 403 })
      expect(await beat('kept')).toMatchObject({ status: 200 })
      // Without D1 the edge cannot find out whether this worker is enrolled.
      expect(await beat('unknown')).toMatchObject({ status: 403 })
    } finally {
      await env.DB.exec('ALTER TABLE workers_away RENAME TO workers')
    }
    const kept = await runInDurableObject(env.FLEET.getByName('fleet'), (_, { storage }) =>
      storage.sql.exec('SELECT slots_max FROM enrolments WHERE worker_id = ?', 'kept').one(),
    )
    expect(kept).toEqual({ slots_max: 4 })
  })

  it('[ROL4] the second process of a worker gets 409, and the first is informed', async () => {
    await enrol('double', { url: 'http://127.0.0.1:*' })
    const url = 'http://127.0.0.1:9'
    expect(await beat('double', { url })).toMatchObject({ status: 200 })
    const second = await beat('double', { url: 'http://127.0.0.1:10', instance: 'b', startedAt: 5 })
    expect(second).toMatchObject({
      status: 409,
      body: { state: 'duplicate', reason: expect.stringContaining('http://127.0.0.1:9,') },
    })
    const first = await beat('double', { url })
    expect(first).toMatchObject({
      status: 200,
      body: { reason: expect.stringMatching(/another process|cannot reach/) },
    })
    expect(await inPools('double')).toMatchObject([{ url: 'http://127.0.0.1:9', reason: first.body.reason }])
    expect(await beat('double', { url, state: 'gone' })).toMatchObject({ status: 200 })
    expect(await beat('double', { url: 'http://127.0.0.1:10', instance: 'b' })).toMatchObject({ status: 200 })
  })

  it('[ROL1] a stale heartbeat is refused with the difference in seconds, and a replayed one changes nothing', async () => {
    await enrol('clock')
    const late = await beat('clock', { sentAt: Date.now() - 90_000 })
    expect(late).toMatchObject({
      status: 403,
      body: { state: 'clock', reason: expect.stringMatching(/(89|90)\.\d s behind/) },
    })
    expect(Math.abs(late.body.edgeNow - Date.now())).toBeLessThan(5_000)
    expect(await rowOf('clock')).toMatchObject({ state: 'clock', reason: late.body.reason })
    const sentAt = now()
    expect(await beat('clock', { sentAt, slotsMax: 4 })).toMatchObject({ status: 200 })
    expect(await beat('clock', { sentAt, slotsMax: 2 })).toMatchObject({ status: 200 })
    expect(await inPools('clock')).toMatchObject([{ slots: 4 }])
  })

  it('[ROL9] the edge probes a new worker at its address and shows why it cannot reach it', async () => {
    await enrol('away')
    expect(await beat('away')).toMatchObject({ status: 200 })
    let row = await rowOf('away')
    for (let attempt = 0; attempt < 50 && row.state !== 'unreachable'; attempt++) {
      await scheduler.wait(50)
      row = await rowOf('away')
    }
    expect(row).toMatchObject({ state: 'unreachable', reason: expect.stringMatching(/cannot reach .*127\.0\.0\.1:9/) })
    // Its own heartbeats do not make it reachable, and their answer has the reason.
    expect(await beat('away')).toMatchObject({ body: { state: 'unreachable', reason: row.reason } })
  })
})
