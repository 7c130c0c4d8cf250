/** One slot in each pool and more clients than slots: the order of service, and what waiting clients receive. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { eventually, isZero, type Product, startProduct, zero } from '../support/product.ts'

let product: Product
let lowered = ''

interface Explained {
  ledger: { entries: unknown[] }
  decision: { outcome: string | null } | null
}
const keys = new Map<string, string>()

beforeAll(async () => {
  product = await startProduct({ env: { TRAMONTANE_SLOTS: '1', TRAMONTANE_SPILL: 'off' } })
  await openTenant('flood', {})
  await openTenant('single', {})
  await openTenant('night', { class: 'batch' })
  await openTenant('agreed', { underLoad: 'lower-effort' })
})

afterAll(async () => {
  await product?.stop()
})

async function openTenant(tenantId: string, settings: object): Promise<void> {
  await product.admin('POST', '/admin/tenants', { tenantId, name: tenantId, creditNano: 1e12, settings })
  const made = await product.admin<{ apiKey: string }>('POST', `/admin/tenants/${tenantId}/keys`, { name: 'k' })
  keys.set(tenantId, made.apiKey)
}

interface Answered {
  headers: Headers
  text: string
}

/** Requests `tokens` output tokens and returns the answer as text. Calls `began` at the first data chunk. */
async function ask(tenant: string, tokens: number, change: object = {}, began = () => {}): Promise<Answered> {
  const response = await fetch(`http://127.0.0.1:${product.port}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${keys.get(tenant)}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      model: product.demo().model,
      stream: true,
      messages: [{ role: 'user', content: 'Tell me a story about a fox.' }],
      max_tokens: tokens,
      // Without a schema the toy would stop early.
      response_format: {
        type: 'json_schema',
        json_schema: { name: 'l', schema: { type: 'array', items: { type: 'integer' }, minItems: 900 } },
      },
      ...change,
    }),
  })
  const decoder = new TextDecoder()
  let text = ''
  let started = false
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk, { stream: true })
    if (!started && text.includes('data: ')) {
      started = true
      began()
    }
  }
  return { headers: response.headers, text }
}

const waiting = (count: number) =>
  eventually(product.counters, (counters) => counters.waiting === count, 20_000).then((counters) => counters.waiting)

async function allBackAtZero(): Promise<void> {
  expect(await eventually(product.counters, isZero, 20_000)).toEqual(zero)
}

describe('the queue', () => {
  it('[E2E40] while one tenant has ten requests queued, a single request of another tenant is served after at most two of them', async () => {
    const order: string[] = []
    const running = ask('flood', 1_000)
    await eventually(product.counters, (counters) => counters.leased === 1)
    const flood = Array.from({ length: 10 }, () => ask('flood', 60, {}, () => order.push('flood')))
    expect(await waiting(10)).toBe(10)
    const before = order.length
    const single = await ask('single', 60, {}, () => order.push('single'))
    // One may have been granted, or have produced its first token, while the single request was on its way.
    expect(order.indexOf('single') - before).toBeLessThanOrEqual(2)
    expect(single.text).toContain('data: [DONE]')
    for (const { text } of await Promise.all([running, ...flood])) expect(text).toContain('data: [DONE]')
    await allBackAtZero()
  })

  it('[E2E41] a waiting client receives its queue position, and the expected wait once slots have become free, in SSE comments and in headers', async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => ask('flood', 800)))
    const positions = (text: string) =>
      [...text.matchAll(/^: waiting, position (\d+) of (\d+)(?:, about (\d+) s)?$/gm)].map((match) => Number(match[1]))
    const last = answers.reduce((most, each) =>
      positions(each.text).length > positions(most.text).length ? each : most,
    )
    const received = positions(last.text)
    expect(received.length).toBeGreaterThan(3)
    expect(received).toEqual(received.toSorted((a, b) => b - a))
    expect(received.at(-1)).toBeLessThan(received[0] ?? 0)
    expect(last.text).toMatch(/^: waiting, position \d+ of \d+, about \d+ s$/m)
    expect(Number(last.headers.get('x-tramontane-queue-position'))).toBe(received[0])
    const withHeaders = answers.filter((each) => each.headers.has('x-tramontane-queue-position'))
    expect(withHeaders.length).toBeGreaterThanOrEqual(6)
    await allBackAtZero()
    const running = ask('flood', 800)
    await eventually(product.counters, (counters) => counters.leased === 1)
    const waited = await ask('flood', 20, { stream: false })
    expect(waited.headers.get('x-tramontane-queue-position')).toBe('1')
    expect(Number(waited.headers.get('x-tramontane-queue-wait-ms'))).toBeGreaterThan(0)
    await running
    await allBackAtZero()
  })

  it('[E2E72] a stream that waited has the warnings of its worker in a comment, since its headers were sent before', async () => {
    const pattern = { type: 'array', items: { type: 'string', pattern: '(a)\\1' } }
    const loose = { response_format: { type: 'json_schema', json_schema: { name: 'l', schema: pattern } } }
    const running = ask('flood', 800)
    await eventually(product.counters, (counters) => counters.leased === 1)
    const { headers, text } = await ask('flood', 20, loose)
    await running
    expect(headers.get('x-tramontane-warnings')).toBeNull()
    expect(text).toMatch(/^: warnings: response_format\.json_schema\.schema: "pattern" at #\/items is not enforced/m)
    expect(text).toContain('data: [DONE]')
    const prompt = await ask('flood', 20, loose)
    expect(prompt.headers.get('x-tramontane-warnings')).toContain('"pattern" at #/items')
    expect(prompt.text).not.toContain(': warnings')
    await allBackAtZero()
  })

  it('[E2E42] a request of a tenant with class `batch` waits behind interactive requests, regardless of the priority in its body', async () => {
    const order: string[] = []
    const running = ask('flood', 1_000)
    await eventually(product.counters, (counters) => counters.leased === 1)
    const night = ask('night', 20, { priority: 0, service_tier: 'priority', weight: 1_000 }, () => order.push('night'))
    expect(await waiting(1)).toBe(1)
    const day = [1, 2, 3].map(() => ask('single', 20, {}, () => order.push('day')))
    await Promise.all([running, night, ...day])
    expect(order).toEqual(['day', 'day', 'day', 'night'])
    await allBackAtZero()
  })

  it('[PLC20] a lowered effort is reported in headers and `usage` and booked as the effort that was served, and never lowered without the tenant’s consent', async () => {
    const high = { reasoning_effort: 'high' }
    const flood = [1, 2, 3].map(() => ask('flood', 2_000, high))
    expect(await waiting(2)).toBe(2)
    const agreed = await ask('agreed', 20, high)
    const single = ask('single', 20, high)
    expect(agreed.headers.get('x-tramontane-effort')).toBe('none')
    expect(agreed.headers.get('x-tramontane-effort-asked')).toBe('high')
    expect(agreed.headers.get('x-tramontane-pool')).toBe('latency')
    expect(agreed.headers.get('x-tramontane-warnings')).toContain('lowered from high to none under load')
    expect(agreed.text).toContain('"reasoning_effort":"none","reasoning_effort_asked":"high"')
    const { headers, text } = await single
    expect(headers.get('x-tramontane-effort')).toBe('high')
    expect(text).toContain('"reasoning_effort":"high"')
    await Promise.all(flood)
    await allBackAtZero()
    lowered = agreed.headers.get('x-request-id') ?? ''
  })

  it('[PLC21] `GET /admin/requests/:request_id` returns why a request went to its worker and what the ledger recorded for it', async () => {
    const decision = await eventually(
      () => product.admin<Explained>('GET', `/admin/requests/${lowered}`),
      ({ ledger, decision }) => ledger.entries.length > 0 && decision?.outcome === 'finished',
    )
    expect(decision).toMatchObject({
      tenantId: 'agreed',
      decision: {
        effort: 'none',
        preferredPool: 'latency',
        attempts: [
          { workerId: 'local-latency', pool: 'latency', waitedMs: 0, why: expect.stringContaining('latency pool') },
        ],
        engine: { outputTokens: 20 },
      },
    })
    expect(JSON.stringify(decision.ledger)).toContain('"effort":"none"')
    const forgotten = await fetch(`http://127.0.0.1:${product.port}/admin/requests/req_unknown`, {
      headers: { authorization: `Bearer ${product.demo().operatorKey}` },
    })
    expect(forgotten.status).toBe(404)
    expect(await forgotten.text()).toContain('?tenant_id=')
  })
})
