/** The operator's routes in workerd, with real D1 and real tenant objects. */
import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { app } from '../../src/app.ts'
import {
  ask,
  enrol,
  heartbeatOf,
  keyHash,
  makeReceipt,
  openKey,
  openTenant,
  operate,
  operatorKey,
  sealBy,
  send,
  sendBeat,
  use,
} from './client.ts'
import { evict } from './evict.ts'

const hourMs = 3_600_000

/** All operator routes of the app, without duplicates. */
const routes = [
  ...new Map(
    app.routes
      .filter(({ method, path }) => method !== 'ALL' && path.startsWith('/admin'))
      .map((route) => [`${route.method} ${route.path}`, route] as const),
  ).values(),
].map(({ method, path }) => ({ method, path: path.replace(/:\w+/g, 'none') }))

describe('the operator', () => {
  it('[ADN1] every operator route requires an operator key with exactly its scope', async () => {
    expect(routes.length).toBeGreaterThan(35)
    await openTenant('adnone')
    const { apiKey } = await openKey('adnone', { role: 'owner' })
    const [auditor, reader] = [await operatorKey(['audit:read']), await operatorKey(['tenants:read'])]
    for (const { method, path } of routes) {
      const body = method === 'GET' || method === 'DELETE' ? undefined : {}
      for (const key of [null, apiKey, 'tmop_tesu', `${auditor.slice(0, -1)}${auditor.endsWith('a') ? 'b' : 'a'}`]) {
        expect((await send(method, path, body, key)).status, `${method} ${path}`).toBe(401)
      }
      const lacking = await send(method, path, body, path === '/admin/audit' ? reader : auditor)
      expect(lacking.status, `${method} ${path}`).toBe(403)
      const scopes: string[] = []
      let enough = lacking
      // A restore needs three scopes, each of which it names.
      while (enough.status === 403 && scopes.length < 3) {
        scopes.push(/lacks the scope ([a-z:]+)\./.exec(enough.body.message)?.[1] ?? '')
        enough = await send(method, path, body, await operatorKey(scopes))
      }
      expect(scopes.length, path).toBe(path.endsWith('/restore') ? 3 : 1)
      expect([401, 403, 500], `${method} ${path} with ${scopes}: ${enough.text}`).not.toContain(enough.status)
    }
  })

  it('[ADN2] tenants are listed page by page, read, and changed by single fields', async () => {
    for (const id of ['page1', 'page2', 'page3']) await openTenant(id)
    const first = await operate('GET', '/admin/tenants?limit=2&after=page0')
    expect(first.data.map((row: { tenantId: string }) => row.tenantId)).toEqual(['page1', 'page2'])
    const second = await operate('GET', `/admin/tenants?limit=2&after=${first.next}`)
    expect(second.data[0].tenantId).toBe('page3')
    await operate('PATCH', '/admin/tenants/page1', { limits: { requestsPerMinute: 5 } })
    await operate('PATCH', '/admin/tenants/page1', { name: 'One', limits: { budgetNano: { day: 7 } } })
    await operate('PATCH', '/admin/tenants/page1', { settings: { retentionDays: 3 } })
    expect(await operate('GET', '/admin/tenants/page1')).toMatchObject({
      name: 'One',
      status: 'active',
      limits: { requestsPerMinute: 5, tokensPerMinute: null, budgetNano: { day: 7, month: null } },
      settings: { retentionDays: 3, effortUnknown: 'map' },
    })
    expect(await send('PATCH', '/admin/tenants/missing', { name: 'x' })).toMatchObject({ status: 404 })
  })

  it('[ADN3] a suspended tenant is refused from the next request on, with a message that names the operator', async () => {
    await openTenant('suspend')
    const { apiKey } = await openKey('suspend', { role: 'owner' })
    expect((await ask(apiKey)).status).toBe(503)
    await operate('PATCH', '/admin/tenants/suspend', { status: 'suspended' })
    expect(await ask(apiKey)).toMatchObject({
      status: 403,
      body: { code: 'permission_denied', message: expect.stringContaining('Ask the operator') },
    })
    expect(await send('POST', '/v1/keys', { name: 'x' }, apiKey)).toMatchObject({ status: 403 })
    expect(await send('GET', '/v1/usage', undefined, apiKey)).toMatchObject({ status: 200 })
    expect((await operate('GET', '/admin/tenants?after=suspenc')).data[0].status).toBe('suspended')
    await operate('PATCH', '/admin/tenants/suspend', { status: 'active' })
    expect((await ask(apiKey)).status).toBe(503)
  })

  it('[ADN4] members have roles, and the last owner cannot be removed or demoted until there is another', async () => {
    await openTenant('people')
    const path = '/admin/tenants/people/members'
    await operate('POST', path, { member: 'ada@example.com', role: 'owner' })
    await operate('POST', path, { member: 'bob', role: 'viewer' })
    expect(await send('POST', path, { member: 'bob', role: 'admin' })).toMatchObject({
      status: 409,
      body: { param: 'member' },
    })
    expect(await send('PATCH', `${path}/ada@example.com`, { role: 'admin' })).toMatchObject({ status: 409 })
    expect(await send('DELETE', `${path}/ada@example.com`)).toMatchObject({ status: 409, body: { code: 'conflict' } })
    await operate('PATCH', `${path}/bob`, { role: 'owner' })
    await operate('DELETE', `${path}/ada@example.com`)
    expect((await operate('GET', path)).data).toMatchObject([{ member: 'bob', role: 'owner' }])
    expect(await send('POST', path, { member: 'eve', role: 'king' })).toMatchObject({
      status: 400,
      body: { param: 'role' },
    })
    expect(await send('POST', '/admin/tenants/missing/members', { member: 'eve', role: 'owner' })).toMatchObject({
      status: 404,
    })
  })

  it('[ADN5] a key is returned once, found by its prefix, changed, and revoked with effect on the next request', async () => {
    await openTenant('keys')
    const { keyId, apiKey, prefix } = await openKey('keys')
    await openKey('keys')
    const path = '/admin/tenants/keys/keys'
    const listed = await send('GET', `${path}?prefix=${prefix}`)
    expect(listed.body.data).toMatchObject([{ key_id: keyId, prefix, status: 'active', role: 'member' }])
    expect((await send('GET', path)).body.data).toHaveLength(2)
    const everything = [
      listed,
      await send('GET', path),
      await send('GET', `${path}/${keyId}`),
      await send('GET', '/admin/audit'),
    ]
    for (const { text } of everything)
      expect(text.includes(apiKey.slice(-20)) || text.includes('secretHash')).toBe(false)
    await operate('PATCH', `${path}/${keyId}`, { models: ['mistral-small-4'] })
    expect(await ask(apiKey)).toMatchObject({ status: 403, body: { code: 'permission_denied' } })
    await operate('PATCH', `${path}/${keyId}`, { models: null, limits: { requestsPerMinute: 0 } })
    expect(await ask(apiKey)).toMatchObject({ status: 429 })
    await operate('PATCH', `${path}/${keyId}`, { limits: { requestsPerMinute: null } })
    expect((await ask(apiKey)).status).toBe(503)
    expect(await send('PATCH', `${path}/${keyId}`, { expiresAt: 1 })).toMatchObject({
      status: 400,
      body: { param: 'expires_at' },
    })
    await operate('DELETE', `${path}/${keyId}`)
    expect(await ask(apiKey)).toMatchObject({ status: 401, body: { message: expect.stringContaining('revoked') } })
  })

  it('[ADN6] a rotated key keeps its id, limits and spending; the old secret stops working after the overlap', async () => {
    await openTenant('rotate')
    const old = await openKey('rotate', { limits: { budgetNano: { total: 30_000_000 } } })
    await use('rotate', old.keyId)
    const path = `/admin/tenants/rotate/keys/${old.keyId}`
    const fresh = await operate('POST', `${path}/rotate`, { overlapSeconds: 60 })
    expect(fresh).toMatchObject({ keyId: old.keyId, limits: { budgetNano: { total: 30_000_000 } } })
    expect(fresh.apiKey).not.toBe(old.apiKey)
    for (const key of [old.apiKey, fresh.apiKey]) expect((await ask(key)).status).toBe(503)
    const limits = await send('GET', '/v1/limits', undefined, fresh.apiKey)
    expect(limits.body.key.left.budget_nano.total.spent_nano).toBe(21_600)
    await runInDurableObject(env.TENANT.getByName('rotate'), (_, state) => {
      state.storage.sql.exec('UPDATE api_keys SET previous_until = ?', Date.now() - 1)
    })
    await evict(env.TENANT.getByName('rotate'))
    expect([(await ask(old.apiKey)).status, (await ask(fresh.apiKey)).status]).toEqual([401, 503])
    const last = await operate('POST', `${path}/rotate`)
    expect((await ask(fresh.apiKey)).status).toBe(401)
    expect((await ask(last.apiKey)).status).toBe(503)
  })

  it('[ADN14] a plan or tenant sets weight and class; a key of the tenant can be lowered to batch and never raised', async () => {
    await operate('POST', '/admin/plans', { planId: 'night', name: 'Night', settings: { weight: 20, class: 'batch' } })
    await openTenant('sharing', { planId: 'night' })
    expect((await operate('GET', '/admin/tenants/sharing')).settings).toMatchObject({ weight: 20, class: 'batch' })
    await operate('PATCH', '/admin/tenants/sharing', { settings: { class: 'interactive' } })
    expect((await operate('GET', '/admin/tenants/sharing')).settings).toMatchObject({
      weight: 20,
      class: 'interactive',
    })
    for (const settings of [{ weight: 0 }, { weight: 1_001 }, { weight: 1.5 }, { class: 'urgent' }]) {
      expect(await send('PATCH', '/admin/tenants/sharing', { settings })).toMatchObject({
        status: 400,
        body: { param: `settings.${Object.keys(settings)[0]}` },
      })
    }
    const { keyId, apiKey } = await openKey('sharing', { role: 'owner' })
    const path = `/admin/tenants/sharing/keys/${keyId}`
    expect(await operate('GET', path)).toMatchObject({ class: null })
    expect(await operate('PATCH', path, { class: 'batch' })).toMatchObject({ class: 'batch' })
    expect(await operate('PATCH', path, { class: null })).toMatchObject({ class: null })
    expect(await send('PATCH', path, { class: 'interactive' })).toMatchObject({ status: 400, body: { param: 'class' } })
    const own = await send('POST', '/v1/keys', { name: 'night', class: 'batch' }, apiKey)
    expect(own).toMatchObject({ status: 201, body: { class: 'batch' } })
    const raised = await send('POST', '/v1/keys', { name: 'day', class: 'interactive' }, apiKey)
    expect(raised).toMatchObject({ status: 400, body: { param: 'class' } })
  })

  it('[ADN15] a setting in a body changes only itself, at the creation of a tenant and in a change', async () => {
    await operate('POST', '/admin/plans', { planId: 'quiet', name: 'Quiet', settings: { weight: 30, class: 'batch' } })
    await openTenant('tuned', { planId: 'quiet', settings: { weight: 40 } })
    const created = (await operate('GET', '/admin/tenants/tuned')).settings
    expect(created).toMatchObject({ weight: 40, class: 'batch', retentionDays: 90 })
    const changed = await operate('PATCH', '/admin/tenants/tuned', { settings: { retentionDays: 7 } })
    expect(changed.settings).toEqual({ ...created, retentionDays: 7 })
    await operate('PUT', '/admin/tenants/tuned/plan', { planId: 'quiet' })
    expect((await operate('GET', '/admin/tenants/tuned')).settings).toEqual({
      ...created,
      weight: 30,
      retentionDays: 7,
    })
  })

  it('[ADN16] the total budget of a tenant or plan is null, and another value is refused with its path', async () => {
    const limits = { budgetNano: { total: null, day: 5, month: null } }
    const total = { budgetNano: { total: 5 } }
    const bodies = [
      ['POST', '/admin/plans', { planId: 'totals', name: 'Totals' }],
      ['POST', '/admin/tenants', { tenantId: 'totals', name: 'Totals', creditNano: 1 }],
      ['PATCH', '/admin/tenants/totals', {}],
    ] as const
    for (const [method, path, body] of bodies) {
      const refused = await send(method, path, { ...body, limits: total })
      expect(refused, path).toMatchObject({ status: 400, body: { param: 'limits.budget_nano.total' } })
      expect(refused.body.message).toContain('Set day or month.')
      expect((await send(method, path, { ...body, limits })).status, path).toBeLessThan(300)
    }
    expect((await operate('GET', '/admin/tenants/totals')).limits).toMatchObject(limits)
  })

  it('[ADN7] a plan is a named set of limits and settings, which changes a tenant only when it is assigned', async () => {
    const limits = { requestsPerMinute: 9, budgetNano: { day: 5 } }
    await operate('POST', '/admin/plans', { planId: 'pro', name: 'Pro', limits, settings: { effortUnknown: 'reject' } })
    expect(await send('POST', '/admin/plans', { planId: 'pro', name: 'Pro' })).toMatchObject({
      status: 409,
      body: { param: 'plan_id' },
    })
    await openTenant('planned', { planId: 'pro' })
    expect(await operate('GET', '/admin/tenants/planned')).toMatchObject({
      planId: 'pro',
      limits,
      settings: { effortUnknown: 'reject', retentionDays: 90 },
    })
    await operate('PUT', '/admin/plans/pro', { name: 'Pro 2', limits: { requestsPerMinute: 99 } })
    expect((await operate('GET', '/admin/tenants/planned')).limits.requestsPerMinute).toBe(9)
    await operate('PUT', '/admin/tenants/planned/plan', { planId: 'pro' })
    expect((await operate('GET', '/admin/tenants/planned')).limits).toMatchObject({
      requestsPerMinute: 99,
      budgetNano: { day: null },
    })
    expect(await send('DELETE', '/admin/plans/pro')).toMatchObject({ status: 409, body: { code: 'conflict' } })
    expect(await send('PUT', '/admin/tenants/planned/plan', { planId: 'none' })).toMatchObject({
      status: 404,
      body: { param: 'plan_id' },
    })
  })

  it('[ADN25] lists of models and rate cards take aliases, and refuse a model that is not in the catalogue', async () => {
    await openTenant('aliases')
    const prices = { inputNano: 1, cachedNano: 1, outputNano: 2 }
    const keys = '/admin/tenants/aliases/keys'
    const { models } = await operate('POST', keys, { name: 'k', models: ['magistral-small-latest', 'tramontane-tiny'] })
    expect(models).toEqual(['mistral-small-4', 'tramontane-tiny'])
    const refused = [
      await send('POST', keys, { name: 'k', models: ['tramontane-tiny', 'gpt-4o'] }),
      await send('POST', '/admin/rate-cards', { model: 'nosuchmodel', ...prices }),
      await send('POST', '/admin/tenants/aliases/rate-cards', { model: 'hosted:nosuchmodel', ...prices }),
    ]
    expect(refused.map(({ status, body }) => [status, body.param])).toEqual([
      [400, 'models[1]'],
      [400, 'model'],
      [400, 'model'],
    ])
    await operate('POST', '/admin/tenants/aliases/rate-cards', { model: 'hosted:pixtral-12b', ...prices })
    const { data } = await operate('GET', '/admin/tenants/aliases/rate-cards')
    expect(data.map(({ model }: { model: string }) => model)).toContain('hosted:mistral-small-4')
  })

  it('[ADN8] a rate card takes effect now or later, applies to new tenants, and reaches existing ones when pushed', async () => {
    const prices = { inputNano: 1, cachedNano: 1, outputNano: 2 }
    await openTenant('oldone')
    const past = await send('POST', '/admin/rate-cards', { model: 'tramontane-tiny', effectiveAt: 5, ...prices })
    expect(past).toMatchObject({ status: 400, body: { param: 'effective_at' } })
    const effectiveAt = Date.now() + hourMs
    const card = { model: 'tramontane-tiny', effectiveAt, ...prices }
    await operate('POST', '/admin/rate-cards', card)
    expect(await send('POST', '/admin/rate-cards', card)).toMatchObject({
      status: 409,
      body: { param: 'effective_at' },
    })
    await openTenant('newone')
    const cardsOf = async (id: string) => (await operate('GET', `/admin/tenants/${id}/rate-cards`)).data
    expect(await cardsOf('newone')).toContainEqual(expect.objectContaining(card))
    expect(await cardsOf('oldone')).not.toContainEqual(expect.objectContaining(card))
    await operate('POST', '/admin/tenants/newone/rate-cards', { model: 'hosted:mistral-small', ...prices })
    let after = ''
    let pushed = 0
    do {
      const page = await operate('POST', '/admin/rate-cards/push', { model: card.model, effectiveAt, after, limit: 3 })
      pushed += page.pushed
      after = page.next
    } while (after)
    expect(pushed).toBeGreaterThan(0)
    expect(await cardsOf('oldone')).toContainEqual(expect.objectContaining(card))
    const backwards = { model: 'tramontane-tiny', effectiveAt: Date.now() - 1, ...prices }
    expect(await send('POST', '/admin/tenants/oldone/rate-cards', backwards)).toMatchObject({
      status: 400,
      body: { param: 'effective_at' },
    })
    expect(await send('POST', '/admin/tenants/oldone/rate-cards', card)).toMatchObject({ status: 409 })
    await env.DB.prepare('UPDATE rate_cards SET effective_at = 5 WHERE effective_at = ?').bind(effectiveAt).run()
    const inForce = { model: card.model, effectiveAt: 5 }
    expect(await send('POST', '/admin/rate-cards/push', inForce)).toMatchObject({ status: 400 })
    await env.DB.exec('DELETE FROM rate_cards')
  })

  it('[ADN9] a credit or correction is booked once per order id, also when it is repeated', async () => {
    await openTenant('paid', { creditNano: 100 })
    const credit = { id: 'inv-1', creditNano: 50, note: 'invoice 1' }
    expect(await send('POST', '/admin/tenants/paid/credits', credit)).toMatchObject({
      status: 201,
      body: { repeated: false },
    })
    expect(await send('POST', '/admin/tenants/paid/credits', credit)).toMatchObject({
      status: 200,
      body: { repeated: true },
    })
    const other = { ...credit, creditNano: 51 }
    expect(await send('POST', '/admin/tenants/paid/credits', other)).toMatchObject({
      status: 409,
      body: { param: 'id' },
    })
    expect(await operate('GET', '/admin/tenants/paid')).toMatchObject({ creditNano: 150 })
    const refund = { id: 'fix-1', costNano: -1, note: 'refund' }
    expect(await send('POST', '/admin/tenants/paid/corrections', refund)).toMatchObject({
      status: 400,
      body: { param: 'cost_nano' },
    })
    await operate('POST', '/admin/tenants/paid/corrections', { ...refund, costNano: 30 })
    const foreign = { id: 'fix-2', costNano: 1, requestId: 'req_of_another', note: 'n' }
    expect(await send('POST', '/admin/tenants/paid/corrections', foreign)).toMatchObject({
      status: 404,
      body: { param: 'request_id' },
    })
    expect(await operate('GET', '/admin/tenants/paid')).toMatchObject({ creditNano: 150, postedNano: 30 })
    expect(await operate('GET', '/admin/tenants/paid/verification')).toMatchObject({ faults: [] })
  })

  it('[ADN10] a rotated worker key signs heartbeats until the overlap ends and receipts after it; a revoked one signs neither', async () => {
    let sentAt = Date.now()
    const beat = async (epoch: number) => {
      sentAt += 1
      return (await sendBeat({ ...heartbeatOf('gpu-1'), sentAt }, epoch)).status
    }
    await openTenant('fleet')
    const { keyId } = await openKey('fleet')
    const deliver = async (requestId: string, epoch: number) => {
      const receipt = makeReceipt({
        requestId,
        dispatchId: `${requestId}.1`,
        tenantId: 'fleet',
        keyId,
        workerId: 'gpu-1',
      })
      const body = { receipts: [await sealBy('receipt', receipt, 'gpu-1', epoch)] }
      return (await send('POST', '/internal/receipts', body, null)).body
    }
    const first = await enrol('gpu-1')
    expect(first).toMatchObject({ epoch: 1, status: 'enrolled', workerKey: expect.stringMatching(/^tw_gpu-1_1_/) })
    expect(await send('POST', '/admin/workers', { workerId: 'gpu-1', url: 'http://127.0.0.1:9/gpu-1' })).toMatchObject({
      status: 409,
      body: { param: 'worker_id' },
    })
    expect(await beat(1)).toBe(200)
    expect(await operate('POST', '/admin/workers/gpu-1/rotate', { overlapSeconds: 600 })).toMatchObject({ epoch: 2 })
    expect([await beat(1), await beat(2)]).toEqual([200, 200])
    expect(await operate('POST', '/admin/workers/gpu-1/rotate')).toMatchObject({ epoch: 3 })
    expect([await beat(1), await beat(2), await beat(3)]).toEqual([403, 403, 200])
    for (const [requestId, epoch] of [
      ['req_f1', 1],
      ['req_f2', 2],
    ] as const) {
      await admit('fleet', keyId, requestId)
      expect(await deliver(requestId, epoch)).toMatchObject({ done: [`${requestId}.1`], refused: [] })
    }
    await evict(env.FLEET.getByName('fleet'))
    expect([await beat(2), await beat(3)]).toEqual([403, 200])
    await operate('POST', '/admin/workers/gpu-1/revoke')
    expect((await operate('GET', '/admin/pools')).latency.workers).toEqual([])
    expect(await beat(3)).toBe(403)
    await admit('fleet', keyId, 'req_f3')
    expect(await deliver('req_f3', 3)).toMatchObject({ done: [], refused: [{ dispatchId: 'req_f3.1' }] })
    expect(await operate('GET', '/admin/tenants/fleet')).toMatchObject({ openReservations: 1, postedNano: 43_200 })
    expect(await enrol('gpu-1')).toMatchObject({ epoch: 4 })
    expect([await beat(3), await beat(4)]).toEqual([403, 200])
    expect((await operate('GET', '/admin/workers')).data).toMatchObject([
      { workerId: 'gpu-1', epoch: 4, status: 'enrolled' },
    ])
  })

  it('[ADN11] an operator key is stored as a hash, grants no scope that it lacks, and ends when revoked or expired', async () => {
    const made = await operate('POST', '/admin/operators', { name: 'ci', scopes: ['operators:write', 'tenants:read'] })
    const stored = await env.DB.prepare('SELECT * FROM operator_keys').all()
    expect(JSON.stringify(stored.results)).not.toContain(made.operatorKey.slice(-40))
    const wider = { name: 'x', scopes: ['tenants:read', 'money:write'] }
    expect(await send('POST', '/admin/operators', wider, made.operatorKey)).toMatchObject({
      status: 403,
      body: { param: 'scopes' },
    })
    expect((await send('GET', '/admin/tenants', undefined, made.operatorKey)).status).toBe(200)
    await env.DB.prepare('UPDATE operator_keys SET expires_at = ? WHERE key_id = ?')
      .bind(Date.now() - 1, made.keyId)
      .run()
    expect((await send('GET', '/admin/tenants', undefined, made.operatorKey)).status).toBe(401)
    await env.DB.prepare('UPDATE operator_keys SET expires_at = NULL').run()
    expect((await send('GET', '/admin/tenants', undefined, made.operatorKey)).status).toBe(200)
    await env.DB.prepare(`UPDATE operator_keys SET secret_hash = 'another'`).run()
    expect((await send('GET', '/admin/tenants', undefined, made.operatorKey)).status).toBe(401)
    const again = await operate('POST', '/admin/operators', { name: 'ci', scopes: ['tenants:read'] })
    expect((await send('GET', '/admin/tenants', undefined, again.operatorKey)).status).toBe(200)
    await operate('DELETE', `/admin/operators/${again.keyId}`)
    expect((await send('GET', '/admin/tenants', undefined, again.operatorKey)).status).toBe(401)
  })

  it('[ADN12] an invalid or unknown field returns 400 with its path, and nothing changes', async () => {
    await openTenant('fields')
    const wrong: [string, string, unknown, string][] = [
      ['POST', '/admin/tenants', { tenantId: 'x', name: 'x', creditNano: 1 }, 'tenant_id'],
      ['POST', '/admin/tenants', { tenantId: 'fine', name: 'x', creditNano: 0.5 }, 'credit_nano'],
      ['POST', '/admin/tenants', { tenantId: 'fine', name: 'x', creditNano: 1, credit: 1 }, 'credit'],
      [
        'POST',
        '/admin/tenants',
        { tenantId: 'fine', name: 'x', creditNano: 1, limits: { budgetNano: { total: 1 } } },
        'limits.budget_nano.total',
      ],
      ['PATCH', '/admin/tenants/fields', { limits: { budgetNano: { total: 1 } } }, 'limits.budget_nano.total'],
      ['PATCH', '/admin/tenants/fields', { limits: { requestPerMinute: 1 } }, 'limits.request_per_minute'],
      ['PATCH', '/admin/tenants/fields', { settings: { retentionDays: 0 } }, 'settings.retention_days'],
      ['PATCH', '/admin/tenants/fields', { settings: { colour: 'red' } }, 'settings.colour'],
      [
        'POST',
        '/admin/tenants/fields/keys',
        { name: 'k', limits: { budgetNano: { day: -1 } } },
        'limits.budget_nano.day',
      ],
      ['POST', '/admin/tenants/fields/keys', { name: 'k', expiresAt: 1 }, 'expires_at'],
      ['POST', '/admin/tenants/fields/credits', { id: 'a b', creditNano: 1, note: 'n' }, 'id'],
      ['PUT', '/admin/tenants/fields/meter', { url: 'ftp://x' }, 'url'],
      ['POST', '/admin/workers', { workerId: 'GPU' }, 'worker_id'],
      ['POST', '/admin/plans', { planId: 'p', name: 'p', settings: { retentionDays: 'x' } }, 'settings.retention_days'],
      ['POST', '/admin/operators', { name: 'o', scopes: ['all'] }, 'scopes[0]'],
    ]
    const before = await operate('GET', '/admin/tenants/fields')
    for (const [method, path, body, param] of wrong) {
      const answer = await send(method, path, body)
      expect(answer, `${method} ${path} ${JSON.stringify(body)}`).toMatchObject({ status: 400, body: { param } })
      expect(answer.body.message.startsWith(param)).toBe(true)
    }
    expect(await operate('GET', '/admin/tenants/fields')).toEqual(before)
  })

  it('[ADN13] every response has its request id in both headers', async () => {
    for (const path of [
      '/admin/tenants',
      '/admin/tenants/missing',
      '/admin/audit',
      '/v1/models',
      '/v1/usage',
      '/healthz',
    ]) {
      const { headers } = await send('GET', path)
      expect(headers.get('x-request-id'), path).toMatch(/^req_[0-9a-f]{32}$/)
      expect(headers.get('request-id')).toBe(headers.get('x-request-id'))
    }
  })
})

const admissionOf = (requestId: string) => ({
  requestId,
  secretHash: 'h',
  model: 'tramontane-tiny',
  promptTokens: 100,
  outputTokens: 100,
  unknownEffort: null,
})

async function admit(tenantId: string, keyId: string, requestId: string): Promise<void> {
  const stub = env.TENANT.getByName(tenantId)
  const secretHash = await keyHash(tenantId, keyId)
  expect(await stub.admit({ ...admissionOf(requestId), keyId, secretHash })).toMatchObject({ ok: true })
}
