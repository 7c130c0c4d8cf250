/** Usage of all tenants, from the copies in the operator's database. */
import { runDurableObjectAlarm } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { openKey, openTenant, operate, operatorKey, send, use } from './client.ts'

describe('usage of all tenants', () => {
  it('[FLU2] GET /admin/usage adds up the tenants as their own reports do, from a range of the primary key', async () => {
    const costs: Record<string, number> = {}
    for (const tenantId of ['fleeta', 'fleetb']) {
      await openTenant(tenantId)
      const { keyId } = await openKey(tenantId)
      const { requestId } = await use(tenantId, keyId)
      await use(tenantId, keyId, { effort: 'high', pool: 'throughput', costNano: 5 })
      await operate('POST', `/admin/tenants/${tenantId}/corrections`, { id: 'x', costNano: -1, requestId, note: 'n' })
      // A repeated copy changes nothing.
      await runDurableObjectAlarm(env.TENANT.getByName(tenantId))
      await runDurableObjectAlarm(env.TENANT.getByName(tenantId))
      costs[tenantId] = (await operate('GET', `/admin/tenants/${tenantId}/usage?bucket=all`)).totals.costNano
    }
    const report = (query: string) => operate('GET', `/admin/usage?${query}`)
    const byTenant = await report('bucket=all&group_by=tenant')
    const own = byTenant.data.filter(({ tenant }: { tenant: string }) => tenant in costs)
    expect(own.map(({ tenant, costNano, requests }: Record<string, unknown>) => [tenant, costNano, requests])).toEqual([
      ['fleeta', costs.fleeta, 2],
      ['fleetb', costs.fleetb, 2],
    ])
    expect(costs.fleeta).toBe(21_604)
    const efforts = await report('bucket=month&group_by=effort,outcome&tenant_id=fleeta')
    expect(efforts.data).toMatchObject([
      {
        effort: 'high',
        outcome: 'finished',
        costNano: 5,
        costUsd: '0.000000005',
        start: expect.stringMatching(/-01T00:00:00.000Z$/),
      },
      { effort: 'none', outcome: 'correction', costNano: -1, requests: 0 },
      { effort: 'none', outcome: 'finished', costNano: 21_600 },
    ])
    expect(efforts.totals).toMatchObject({ costNano: 21_604, requests: 2 })
    for (const [query, param] of [
      ['group_by=key', 'group_by'],
      ['from=2026-02-30', 'from'],
      ['from=2020-01-01', 'from'],
      ['bucket=hour', 'bucket'],
    ])
      expect(await send('GET', `/admin/usage?${query}`), query).toMatchObject({ status: 400, body: { param } })
    const narrow = await operatorKey(['tenants:read'])
    expect(await send('GET', '/admin/usage', undefined, narrow)).toMatchObject({ status: 403 })
    const plan = await env.DB.prepare(
      'EXPLAIN QUERY PLAN SELECT day, sum(cost_nano) FROM usage_days WHERE day >= 1 AND day < 2 GROUP BY day',
    ).all()
    expect(JSON.stringify(plan.results)).toContain('SEARCH usage_days USING PRIMARY KEY (day>? AND day<?)')
  })
})
