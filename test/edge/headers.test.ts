/** Headers of refusals, over HTTP. Headers of an engine's answer: test/e2e/meter.test.ts. */
import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { type Answer, ask, openKey, openTenant, operate } from './client.ts'
import { evict } from './evict.ts'

const ids = ({ headers, body }: Answer) => {
  expect(headers.get('x-request-id')).toMatch(/^req_[0-9a-f]{32}$/)
  expect(headers.get('request-id')).toBe(headers.get('x-request-id'))
  expect(body.request_id).toBe(headers.get('x-request-id'))
}

describe('headers', () => {
  it('[HDR1] a key over its request rate gets 429 with Retry-After and the remaining rates in both header families', async () => {
    await openTenant('rated', { limits: { tokensPerMinute: 50_000 } })
    const { apiKey } = await openKey('rated', { limits: { requestsPerMinute: 1 } })
    await ask(apiKey)
    const refused = await ask(apiKey)
    expect(refused).toMatchObject({ status: 429, body: { code: 'rate_limit_exceeded', type: 'rate_limit_error' } })
    ids(refused)
    const { headers } = refused
    expect(Number(headers.get('retry-after'))).toBeGreaterThanOrEqual(59)
    expect(Number(headers.get('retry-after'))).toBeLessThanOrEqual(60)
    expect(headers.get('x-should-retry')).toBeNull()
    expect(headers.get('x-ratelimit-limit-requests')).toBe('1')
    expect(headers.get('x-ratelimit-remaining-requests')).toBe('0')
    expect(headers.get('x-ratelimit-reset-requests')).toMatch(/^(59|60)s$/)
    expect(headers.get('x-ratelimit-limit-tokens')).toBe('50000')
    expect(Number(headers.get('x-ratelimit-remaining-tokens'))).toBeGreaterThan(40_000)
    expect(headers.get('x-ratelimit-reset-tokens')).toMatch(/^\d+(ms|s)$/)
    expect(headers.get('ratelimit-policy')).toBe('"requests";q=1;w=60, "tokens";q=50000;w=60')
    expect(headers.get('ratelimit')).toMatch(/^"requests";r=0;t=(59|60), "tokens";r=\d+;t=\d+$/)
  })

  it('[HDR2] a refusal where waiting does not help has x-should-retry: false and no Retry-After', async () => {
    await openTenant('never', { creditNano: 10 })
    await openTenant('rich')
    const poor = (await openKey('never')).apiKey
    const budget = (await openKey('rich', { limits: { budgetNano: { day: 10 } } })).apiKey
    const barred = (await openKey('rich', { limits: { requestsPerMinute: 0 } })).apiKey
    const tight = (await openKey('rich', { limits: { tokensPerMinute: 5 } })).apiKey
    const other = (await openKey('rich', { models: ['mistral-small-4'] })).apiKey
    const viewer = (await openKey('rich', { role: 'viewer' })).apiKey
    const cases: [string, number, string][] = [
      [poor, 429, 'insufficient_quota'],
      [budget, 429, 'insufficient_quota'],
      [barred, 429, 'rate_limit_exceeded'],
      [tight, 429, 'rate_limit_exceeded'],
      [other, 403, 'permission_denied'],
      [viewer, 403, 'permission_denied'],
      ['tm_live_forged', 401, 'invalid_api_key'],
    ]
    for (const [key, status, code] of cases) {
      const refused = await ask(key)
      expect(refused).toMatchObject({ status, body: { code, error: { code } } })
      expect(refused.headers.get('x-should-retry'), code).toBe('false')
      expect(refused.headers.get('retry-after'), code).toBeNull()
      ids(refused)
    }
    expect((await ask(barred, 'no-such-model')).headers.get('x-should-retry')).toBe('false')
  })

  it('[HDR3] a refusal where waiting helps has Retry-After: no worker, or too many concurrent requests', async () => {
    await openTenant('soon', { limits: { concurrentMax: 1 } })
    const { apiKey } = await openKey('soon')
    const absent = await ask(apiKey)
    expect(absent).toMatchObject({ status: 503, body: { code: 'server_is_overloaded' } })
    expect(absent.headers.get('retry-after')).toBe('2')
    ids(absent)
    // The gateway voids the reservation after it has answered.
    while ((await operate('GET', '/admin/tenants/soon')).openReservations > 0) await scheduler.wait(5)
    await runInDurableObject(env.TENANT.getByName('soon'), (_, state) => {
      state.storage.sql.exec(`UPDATE account SET state = json_set(state, '$.running', 1)`)
    })
    await evict(env.TENANT.getByName('soon'))
    const crowded = await ask(apiKey)
    expect(crowded).toMatchObject({ status: 429, body: { code: 'rate_limit_exceeded' } })
    expect(crowded.headers.get('retry-after')).toBe('1')
    expect(crowded.headers.get('x-should-retry')).toBeNull()
    await operate('GET', '/admin/tenants/soon')
  })
})
