/** A tenant's webhook, sent by the tenant object in workerd. The receiver is simulated; test/e2e has a real one. */
import { runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { meterGatherMs } from '../../src/tenant/webhooks/cursor.ts'
import { openKey, openTenant, operate, send, use } from './client.ts'
import { evict } from './evict.ts'

const url = 'https://meter.example.com/in'

interface Delivery {
  id: string
  body: string
}

/** Answers with the given statuses in order, then repeats the last one. */
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

/** Runs the delivery now, if the alarm has not done so already. */
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

describe('the webhook of a tenant', () => {
  it('[MTR10] the URL is validated, and the secret is returned once and later only when a new one is requested', async () => {
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
    expect((await send('PUT', '/admin/tenants/missing/meter', { url })).status).toBe(404)
  })

  it('[MTR11] only entries after its creation are delivered, and an acknowledged entry is not delivered again', async () => {
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

  it('[MTR12] an unacknowledged batch is retried unchanged, with a longer wait each time, also after an eviction', async () => {
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
    // Too early: an alarm for another purpose does not trigger the delivery.
    expect(await env.TENANT.getByName('failing').deliverMeterEvents(Date.now())).toBe(view.nextAt)
    expect(deliveries).toHaveLength(1)
    await evict(env.TENANT.getByName('failing'))
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

  it('[MTR16] a test sends a signed message without events, and a replay sends stored entries again', async () => {
    await openTenant('tested')
    const path = '/admin/tenants/tested/meter'
    expect((await send('POST', `${path}/test`)).status).toBe(404)
    expect((await send('POST', `${path}/replay`, { from: 0 })).status).toBe(404)
    const { keyId } = await openKey('tested')
    const first = await use('tested', keyId)
    await operate('PUT', path, { url })
    const deliveries = receiver(500, 204)
    expect(await operate('POST', `${path}/test`)).toEqual({ delivered: false, fault: 'the endpoint returned 500' })
    expect(await operate('POST', `${path}/test`)).toEqual({ delivered: true, fault: null })
    expect(deliveries.map(({ body }) => body)).toEqual(['{"events":[]}', '{"events":[]}'])
    await operate('POST', `${path}/replay`, { from: Date.now() + 60_000 })
    await alarm('tested')
    expect(deliveries).toHaveLength(2)
    await operate('POST', `${path}/replay`, { from: 0 })
    await alarm('tested')
    expect(deliveries.slice(2).flatMap(identifiers)).toEqual([first.dispatchId])
  })

  it('[MTR13] the status reports how many entries were pruned before the receiver got them', async () => {
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
