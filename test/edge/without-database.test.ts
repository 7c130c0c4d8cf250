/** The gateway without the operator database. */
import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { ask, enrol, heartbeatOf, makeReceipt, openKey, openTenant, sealBy, send, sendBeat, use } from './client.ts'

describe('without the database', () => {
  it('[ADN30] without the operator database, chat requests, heartbeats, receipts and usage reports still work', async () => {
    await openTenant('alone')
    await enrol('w1')
    const { apiKey, keyId } = await openKey('alone')
    const { results } = await env.DB.prepare(
      `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB '[_s]*'`,
    ).all()
    expect(results.length).toBeGreaterThan(6)
    for (const { name } of results) await env.DB.exec(`DROP TABLE ${name}`)
    expect((await send('GET', '/admin/tenants')).status).toBe(500)
    expect(await ask(apiKey)).toMatchObject({ status: 503, body: { code: 'server_is_overloaded' } })
    expect((await sendBeat({ ...heartbeatOf('w1'), sentAt: Date.now() })).status).toBe(200)
    const used = await use('alone', keyId)
    const { requestId } = used
    const more = { requestId, tenantId: 'alone', keyId }
    const second = makeReceipt({ ...more, dispatchId: `${requestId}.2` })
    const forged = makeReceipt({ ...more, dispatchId: `${requestId}.3`, proof: 'p'.repeat(43) })
    const receipts = await Promise.all([second, forged].map((receipt) => sealBy('receipt', receipt, 'w1', 1)))
    expect((await send('POST', '/internal/receipts', { receipts }, null)).body).toMatchObject({
      done: [`${requestId}.2`],
      refused: [{ dispatchId: `${requestId}.3`, reason: expect.stringContaining('proof') }],
    })
    const usage = await send('GET', '/v1/usage', undefined, apiKey)
    expect(usage).toMatchObject({ status: 200, body: { totals: { requests: 2 } } })
    expect(await send('GET', '/v1/limits', undefined, apiKey)).toMatchObject({ status: 200 })
  })
})
