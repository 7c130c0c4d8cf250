/** The audit log: which changes it records, and which secrets it never contains. */
import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { app } from '../../src/app.ts'
import { enrol, openKey, openTenant, operate, operatorKey, send } from './client.ts'

const log = async (query = '') => (await operate('GET', `/admin/audit${query}`)).data

describe('audit', () => {
  it('[ADN20] a change is recorded with actor, action, tenant, time, request id, and the values before and after', async () => {
    await openTenant('seen')
    const { headers } = await send('PATCH', '/admin/tenants/seen', { status: 'suspended' })
    expect((await log('?tenantId=seen'))[0]).toMatchObject({
      requestId: headers.get('x-request-id'),
      at: expect.any(Number),
      actor: 'operator:first',
      action: 'PATCH /admin/tenants/:tenantId',
      tenantId: 'seen',
      target: 'seen',
      status: 200,
      before: { status: 'active' },
      after: { status: 'suspended' },
    })
    await operate('PATCH', '/admin/tenants/seen', { status: 'active' })
    const { apiKey, keyId } = await openKey('seen', { role: 'admin' })
    await send('POST', '/v1/keys', { name: 'mine' }, apiKey)
    expect((await log('?tenantId=seen'))[0]).toMatchObject({
      actor: `key:seen.${keyId}`,
      action: 'POST /v1/keys',
      status: 201,
    })
  })

  it('[ADN21] every route that changes something writes a row, also when it refuses a known caller', async () => {
    await openTenant('each')
    const { apiKey } = await openKey('each', { role: 'owner' })
    const changing = [
      ...new Map(
        app.routes
          .filter(({ method, path }) => !['ALL', 'GET'].includes(method) && /^\/(admin|v1\/keys)/.test(path))
          .map((route) => [`${route.method} ${route.path}`, route] as const),
      ).values(),
    ]
    expect(changing.length).toBeGreaterThan(25)
    for (const { method, path } of changing) {
      const own = path.startsWith('/v1')
      const body = method === 'DELETE' ? undefined : {}
      const { headers, status } = await send(method, path.replace(/:\w+/g, 'none'), body, own ? apiKey : undefined)
      const [row] = await log('?limit=1')
      expect(row, `${method} ${path}`).toMatchObject({
        requestId: headers.get('x-request-id'),
        action: `${method} ${path}`,
        status,
      })
    }
    const { keyId: goneId, apiKey: gone } = await openKey('each', { role: 'owner' })
    await operate('DELETE', `/admin/tenants/each/keys/${goneId}`)
    const count = (await log('?limit=1000')).length
    await send('POST', '/admin/tenants', {}, null)
    await send('POST', '/v1/keys', {}, `${apiKey.slice(0, -1)}${apiKey.endsWith('x') ? 'y' : 'x'}`)
    expect((await send('POST', '/v1/keys', { name: 'x' }, gone)).status).toBe(401)
    await operate('GET', '/admin/tenants')
    expect((await log('?limit=1000')).length).toBe(count)
  })

  it('[ADN22] the log contains no API key, no key hash and no signing secret', async () => {
    await openTenant('quiet')
    const { apiKey, keyId } = await openKey('quiet')
    const { apiKey: rotated } = await operate('POST', `/admin/tenants/quiet/keys/${keyId}/rotate`)
    const { secret } = await operate('PUT', '/admin/tenants/quiet/meter', { url: 'https://meter.example.com/in' })
    const operatorSecret = await operatorKey(['audit:read'])
    const { workerKey } = await enrol('quiet-1')
    const { results } = await env.DB.prepare('SELECT * FROM audit').all()
    const text = JSON.stringify(results)
    for (const each of [apiKey, rotated, secret, operatorSecret, workerKey]) expect(text).not.toContain(each.slice(-24))
    expect(text).not.toMatch(/secretHash|secret_hash/)
  })

  it('[ADN23] the log is read page by page, and only with the scope audit:read', async () => {
    const first = await operate('GET', '/admin/audit?limit=2')
    const second = await operate('GET', `/admin/audit?limit=2&before=${first.next}`)
    expect(second.data[0].seq).toBe(first.data[1].seq - 1)
    expect((await send('GET', '/admin/audit', undefined, await operatorKey(['tenants:read']))).status).toBe(403)
  })

  it('[ADN24] a change that cannot be recorded returns 500 and is not made', async () => {
    await openTenant('unseen')
    await env.DB.exec('ALTER TABLE audit RENAME TO audit_away')
    expect((await send('PATCH', '/admin/tenants/unseen', { status: 'suspended' })).status).toBe(500)
    await env.DB.exec('ALTER TABLE audit_away RENAME TO audit')
    expect(await operate('GET', '/admin/tenants/unseen')).toMatchObject({ status: 'active' })
  })
})
