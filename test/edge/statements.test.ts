/** Monthly statements over HTTP, for a tenant and for its operator. */
import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { openKey, openTenant, operate, send, use } from './client.ts'
import { evict } from './evict.ts'

const dayMs = 86_400_000

describe('statements', () => {
  it('[STM1] statements add up to the nano-dollar as JSON, CSV and a page to print, and each opens as the last closed', async () => {
    await openTenant('books', { creditNano: 1_000_000_000, settings: { timeZone: 'Pacific/Auckland', anchorDay: 11 } })
    const { keyId } = await openKey('books')
    const { apiKey } = await openKey('books', { role: 'viewer' })
    const { requestId } = await use('books', keyId)
    await use('books', keyId, { effort: 'high', costNano: 7 })
    const money = '/admin/tenants/books'
    await operate('POST', `${money}/credits`, { id: 'c1', creditNano: 5_000, note: '=HYPERLINK("http://x")' })
    await operate('POST', `${money}/reversals`, {
      id: 'r1',
      creditId: 'c1',
      creditNano: 2_000,
      note: '<script>alert(1)</script>',
    })
    await operate('POST', `${money}/corrections`, { id: 'x1', costNano: -600, requestId, note: '@refund' })
    await operate('POST', `${money}/corrections`, { id: 'x2', costNano: 9, note: '-charge' })
    // Everything so far happened two months ago.
    await runInDurableObject(env.TENANT.getByName('books'), (_, { storage }) => {
      const past = 61 * dayMs
      for (const change of [
        'UPDATE account SET created_at = created_at - ?',
        'UPDATE money_entries SET at = at - ?',
        'UPDATE usage_quarters SET quarter = quarter - ?',
      ])
        storage.sql.exec(change, past)
    })
    await evict(env.TENANT.getByName('books'))
    await use('books', keyId, { costNano: 11 })
    const { body } = await send('GET', '/v1/statements', undefined, apiKey)
    expect(body).toMatchObject({ object: 'list', next: null })
    const [open, , oldest] = body.data
    expect(body.data.length).toBeGreaterThanOrEqual(3)
    expect(open).toMatchObject({
      status: 'open',
      usage_nano: -11,
      closing_balance_nano: 1_000_000_000 + 3_000 + 600 - 9 - 21_607 - 11,
    })
    for (const [index, { opening_balance_nano }] of body.data.entries())
      expect(opening_balance_nano).toBe(body.data[index + 1]?.closing_balance_nano ?? 0)
    const first = body.data.at(-1)
    expect(oldest.first_day).toMatch(/-11$/)
    const path = `/v1/statements/${first.period}`
    const statement = (await send('GET', path, undefined, apiKey)).body
    expect(statement).toMatchObject({
      ...{ object: 'statement', tenant_id: 'books', time_zone: 'Pacific/Auckland', anchor_day: 11, status: 'closed' },
      ...{
        credits_nano: 1_000_005_000,
        reversals_nano: -2_000,
        refunds_nano: 600,
        charges_nano: -9,
        usage_nano: -21_607,
      },
      usage: [
        { effort: 'high', requests: 1, amount_nano: -7 },
        { effort: 'none', requests: 1, amount_nano: -21_600 },
      ],
      entries: [
        { kind: 'credit', id: 'opening-credit' },
        { kind: 'credit', id: 'c1', amount_nano: 5_000 },
        { kind: 'reversal', id: 'r1', amount_nano: -2_000 },
        { kind: 'correction', id: 'x1', amount_nano: 600, request_id: requestId },
        { kind: 'correction', id: 'x2', amount_nano: -9 },
      ],
    })
    const csv = await send('GET', `${path}?format=csv`, undefined, apiKey)
    expect(csv.headers.get('content-disposition')).toBe(`attachment; filename="statement-books-${first.period}.csv"`)
    const lines = csv.text.trim().split('\r\n')
    expect(lines[0]).toMatch(/^section,date,id,description,.*,amount_nano,amount_usd$/)
    expect(csv.text).toContain('"\'=HYPERLINK(""http://x"")"')
    for (const start of ["'@refund", "'-charge"]) expect(csv.text).toContain(start)
    const amounts = lines.slice(1).map((line) => Number(line.split(',').at(-2)))
    expect(amounts.slice(0, -1).reduce((sum, nano) => sum + nano, 0)).toBe(amounts.at(-1))
    expect(lines.at(-1)).toContain(`,${statement.closing_balance_nano},${statement.closing_balance_nano / 1e9}`)
    const html = await send('GET', `${path}?format=html`, undefined, apiKey)
    expect(html.headers.get('content-type')).toBe('text/html; charset=utf-8')
    expect(html.headers.get('content-security-policy')).toContain("default-src 'none'")
    expect(html.text).toContain('&lt;script&gt;alert(1)')
    expect(html.text).not.toContain('<script')
    expect(await operate('GET', `${money}/statements/${first.period}`)).toMatchObject({ usageNano: -21_607 })
    expect((await operate('GET', `${money}/statements`)).data).toHaveLength(body.data.length)
    for (const period of ['1999-01', '2026-13', 'now', '2199-01'])
      expect(await send('GET', `/v1/statements/${period}`, undefined, apiKey), period).toMatchObject({
        status: 404,
        body: { param: 'period' },
      })
    expect(await send('GET', `${path}?format=pdf`, undefined, apiKey)).toMatchObject({
      status: 400,
      body: { param: 'format' },
    })
  })
})
