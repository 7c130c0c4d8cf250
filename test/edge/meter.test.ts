/** Meter events from the tenant object in workerd. The receiver is a stand-in here; a real one is in test/e2e. */
import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { meterGatherMs } from '../../src/tenant/webhooks/cursor.ts'
import { openKey, openTenant, operate, send, use } from './client.ts'

const url = 'https://meter.example.com/in'

interface Delivery {
  id: string
  body: string
}

/** Answers with one status after another, the last one for good. */
function receiver(...statuses: number[]): Delivery[] {
  const deliveries: Delivery[] = []
  vi.spyOn(globalThis, 'fetch').mockImplementation(async (input, init) => {
    expect(String(input)).toBe(url)
    expect(init?.redirect).toBe('manual')
    deliveries.push({ id: new Headers(init?.headers).get('webhook-id') ?? '', body: String(init?.body) })
    const status = statuses.length > 1 ? statuses.shift() : statuses[0]
    return new Response(null, { status: status ?? 200 })
  })
  return deliveries
}

const identifiers = (delivery: Delivery | undefined) =>
  JSON.parse(delivery?.body ?? '{"events":[]}').events.map((event: { identifier: string }) => event.identifier)

/** As if its time had come. It may have come by itself. */
async function alarm(tenantId: string): Promise<void> {
  const stub = env.TENANT.getByName(tenantId)
  await runInDurableObject(stub, (_, state) => {
    state.storage.sql.exec('UPDATE meter SET next_at = 0')
  })
  await runDurableObjectAlarm(stub)
}

afterEach(() => {
  vi.restoreAllMocks()
})

describe('meter events of a tenant', () => {
  it('[MTR10] the endpoint is checked, its secret shown once and again only when a new one is asked for', async () => {
    await openTenant('wired')
    const path = '/admin/tenants/wired/meter'
    expect(await send('PUT', path, { url: 'https://10.0.0.1/in' })).toMatchObject({
      status: 400,
      body: { param: 'url' },
    })
    expect((await send('GET', path)).status).toBe(404)
    const first = await operate('PUT', path, { url })
    expect(first).toMatchObject({ url, eventName: 'tramontane.usage', customerId: 'wired', entriesBehind: 0 })
    expect(first.secret).toMatch(/^whsec_/)
    expect((await send('GET', path)).text).not.toContain('whsec')
    expect(await operate('PUT', path, { url, customerId: 'cus_9' })).not.toHaveProperty('secret')
    expect((await operate('PUT', path, { url, newSecret: true })).secret).not.toBe(first.secret)
    await operate('DELETE', path)
    expect((await operate('PUT', path, { url })).secret).not.toBe(first.secret)
    expect((await send('PUT', '/admin/tenants/nobody/meter', { url })).status).toBe(404)
  })

  it('[MTR11] only what is used from then on is sent, and what was acknowledged is not sent again', async () => {
    await openTenant('metered')
    const { keyId } = await openKey('metered')
    await use('metered', keyId)
    await operate('PUT', '/admin/tenants/metered/meter', { url })
    const deliveries = receiver(204)
    await alarm('metered')
    const second = await use('metered', keyId)
    const third = await use('metered', keyId)
    const due = await runInDurableObject(env.TENANT.getByName('metered'), (_, state) => state.storage.getAlarm())
    expect(due).toBeLessThanOrEqual(Date.now() + meterGatherMs)
    await alarm('metered')
    expect(deliveries.flatMap(identifiers)).toEqual([second.dispatchId, third.dispatchId])
    await env.TENANT.getByName('metered').settle([second])
    const fourth = await use('metered', keyId)
    await alarm('metered')
    expect(deliveries.flatMap(identifiers).slice(2)).toEqual([fourth.dispatchId])
    expect(await operate('GET', '/admin/tenants/metered/meter')).toMatchObject({ entriesBehind: 0, attempts: 0 })
  })

  it('[MTR12] a batch that was not acknowledged is sent again as it was, over evictions, later than before', async () => {
    await openTenant('failing')
    const { keyId } = await openKey('failing')
    await operate('PUT', '/admin/tenants/failing/meter', { url })
    const deliveries = receiver(500, 302, 200)
    const first = await use('failing', keyId)
    await alarm('failing')
    const view = await operate('GET', '/admin/tenants/failing/meter')
    expect(view).toMatchObject({ attempts: 1, lastFault: 'the endpoint returned 500', entriesBehind: 1 })
    expect(view.nextAt).toBeGreaterThan(Date.now())
    const second = await use('failing', keyId)
    // Too early: an alarm for something else does not hurry it.
    expect(await env.TENANT.getByName('failing').deliverMeterEvents(Date.now())).toBe(view.nextAt)
    expect(deliveries).toHaveLength(1)
    await evictDurableObject(env.TENANT.getByName('failing'))
    await alarm('failing')
    expect(await operate('GET', '/admin/tenants/failing/meter')).toMatchObject({
      attempts: 2,
      lastFault: 'the endpoint returned 302',
    })
    await alarm('failing')
    expect(deliveries.map(identifiers)).toEqual([
      [first.dispatchId],
      [first.dispatchId],
      [first.dispatchId],
      [second.dispatchId],
    ])
    expect(new Set(deliveries.slice(0, 3).map((delivery) => `${delivery.id} ${delivery.body}`)).size).toBe(1)
    expect(await operate('GET', '/admin/tenants/failing/meter')).toMatchObject({
      attempts: 0,
      lastFault: null,
      entriesBehind: 0,
    })
  })

  it('[MTR13] a receiver that is away for longer than entries are kept is told how many were lost', async () => {
    await openTenant('away', { settings: { retentionDays: 1 } })
    const { keyId } = await openKey('away')
    await operate('PUT', '/admin/tenants/away/meter', { url })
    await use('away', keyId)
    await runInDurableObject(env.TENANT.getByName('away'), (_, state) => {
      state.storage.sql.exec('UPDATE entries SET at = 1')
      state.storage.sql.exec('UPDATE bookings SET opened_at = 1')
      state.storage.sql.exec('UPDATE meter SET next_at = ?', Date.now() + 60_000)
    })
    expect(await runDurableObjectAlarm(env.TENANT.getByName('away'))).toBe(true)
    expect(await operate('GET', '/admin/tenants/away/meter')).toMatchObject({ entriesLost: 1 })
  })
})
