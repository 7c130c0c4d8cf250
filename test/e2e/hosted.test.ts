/** With every worker down, a hosted API answers for the tenants that allow it; headers and the ledger show it. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { beginStream, type HostedApi, hostedChunk, startHostedApi } from '../support/hosted-api.ts'
import { eventually, type Product, startProduct, type TenantBooks } from '../support/product.ts'

let api: HostedApi
let product: Product
let stopped: number[] = []

const rates = { inputNano: 1_000, cachedNano: 100, outputNano: 4_000 }
const usage = { prompt_tokens: 20, completion_tokens: 37, total_tokens: 57, num_cached_tokens: 4 }

beforeAll(async () => {
  api = await startHostedApi()
  product = await startProduct({
    env: { HOSTED_URL: api.url, HOSTED_MODEL: 'mistral-small-2603', HOSTED_KEY: 'a-key-of-the-operator' },
  })
  const { latency, throughput } = product.demo().pids
  stopped = [latency, throughput]
  for (const pid of stopped) process.kill(pid, 'SIGSTOP')
  const healthz = async () => (await fetch(`http://127.0.0.1:${product.port}/healthz`)).status
  expect(await eventually(healthz, (status) => status === 503, 30_000)).toBe(503)
})

afterAll(async () => {
  for (const pid of stopped) process.kill(pid, 'SIGCONT')
  await product?.stop()
  await api?.stop()
})

beforeEach(() => {
  api.calls.length = 0
})

async function ask(body: Record<string, unknown> = {}, options: { key?: string; signal?: AbortSignal } = {}) {
  const { baseUrl, apiKey, model } = product.demo()
  return fetch(`${baseUrl}/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${options.key ?? apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model, max_tokens: 50, messages: [{ role: 'user', content: 'Hi' }], ...body }),
    signal: options.signal ?? AbortSignal.timeout(20_000),
  })
}

interface RequestRecord {
  reservation: string
  entries: Record<string, string | number | null>[]
}

async function recordOf(requestId: string, tenantId = 'demo'): Promise<RequestRecord> {
  return product.admin<RequestRecord>('GET', `/admin/tenants/${tenantId}/requests/${requestId}`)
}

async function closed(requestId: string, reservation: string): Promise<RequestRecord> {
  return eventually(
    () => recordOf(requestId),
    (answer) => answer.reservation === reservation,
  )
}

async function openReservations(tenantId = 'demo'): Promise<number> {
  return (await product.admin<TenantBooks>('GET', `/admin/tenants/${tenantId}`)).openReservations
}

const id = (response: Response) => response.headers.get('x-request-id') ?? ''
const events = (text: string) =>
  text
    .split('\n\n')
    .filter((event) => event.startsWith('data: '))
    .map((event) => event.slice(6))
const parsed = (text: string) =>
  events(text)
    .filter((data) => data !== '[DONE]')
    .map((data) => JSON.parse(data))

/** A complete answer: reasoning, then text. */
const answered = (more?: unknown) => (response: import('node:http').ServerResponse) => {
  beginStream(response)
  response.write(hostedChunk({ role: 'assistant', content: '' }))
  response.write(hostedChunk({ content: 'Hello ' }))
  response.write(hostedChunk({ content: 'there' }))
  response.write(hostedChunk({ content: '' }, 'stop', more))
  response.end('data: [DONE]\n\n')
}

describe('the hosted fallback', () => {
  it('[E2E50] a tenant that does not allow the hosted fallback, or has no rate card for it, gets 503 `server_is_overloaded` when no worker is up', async () => {
    const refused = async () => {
      const response = await ask()
      expect(response.status).toBe(503)
      expect(await response.json()).toMatchObject({ code: 'server_is_overloaded' })
    }
    const allow = (hosted: string) => product.admin('PATCH', '/admin/tenants/demo', { settings: { hosted } })
    await refused()
    await allow('last-resort')
    await refused()
    await allow('never')
    await product.admin('POST', '/admin/tenants/demo/rate-cards', { model: `hosted:${product.demo().model}`, ...rates })
    await refused()
    await allow('last-resort')
    expect(api.calls).toEqual([])
    expect(await eventually(openReservations, (open) => open === 0)).toBe(0)
  })

  it('[E2E51] a hosted stream has the same chunks as a worker’s stream, names the hosted pool in its headers, and posts its usage to the token', async () => {
    api.answer = answered(usage)
    const response = await ask({ stream: true, reasoning_effort: 'low', stream_options: { include_usage: true } })
    expect(response.status).toBe(200)
    expect(response.headers.get('x-tramontane-pool')).toBe('hosted')
    expect(response.headers.get('x-tramontane-worker')).toBe('hosted-mistral')
    const text = await response.text()
    expect(text).toMatch(/^: pool hosted, worker hosted-mistral\n\n/m)
    const chunks = parsed(text)
    expect(chunks.map((chunk) => chunk.choices[0]?.delta)).toEqual([
      { role: 'assistant', content: '' },
      { content: 'Hello ' },
      { content: 'there' },
      {},
      undefined,
    ])
    expect(chunks.at(-2).choices[0].finish_reason).toBe('stop')
    expect(chunks.at(-1).usage).toMatchObject({ prompt_tokens: 20, completion_tokens: 37, total_tokens: 57 })
    expect(events(text).at(-1)).toBe('[DONE]')
    expect(new Set(chunks.map((chunk) => chunk.model))).toEqual(new Set([product.demo().model]))
    expect(api.calls).toMatchObject([
      {
        headers: { authorization: 'Bearer a-key-of-the-operator' },
        body: { model: 'mistral-small-2603', max_tokens: 50, stream: true, reasoning_effort: 'none' },
      },
    ])
    // The entry is posted before the last chunk is sent.
    expect(await recordOf(id(response))).toMatchObject({
      reservation: 'posted',
      entries: [
        {
          kind: 'post',
          pool: 'hosted',
          workerId: 'hosted-mistral',
          promptTokens: 20,
          cachedTokens: 4,
          outputTokens: 37,
          reasoningTokens: 0,
          estimated: 0,
          shortNano: 0,
          costNano: 16 * 1_000 + 4 * 100 + 37 * 4_000,
        },
      ],
    })
  })

  it('[POL9] a hosted answer is written in the client’s dialect, streamed or not, and posts one entry', async () => {
    const { apiKey, model } = product.demo()
    const messages = [{ role: 'user', content: 'Hi' }]
    const paths = { messages: '/v1/messages', responses: '/v1/responses', mistral: '/mistral/v1/chat/completions' }
    const ends = { messages: 'event: message_stop', responses: 'event: response.completed', mistral: 'data: [DONE]' }
    for (const name of ['messages', 'responses', 'mistral'] as const) {
      for (const stream of [true, false]) {
        api.answer = answered(usage)
        const body = name === 'responses' ? { input: messages, max_output_tokens: 50 } : { messages, max_tokens: 50 }
        const response = await fetch(`http://127.0.0.1:${product.port}${paths[name]}`, {
          method: 'POST',
          headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
          body: JSON.stringify({ model, stream, ...body }),
        })
        const text = await response.text()
        expect(text, name).toContain('there')
        if (stream) expect(text.trimEnd().split('\n\n').at(-1), name).toContain(ends[name])
        const entry = { kind: 'post', pool: 'hosted', promptTokens: 20, outputTokens: 37 }
        expect(await recordOf(id(response)), name).toMatchObject({ reservation: 'posted', entries: [entry] })
      }
    }
  })

  it('[E2E52] a non-streaming hosted answer separates reasoning, content and calls, whether the API streams or not', async () => {
    const thinking = { type: 'thinking', thinking: [{ type: 'text', text: 'Hm.' }] }
    const name = `add_${'long_'.repeat(20)}`
    const named = () =>
      (api.calls.at(-1)?.body.tools as [{ function: { name: string } }] | undefined)?.[0].function.name
    const made = () => ({ id: 'D681PevKs', index: 0, function: { name: named(), arguments: '{"a":1}' } })
    api.answer = (response) => {
      const call = made()
      beginStream(response)
      response.write(hostedChunk({ content: [thinking] }))
      response.write(hostedChunk({ content: 'So.' }))
      response.end(`${hostedChunk({ tool_calls: [call] }, 'tool_calls', usage)}data: [DONE]\n\n`)
    }
    const tools = [{ type: 'function', function: { name, parameters: { type: 'object' } } }]
    const streamed = await ask({ reasoning_effort: 'high', tools })
    expect(streamed.headers.get('x-tramontane-pool')).toBe('hosted')
    api.answer = (response) => {
      const message = { role: 'assistant', content: [thinking, { type: 'text', text: 'So.' }], tool_calls: [made()] }
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ choices: [{ index: 0, message, finish_reason: 'tool_calls' }], usage }))
    }
    const whole = await ask({ reasoning_effort: 'high', tools })
    for (const response of [streamed, whole]) {
      expect(await response.json()).toMatchObject({
        choices: [
          {
            message: {
              content: 'So.',
              reasoning_content: 'Hm.',
              tool_calls: [{ id: 'D681PevKs', type: 'function', function: { name, arguments: '{"a":1}' } }],
            },
            finish_reason: 'tool_calls',
          },
        ],
        usage: { prompt_tokens: 20, completion_tokens: 37 },
      })
      const { entries } = await recordOf(id(response))
      expect(entries).toMatchObject([{ kind: 'post', outputTokens: 37, estimated: 1 }])
      expect(entries[0]?.reasoningTokens).toBeGreaterThan(0)
    }
  })

  it('[E2E53] a hosted answer without usage posts an estimate that is marked', async () => {
    api.answer = answered()
    const response = await ask({ stream: true })
    await response.text()
    const { reservation, entries } = await recordOf(id(response))
    expect(reservation).toBe('posted')
    expect(entries).toMatchObject([{ kind: 'post', pool: 'hosted', estimated: 1, outputTokens: 6 }])
    expect(entries[0]?.promptTokens).toBeGreaterThan(64)
  })

  it('[E2E54] a client that disconnects during a hosted answer closes the call and pays an estimate, once', async () => {
    for (const stream of [true, false]) {
      api.calls.length = 0
      api.answer = async (response) => {
        beginStream(response)
        for (let index = 0; !response.destroyed; index++) {
          response.write(hostedChunk({ content: `word ${index} ` }))
          await new Promise((resolve) => setTimeout(resolve, 20))
        }
      }
      const client = new AbortController()
      const response = await ask({ stream }, { signal: client.signal })
      const reader = response.body?.getReader()
      let bytes = 0
      while (bytes < (stream ? 1_000 : 5)) bytes += (await reader?.read())?.value?.byteLength ?? 0
      client.abort()
      const call = () => Promise.resolve(api.calls[0]?.cut)
      expect(await eventually(call, (cut) => cut === true)).toBe(true)
      const { entries } = await closed(id(response), 'posted')
      expect(entries).toMatchObject([{ kind: 'post', outcome: 'aborted', pool: 'hosted', estimated: 1, shortNano: 0 }])
      expect(entries[0]?.outputTokens).toBeGreaterThan(2)
      expect(await openReservations()).toBe(0)
    }
  })

  it('[E2E55] a client that disconnects before the hosted API has started closes the call and pays for the estimated prompt', async () => {
    api.answer = () => undefined
    const client = new AbortController()
    const response = await ask({ stream: true }, { signal: client.signal })
    // The wait outlasted one keep-alive interval, so the headers are already sent and name the hosted pool.
    expect(response.headers.get('x-tramontane-pool')).toBe('hosted')
    client.abort()
    expect(
      await eventually(
        () => Promise.resolve(api.calls[0]?.cut),
        (cut) => cut === true,
      ),
    ).toBe(true)
    const { entries } = await closed(id(response), 'posted')
    expect(entries).toMatchObject([{ kind: 'post', outcome: 'aborted', estimated: 1, outputTokens: 0 }])
  })

  it('[E2E56] a refusal of the hosted API is returned with the gateway’s codes, and the reservation is voided', async () => {
    const flat = (message: unknown) =>
      JSON.stringify({ object: 'error', message, type: 'x', param: null, code: '3051' })
    const cases = [
      { status: 400, body: flat('Prompt is too long.'), expected: { status: 400, code: 'invalid_value' } },
      { status: 401, body: '{"detail":"Unauthorized"}', expected: { status: 503, code: 'server_is_overloaded' } },
      { status: 429, body: flat('Slow down'), expected: { status: 503, code: 'server_is_overloaded' } },
    ]
    for (const { status, body, expected } of cases) {
      api.answer = (response) => void response.writeHead(status, { 'retry-after': '7' }).end(body)
      for (const stream of [true, false]) {
        const askedAt = performance.now()
        const response = await ask({ stream })
        // On a busy machine the headers are sent first, after 250 ms, and the error arrives as an event.
        const late = stream && response.status === 200 && performance.now() - askedAt >= 250
        const text = await response.text()
        if (!late) expect(response.status).toBe(expected.status)
        expect(JSON.parse(late ? (events(text).at(-1) ?? '') : text)).toMatchObject({ code: expected.code })
        expect((await closed(id(response), 'voided')).entries).toMatchObject([{ kind: 'void', costNano: 0 }])
        if (status === 429 && !late) expect(response.headers.get('retry-after')).toBe('7')
      }
    }
  })

  it('[E2E57] a hosted API that breaks off ends the stream with one `worker_lost` event, counts as an estimate and bills nothing', async () => {
    const before = await product.tenant('demo')
    const breaks: HostedApi['answer'][] = [
      (response) => void setTimeout(() => response.destroy(), 100),
      (response) => void response.end(`${hostedChunk({ content: '' }, 'error')}data: [DONE]\n\n`),
      (response) => void response.end(),
    ]
    for (const broken of breaks) {
      api.answer = (response) => {
        beginStream(response)
        response.write(hostedChunk({ content: 'Hello ' }))
        return broken(response)
      }
      const response = await ask({ stream: true })
      const text = await response.text()
      expect(JSON.parse(events(text).at(-1) ?? '')).toMatchObject({ object: 'error', code: 'worker_lost' })
      expect(text).not.toContain('[DONE]')
      const { entries } = await closed(id(response), 'voided')
      expect(entries.map((entry) => [entry.kind, entry.costNano, entry.estimated]).sort()).toEqual([
        ['void', 0, 0],
        ['waste', 0, 1],
      ])
      const whole = await ask()
      await expect(whole.text()).rejects.toThrow()
      expect((await closed(id(whole), 'voided')).entries).toHaveLength(2)
    }
    const after = await product.tenant('demo')
    expect(after.postedNano).toBe(before.postedNano)
    expect(after.reservedNano).toBe(0)
  })

  it('[E2E58] the hosted API is called only when the credit covers the more expensive rate card, and the posted cost never exceeds the credit', async () => {
    const { model } = product.demo()
    const tenant = { tenantId: 'poor', name: 'Poor', creditNano: 250_000, settings: { hosted: 'last-resort' } }
    await product.admin('POST', '/admin/tenants', tenant)
    await product.admin('POST', '/admin/tenants/poor/rate-cards', { model: `hosted:${model}`, ...rates })
    const { apiKey: key } = await product.admin<{ apiKey: string }>('POST', '/admin/tenants/poor/keys', {
      name: 'k',
      mode: 'test',
    })
    api.answer = answered({ prompt_tokens: 5_000, completion_tokens: 5_000, total_tokens: 10_000 })
    // The credit covers a worker's rate card.
    const refused = await ask({ max_tokens: 50 }, { key })
    expect(refused.status).toBe(429)
    expect(await refused.json()).toMatchObject({ code: 'insufficient_quota' })
    expect(api.calls).toEqual([])
    expect(
      await eventually(
        () => openReservations('poor'),
        (open) => open === 0,
      ),
    ).toBe(0)
    await product.admin('POST', '/admin/tenants/poor/credits', { id: 'order-1', creditNano: 600_000, note: 'n' })
    const served = await ask({ max_tokens: 50 }, { key })
    expect(served.status).toBe(200)
    await served.text()
    const { entries } = await recordOf(id(served), 'poor')
    expect(entries).toMatchObject([{ kind: 'post', outputTokens: 5_000 }])
    const [entry] = entries
    expect(Number(entry?.costNano) + Number(entry?.shortNano)).toBe(5_000 * 1_000 + 5_000 * 4_000)
    expect(Number(entry?.costNano)).toBeLessThanOrEqual(850_000)
    const books = await product.tenant('poor')
    expect(books.postedNano + books.reservedNano).toBeLessThanOrEqual(books.creditNano)
  })

  it('[E2E59] when a worker is up again, no request goes to the hosted API', async () => {
    for (const pid of stopped) process.kill(pid, 'SIGCONT')
    const response = await eventually(
      () => ask({ max_tokens: 4 }),
      (answer) => answer.headers.get('x-tramontane-pool') === 'latency',
    )
    expect(response.headers.get('x-tramontane-worker')).toBe('local-latency')
    api.calls.length = 0
    await (await ask({ max_tokens: 4 })).text()
    expect(api.calls).toEqual([])
  })
})
