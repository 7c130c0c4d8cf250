/** Routes of the Worker in workerd. Tests that need an engine are in test/e2e. */

import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import type { Heartbeat } from '../../backends/wire/heartbeat.ts'
import { seal } from '../../backends/wire/seal.ts'
import { Secret } from '../../src/auth/secret.ts'
import { workerSealKey } from '../../src/auth/worker-key.ts'
import { testBeat } from '../support/fleet.ts'
import { fetchGateway } from './gateway.ts'

const operator = { authorization: 'Bearer tmop_test', 'content-type': 'application/json' }
const url = (path: string) => `https://gateway.test${path}`

async function send(method: string, path: string, body?: unknown, headers: Record<string, string> = operator) {
  const response = await fetchGateway(url(path), {
    method,
    headers,
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  return { status: response.status, headers: response.headers, body: text ? JSON.parse(text) : undefined }
}

const beat = testBeat('w1', { model: 'tramontane-tiny', sentAt: Date.now() })

async function sealed(claims: Heartbeat, workerId = 'w1', epoch = 1) {
  const key = await workerSealKey(new Secret(env.FLEET_SECRET), workerId, epoch)
  return seal('heartbeat', claims, `${workerId}.${epoch}`, key)
}

describe('routes', () => {
  it('[RTE1] every admin route returns 401 without an operator key, also with a tenant’s key', async () => {
    await send('POST', '/admin/tenants', { tenantId: 'tena', name: 'A', creditNano: 1 })
    const { body } = await send('POST', '/admin/tenants/tena/keys', { name: 'k' })
    const routes = [
      ['POST', '/admin/tenants'],
      ['GET', '/admin/tenants/tena'],
      ['POST', '/admin/tenants/tena/keys'],
      ['DELETE', '/admin/tenants/tena/keys/x'],
      ['GET', '/admin/tenants/tena/requests/x'],
      ['POST', '/admin/workers'],
      ['GET', '/admin/pools'],
    ] as const
    for (const [method, path] of routes) {
      for (const authorization of ['', `Bearer ${body.api_key}`, 'Bearer tmop_tesu']) {
        const answer = await send(method, path, method === 'POST' ? {} : undefined, { authorization })
        expect(answer.status, `${method} ${path}`).toBe(401)
        expect(answer.body.code).toBe('invalid_api_key')
      }
    }
  })

  it('[RTE2] an unknown route returns 404 in both error shapes, with the request id in both headers', async () => {
    const { status, body, headers } = await send('GET', '/v1/nothing')
    expect(status).toBe(404)
    expect(body).toMatchObject({
      object: 'error',
      code: 'unknown_url',
      type: 'invalid_request_error',
      error: { code: 'unknown_url' },
    })
    expect(headers.get('x-request-id')).toBe(body.request_id)
    expect(headers.get('request-id')).toBe(body.request_id)
  })

  it('[RTE3] a heartbeat is accepted only if its own worker signed it', async () => {
    const before = await send('GET', '/healthz')
    expect(before.status).toBe(503)
    const forged = [
      { heartbeat: 'nonsense' },
      { heartbeat: await sealed({ ...beat, workerId: 'w2' }) },
      { heartbeat: (await sealed(beat)).slice(0, -2) },
      {},
    ]
    for (const body of forged) expect((await send('POST', '/internal/heartbeat', body, {})).status).toBe(403)
    await send('POST', '/admin/workers', { workerId: 'w1', url: beat.url })
    const heard = await send('POST', '/internal/heartbeat', { heartbeat: await sealed(beat) }, {})
    expect(heard).toMatchObject({ status: 200, body: { state: 'ready', edgeNow: expect.any(Number) } })
    // Nothing listens at the address, so the probe may have marked the worker unreachable; its slots are still known.
    expect((await send('GET', '/admin/pools')).body).toMatchObject({ latency: { slots: 4 } })
  })

  it('[RTE4] receipts that no worker signed are refused and settle nothing', async () => {
    const bodies = [{}, { receipts: [] }, { receipts: ['x'] }, { receipts: Array(65).fill('x') }]
    for (const body of bodies)
      expect((await send('POST', '/internal/receipts', body, {})).status).toBeGreaterThanOrEqual(400)
    const empty = await send('POST', '/internal/receipts', {}, {})
    expect(empty).toMatchObject({ status: 400, body: { param: 'receipts' } })
    expect(empty.body.message).toMatch(/^receipts: is missing\. Add /)
  })

  it('[RTE5] a tenant is created once; a second creation returns 409, and an invalid field 400, with the field', async () => {
    expect((await send('POST', '/admin/tenants', { tenantId: 'tenb', name: 'B', creditNano: 5 })).status).toBe(201)
    expect(await send('POST', '/admin/tenants', { tenantId: 'tenb', name: 'B', creditNano: 5 })).toMatchObject({
      status: 409,
      body: { code: 'conflict', param: 'tenant_id' },
    })
    expect(await send('POST', '/admin/tenants', { tenantId: 'NO', name: 'B', creditNano: 5 })).toMatchObject({
      status: 400,
      body: { param: 'tenant_id' },
    })
    expect(await send('POST', '/admin/tenants', { tenantId: 'tenc', name: 'B', creditNano: -5 })).toMatchObject({
      status: 400,
      body: { param: 'credit_nano' },
    })
    expect((await send('GET', '/admin/tenants/tend')).status).toBe(404)
  })

  it('[RTE6] an API key is returned only once, when it is created', async () => {
    await send('POST', '/admin/tenants', { tenantId: 'tene', name: 'E', creditNano: 5 })
    const { body } = await send('POST', '/admin/tenants/tene/keys', { name: 'k' })
    expect(body.api_key.startsWith(body.prefix)).toBe(true)
    const seen = await send('GET', '/admin/tenants/tene')
    expect(JSON.stringify(seen.body)).not.toContain(body.api_key)
  })

  it('[RTE7] a body over one mebibyte on an internal route returns 413 before it is parsed', async () => {
    for (const path of ['/internal/heartbeat', '/internal/receipts']) {
      for (const bytes of [1_100_000, 5_000_000]) {
        expect((await send('POST', path, { heartbeat: 'x'.repeat(bytes) }, {})).status).toBe(413)
      }
    }
  })
})
