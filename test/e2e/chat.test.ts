/** The whole product with the `openai` package: workerd, the tenant and pool objects, a worker, the embedded engine. */
import type OpenAI from 'openai'
import { APIError } from 'openai'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { eventually, isZero, type Product, startProduct, type TenantBooks, zero } from '../support/product.ts'

let product: Product
let client: OpenAI
let model: string

beforeAll(async () => {
  product = await startProduct()
  client = product.client()
  model = product.demo().model
})

afterAll(async () => {
  await product?.stop()
})

const ask = (content: string) => [{ role: 'user' as const, content }]

const weather = {
  type: 'function' as const,
  function: {
    name: 'get_weather',
    description: 'Get the weather for a city',
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
}

describe('chat completions that succeed', () => {
  it('[E2E1] an answer has text, a finish reason, exact usage, and its request id in the headers', async () => {
    const { data, response } = await client.chat.completions
      .create({ model, messages: ask('Tell me a story about a fox.'), temperature: 0 })
      .withResponse()
    expect(data.choices[0]?.message.content).toMatch(/\w{3}/)
    expect(data.choices[0]?.finish_reason).toBe('stop')
    const usage = data.usage
    expect(usage?.prompt_tokens).toBeGreaterThan(10)
    expect(usage?.total_tokens).toBe((usage?.prompt_tokens ?? 0) + (usage?.completion_tokens ?? 0))
    expect(response.headers.get('x-request-id')).toMatch(/^req_[0-9a-f]{32}$/)
    expect(response.headers.get('request-id')).toBe(response.headers.get('x-request-id'))
    expect(response.headers.get('x-tramontane-effort')).toBe('none')
    expect(response.headers.get('x-tramontane-effort-asked')).toBeNull()
    expect(response.headers.get('x-tramontane-pool')).toBe('latency')
  })

  it('[E2E2] a stream gives the same text as the non-streaming answer, and a separate usage chunk only with `include_usage`', async () => {
    const body = { model, messages: ask('Tell me a story about a cat.'), temperature: 0, max_tokens: 40 }
    const whole = await client.chat.completions.create(body)
    for (const asked of [false, true]) {
      const stream = await client.chat.completions.create({
        ...body,
        stream: true,
        ...(asked && { stream_options: { include_usage: true } }),
      })
      let text = ''
      const chunks = []
      for await (const chunk of stream) {
        chunks.push(chunk)
        text += chunk.choices[0]?.delta.content ?? ''
      }
      expect(text).toBe(whole.choices[0]?.message.content)
      expect(chunks[0]?.choices[0]?.delta.role).toBe('assistant')
      const empty = chunks.filter((chunk) => chunk.choices.length === 0)
      expect(empty.length).toBe(asked ? 1 : 0)
      const withUsage = chunks.filter((chunk) => 'usage' in chunk)
      expect(withUsage.length).toBe(1)
      expect(withUsage[0]?.usage?.completion_tokens).toBe(whole.usage?.completion_tokens)
      const finished = chunks.filter((chunk) => chunk.choices[0]?.finish_reason)
      expect(finished.map((chunk) => chunk.choices[0]?.finish_reason)).toEqual([whole.choices[0]?.finish_reason])
    }
  })

  it('[E2E3] effort decides the pool; reasoning is separate from content and counted; the requested and the served effort are reported', async () => {
    const { data, response } = await client.chat.completions
      .create({ model, messages: ask('What is 7 plus 5?'), reasoning_effort: 'medium', temperature: 0 })
      .withResponse()
    const message = data.choices[0]?.message as { content: string; reasoning_content?: string }
    expect(message.reasoning_content).toMatch(/\w/)
    expect(message.content).not.toContain('THINK')
    expect(data.usage?.completion_tokens_details?.reasoning_tokens).toBeGreaterThan(2)
    expect(response.headers.get('x-tramontane-effort')).toBe('high')
    expect(response.headers.get('x-tramontane-effort-asked')).toBe('medium')
    expect(response.headers.get('x-tramontane-pool')).toBe('throughput')
    expect(data.usage).toMatchObject({ reasoning_effort: 'high', reasoning_effort_asked: 'medium' })
  })

  it('[E2E4] a forced tool is called once and whole, with arguments that parse and match its schema', async () => {
    const body = { model, messages: ask('What is the weather in Paris?'), tools: [weather], temperature: 0 }
    const named = { type: 'function' as const, function: { name: 'get_weather' } }
    const whole = await client.chat.completions.create({ ...body, tool_choice: named })
    const call = whole.choices[0]?.message.tool_calls?.[0]
    if (call?.type !== 'function') throw new Error('no call')
    expect(whole.choices[0]?.finish_reason).toBe('tool_calls')
    expect(call.id).toMatch(/^[A-Za-z0-9]{9}$/)
    expect(call.function.name).toBe('get_weather')
    expect(JSON.parse(call.function.arguments)).toEqual({ city: expect.any(String) })
    const stream = await client.chat.completions.create({ ...body, tool_choice: named, stream: true })
    const deltas = []
    for await (const chunk of stream) deltas.push(...(chunk.choices[0]?.delta.tool_calls ?? []))
    expect(deltas).toMatchObject([
      { index: 0, type: 'function', function: { name: 'get_weather', arguments: call.function.arguments } },
    ])
    const answered = await client.chat.completions.create({
      ...body,
      messages: [
        ...body.messages,
        { role: 'assistant', content: null, tool_calls: [call] },
        { role: 'tool', tool_call_id: call.id, content: '{"sky": "sunny", "celsius": 21}' },
      ],
    })
    expect(answered.choices[0]?.message.content).toMatch(/\w/)
  })

  it('[E2E5] an answer under a JSON schema parses and matches the schema', async () => {
    const schema = {
      type: 'object',
      properties: { animal: { enum: ['fox', 'owl'] }, legs: { type: 'integer' } },
      required: ['animal', 'legs'],
      additionalProperties: false,
    }
    const answer = await client.chat.completions.create({
      model,
      messages: ask('Name an animal.'),
      response_format: { type: 'json_schema', json_schema: { name: 'animal', schema, strict: true } },
      max_tokens: 200,
    })
    expect(answer.choices[0]?.finish_reason).toBe('stop')
    const value = JSON.parse(answer.choices[0]?.message.content ?? '')
    expect(['fox', 'owl']).toContain(value.animal)
    expect(Number.isInteger(value.legs)).toBe(true)
  })

  it('[E2E6] a stop string ends the answer before itself, and `max_tokens` ends it at that token', async () => {
    const body = { model, messages: ask('Tell me a story about a fox.'), temperature: 0 }
    const full = (await client.chat.completions.create(body)).choices[0]?.message.content ?? ''
    const stop = full.slice(12, 20)
    const cut = await client.chat.completions.create({ ...body, stop })
    expect(cut.choices[0]?.message.content).toBe(full.slice(0, full.indexOf(stop)))
    expect(cut.choices[0]?.finish_reason).toBe('stop')
    const bounded = await client.chat.completions.create({ ...body, max_tokens: 5 })
    expect(bounded.usage?.completion_tokens).toBe(5)
    expect(bounded.choices[0]?.finish_reason).toBe('length')
  })

  it('[E2E7] the same seed gives the same text, and a repeated prompt reports cached tokens', async () => {
    const body = {
      model,
      messages: ask('Tell me a story about an owl and a boat.'),
      temperature: 0.9,
      seed: 11,
      max_tokens: 30,
    }
    const first = await client.chat.completions.create(body)
    const second = await client.chat.completions.create(body)
    expect(second.choices[0]?.message.content).toBe(first.choices[0]?.message.content)
    expect(second.usage?.prompt_tokens_details?.cached_tokens).toBeGreaterThan(5)
  })

  it('[E2E8] `GET /v1/models` lists the served models, and `GET /v1/models/{model}` returns one of them', async () => {
    const listed = await client.models.list()
    expect(listed.data.map((each) => each.id)).toEqual([model])
    expect((await client.models.retrieve(model)).id).toBe(model)
  })

  it('[E2E9] the ledger agrees with the usage in the answers, to the token and the nano-dollar', async () => {
    const before = await settled()
    const answers = await Promise.all(
      [1, 2, 3, 4, 5, 6].map((seed) =>
        client.chat.completions.create({
          model,
          messages: ask(`Tell me a story about a dog ${seed}.`),
          seed,
          max_tokens: 20 + seed,
        }),
      ),
    )
    const after = await settled()
    const reported = (field: 'prompt_tokens' | 'completion_tokens') =>
      answers.reduce((sum, each) => sum + (each.usage?.[field] ?? 0), 0)
    const cached = answers.reduce((sum, each) => sum + (each.usage?.prompt_tokens_details?.cached_tokens ?? 0), 0)
    const delta = (column: string) => Number(after.totals[column]) - Number(before.totals[column])
    expect(delta('entries')).toBe(6)
    expect(delta('promptTokens')).toBe(reported('prompt_tokens'))
    expect(delta('outputTokens')).toBe(reported('completion_tokens'))
    const cost = (reported('prompt_tokens') - cached) * 150 + cached * 15 + reported('completion_tokens') * 600
    expect(after.postedNano - before.postedNano).toBe(cost)
    const costs = answers.map(({ usage }) => usage as { cost?: number; cost_nano?: number } | undefined)
    expect(costs.reduce((sum, each) => sum + (each?.cost_nano ?? 0), 0)).toBe(cost)
    for (const each of costs) expect(each?.cost).toBe((each?.cost_nano ?? 0) / 1e9)
    expect(await eventually(product.counters, isZero)).toEqual(zero)
  })

  it('[CMP5] OpenAI’s library gets the same text from a completion streamed and whole, and a refusal by the field’s name', async () => {
    const body = { model, prompt: 'What is 2 + 2?', max_tokens: 20, seed: 1, temperature: 0 }
    const { data, response } = await client.completions.create(body).withResponse()
    expect(data).toMatchObject({ object: 'text_completion', choices: [{ finish_reason: 'stop' }] })
    expect(data.choices[0]?.text).toMatch(/\d/)
    expect(response.headers.get('x-tramontane-warnings')).toMatch(/^prompt: /)
    let text = ''
    for await (const chunk of await client.completions.create({ ...body, stream: true }))
      text += chunk.choices[0]?.text ?? ''
    expect(text).toBe(data.choices[0]?.text)
    const refused = await client.completions.create({ ...body, echo: true }).catch((error: unknown) => error)
    expect(refused).toMatchObject({ status: 400, param: 'echo' })
  })

  it('[E2E71] every dialect reports the cost of a request in `usage`, streamed and whole, as the ledger has it', async () => {
    const { apiKey, baseUrl } = product.demo()
    const headers = { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' }
    const ledgerCost = async (requestId: string | null) => {
      const answer = await fetch(`${baseUrl}/entries?kind=post`, { headers })
      const { data } = (await answer.json()) as { data: { request_id: string; cost_nano: number }[] }
      return data.find((entry) => entry.request_id === requestId)?.cost_nano
    }
    const messages = ask('What is 2 + 2?')
    const dialects: [path: string, body: object][] = [
      ['/v1/chat/completions', { messages, max_tokens: 20 }],
      ['/v1/messages', { messages, max_tokens: 20 }],
      ['/v1/responses', { input: 'What is 2 + 2?', max_output_tokens: 20 }],
      ['/mistral/v1/chat/completions', { messages, max_tokens: 20 }],
      ['/v1/completions', { prompt: 'What is 2 + 2?', max_tokens: 20 }],
    ]
    for (const [path, body] of dialects)
      for (const stream of [false, true]) {
        const url = new URL(path, baseUrl)
        const answer = await fetch(url, { method: 'POST', headers, body: JSON.stringify({ model, stream, ...body }) })
        const text = await answer.text()
        const [, cost, nano] = [...text.matchAll(/"cost":([\d.e-]+),"cost_nano":(\d+)/g)].at(-1) ?? []
        expect(Number(nano), `${path} ${stream}`).toBeGreaterThan(0)
        expect(Number(cost) * 1e9).toBeCloseTo(Number(nano), 3)
        const requestId = answer.headers.get('x-request-id')
        const booked = await eventually(
          () => ledgerCost(requestId),
          (known) => known !== undefined,
        )
        expect(booked, `${path} ${stream}`).toBe(Number(nano))
      }
  })

  async function settled(): Promise<TenantBooks> {
    return eventually(
      () => product.tenant('demo'),
      (tenant) => tenant.openReservations === 0,
    )
  }
})

describe('chat completions that are refused', () => {
  async function refusal(work: Promise<unknown>): Promise<APIError> {
    const error = await work.then(
      () => undefined,
      (reason: unknown) => reason,
    )
    if (!(error instanceof APIError)) throw new Error(`not refused: ${error}`)
    return error
  }

  async function raw(body: BodyInit, headers: Record<string, string> = {}) {
    const response = await fetch(`${product.demo().baseUrl}/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${product.demo().apiKey}`, 'content-type': 'application/json', ...headers },
      body,
    })
    return {
      status: response.status,
      body: (await response.json()) as { code: string; param: string | null; error: { message: string } },
    }
  }

  it('[E2E10] a missing, forged or revoked key gets 401 `invalid_api_key`', async () => {
    const body = { model, messages: ask('hi') }
    expect(await refusal(product.client('nonsense').chat.completions.create(body))).toMatchObject({
      status: 401,
      code: 'invalid_api_key',
    })
    const forged = product.demo().apiKey.replace(/.$/, (last) => (last === 'a' ? 'b' : 'a'))
    expect(await refusal(product.client(forged).chat.completions.create(body))).toMatchObject({ status: 401 })
    const created = await product.admin<{ keyId: string; apiKey: string }>('POST', '/admin/tenants/demo/keys', {
      name: 'short-lived',
    })
    expect(
      (await product.client(created.apiKey).chat.completions.create({ ...body, max_tokens: 2 })).choices.length,
    ).toBe(1)
    await product.admin('DELETE', `/admin/tenants/demo/keys/${created.keyId}`)
    const revoked = await refusal(product.client(created.apiKey).chat.completions.create(body))
    expect(revoked).toMatchObject({ status: 401, code: 'invalid_api_key' })
    expect(revoked.message).toContain('revoked')
    expect(revoked.requestID).toMatch(/^req_/)
  })

  it('[E2E11] an invalid field gets 400 with the path of the field', async () => {
    const bad = { model, messages: [{ role: 'user', content: [{ type: 'text', text: 5 }] }] }
    const error = await refusal(client.chat.completions.create(bad as never))
    expect(error).toMatchObject({ status: 400, code: 'invalid_value', param: 'messages[0].content[0].text' })
    expect(await refusal(client.chat.completions.create({ model, messages: ask('hi'), max_tokens: -5 }))).toMatchObject(
      { status: 400, param: 'max_tokens' },
    )
  })

  it('[E2E12] a model that is not served gets 404 `model_not_found`, and an unknown route gets 404 `unknown_url`', async () => {
    expect(await refusal(client.chat.completions.create({ model: 'gpt-4', messages: ask('hi') }))).toMatchObject({
      status: 404,
      code: 'model_not_found',
    })
    expect(await refusal(client.embeddings.create({ model, input: 'x' }))).toMatchObject({
      status: 404,
      code: 'unknown_url',
    })
  })

  it('[E2E13] a body of fifty megabytes gets 413, with a declared length or in chunks', async () => {
    const piece = new Uint8Array(1024 * 1024).fill(32)
    const declared = await raw(new Blob(Array.from({ length: 50 }, () => piece)))
    expect(declared).toMatchObject({ status: 413, body: { code: 'request_too_large' } })
    let sent = 0
    const chunked = new ReadableStream({
      pull(controller) {
        if (sent++ < 50) controller.enqueue(piece)
        else controller.close()
      },
    })
    const response = await fetch(`${product.demo().baseUrl}/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${product.demo().apiKey}` },
      body: chunked,
      duplex: 'half',
    } as RequestInit)
    expect(response.status).toBe(413)
  })

  it('[E2E14] a body that is no chat request gets 400 and never reaches the engine', async () => {
    const before = await product.counters()
    const bodies: [string, string | null][] = [
      ['{"model": ', null],
      ['', null],
      ['null', null],
      ['[]', null],
      [`${'['.repeat(100_000)}`, null],
      [JSON.stringify({ model, messages: Array.from({ length: 10_000 }, () => ask('x')[0]) }), 'messages'],
      [JSON.stringify({ model, messages: ask('x'), temperature: 'hot' }), 'temperature'],
    ]
    for (const [body, param] of bodies) {
      const answer = await raw(body)
      expect(answer.status, body.slice(0, 60)).toBe(400)
      expect(answer.body.param, body.slice(0, 60)).toBe(param)
    }
    const invalidUtf8 = await raw(new Uint8Array([123, 34, 255, 254, 34, 125]))
    expect(invalidUtf8.status).toBe(400)
    expect(await product.counters()).toEqual(before)
  })

  it('[E2E29] a conversation with bad text is answered, with a warning that names the message', async () => {
    const messages = [...ask('Hello'), { role: 'assistant', content: 'Hi\0' }, ...ask('a\ud800b')]
    const answer = await fetch(`${product.demo().baseUrl}/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${product.demo().apiKey}` },
      body: JSON.stringify({ model, messages, max_tokens: 4 }),
    })
    expect(answer.status).toBe(200)
    const warnings = answer.headers.get('x-tramontane-warnings') ?? ''
    expect(warnings).toContain('messages[1]: NUL characters')
    expect(warnings).toContain('messages[2]: NUL characters')
    expect(warnings).not.toContain('messages[0]')
  })

  it('[E2E70] a keyword that cannot be enforced is a warning by the dialect’s field name, and with `strict: true` a refusal', async () => {
    const { baseUrl, apiKey } = product.demo()
    const schema = { type: 'object', properties: { a: { type: 'string', pattern: '(a)\\1' } }, required: ['a'] }
    const send = (path: string, body: object) =>
      fetch(baseUrl.replace(/\/v1$/, path), {
        method: 'POST',
        headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
        body: JSON.stringify({ model, ...body }),
      })
    const chat = { messages: ask('Name an animal.'), max_tokens: 40 }
    const format = (strict?: boolean) => ({
      response_format: { type: 'json_schema', json_schema: { name: 'a', schema, strict } },
    })
    const text = (strict?: boolean) => ({ text: { format: { type: 'json_schema', name: 'a', schema, strict } } })
    const input = { input: 'Name an animal.', max_output_tokens: 40 }
    const cases: [string, object, string][] = [
      ['/v1/chat/completions', { ...chat, ...format() }, 'response_format.json_schema.schema'],
      ['/v1/chat/completions', { ...chat, ...format(false), stream: true }, 'response_format.json_schema.schema'],
      ['/mistral/v1/chat/completions', { ...chat, ...format() }, 'response_format.json_schema.schema'],
      [
        '/v1/messages',
        { ...chat, output_config: { format: { type: 'json_schema', schema } } },
        'output_config.format.schema',
      ],
      ['/v1/responses', { ...input, ...text() }, 'text.format.schema'],
    ]
    for (const [path, body, field] of cases) {
      const answer = await send(path, body)
      const answered = await answer.text()
      expect([path, answer.status, answered]).toEqual([path, 200, expect.any(String)])
      // A stream that waited has them in a comment, since its headers were sent before.
      expect(`${answer.headers.get('x-tramontane-warnings')}${answered}`).toContain(
        `${field}: "pattern" at #/properties/a is not enforced`,
      )
    }
    const strict: [string, object, string][] = [
      ['/v1/chat/completions', { ...chat, ...format(true) }, 'response_format.json_schema.schema'],
      ['/mistral/v1/chat/completions', { ...chat, ...format(true) }, 'response_format.json_schema.schema'],
      ['/v1/responses', { ...input, ...text(true) }, 'text.format.schema'],
    ]
    for (const [path, body, field] of strict) {
      const answer = await send(path, body)
      const refused = await answer.text()
      expect([path, answer.status, refused]).toEqual([
        path,
        400,
        expect.stringContaining(`${field}: \\"pattern\\" at #/properties/a`),
      ])
    }
  })

  it('[E2E15] a prompt that exceeds the context gets 400 `context_length_exceeded` and leaves no reservation', async () => {
    const error = await refusal(client.chat.completions.create({ model, messages: ask('fox '.repeat(9_000)) }))
    expect(error).toMatchObject({ status: 400, code: 'context_length_exceeded' })
    expect(await eventually(product.counters, isZero)).toEqual(zero)
  })

  it('[E2E16] a prompt that is longer than its estimate is reserved again with the worker’s exact count and then served', async () => {
    // Each digit is a token: twice the estimate, which counts bytes.
    const answer = await client.chat.completions.create({ model, messages: ask('7'.repeat(1_500)), max_tokens: 3 })
    expect(answer.usage?.prompt_tokens).toBeGreaterThan(1_500)
    expect(await eventually(product.counters, isZero)).toEqual(zero)
  })

  it('[E2E17] a key over its rate gets 429 `rate_limit_exceeded` with `Retry-After`', async () => {
    const created = await product.admin<{ apiKey: string }>('POST', '/admin/tenants/demo/keys', {
      name: 'slow',
      limits: { requestsPerMinute: 2 },
    })
    const slow = product.client(created.apiKey)
    const body = { model, messages: ask('hi'), max_tokens: 1 }
    await slow.chat.completions.create(body)
    await slow.chat.completions.create(body)
    const error = await refusal(slow.chat.completions.create(body))
    expect(error).toMatchObject({ status: 429, code: 'rate_limit_exceeded' })
    const seconds = Number(error.headers?.get('retry-after'))
    expect(seconds).toBeGreaterThanOrEqual(1)
    expect(seconds).toBeLessThanOrEqual(30)
  })

  it('[E2E73] the warning of a shortened answer has the bound that holds, also if the worker counts a longer prompt than estimated', async () => {
    const { baseUrl } = product.demo()
    // Each character has three bytes, which are three tokens here; the estimate is one token for two bytes.
    const long = '語'.repeat(400)
    const [promptNano, outputNano] = [150, 600]
    for (const [index, content] of ['Hi', long].entries())
      for (const stream of [false, true]) {
        const tenantId = `short${index}${stream}`
        const body = JSON.stringify({ model, stream, messages: ask(content) })
        const estimate = Math.ceil(Buffer.byteLength(body) / 2) + 64
        const creditNano = estimate * promptNano + 700 * outputNano
        await product.admin('POST', '/admin/tenants', { tenantId, name: 'Short', creditNano })
        const { apiKey } = await product.admin<{ apiKey: string }>('POST', `/admin/tenants/${tenantId}/keys`, {
          name: 'k',
        })
        const headers = { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' }
        const response = await fetch(`${baseUrl}/chat/completions`, { method: 'POST', headers, body })
        const text = await response.text()
        expect(response.status, text).toBe(200)
        const bound = /limited to (\d+) tokens/.exec(response.headers.get('x-tramontane-warnings') ?? '')?.[1]
        const counted = Number(/"prompt_tokens":(\d+)/.exec(text)?.[1] ?? estimate)
        if (content === long) expect(counted).toBeGreaterThan(estimate)
        const expected = content === long ? Math.floor((creditNano - counted * promptNano) / outputNano) : 700
        if (content !== long || !stream) expect(Number(bound), tenantId).toBe(expected)
        else expect(Number(bound)).toBeLessThan(700)
      }
  })

  it('[E2E18] a tenant without credit gets 429 `insufficient_quota` with `x-should-retry: false`, and its posted cost never exceeds its credit', async () => {
    await product.admin('POST', '/admin/tenants', { tenantId: 'poor', name: 'Poor', creditNano: 40_000 })
    const { apiKey } = await product.admin<{ apiKey: string }>('POST', '/admin/tenants/poor/keys', { name: 'k' })
    const poor = product.client(apiKey)
    const error = await refusal(poor.chat.completions.create({ model, messages: ask('hi') }))
    expect(error).toMatchObject({ status: 429, code: 'insufficient_quota' })
    expect(error.headers?.get('x-should-retry')).toBe('false')
    const answers = await Promise.allSettled(
      Array.from({ length: 20 }, () => poor.chat.completions.create({ model, messages: ask('hi'), max_tokens: 8 })),
    )
    const served = answers.filter((answer) => answer.status === 'fulfilled').length
    expect(served).toBeGreaterThan(0)
    expect(served).toBeLessThan(20)
    const books = await eventually(
      () => product.tenant('poor'),
      (tenant) => tenant.openReservations === 0,
    )
    expect(books.postedNano).toBeLessThanOrEqual(40_000)
    expect(books.postedNano).toBeGreaterThan(0)
  })

  it('[E2E19] a tenant with `effort_unknown: "reject"` gets 400 with `reasoning_effort` for an unsupported effort', async () => {
    const settings = { effortUnknown: 'reject' }
    await product.admin('POST', '/admin/tenants', { tenantId: 'strict', name: 'Strict', creditNano: 1e9, settings })
    const { apiKey } = await product.admin<{ apiKey: string }>('POST', '/admin/tenants/strict/keys', { name: 'k' })
    const strict = product.client(apiKey)
    const body = { model, messages: ask('hi'), max_tokens: 2 }
    const error = await refusal(strict.chat.completions.create({ ...body, reasoning_effort: 'medium' }))
    expect(error).toMatchObject({ status: 400, code: 'invalid_value', param: 'reasoning_effort' })
    expect((await strict.chat.completions.create({ ...body, reasoning_effort: 'high' })).choices.length).toBe(1)
  })

  it('[E2E25] a key with `concurrent_max: 1` serves every request of a client that sends one after another', async () => {
    const limits = { concurrentMax: 1 }
    const { apiKey } = await product.admin<{ apiKey: string }>('POST', '/admin/tenants/demo/keys', {
      name: 'one',
      limits,
    })
    const one = product.client(apiKey)
    for (let index = 0; index < 40; index++) {
      const stream = await one.chat.completions.create({ model, messages: ask('hi'), max_tokens: 2, stream: true })
      for await (const chunk of stream) expect(chunk.id).toMatch(/^chatcmpl-/)
    }
    const both = await Promise.allSettled(
      [1, 2, 3].map(() => one.chat.completions.create({ model, messages: ask('Tell me a story about a fox.') })),
    )
    expect(both.filter((answer) => answer.status === 'rejected').length).toBeGreaterThan(0)
  })
})
