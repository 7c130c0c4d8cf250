/** Alerts over HTTP and in the real objects. The receivers are simulated. */
import { runDurableObjectAlarm } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { openKey, openTenant, operate, send, use } from './client.ts'

interface Delivery {
  url: string
  id: string
  body: { type: string; id: string; timestamp: string; data: Record<string, unknown> }
}

function receiver(): Delivery[] {
  const deliveries: Delivery[] = []
  vi.spyOn(globalThis, 'fetch').mockImplementation(async (input, init) => {
    const headers = new Headers(init?.headers)
    expect(headers.get('webhook-signature')).toMatch(/^v1,/)
    deliveries.push({ url: String(input), id: headers.get('webhook-id') ?? '', body: JSON.parse(String(init?.body)) })
    return new Response(null, { status: 204 })
  })
  return deliveries
}

/** Runs the alarms of the tenant and of the operators' object. */
async function deliver(tenantId: string): Promise<void> {
  await runDurableObjectAlarm(env.TENANT.getByName(tenantId))
  await runDurableObjectAlarm(env.ALERTS.getByName('operators'))
}

afterEach(() => {
  vi.restoreAllMocks()
})

describe('alerts', () => {
  it('[ALR10] admins manage endpoints and thresholds, and every role lists the alerts', async () => {
    await openTenant('watched')
    const keys = Object.fromEntries(
      await Promise.all(
        (['viewer', 'member', 'admin', 'owner'] as const).map(async (role) => [
          role,
          (await openKey('watched', { role })).apiKey,
        ]),
      ),
    )
    const url = 'https://ops.example.com/a'
    for (const role of ['viewer', 'member', 'admin', 'owner']) {
      const may = role === 'admin' || role === 'owner'
      const own = (method: string, path: string, body?: unknown) => send(method, `/v1/alerts${path}`, body, keys[role])
      expect((await own('GET', '')).status, role).toBe(200)
      const created = await own('POST', '/endpoints', { url: `${url}/${role}` })
      expect(created.status, role).toBe(may ? 201 : 403)
      expect((await own('GET', '/endpoints')).status, role).toBe(may ? 200 : 403)
      expect((await own('PATCH', '/thresholds', { alert_credit_nano: [5] })).status, role).toBe(may ? 200 : 403)
      if (!may) continue
      expect(created.body.secret).toMatch(/^whsec_/)
      const at = `/endpoints/${created.body.endpoint_id}`
      expect((await own('GET', '/endpoints')).text).not.toContain('whsec')
      expect(await own('PATCH', at, { types: ['credit.low'] })).toMatchObject({
        status: 200,
        body: { url: `${url}/${role}`, types: ['credit.low'] },
      })
      const rotated = await own('POST', `${at}/rotate`, { overlap_seconds: 60 })
      expect(rotated.body.secret).not.toBe(created.body.secret)
      expect(rotated.body.previous_secret_until).toBeGreaterThan(Date.now())
      expect((await own('DELETE', at)).body).toMatchObject({ removed: true })
      expect((await own('POST', `${at}/test`)).status).toBe(404)
    }
    expect((await send('GET', '/v1/alerts/thresholds', undefined, keys.admin)).body).toEqual({
      alert_budget_shares: [0.8, 1],
      alert_credit_nano: [5],
      alert_key_expiry_days: 7,
    })
    const settings = (await operate('GET', '/admin/tenants/watched')).settings
    expect(JSON.stringify(settings)).toMatch(/"alert_?[cC]redit_?[nN]ano":\[5\]/)
  })

  it('[ALR10] an address of an endpoint follows the rules for webhooks, and its kinds are those of its owner', async () => {
    await openTenant('addressed')
    const { apiKey } = await openKey('addressed', { role: 'admin' })
    for (const url of ['https://10.0.0.1/', 'http://ops.example.com/', 'https://foo.lan/', 'http://[::1]:9/', 'x'])
      for (const [path, key] of [
        ['/v1/alerts/endpoints', apiKey],
        ['/admin/alerts/endpoints', undefined],
      ] as const)
        expect(await send('POST', path, { url }, key), url).toMatchObject({ status: 400, body: { param: 'url' } })
    const wrong = await send(
      'POST',
      '/v1/alerts/endpoints',
      { url: 'https://a.example.com', types: ['worker.lost'] },
      apiKey,
    )
    expect(wrong).toMatchObject({ status: 400, body: { param: 'types[0]' } })
    expect((await send('GET', '/admin/alerts', undefined, apiKey)).status).toBe(401)
  })

  it('[ALR11] an alert reaches the tenant and the operators with one id, and can be delivered again', async () => {
    await openTenant('alerted', { limits: { budgetNano: { day: 25_000 } } })
    const { keyId } = await openKey('alerted')
    const { apiKey } = await openKey('alerted', { role: 'admin' })
    const own = (method: string, path: string, body?: unknown) => send(method, `/v1/alerts${path}`, body, apiKey)
    const { endpoint_id: endpointId } = (await own('POST', '/endpoints', { url: 'https://own.example.com/a' })).body
    await operate('POST', '/admin/alerts/endpoints', {
      url: 'https://operators.example.com/a',
      types: ['budget.reached'],
    })
    const deliveries = receiver()
    await send('PATCH', '/admin/tenants/alerted', { limits: { budgetNano: { day: 10_000_000 } } })
    await use('alerted', keyId)
    await send('PATCH', '/admin/tenants/alerted', { limits: { budgetNano: { day: 26_000 } } })
    await deliver('alerted')
    await deliver('alerted')
    const listed = (await own('GET', '')).body.data
    expect(listed).toHaveLength(1)
    const [{ id, data }] = listed
    expect(data).toMatchObject({ tenant_id: 'alerted', scope: 'tenant', period: 'day', share: 0.8, spent_nano: 21_600 })
    expect(deliveries.map(({ url }) => new URL(url).hostname).sort()).toEqual([
      'operators.example.com',
      'own.example.com',
    ])
    for (const delivery of deliveries) {
      expect([delivery.id, delivery.body.id, delivery.body.type]).toEqual([id, id, 'budget.reached'])
      expect(delivery.body.data).toEqual(data)
    }
    const path = `/endpoints/${endpointId}/deliveries`
    expect((await own('GET', path)).body.data).toMatchObject([{ alert_id: id, state: 'delivered', attempts: 1 }])
    expect((await own('POST', `${path}/${id}`)).status).toBe(202)
    await deliver('alerted')
    expect(deliveries.at(-1)).toMatchObject({ url: 'https://own.example.com/a', id, body: deliveries[0]?.body })
    const test = await own('POST', `/endpoints/${endpointId}/test`)
    expect(test).toMatchObject({ status: 202, body: { type: 'alert.test' } })
    await deliver('alerted')
    expect(deliveries.at(-1)).toMatchObject({ id: test.body.id, body: { data: { endpoint_id: endpointId } } })
    expect(deliveries).toHaveLength(4)
    const all = (await operate('GET', '/admin/alerts?limit=1')).data
    expect(all).toMatchObject([{ id, type: 'budget.reached' }])
  })

  it('[ALR12] a refused receipt alerts operators once an hour for its worker', async () => {
    const stub = env.ALERTS.getByName('operators')
    const alert = { type: 'receipts.refused', at: 1, data: { workerId: 'w' } }
    await stub.raise([{ id: 'evt_refused_w_0', ...alert }])
    await stub.raise([
      { id: 'evt_refused_w_0', ...alert },
      { id: 'evt_x', ...alert, type: 'no such kind' },
    ])
    const ids = (await operate('GET', '/admin/alerts')).data.map((each: { id: string }) => each.id)
    expect(ids.filter((id: string) => id === 'evt_refused_w_0')).toHaveLength(1)
    expect(ids).not.toContain('evt_x')
  })
})
