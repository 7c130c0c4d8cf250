/** The control plane around real requests: webhook events to a receiver on a real socket, usage, response headers. */
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { MeterView } from '../../src/tenant/rpc.ts'
import { eventually, type Product, startProduct } from '../support/product.ts'

interface Delivery {
  headers: Record<string, string | string[] | undefined>
  body: string
}

interface Event {
  identifier: string
  event_name: string
  payload: Record<string, string>
}

let product: Product
let server: Server
const deliveries: Delivery[] = []
/** How the receiver treats the next deliveries; after them it answers 204. */
const plan: ('500' | 'take-and-drop')[] = []

beforeAll(async () => {
  server = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (text: string) => {
      body += text
    })
    request.on('end', () => {
      const step = plan.shift()
      if (step === '500') return void response.writeHead(500).end()
      deliveries.push({ headers: request.headers, body })
      if (step === 'take-and-drop') return void request.socket.destroy()
      response.writeHead(204).end()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  product = await startProduct()
})

afterAll(async () => {
  await product?.stop()
  server?.closeAllConnections()
  server?.close()
})

describe('the control plane', () => {
  it('[MTR20] a receiver that fails and loses responses still receives every event, and the sum of the distinct events equals the ledger', async () => {
    const { port } = server.address() as AddressInfo
    await product.admin('POST', '/admin/tenants', { tenantId: 'metered', name: 'Metered', creditNano: 1e9 })
    const { apiKey } = await product.admin<{ apiKey: string }>('POST', '/admin/tenants/metered/keys', { name: 'k' })
    const { secret } = await product.admin<{ secret: string }>('PUT', '/admin/tenants/metered/meter', {
      url: `http://127.0.0.1:${port}/meter`,
      customerId: 'cus_42',
    })
    plan.push('500', 'take-and-drop')
    const client = product.client(apiKey)
    const { model } = product.demo()
    for (const content of ['Hello', 'Tell me a story about a fox.', 'What is 2 plus 3?']) {
      await client.chat.completions.create({ model, messages: [{ role: 'user', content }], max_tokens: 20 })
    }
    const view = await eventually(
      () => product.admin<MeterView>('GET', '/admin/tenants/metered/meter'),
      ({ entriesBehind }) => entriesBehind === 0 && plan.length === 0,
      40_000,
    )
    expect(view).toMatchObject({ entriesBehind: 0, entriesLost: 0, attempts: 0, lastFault: null })
    const key = Buffer.from(secret.slice('whsec_'.length), 'base64')
    for (const { headers, body } of deliveries) {
      const signed = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`
      expect(headers['webhook-signature']).toBe(`v1,${createHmac('sha256', key).update(signed).digest('base64')}`)
    }
    const received = deliveries.flatMap(({ body }) => (JSON.parse(body) as { events: Event[] }).events)
    const counted = new Map(received.map((event) => [event.identifier, event]))
    expect(received.length).toBeGreaterThan(counted.size)
    expect(counted.size).toBe(3)
    const tenant = await product.tenant('metered')
    const sum = (field: string) => [...counted.values()].reduce((all, { payload }) => all + Number(payload[field]), 0)
    expect(sum('cost_nano')).toBe(tenant.postedNano)
    expect(sum('output_tokens')).toBe(tenant.totals.outputTokens)
    expect([...counted.values()].every(({ payload }) => payload.customer_id === 'cus_42')).toBe(true)
  })

  it('[USE10] the usage in the answers, the usage report and the tenant’s account agree to the token', async () => {
    await product.admin('POST', '/admin/tenants', { tenantId: 'counted', name: 'Counted', creditNano: 1e9 })
    const { apiKey } = await product.admin<{ apiKey: string }>('POST', '/admin/tenants/counted/keys', { name: 'k' })
    const client = product.client(apiKey)
    const { model } = product.demo()
    const messages = [{ role: 'user' as const, content: 'What is 7 plus 5?' }]
    const usages = [
      await client.chat.completions.create({ model, messages, max_tokens: 30 }),
      await client.chat.completions.create({ model, messages, max_tokens: 30, reasoning_effort: 'high' }),
    ].map((answer) => answer.usage)
    const { origin } = new URL(product.demo().baseUrl)
    const usage = await eventually(
      async () => {
        const answer = await fetch(`${origin}/v1/usage?group_by=effort`, {
          headers: { authorization: `Bearer ${apiKey}` },
        })
        return (await answer.json()) as { data: { effort: string }[]; totals: Record<string, number> }
      },
      ({ totals }) => totals.requests === 2,
    )
    const sum = (field: 'prompt_tokens' | 'completion_tokens') =>
      usages.reduce((all, each) => all + (each?.[field] ?? 0), 0)
    expect(usage.totals).toMatchObject({
      prompt_tokens: sum('prompt_tokens'),
      output_tokens: sum('completion_tokens'),
      reasoning_tokens: usages.reduce((all, each) => all + (each?.completion_tokens_details?.reasoning_tokens ?? 0), 0),
      wasted_tokens: 0,
    })
    expect(usage.data.map((row) => row.effort)).toEqual(['high', 'none'])
    const tenant = await product.tenant('counted')
    expect(tenant.postedNano).toBe(usage.totals.cost_nano)
  })

  it('[HDR10] a successful response carries the remaining rates in both families of headers, and its id under both names', async () => {
    const { apiKey } = await product.admin<{ apiKey: string }>('POST', '/admin/tenants/demo/keys', {
      name: 'rated',
      limits: { requestsPerMinute: 60, tokensPerMinute: 100_000 },
    })
    const { model } = product.demo()
    const messages = [{ role: 'user' as const, content: 'Hello' }]
    for (const stream of [false, true]) {
      const { response } = await product
        .client(apiKey)
        .chat.completions.create({ model, messages, max_tokens: 5, stream })
        .withResponse()
      const of = (name: string) => response.headers.get(name) ?? ''
      expect(of('x-ratelimit-limit-requests')).toBe('60')
      expect(Number(of('x-ratelimit-remaining-requests'))).toBeGreaterThanOrEqual(58)
      expect(of('x-ratelimit-reset-requests')).toMatch(/^\d+(ms|s)$/)
      expect(of('x-ratelimit-limit-tokens')).toBe('100000')
      expect(Number(of('x-ratelimit-remaining-tokens'))).toBeLessThan(100_000)
      expect(of('x-ratelimit-reset-tokens')).toMatch(/^\d+(ms|s)$/)
      expect(of('ratelimit-policy')).toBe('"requests";q=60;w=60, "tokens";q=100000;w=60')
      expect(of('ratelimit')).toMatch(/^"requests";r=\d+;t=\d+, "tokens";r=\d+;t=\d+$/)
      expect(of('x-request-id')).toMatch(/^req_[0-9a-f]{32}$/)
      expect(of('request-id')).toBe(of('x-request-id'))
      expect(of('retry-after')).toBe('')
    }
  })
})
