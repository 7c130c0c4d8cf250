/** The list of requests, their labels, and why each went where it went, for tenants and for operators. */
import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { fleetOf } from '../../src/fleet/client.ts'
import { testAsk, testBeat, testEnrolment } from '../support/fleet.ts'
import { ask, keyHash, openKey, openTenant, operate, send, use } from './client.ts'
import { evict } from './evict.ts'

interface Listed {
  request_id: string
  outcome: string
  cost_nano: number | null
}

describe('requests', () => {
  it('[REQ1] GET /v1/requests lists every request once, newest first, page by page, and each filter selects', async () => {
    await openTenant('lister2')
    const { keyId: one } = await openKey('lister2')
    const { keyId: two } = await openKey('lister2')
    const { apiKey } = await openKey('lister2', { role: 'viewer' })
    const first = await use('lister2', one, {}, { endUser: 'ada', tags: ['team:x', 'beta'] })
    const second = await use('lister2', two, { effort: 'high', pool: 'throughput', costNano: 5 })
    const third = await use('lister2', one, { outcome: 'aborted' }, { endUser: 'bob', tags: ['team:x'] })
    const stub = env.TENANT.getByName('lister2')
    const order = { keyId: one, secretHash: await keyHash('lister2', one), model: 'tramontane-tiny' }
    const running = { ...order, requestId: 'req_ffffffffffff1', promptTokens: 1, outputTokens: 1, unknownEffort: null }
    expect((await stub.admit(running)).ok).toBe(true)
    const list = async (query: string) => {
      const { body, text } = await send('GET', `/v1/requests?${query}`, undefined, apiKey)
      expect(body.object, text).toBe('list')
      return body as { data: Listed[]; next: string | null }
    }
    const ids = async (query: string) => (await list(query)).data.map(({ request_id }) => request_id)
    const all = [running.requestId, third.requestId, second.requestId, first.requestId]
    expect(await ids('')).toEqual(all)
    const paged: string[] = []
    for (let before: string | null = ''; before !== null; ) {
      const page: { data: Listed[]; next: string | null } = await list(`limit=1&before=${before}`)
      paged.push(...page.data.map(({ request_id }) => request_id))
      before = page.next
    }
    expect(paged).toEqual(all)
    const { data } = await list('')
    expect(data[0]).toMatchObject({ outcome: 'running', cost_nano: null, prompt_tokens: null, bound_nano: 750 })
    expect(data[3]).toMatchObject({
      ...{ outcome: 'finished', cost_nano: 21_600, prompt_tokens: 100, key_id: one, model: 'tramontane-tiny' },
      ...{ effort: 'none', pool: 'latency', user: 'ada', tags: ['team:x', 'beta'], estimated: false },
    })
    const selects: [string, string[]][] = [
      [`key=${two}`, [second.requestId]],
      ['effort=high', [second.requestId]],
      ['pool=throughput', [second.requestId]],
      ['outcome=running,aborted', [running.requestId, third.requestId]],
      ['cost_nano_min=6', [third.requestId, first.requestId]],
      ['cost_nano_max=5', [second.requestId]],
      ['user=ada', [first.requestId]],
      ['tag=team:x', [third.requestId, first.requestId]],
      ['tag=team:x&user=bob', [third.requestId]],
      ['tag=beta&user=bob', []],
      ['model=other', []],
      [`to=${Date.now() - 3_600_000}`, []],
      [`from=${Date.now() - 3_600_000}&to=${Date.now() + 3_600_000}`, all.slice(1)],
    ]
    for (const [query, expected] of selects) expect(await ids(query), query).toEqual(expected)
    for (const [query, param] of [
      ['from=2026-02-30', 'from'],
      ['from=2026-02-02&to=2026-02-01', 'from'],
      ['limit=0', 'limit'],
      ['cost_nano_min=1.5', 'cost_nano_min'],
      ['costs=1', 'costs'],
      ['outcome=done', 'outcome'],
      ['tag=a&tag=b', 'tag'],
    ])
      expect(await send('GET', `/v1/requests?${query}`, undefined, apiKey), query).toMatchObject({
        status: 400,
        body: { param },
      })
    await operate('POST', '/admin/tenants/lister2/corrections', {
      ...{ id: 'r1', costNano: -600, requestId: first.requestId, note: 'refund' },
    })
    expect((await list('user=ada')).data[0]).toMatchObject({ cost_nano: 21_000, outcome: 'finished' })
    const operators = await operate('GET', '/admin/tenants/lister2/requests?user=ada')
    expect(operators.data).toHaveLength(1)
  })

  it('[REQ2] GET /v1/requests/{requestId} explains the routing without workers, and another tenant gets 404', async () => {
    for (const tenantId of ['explain', 'stranger']) await openTenant(tenantId)
    const { keyId, apiKey } = await openKey('explain')
    const { apiKey: foreign } = await openKey('stranger', { role: 'owner' })
    const fleet = fleetOf(env)
    for (const workerId of ['zeta1', 'zeta2']) {
      await fleet.enrol(testEnrolment(workerId), undefined)
      await fleet.heartbeat(testBeat(workerId, { sentAt: Date.now() }), 1)
    }
    const { requestId } = await use('explain', keyId, {})
    const wanted = testAsk(requestId, { tenantId: 'explain' })
    const granted = await fleet.lease(wanted)
    const on = granted.kind === 'granted' ? granted.endpoint.workerId : ''
    await fleet.workerFailed(on, requestId, { code: 'worker_lost', reason: `no answer from http://${on}.internal` })
    await fleet.lease({ ...wanted, exclude: [on], again: true })
    const { status, body, text } = await send('GET', `/v1/requests/${requestId}`, undefined, apiKey)
    expect(status).toBe(200)
    expect(body).toMatchObject({
      ...{ object: 'request', request_id: requestId, outcome: 'finished', cost_nano: 21_600 },
      routing: { preferred_pool: 'latency', attempts: [{ failed: 'worker_lost' }, { failed: null }] },
      entries: [{ kind: 'post', request_id: requestId }],
    })
    expect(body.routing.attempts[0].why).toContain('slot')
    expect(text).not.toMatch(/worker_id|zeta|internal/)
    expect(await send('GET', `/v1/requests/${requestId}`, undefined, foreign)).toMatchObject({ status: 404 })
    const operators = await operate('GET', `/admin/requests/${requestId}`)
    expect(operators.decision.attempts[0]).toMatchObject({
      failed: { code: 'worker_lost', reason: expect.stringContaining('internal') },
    })
    const listed = await operate('GET', '/admin/requests?tenant_id=explain&outcome=finished')
    expect(listed.data).toMatchObject([
      { tenantId: 'explain', request: { requestId, costNano: 21_600 }, decision: { attempts: [{}, {}] } },
    ])
    expect((await operate('GET', '/admin/requests?user=none')).data).toEqual([])
    await fleet.release([requestId])
  })

  it('[REQ3] the end user and the tags of a request come from its body and the header, and a wrong header is refused', async () => {
    await openTenant('labels')
    const { apiKey } = await openKey('labels')
    expect((await ask(apiKey)).status).toBe(503)
    const labelled = async (path: string, body: object, tags = '') => {
      const response = await send('POST', path, { model: 'tramontane-tiny', max_tokens: 5, ...body }, apiKey, {
        ...(tags !== '' && { 'x-tramontane-tags': tags }),
      })
      const { data } = (await send('GET', '/v1/requests?limit=1', undefined, apiKey)).body
      return { status: response.status, ...data[0] }
    }
    const messages = [{ role: 'user', content: 'hello' }]
    expect(
      await labelled('/v1/chat/completions', { messages, user: 'ada', metadata: { team: 'x' } }, 'beta, nightly'),
    ).toMatchObject({ status: 503, outcome: 'voided', user: 'ada', tags: ['beta', 'nightly', 'team:x'] })
    expect(await labelled('/v1/messages', { messages, metadata: { user_id: 'bob' } })).toMatchObject({ user: 'bob' })
    expect(
      await labelled('/v1/responses', {
        input: 'x',
        max_output_tokens: 16,
        max_tokens: undefined,
        safety_identifier: 'eve',
      }),
    ).toMatchObject({ user: 'eve' })
    expect(await labelled('/mistral/v1/chat/completions', { messages, metadata: { n: 5 } })).toMatchObject({
      tags: ['n:5'],
    })
    expect(await labelled('/v1/completions', { prompt: 'x', user: 'zoe' })).toMatchObject({ user: 'zoe' })
    expect((await labelled('/v1/chat/completions', { messages }, 'x'.repeat(257))).status).toBe(400)
    expect(
      (await labelled('/v1/chat/completions', { messages }, Array.from({ length: 17 }, (_, i) => i).join())).status,
    ).toBe(400)
  })

  it('[REQ4] usage by end user and by tag adds up what each of them used, and at most 1,000 a day one by one', async () => {
    await openTenant('spread')
    const { keyId } = await openKey('spread')
    const { apiKey } = await openKey('spread', { role: 'viewer' })
    const { requestId } = await use('spread', keyId, {}, { endUser: 'ada', tags: ['a', 'b'] })
    await use('spread', keyId, { costNano: 100 }, { endUser: 'ada', tags: ['a'] })
    await use('spread', keyId)
    await operate('POST', '/admin/tenants/spread/corrections', { id: 'x', costNano: -600, requestId, note: 'refund' })
    const report = async (query: string) => (await send('GET', `/v1/usage?${query}`, undefined, apiKey)).body
    expect((await report('group_by=user&bucket=all')).data).toMatchObject([
      { user: 'ada', requests: 2, cost_nano: 21_100 },
    ])
    expect((await report('group_by=tag&bucket=all')).data).toMatchObject([
      { tag: 'a', requests: 2, cost_nano: 21_100 },
      { tag: 'b', requests: 1, cost_nano: 21_000 },
    ])
    expect((await report('tag=b&group_by=key&bucket=day')).data).toMatchObject([{ key: keyId, requests: 1 }])
    expect(await send('GET', '/v1/usage?group_by=user,tag', undefined, apiKey)).toMatchObject({ status: 400 })
    expect(await send('GET', '/v1/usage?group_by=user&bucket=hour', undefined, apiKey)).toMatchObject({
      status: 400,
      body: { param: 'bucket' },
    })
    await runInDurableObject(env.TENANT.getByName('spread'), (_, { storage }) => {
      const insert = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 999)
        INSERT INTO usage_labels SELECT day, label, 'u' || i, 'k', 'm', 'p', 'e', 'o', 1, 0, 0, 0, 0, 0, 0
        FROM n, (SELECT day, label FROM usage_labels WHERE label = 'user' LIMIT 1)`
      storage.sql.exec(insert)
    })
    await evict(env.TENANT.getByName('spread'))
    await use('spread', keyId, { costNano: 7 }, { endUser: 'late', tags: [] })
    await use('spread', keyId, { costNano: 9 }, { endUser: 'ada', tags: [] })
    const users = await report('group_by=user&bucket=all')
    expect(users.data).toHaveLength(1_001)
    const of = (name: string) => users.data.find(({ user }: { user: string }) => user === name)
    expect([of('other'), of('ada'), of('late')]).toMatchObject([{ cost_nano: 7 }, { cost_nano: 21_109 }, undefined])
    expect((await send('GET', '/v1/requests?user=late', undefined, apiKey)).body.data).toHaveLength(1)
  })
})
