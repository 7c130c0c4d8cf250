/** A budget under load, through the whole product: a thousand simultaneous requests against credit for 37 of them. */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { eventually, type Product, startProduct, type TenantBooks } from '../support/product.ts'

let product: Product

beforeAll(async () => {
  product = await startProduct()
})

afterAll(async () => {
  await product?.stop()
})

it('[E2E26] a thousand simultaneous requests against a credit for 37 never exceed the credit at any moment', async () => {
  const { baseUrl, model } = product.demo()
  const body = JSON.stringify({
    model,
    messages: [{ role: 'user', content: 'Tell me a story about a fox.' }],
    max_tokens: 20,
  })
  const promptBound = Math.ceil(Buffer.byteLength(body) / 2) + 64
  const boundNano = promptBound * 150 + 20 * 600
  const creditNano = 37 * boundNano
  await product.admin('POST', '/admin/tenants', { tenantId: 'crowd', name: 'Crowd', creditNano })
  const { apiKey } = await product.admin<{ apiKey: string }>('POST', '/admin/tenants/crowd/keys', { name: 'k' })
  const books = () => product.tenant('crowd')

  let running = true
  const seen: TenantBooks[] = []
  const watch = (async () => {
    while (running) seen.push(await books())
  })()
  const statuses = await Promise.all(
    Array.from({ length: 1_000 }, async () => {
      const headers = { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' }
      const response = await fetch(`${baseUrl}/chat/completions`, { method: 'POST', headers, body })
      const answer = (await response.json()) as { code?: string }
      return response.status === 200 ? 'served' : answer.code
    }),
  )
  running = false
  await watch

  for (const each of seen) expect(each.postedNano + each.reservedNano).toBeLessThanOrEqual(creditNano)
  expect(Math.max(...seen.map((each) => each.openReservations))).toBeLessThanOrEqual(37)
  const served = statuses.filter((status) => status === 'served').length
  expect(served).toBeGreaterThanOrEqual(37)
  expect(served).toBeLessThan(1_000)
  expect(statuses.filter((status) => status !== 'served' && status !== 'insufficient_quota')).toEqual([])
  const settled = await eventually(books, (tenant) => tenant.openReservations === 0)
  expect(settled).toMatchObject({ reservedNano: 0, totals: { closed: served } })
  expect(settled.postedNano).toBeLessThanOrEqual(creditNano)
  const verdict = await product.admin<{ faults: string[] }>('GET', '/admin/tenants/crowd/verification')
  expect(verdict.faults).toEqual([])
})
