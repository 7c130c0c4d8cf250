/** What a tenant's own keys can read and change, over HTTP. */
import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { describe, expect, it, vi } from 'vitest'
import { app } from '../../src/app.ts'
import { Body } from '../../src/dialects/openai-responses/body.ts'
import { responsesWriter } from '../../src/dialects/openai-responses/write.ts'
import { type Answer, ask, openKey, openTenant, operate, send, use } from './client.ts'
import { fetchGateway } from './gateway.ts'

const hourMs = 3_600_000
const roles = ['viewer', 'member', 'admin', 'owner'] as const

/** Uses a key of tenant B on a route, and checks that it neither reads nor changes anything of tenant A. */
type Case = (world: World) => Promise<void>
interface World {
  /** Of tenant A. */
  keyId: string
  apiKey: string
  /** The owner's key of tenant B. */
  foreign: string
}

const leaksNothing = (answer: Answer) => expect(answer.text).not.toMatch(/zulu|tm_test_zulu|tm_live_zulu/)

const operatorOnly =
  (method: string, path: string): Case =>
  async ({ foreign, keyId }) => {
    const at = path.replace(':tenantId', 'zulu').replace(':keyId', keyId).replace(/:\w+/g, 'none')
    const answer = await send(method, at, method === 'GET' || method === 'DELETE' ? undefined : {}, foreign)
    expect(answer.status, `${method} ${at}`).toBe(401)
    leaksNothing(answer)
  }

/** A route for signed messages of workers, which accepts no API key. */
const workersOnly =
  (path: string): Case =>
  async ({ foreign }) => {
    expect((await send('POST', path, {}, foreign)).status).toBeGreaterThanOrEqual(400)
  }

/** A request of tenant B in another dialect does not change tenant A. */
const dialect =
  (path: string, body: object): Case =>
  async ({ foreign }) => {
    const before = await operate('GET', '/admin/tenants/zulu')
    await send('POST', path, { model: 'tramontane-tiny', ...body }, foreign)
    expect(await operate('GET', '/admin/tenants/zulu')).toEqual(before)
  }
const hello = [{ role: 'user', content: 'hello' }]

/** A public route that returns nothing of a tenant. */
const open =
  (path: string): Case =>
  async ({ foreign }) =>
    leaksNothing(await send('GET', path, undefined, foreign))

/** Tenant B gets 404 for a stored response of tenant A on every route. */
const kept = `resp_${'a'.repeat(32)}`
function storedBody(): unknown {
  const wire = Body.parse({ model: 'tramontane-tiny', input: 'hello' })
  const effort = { asked: undefined, effective: 'none' } as const
  const context = {
    requestId: kept.replace('resp', 'req'),
    now: () => 0,
    model: 'tramontane-tiny',
    effort,
    promptTokens: 1,
  }
  const writer = responsesWriter(wire, [], context)
  writer.part({ kind: 'text', channel: 'content', text: 'zulu secret' })
  const counts = { promptTokens: 1, cachedTokens: 0, outputTokens: 2, reasoningTokens: 0, costNano: 9 }
  return writer.whole({ kind: 'end', finishReason: 'stop', stop: undefined, effort, ...counts }, true)
}
const keptRoute =
  (method: string, path: string): Case =>
  async ({ foreign, apiKey }) => {
    const stub = env.RESPONSES.getByName('zulu')
    const secret = { id: kept, text: 'zulu secret' }
    await stub.keep(
      { responseId: kept, previousId: undefined, input: [secret], output: [secret], body: storedBody() },
      Date.now() + hourMs,
    )
    const answer = await send(method, path.replace(':id', kept), undefined, foreign)
    expect(answer.status, `${method} ${path}`).toBe(404)
    expect(answer.text).not.toContain('secret')
    expect((await send('GET', `/v1/responses/${kept}`, undefined, apiKey)).text).toContain('zulu secret')
  }

/** The payment provider gets the tenant of the key. */
const billing =
  (path: string, body: object): Case =>
  async ({ foreign }) => {
    const sent: string[] = []
    const fetched = vi.spyOn(globalThis, 'fetch').mockImplementation(async (_, init) => {
      sent.push(String(init?.body))
      return Response.json({ id: 'cus_b', url: 'https://stripe.example.com', expires_at: 1_795_900_000 })
    })
    expect((await send('POST', path, body, foreign)).status).toBe(201)
    fetched.mockRestore()
    expect(sent.length).toBeGreaterThan(0)
    expect(sent.join()).not.toContain('zulu')
  }

/** Tenant B gets 404 for an endpoint of tenant A. */
const alertEndpoint =
  (method: string, rest = ''): Case =>
  async ({ foreign }) => {
    const url = `https://zulu.example.com/${method.toLowerCase()}${rest.replace(/\W/g, '')}`
    const { apiKey } = await openKey('zulu', { role: 'admin' })
    const created = await send('POST', '/v1/alerts/endpoints', { url }, apiKey)
    const at = `/v1/alerts/endpoints/${created.body.endpoint_id}`
    const answer = await send(method, `${at}${rest}`, method === 'PATCH' ? {} : undefined, foreign)
    expect(answer.status, `${method} ${rest}`).toBe(404)
    leaksNothing(answer)
    expect((await send('DELETE', at, undefined, apiKey)).body.url).toBe(url)
  }

const cases: Record<string, Case> = {
  'GET /v1/alerts': async ({ foreign }) => leaksNothing(await send('GET', '/v1/alerts', undefined, foreign)),
  'GET /v1/alerts/endpoints': async ({ foreign, apiKey }) => {
    await send('POST', '/v1/alerts/endpoints', { url: 'https://zulu.example.com' }, apiKey)
    leaksNothing(await send('GET', '/v1/alerts/endpoints', undefined, foreign))
  },
  'POST /v1/alerts/endpoints': async ({ foreign }) => {
    const { apiKey } = await openKey('zulu', { role: 'admin' })
    await send('POST', '/v1/alerts/endpoints', { url: 'https://b.example.com' }, foreign)
    expect((await send('GET', '/v1/alerts/endpoints', undefined, apiKey)).text).not.toContain('b.example.com')
  },
  'PATCH /v1/alerts/endpoints/:endpointId': alertEndpoint('PATCH'),
  'DELETE /v1/alerts/endpoints/:endpointId': alertEndpoint('DELETE'),
  'POST /v1/alerts/endpoints/:endpointId/rotate': alertEndpoint('POST', '/rotate'),
  'POST /v1/alerts/endpoints/:endpointId/test': alertEndpoint('POST', '/test'),
  'GET /v1/alerts/endpoints/:endpointId/deliveries': alertEndpoint('GET', '/deliveries'),
  'POST /v1/alerts/endpoints/:endpointId/deliveries/:alertId': alertEndpoint('POST', '/deliveries/evt_none'),
  'GET /v1/alerts/thresholds': async ({ foreign }) => {
    const { apiKey } = await openKey('zulu', { role: 'admin' })
    await send('PATCH', '/v1/alerts/thresholds', { alert_credit_nano: [4_821] }, apiKey)
    expect((await send('GET', '/v1/alerts/thresholds', undefined, foreign)).text).not.toContain('4821')
  },
  'PATCH /v1/alerts/thresholds': async ({ foreign }) => {
    await send('PATCH', '/v1/alerts/thresholds', { alert_key_expiry_days: 77 }, foreign)
    expect((await operate('GET', '/admin/tenants/zulu')).settings).not.toMatchObject({ alertKeyExpiryDays: 77 })
  },
  'POST /v1/billing/checkout': billing('/v1/billing/checkout', {
    amount_cents: 500,
    success_url: 'https://b.example.com',
  }),
  'POST /v1/billing/portal': billing('/v1/billing/portal', { return_url: 'https://b.example.com' }),
  'POST /webhooks/stripe': async ({ foreign }) => {
    const before = await operate('GET', '/admin/tenants/zulu')
    const object = { client_reference_id: 'zulu', metadata: { tramontane_tenant: 'zulu' }, amount_total: 500 }
    const event = { type: 'checkout.session.completed', data: { object } }
    expect((await send('POST', '/webhooks/stripe', event, foreign)).status).toBe(400)
    expect(await operate('GET', '/admin/tenants/zulu')).toEqual(before)
  },
  'POST /v1/responses': async ({ foreign }) => {
    await dialect('/v1/responses', { input: 'hello' })({ foreign, keyId: '', apiKey: '' })
    const theirs = { model: 'tramontane-tiny', input: 'hello', previous_response_id: kept }
    expect((await send('POST', '/v1/responses', theirs, foreign)).body.code).toBe('previous_response_not_found')
  },
  'GET /v1/responses/:id': keptRoute('GET', '/v1/responses/:id'),
  'DELETE /v1/responses/:id': keptRoute('DELETE', '/v1/responses/:id'),
  'GET /v1/responses/:id/input_items': keptRoute('GET', '/v1/responses/:id/input_items'),
  'POST /v1/responses/input_tokens': dialect('/v1/responses/input_tokens', {
    input: 'hello',
    previous_response_id: kept,
  }),
  'POST /v1/messages/count_tokens': dialect('/v1/messages/count_tokens', { messages: hello }),
  'POST /v1/completions': dialect('/v1/completions', { prompt: 'hello' }),
  'POST /v1/messages': dialect('/v1/messages', { messages: hello, max_tokens: 5 }),
  'POST /mistral/v1/chat/completions': dialect('/mistral/v1/chat/completions', { messages: hello }),
  'GET /mistral/v1/models': open('/mistral/v1/models'),
  'GET /mistral/v1/models/:id': open('/mistral/v1/models/none'),
  'GET /': open('/'),
  'GET /openapi.json': open('/openapi.json'),
  'GET /openapi/operators.json': open('/openapi/operators.json'),
  'GET /docs': open('/docs'),
  'GET /docs/:page{.+}': open('/docs/quickstart'),
  'GET /llms.txt': open('/llms.txt'),
  'GET /healthz': async ({ foreign }) => leaksNothing(await send('GET', '/healthz', undefined, foreign)),
  'GET /v1/models': async ({ foreign }) => leaksNothing(await send('GET', '/v1/models', undefined, foreign)),
  'GET /v1/models/:id': async ({ foreign }) => leaksNothing(await send('GET', '/v1/models/none', undefined, foreign)),
  'POST /v1/chat/completions': async ({ foreign }) => {
    const before = await operate('GET', '/admin/tenants/zulu')
    await ask(foreign)
    expect(await operate('GET', '/admin/tenants/zulu')).toEqual(before)
  },
  'POST /internal/heartbeat': workersOnly('/internal/heartbeat'),
  'POST /internal/receipts': workersOnly('/internal/receipts'),
  'GET /v1/usage': async ({ foreign, keyId }) => {
    for (const query of [
      '',
      `?key=${keyId}`,
      '?group_by=key',
      '?group_by=key&format=csv',
      '?tenant=zulu',
      '?tenantId=zulu',
    ]) {
      const answer = await send('GET', `/v1/usage${query}`, undefined, foreign)
      expect(answer.text).not.toContain(`"${keyId}"`)
      if (answer.body?.totals) expect(answer.body.totals.requests).toBe(0)
    }
  },
  'GET /v1/limits': async ({ foreign }) => {
    const answer = await send('GET', '/v1/limits', undefined, foreign)
    expect(answer.body.tenant.tenant_id).toBe('bbbb')
    leaksNothing(answer)
  },
  'GET /v1/entries': async ({ foreign, keyId }) => {
    const answer = await send('GET', '/v1/entries', undefined, foreign)
    expect(answer.body.data.at(-1)).toMatchObject({ kind: 'credit', seq: 1 })
    expect(answer.text).not.toContain(keyId)
    leaksNothing(answer)
  },
  'GET /v1/statements': async ({ foreign }) => {
    const answer = await send('GET', '/v1/statements', undefined, foreign)
    expect(answer.body.data).toMatchObject([{ usage_nano: 0 }])
    leaksNothing(answer)
  },
  'GET /v1/statements/:period': async ({ foreign, keyId }) => {
    const { data } = (await send('GET', '/v1/statements', undefined, foreign)).body
    for (const format of ['json', 'csv', 'html']) {
      const answer = await send('GET', `/v1/statements/${data[0].period}?format=${format}`, undefined, foreign)
      expect(answer.status).toBe(200)
      expect(answer.text).not.toContain(keyId)
      leaksNothing(answer)
    }
  },
  'GET /v1/requests': async ({ foreign, keyId }) => {
    const answer = await send('GET', `/v1/requests?key=${keyId}`, undefined, foreign)
    expect(answer.body.data).toEqual([])
    leaksNothing(answer)
  },
  'GET /v1/requests/:requestId': async ({ foreign, apiKey }) => {
    const theirs = await send('GET', '/v1/requests', undefined, apiKey)
    const path = `/v1/requests/${theirs.body.data[0].request_id}`
    expect((await send('GET', path, undefined, apiKey)).status).toBe(200)
    const answer = await send('GET', path, undefined, foreign)
    expect(answer.status).toBe(404)
    leaksNothing(answer)
  },
  'GET /v1/prices': async ({ foreign }) => leaksNothing(await send('GET', '/v1/prices', undefined, foreign)),
  'GET /v1/keys': async ({ foreign, keyId }) => {
    for (const query of ['', '?prefix=tm_live_zulu', `?after=${keyId}`]) {
      const answer = await send('GET', `/v1/keys${query}`, undefined, foreign)
      expect(answer.status).toBe(200)
      leaksNothing(answer)
    }
  },
  'POST /v1/keys': async ({ foreign }) => {
    const answer = await send('POST', '/v1/keys', { name: 'x', tenant_id: 'zulu' }, foreign)
    expect(answer.status).toBe(400)
    expect((await send('POST', '/v1/keys', { name: 'x' }, foreign)).body.prefix).toMatch(/^tm_live_bbbb_/)
    expect((await operate('GET', '/admin/tenants/zulu/keys')).data).toHaveLength(1)
  },
  'POST /v1/keys/revoke-all': async ({ foreign, apiKey }) => {
    const answer = await send('POST', '/v1/keys/revoke-all', {}, foreign)
    expect(answer).toMatchObject({ status: 200, body: { kept: 1 } })
    expect((await ask(apiKey)).status).toBe(503)
    expect((await ask(foreign)).status).toBe(503)
  },
  'POST /v1/keys/:keyId/rotate': async ({ foreign, keyId, apiKey }) => {
    expect(await send('POST', `/v1/keys/${keyId}/rotate`, {}, foreign)).toMatchObject({ status: 404 })
    expect((await ask(apiKey)).status).toBe(503)
  },
  'PATCH /v1/keys/:keyId': async ({ foreign, keyId }) => {
    expect(await send('PATCH', `/v1/keys/${keyId}`, { name: 'x' }, foreign)).toMatchObject({ status: 404 })
    expect((await operate('GET', '/admin/tenants/zulu/keys')).data[0].name).not.toBe('x')
  },
  'DELETE /v1/keys/:keyId': async ({ foreign, keyId, apiKey }) => {
    expect(await send('DELETE', `/v1/keys/${keyId}`, undefined, foreign)).toMatchObject({ status: 404 })
    expect((await ask(apiKey)).status).toBe(503)
  },
}

describe('a tenant’s own keys', () => {
  it('[USE1] no route lets a key read or change anything of another tenant, and every route is tested', async () => {
    await openTenant('zulu')
    await openTenant('bbbb')
    const { keyId, apiKey } = await openKey('zulu')
    await use('zulu', keyId)
    const world = { keyId, apiKey, foreign: (await openKey('bbbb', { role: 'owner' })).apiKey }
    const routes = app.routes.filter(({ method }) => method !== 'ALL')
    for (const { method, path } of routes) {
      const name = `${method} ${path}`
      const test = path.startsWith('/admin') ? operatorOnly(method, path) : cases[name]
      expect(test, `${name} has no test with a foreign key: add one to this file`).toBeDefined()
      await test?.(world)
    }
    expect(routes.length).toBeGreaterThan(40)
  }, 90_000)

  it('[USE2] each role can do what the role below it can do, plus its own permissions, and no more', async () => {
    await openTenant('roles')
    const keys = Object.fromEntries(
      await Promise.all(roles.map(async (role) => [role, await openKey('roles', { role })] as const)),
    )
    const other = await openKey('roles')
    const may: [string, (key: string) => Promise<Answer>, Record<(typeof roles)[number], number>][] = [
      [
        'reads usage',
        (key) => send('GET', '/v1/usage', undefined, key),
        { viewer: 200, member: 200, admin: 200, owner: 200 },
      ],
      [
        'reads limits',
        (key) => send('GET', '/v1/limits', undefined, key),
        { viewer: 200, member: 200, admin: 200, owner: 200 },
      ],
      ['asks the model', (key) => ask(key), { viewer: 403, member: 503, admin: 503, owner: 503 }],
      [
        'sees keys',
        (key) => send('GET', '/v1/keys', undefined, key),
        { viewer: 403, member: 200, admin: 200, owner: 200 },
      ],
      [
        'creates keys',
        (key) => send('POST', '/v1/keys', { name: 'x' }, key),
        { viewer: 403, member: 403, admin: 201, owner: 201 },
      ],
      [
        'rotates others',
        (key) => send('POST', `/v1/keys/${other.keyId}/rotate`, {}, key),
        { viewer: 403, member: 403, admin: 201, owner: 201 },
      ],
    ]
    for (const [what, act, expected] of may) {
      for (const role of roles)
        expect((await act(keys[role]?.apiKey ?? '')).status, `${role} ${what}`).toBe(expected[role])
    }
    const own = await send('GET', '/v1/keys', undefined, keys.member?.apiKey)
    expect(own.body.data.map((key: { key_id: string }) => key.key_id)).toEqual([keys.member?.keyId])
    const fresh = await send('POST', `/v1/keys/${keys.member?.keyId}/rotate`, undefined, keys.member?.apiKey)
    expect(fresh.status).toBe(201)
    expect((await send('DELETE', `/v1/keys/${keys.member?.keyId}`, undefined, fresh.body.api_key)).body.revoked).toBe(
      true,
    )
    expect((await ask(fresh.body.api_key)).status).toBe(401)
  })

  it('[USE3] a key cannot grant, change or revoke a role above its own', async () => {
    await openTenant('ranks')
    const owner = await openKey('ranks', { role: 'owner' })
    const admin = await openKey('ranks', { role: 'admin' })
    expect(await send('POST', '/v1/keys', { name: 'x', role: 'owner' }, admin.apiKey)).toMatchObject({
      status: 403,
      body: { param: 'role' },
    })
    expect((await send('POST', '/v1/keys', { name: 'x', role: 'admin' }, admin.apiKey)).status).toBe(201)
    expect(await send('POST', `/v1/keys/${owner.keyId}/rotate`, {}, admin.apiKey)).toMatchObject({ status: 403 })
    expect(await send('DELETE', `/v1/keys/${owner.keyId}`, undefined, admin.apiKey)).toMatchObject({ status: 403 })
    expect((await ask(owner.apiKey)).status).toBe(503)
    expect((await send('DELETE', `/v1/keys/${admin.keyId}`, undefined, owner.apiKey)).status).toBe(200)
    expect((await send('GET', '/v1/keys', undefined, admin.apiKey)).status).toBe(401)
  })

  it('[USE42] a key with an allow-list is refused over HTTP with its address, on every route that takes keys', async () => {
    await openTenant('fenced')
    const made = await openKey('fenced', { role: 'admin', allowedIps: ['192.0.2.0/24', '2001:DB8::/32'] })
    expect(made).toMatchObject({ allowedIps: ['192.0.2.0/24', '2001:db8::/32'] })
    const from = async (address: string | null, method: string, path: string, body?: object) => {
      const response = await fetchGateway(`https://gateway.test${path}`, {
        method,
        headers: {
          ...{ authorization: `Bearer ${made.apiKey}`, 'content-type': 'application/json' },
          ...(address !== null && { 'cf-connecting-ip': address }),
        },
        ...(body && { body: JSON.stringify(body) }),
      })
      return { status: response.status, body: JSON.parse(await response.text()) }
    }
    const chat = { model: 'tramontane-tiny', messages: hello, max_tokens: 10 }
    const calls: [string, string, number, object?][] = [
      ['POST', '/v1/chat/completions', 503, chat],
      ['POST', '/v1/messages', 529, chat],
      ['POST', '/v1/messages/count_tokens', 200, { model: 'tramontane-tiny', messages: hello }],
      ['GET', '/v1/models', 200],
      ['GET', '/v1/usage', 200],
      ['GET', '/v1/limits', 200],
      ['GET', '/v1/keys', 200],
      ['POST', '/v1/keys', 201, { name: 'child', allowed_ips: ['192.0.2.8/30'] }],
      ['GET', `/v1/responses/resp_${'a'.repeat(32)}`, 404],
    ]
    for (const [method, path, status, body] of calls) {
      for (const inside of ['192.0.2.9', '2001:db8:5::1'])
        expect((await from(inside, method, path, body)).status, path).toBe(status)
      for (const outside of ['192.0.3.9', '2001:db9::1', null]) {
        const refused = await from(outside, method, path, body)
        expect(refused.status, `${path} from ${outside}`).toBe(403)
        expect(JSON.stringify(refused.body)).toContain(outside ?? 'an unknown address')
      }
    }
    expect(await from('192.0.2.9', 'POST', '/v1/keys', { name: 'wide' })).toMatchObject({
      status: 403,
      body: { param: 'allowed_ips', message: expect.stringMatching(/^allowed_ips: /) },
    })
    expect(await from('192.0.2.9', 'POST', '/v1/keys', { name: 'x', allowed_ips: ['192.0.2.1/24'] })).toMatchObject({
      status: 400,
      body: { param: 'allowed_ips[0]', message: expect.stringContaining('Use 192.0.2.0/24.') },
    })
  })

  it('[USE4] usage adds up by hour, day and every dimension, with separate reasoning, cached and wasted tokens', async () => {
    await openTenant('usage')
    const { keyId: one } = await openKey('usage')
    const { apiKey } = await openKey('usage', { role: 'viewer' })
    await use('usage', one)
    await use('usage', one, { outcome: 'aborted', effort: 'high', pool: 'throughput', estimated: true })
    await use('usage', one, { outcome: 'failed' })
    await moveUsage('usage', 30 * hourMs)
    await use('usage', one)
    const { body } = await send(
      'GET',
      '/v1/usage?bucket=hour&group_by=key,model,effort,pool,outcome',
      undefined,
      apiKey,
    )
    expect(body.data).toHaveLength(4)
    expect(body.totals).toEqual({
      requests: 4,
      prompt_tokens: 400,
      cached_tokens: 160,
      output_tokens: 80,
      reasoning_tokens: 20,
      wasted_tokens: 40,
      cost_nano: 64_800,
      cost_usd: '0.0000648',
      estimated_requests: 1,
    })
    const aborted = body.data.find((row: { outcome: string }) => row.outcome === 'aborted')
    expect(aborted).toMatchObject({
      key: one,
      model: 'tramontane-tiny',
      effort: 'high',
      pool: 'throughput',
      requests: 1,
      wasted_tokens: 20,
    })
    expect(Date.parse(aborted.end) - Date.parse(aborted.start)).toBe(hourMs)
    const days = (await send('GET', '/v1/usage?bucket=day', undefined, apiKey)).body.data
    expect(days.map((row: { requests: number }) => row.requests)).toEqual([3, 1])
    expect(days.every((row: { start: string }) => row.start.endsWith('T00:00:00.000Z'))).toBe(true)
    const all = (await send('GET', '/v1/usage?bucket=all&group_by=outcome&outcome=aborted,failed', undefined, apiKey))
      .body
    expect(all.data.map((row: { outcome: string }) => row.outcome)).toEqual(['aborted', 'failed'])
    expect(all.totals).toMatchObject({ requests: 2, wasted_tokens: 40 })
    const recent = new Date(Date.now() - 2 * hourMs).toISOString()
    expect((await send('GET', `/v1/usage?bucket=hour&from=${recent}`, undefined, apiKey)).body.totals.requests).toBe(1)
    const { body: summary } = await send('GET', '/admin/tenants/usage')
    expect(summary.posted_nano).toBe(body.totals.cost_nano)
    expect((await send('GET', '/admin/tenants/usage/usage?bucket=hour')).body.totals).toEqual(body.totals)
  })

  it('[USE5] the report has the same rows as JSON, CSV and JSONL', async () => {
    await openTenant('export')
    const { keyId, apiKey } = await openKey('export')
    await use('export', keyId)
    await use('export', keyId, { effort: 'high', model: 'odd,"name"' })
    const path = '/v1/usage?bucket=hour&group_by=model,effort'
    const { data } = (await send('GET', path, undefined, apiKey)).body
    const jsonl = await send('GET', `${path}&format=jsonl`, undefined, apiKey)
    expect(jsonl.headers.get('content-type')).toBe('application/jsonl; charset=utf-8')
    expect(
      jsonl.text
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toEqual(data)
    const csv = await send('GET', `${path}&format=csv`, undefined, apiKey)
    expect(csv.headers.get('content-disposition')).toMatch(/^attachment; filename="usage-export-[\d-]+\.csv"$/)
    const [head, ...lines] = csv.text.trim().split('\r\n')
    expect(head).toBe(
      'start,end,model,effort,requests,prompt_tokens,cached_tokens,output_tokens,reasoning_tokens,wasted_tokens,cost_nano,estimated_requests,cost_usd',
    )
    expect(lines).toHaveLength(data.length)
    expect(lines[0]).toContain(',"odd,""name""",high,1,100,40,20,5,0,21600,0,0.0000216')
  })

  it('[USE6] an invalid query returns 400 with the parameter, and a report with too many rows returns 400', async () => {
    await openTenant('asking')
    const { apiKey } = await openKey('asking')
    const wrong: [string, string][] = [
      ['from=yesterday', 'from'],
      ['from=2026-02-01&to=2026-01-01', 'from'],
      ['from=2020-01-01&bucket=hour', 'from'],
      ['from=2026-02-30', 'from'],
      ['from=2026-11-01T24:00Z', 'from'],
      ['from=2026-11-01T10:00', 'from'],
      ['from=1764288000', 'from'],
      ['to=1764288000000000', 'to'],
      ['from=0', 'from'],
      ['from=-1', 'from'],
      ['to=x', 'to'],
      ['bucket=year', 'bucket'],
      ['group_by=key,worker', 'group_by'],
      ['format=xml', 'format'],
      ['groupby=key', 'groupby'],
      [`key=${Array(60).fill('k').join(',')}`, 'key'],
    ]
    for (const [query, param] of wrong) {
      expect(await send('GET', `/v1/usage?${query}`, undefined, apiKey), query).toMatchObject({
        status: 400,
        body: { param },
      })
    }
    const seconds = await send('GET', '/v1/usage?from=1764288000', undefined, apiKey)
    expect(seconds.body.message).toBe('from: looks like Unix seconds. Send Unix milliseconds: 1764288000000.')
    await runInDurableObject(env.TENANT.getByName('asking'), (_, state) => {
      const hour = Math.floor(Date.now() / hourMs) * hourMs
      state.storage.sql.exec(
        `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i <= 20000)
          INSERT INTO usage_quarters SELECT ?, 'k' || i, 'm', 'p', 'e', 'o', 1, 1, 0, 1, 0, 1, 0 FROM n`,
        hour,
      )
    })
    const large = await send('GET', '/v1/usage?group_by=key', undefined, apiKey)
    expect(large).toMatchObject({ status: 400, body: { message: expect.stringContaining('fewer dimensions') } })
    expect((await send('GET', '/v1/usage', undefined, apiKey)).body.totals.requests).toBe(20_001)
  })

  it('[USE26] usage by hour, day, week and month follows the time zone and the anchor day of the tenant', async () => {
    await openTenant('zoned', { settings: { timeZone: 'Asia/Kolkata', anchorDay: 15 } })
    const { apiKey } = await openKey('zoned', { role: 'viewer' })
    const at = (text: string) => Date.parse(`${text}+05:30`)
    const times = ['2026-11-14T23:59', '2026-11-15T00:00', '2026-11-15T23:45', '2026-11-16T00:00'].map(at)
    await runInDurableObject(env.TENANT.getByName('zoned'), (_, { storage }) => {
      const insert = "INSERT INTO usage_quarters VALUES (?, 'k', 'm', 'p', 'e', 'finished', 1, 1, 0, 1, 0, ?, 0)"
      for (const [index, time] of times.entries()) storage.sql.exec(insert, time - (time % 900_000), 10 ** index)
    })
    const costs = async (query: string) => {
      const { body } = await send('GET', `/v1/usage?${query}`, undefined, apiKey)
      return body.data.map((row: { start: string; cost_nano: number }) => [Date.parse(row.start), row.cost_nano])
    }
    const midnight = (day: number) => at(`2026-11-${day}T00:00`)
    expect(await costs('from=2026-11-15&to=2026-11-15')).toEqual([[midnight(15), 110]])
    expect(await costs('from=2026-11-14&to=2026-11-17&bucket=day')).toEqual([
      [midnight(14), 1],
      [midnight(15), 110],
      [midnight(16), 1_000],
    ])
    expect(await costs('from=2026-11-01&to=2026-12-01&bucket=month')).toEqual([
      [at('2026-10-15T00:00'), 1],
      [midnight(15), 1_110],
    ])
    // 9 and 16 November 2026 are Mondays.
    expect(await costs('from=2026-11-01&to=2026-12-01&bucket=week')).toEqual([
      [at('2026-11-09T00:00'), 111],
      [midnight(16), 1_000],
    ])
    expect(await costs('from=2026-11-15&to=2026-11-16&bucket=hour')).toEqual([
      [midnight(15), 10],
      [at('2026-11-15T23:00'), 100],
    ])
    expect(await costs('from=2026-11-15T00:00:00 05:30&to=2026-11-16&bucket=all')).toEqual([[midnight(15), 110]])
    const { timeZone } = (await operate('GET', '/admin/tenants/zoned')).settings
    expect(timeZone).toBe('Asia/Kolkata')
    for (const settings of [{ timeZone: 'Mars/Base' }, { timeZone: '+05:30' }, { anchorDay: 29 }])
      expect(await send('PATCH', '/admin/tenants/zoned', { settings })).toMatchObject({
        status: 400,
        body: { param: expect.stringMatching(/^settings\.(time_zone|anchor_day)$/) },
      })
  })

  it('[USE9] GET /v1/entries lists every cost, credit, reversal and correction once, newest first, without workers', async () => {
    await openTenant('ledger')
    const { keyId } = await openKey('ledger')
    const { apiKey } = await openKey('ledger', { role: 'viewer' })
    const { requestId } = await use('ledger', keyId)
    const money = '/admin/tenants/ledger'
    await operate('POST', `${money}/credits`, { id: 'c1', creditNano: 5_000, note: 'paid twice' })
    await operate('POST', `${money}/reversals`, { id: 'r1', creditId: 'c1', creditNano: 5_000, note: 'the second' })
    expect(await send('POST', `${money}/corrections`, { id: 'x', costNano: -1e9, requestId, note: 'x' })).toMatchObject(
      {
        status: 400,
        body: { param: 'cost_nano', message: expect.stringMatching(/at most \d+/) },
      },
    )
    await operate('POST', `${money}/corrections`, { id: 'x', costNano: -1, requestId, note: 'goodwill' })
    const list = async (query: string) => (await send('GET', `/v1/entries${query}`, undefined, apiKey)).body
    const all = await list('')
    expect(all.data.map(({ kind }: { kind: string }) => kind)).toEqual([
      'correction',
      'reversal',
      'credit',
      'post',
      'credit',
    ])
    expect(all.data[0]).toMatchObject({ request_id: requestId, key_id: keyId, note: 'goodwill', cost_nano: -1 })
    expect(all.data.some((entry: object) => 'worker_id' in entry)).toBe(false)
    const first = await list('?limit=2')
    expect([...first.data, ...(await list(`?limit=9&before=${first.next}`)).data]).toEqual(all.data)
    expect((await list('?kind=credit,reversal')).data).toHaveLength(3)
    expect((await send('GET', '/v1/entries?kind=money', undefined, apiKey)).body.error.param).toMatch(/^kind/)
    const posted = await send('GET', `${money}/entries?kind=post`)
    expect(posted.body.data).toMatchObject([{ request_id: requestId, worker_id: expect.any(String) }])
    const { body: usage } = await send('GET', `${money}/usage?bucket=all`)
    const { postedNano } = await operate('GET', money)
    expect(usage.totals).toMatchObject({ cost_nano: postedNano, requests: 1 })
  })

  it('[USE24] GET /v1/prices lists the prices in force and announced, and GET /v1/models the price in force', async () => {
    await openTenant('prices')
    const { apiKey } = await openKey('prices', { role: 'viewer' })
    const model = 'tramontane-tiny'
    const cards = '/admin/tenants/prices/rate-cards'
    const effectiveAt = Date.now() + 3_600_000
    await operate('POST', cards, { model, effectiveAt, inputNano: 1, cachedNano: 0, outputNano: 900_000_001 })
    const priced = { inputNano: 3, cachedNano: 2, outputNano: 4 }
    await operate('POST', cards, { model: `hosted:${model}`, effectiveAt, ...priced })
    const { body } = await send('GET', '/v1/prices', undefined, apiKey)
    const fixed = { object: 'price', model, until: null }
    expect(body).toMatchObject({
      object: 'list',
      data: [
        { ...fixed, served_by: 'hosted', in_force: false, effective_at: effectiveAt, output_usd: '0.000000004' },
        { ...fixed, served_by: 'workers', in_force: true, until: effectiveAt, input_usd: '0.00000015' },
        {
          ...{ ...fixed, served_by: 'workers', in_force: false, effective_at: effectiveAt },
          ...{ input_usd: '0.000000001', cached_usd: '0', output_usd: '0.900000001', output_nano: 900_000_001 },
        },
      ],
    })
    const pricing = { prompt: '0.00000015', completion: '0.0000006', input_cache_read: '0.000000015', request: '0' }
    expect((await send('GET', '/v1/models', undefined, apiKey)).body.data).toMatchObject([{ id: model, pricing }])
    expect((await send('GET', `/v1/models/${model}`, undefined, apiKey)).body).toMatchObject({ pricing })
    const { apiKey: narrow } = await openKey('prices', { models: ['mistral-small-4'] })
    expect((await send('GET', '/v1/prices', undefined, narrow)).body.data).toEqual([])
  })

  it('[USE25] PATCH /v1/keys/{keyId} changes a key as far as the role and the limits of the caller allow', async () => {
    await openTenant('change')
    const { keyId } = await openKey('change', { limits: { budgetNano: { total: 5_000 } } })
    const admin = await openKey('change', { role: 'admin', limits: { budgetNano: { total: 9_000 } } })
    const change = (body: object, apiKey: string) => send('PATCH', `/v1/keys/${keyId}`, body, apiKey)
    const expiresAt = Date.now() + 3_600_000
    const changed = await change(
      { name: 'ci', expires_at: expiresAt, limits: { budget_nano: { day: 10 } } },
      admin.apiKey,
    )
    expect(changed).toMatchObject({
      status: 200,
      body: { key_id: keyId, name: 'ci', expires_at: expiresAt, limits: { budget_nano: { total: 5_000, day: 10 } } },
    })
    const wide = await change({ limits: { budget_nano: { total: 9_001 } } }, admin.apiKey)
    expect(wide).toMatchObject({ status: 403, body: { param: 'limits.budget_nano.total' } })
    expect(await change({ role: 'owner' }, admin.apiKey)).toMatchObject({ status: 403 })
    const { apiKey: member } = await openKey('change', { role: 'member' })
    expect(await change({ name: 'mine' }, member)).toMatchObject({ status: 403 })
    expect(await change({ nmae: 'x' }, admin.apiKey)).toMatchObject({ status: 400, body: { param: 'nmae' } })
    const keys = (await operate('GET', '/admin/tenants/change/keys')).data
    expect(keys.find((key: { keyId: string }) => key.keyId === keyId)).toMatchObject({ name: 'ci', role: 'member' })
  })

  it('[USE7] GET /v1/limits reports the configured and the remaining limits of the key and of its tenant', async () => {
    await openTenant('limits', {
      creditNano: 100_000_000,
      limits: { concurrentMax: 8, budgetNano: { month: 90_000_000 } },
    })
    const limits = {
      requestsPerMinute: 10,
      tokensPerMinute: 10_000,
      budgetNano: { total: 80_000_000, day: 70_000_000 },
    }
    const { keyId, apiKey } = await openKey('limits', { limits })
    await use('limits', keyId)
    const { body } = await send('GET', '/v1/limits', undefined, apiKey)
    expect(body).toMatchObject({
      object: 'limits',
      key: {
        key_id: keyId,
        role: 'member',
        limits: { requests_per_minute: 10, budget_nano: { total: 80_000_000, month: null } },
        left: {
          requests: { left: 9 },
          concurrent: { running: 0, left: null },
          budget_nano: {
            total: { max: 80_000_000, spent_nano: 21_600, reserved_nano: 0, left_nano: 79_978_400, ends_at: null },
            day: { left_nano: 69_978_400, ends_at: expect.any(Number) },
            month: null,
          },
        },
      },
      tenant: {
        tenant_id: 'limits',
        status: 'active',
        left: {
          requests: null,
          concurrent: { running: 0, left: 8 },
          budget_nano: { month: { left_nano: 89_978_400 } },
        },
        credit: { credit_nano: 100_000_000, spent_nano: 21_600, reserved_nano: 0, left_nano: 99_978_400 },
      },
    })
    // 120 of the 2,000 reserved tokens were used: 100 prompt and 20 output.
    expect(body.key.left.tokens.left).toBeGreaterThanOrEqual(9_880)
  })

  it('[USE8] a revoked, expired or replaced key gets 401 from the tenant’s own routes', async () => {
    await openTenant('ended')
    const { keyId, apiKey } = await openKey('ended')
    expect((await send('GET', '/v1/usage', undefined, apiKey)).status).toBe(200)
    await operate('DELETE', `/admin/tenants/ended/keys/${keyId}`)
    for (const path of ['/v1/usage', '/v1/limits', '/v1/keys']) {
      expect((await send('GET', path, undefined, apiKey)).status).toBe(401)
    }
  })
})

/** Moves a tenant's usage into the past. */
async function moveUsage(tenantId: string, ms: number): Promise<void> {
  await runInDurableObject(env.TENANT.getByName(tenantId), (_, state) => {
    state.storage.sql.exec('UPDATE usage_quarters SET quarter = quarter - ?', ms)
  })
}
