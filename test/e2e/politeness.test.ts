/** Guarantees besides the answer, in each dialect: idempotency, CORS, disconnects, streams that report their end. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { eventually, isZero, type Product, startProduct, zero } from '../support/product.ts'

let product: Product
let model: string

beforeAll(async () => {
  product = await startProduct()
  model = product.demo().model
})

afterAll(async () => {
  await product?.stop()
})

const messages = [{ role: 'user', content: 'Tell me a story about a fox.' }]
const paths = {
  chat: '/v1/chat/completions',
  responses: '/v1/responses',
  messages: '/v1/messages',
  mistral: '/mistral/v1/chat/completions',
} as const
type Name = keyof typeof paths
const names = Object.keys(paths) as Name[]

const bodyOf = (name: Name, change: object = {}) =>
  name === 'responses'
    ? { model, input: messages, max_output_tokens: 12, ...change }
    : { model, messages, max_tokens: 12, ...change }

function send(name: Name, body: object, headers: Record<string, string> = {}, signal?: AbortSignal): Promise<Response> {
  return fetch(`http://127.0.0.1:${product.port}${paths[name]}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${product.demo().apiKey}`, 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
    ...(signal && { signal }),
  })
}

/** A schema that keeps the model generating. */
const endless = {
  type: 'json_schema',
  name: 'l',
  schema: { type: 'array', items: { type: 'integer' }, minItems: 900 },
}
const longBody = (name: Name) => {
  const bounds = name === 'responses' ? { max_output_tokens: 6_000 } : { max_tokens: 6_000 }
  const { name: schemaName, schema } = endless
  const format = {
    chat: { response_format: { type: 'json_schema', json_schema: { name: schemaName, schema } } },
    mistral: { response_format: { type: 'json_schema', json_schema: { name: schemaName, schema } } },
    responses: { text: { format: endless }, store: false },
    messages: { output_config: { format: { type: 'json_schema', schema } } },
  }[name]
  return bodyOf(name, { ...bounds, ...format, stream: true, temperature: 1 })
}

/** The text of an answer in any dialect. */
function textOf(name: Name, body: unknown): string {
  // biome-ignore lint/suspicious/noExplicitAny: each of the four dialects has its own shape.
  const answer = body as any
  if (name === 'responses') return answer.output[0].content[0].text
  return name === 'messages' ? answer.content[0].text : answer.choices[0].message.content
}

const entries = async () => Number((await product.tenant('demo')).totals.entries)
const settled = () => eventually(product.counters, isZero)

describe('idempotency', () => {
  it.each(names)(
    '[POL1] %s: a repeat with the same `Idempotency-Key` returns the same bytes and is billed once',
    async (name) => {
      await settled()
      const before = await entries()
      const key = { 'idempotency-key': `again-${name}` }
      const first = await send(name, bodyOf(name), key)
      const text = await first.text()
      expect(first.status).toBe(200)
      const second = await send(name, bodyOf(name), key)
      expect(await second.text()).toBe(text)
      expect(second.headers.get('idempotency-replayed')).toBe('true')
      expect(second.headers.get('x-request-id')).toBe(first.headers.get('x-request-id'))
      const other = await send(name, bodyOf(name, { temperature: 0.5 }), key)
      expect(other.status).toBe(422)
      await settled()
      expect((await entries()) - before).toBe(1)
    },
  )

  it('[POL2] five simultaneous requests with one idempotency key run once, and all five get the same answer', async () => {
    await settled()
    const before = await entries()
    const repeat = () => send('chat', bodyOf('chat', { temperature: 1 }), { 'idempotency-key': 'at-once' })
    const answers = await Promise.all([1, 2, 3, 4, 5].map(repeat))
    const texts = await Promise.all(answers.map((answer) => answer.text()))
    expect(new Set(texts).size).toBe(1)
    expect(answers.filter((answer) => answer.headers.get('idempotency-replayed') === null)).toHaveLength(1)
    await settled()
    expect((await entries()) - before).toBe(1)
  })

  it('[POL3] a refusal is not stored for replay, the same idempotency key of another tenant is independent, and a revoked API key gets no replay', async () => {
    const key = { 'idempotency-key': 'shared' }
    expect((await send('chat', bodyOf('chat', { model: 'nothing' }), key)).status).toBe(404)
    const first = await send('chat', bodyOf('chat', { temperature: 1 }), key)
    expect(first.headers.get('idempotency-replayed')).toBeNull()
    const text = await first.text()
    await product.admin('POST', '/admin/tenants', { tenantId: 'other', name: 'other', creditNano: 1_000_000_000 })
    const made = () =>
      product.admin<{ keyId: string; apiKey: string }>('POST', '/admin/tenants/other/keys', { name: 'k' })
    const { apiKey, keyId } = await made()
    const theirs = { ...key, authorization: `Bearer ${apiKey}` }
    const another = await send('chat', bodyOf('chat', { temperature: 1 }), theirs)
    expect(another.headers.get('idempotency-replayed')).toBeNull()
    expect(await another.text()).not.toBe(text)
    expect((await send('chat', bodyOf('chat', { temperature: 1 }), theirs)).headers.get('idempotency-replayed')).toBe(
      'true',
    )
    await product.admin('DELETE', `/admin/tenants/other/keys/${keyId}`)
    expect((await send('chat', bodyOf('chat', { temperature: 1 }), theirs)).status).toBe(401)
    const streamed = await send('chat', bodyOf('chat', { stream: true }), key)
    expect(streamed.headers.get('x-tramontane-warnings')).toContain('idempotency-key')
    await streamed.text()
  })
})

describe('effort', () => {
  const words = ['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'] as const
  const ask = (name: Name, word: string, headers = {}) => {
    const effort = {
      chat: { reasoning_effort: word },
      mistral: { reasoning_effort: word },
      responses: { reasoning: { effort: word }, max_output_tokens: 1 },
      messages: { output_config: { effort: word } },
    }[name]
    return send(name, bodyOf(name, { max_tokens: 1, ...effort }), headers)
  }

  it.each(names)(
    '[POL7] %s: all seven effort values are accepted, and headers and usage report the requested and the served effort',
    async (name) => {
      for (const word of words) {
        const answer = await ask(name, word)
        const { usage } = (await answer.json()) as { usage: object }
        const served = words.indexOf(word) <= words.indexOf('low') ? 'none' : 'high'
        expect(answer.headers.get('x-tramontane-effort-asked')).toBe(word)
        expect(answer.headers.get('x-tramontane-effort')).toBe(served)
        expect(usage).toMatchObject({ reasoning_effort: served, reasoning_effort_asked: word })
      }
    },
  )

  it('[POL8] a tenant with `effort_unknown: "reject"` gets 400 for an unsupported effort, with the field name of the client’s dialect', async () => {
    await product.admin('POST', '/admin/tenants', {
      tenantId: 'strict',
      name: 'strict',
      creditNano: 1_000_000_000,
      settings: { effortUnknown: 'reject' },
    })
    const { apiKey } = await product.admin<{ apiKey: string }>('POST', '/admin/tenants/strict/keys', { name: 'k' })
    const key = { authorization: `Bearer ${apiKey}` }
    const fields = {
      chat: 'reasoning_effort',
      mistral: 'reasoning_effort',
      responses: 'reasoning.effort',
      messages: 'output_config.effort',
    }
    for (const name of names) {
      const refused = await ask(name, 'medium', key)
      expect(refused.status, name).toBe(400)
      expect(await refused.text(), name).toContain(`${fields[name]}: `)
      expect((await ask(name, 'high', key)).status, name).toBe(200)
    }
  })
})

describe('images for a model without vision', () => {
  const png = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='
  const url = `data:image/png;base64,${png}`
  const seen = 'The image was taken.'
  const part = {
    chat: { type: 'image_url', image_url: { url } },
    mistral: { type: 'image_url', image_url: url },
    responses: { type: 'input_image', image_url: url, detail: 'auto' },
    messages: { type: 'image', source: { type: 'base64', media_type: 'image/png', data: png } },
  }
  const call = { id: 'abcdefghi', type: 'function', function: { name: 'look', arguments: '{}' } }
  const chatResult = (name: 'chat' | 'mistral') => ({
    messages: [
      ...messages,
      { role: 'assistant', content: '', tool_calls: [call] },
      { role: 'tool', tool_call_id: call.id, content: [{ type: 'text', text: seen }, part[name]] },
    ],
  })
  const result = {
    chat: chatResult('chat'),
    mistral: chatResult('mistral'),
    responses: {
      input: [
        ...messages,
        { type: 'function_call', call_id: 'call_1', name: 'look', arguments: '{}' },
        {
          type: 'function_call_output',
          call_id: 'call_1',
          output: [{ type: 'input_text', text: seen }, part.responses],
        },
      ],
    },
    messages: {
      messages: [
        ...messages,
        { role: 'assistant', content: [{ type: 'tool_use', id: 'toolu_1', name: 'look', input: {} }] },
        {
          role: 'user',
          content: [
            { type: 'tool_result', tool_use_id: 'toolu_1', content: [{ type: 'text', text: seen }, part.messages] },
          ],
        },
      ],
    },
  }

  it.each(names)(
    '[POL11] %s: an image in a tool result is removed with a warning, and an image in a user message returns 400 with its path',
    async (name) => {
      const answer = await send(name, bodyOf(name, result[name]))
      expect(answer.status, await answer.text()).toBe(200)
      expect(answer.headers.get('x-tramontane-warnings')).toContain('images in tool results were removed')
      const field = name === 'responses' ? 'input' : 'messages'
      const question = [...messages, { role: 'user', content: [part[name]] }]
      const refused = await send(name, bodyOf(name, { [field]: question }))
      expect(refused.status).toBe(400)
      expect(await refused.text()).toContain(`${field}[1]`)
    },
  )
})

describe('tools and schemas', () => {
  const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] }
  const described = { name: 'get_weather', description: 'Get the weather for a city', parameters }
  const chatTools = [{ type: 'function', function: described }]
  const tools = {
    chat: chatTools,
    mistral: chatTools,
    responses: [{ type: 'function', ...described, strict: true }],
    messages: [{ name: 'get_weather', description: described.description, input_schema: parameters }],
  }
  const named = {
    chat: { type: 'function', function: { name: 'get_weather' } },
    mistral: { type: 'function', function: { name: 'get_weather' } },
    responses: { type: 'function', name: 'get_weather' },
    messages: { type: 'tool', name: 'get_weather' },
  }
  const forced = { chat: 'required', mistral: 'any', responses: 'required', messages: { type: 'any' } }
  const never = { chat: 'none', mistral: 'none', responses: 'none', messages: { type: 'none' } }
  const question = [{ role: 'user', content: 'What is the weather in Paris?' }]

  async function callsOf(name: Name, choice: unknown): Promise<unknown[]> {
    const fields =
      name === 'responses' ? { input: question, max_output_tokens: 100 } : { messages: question, max_tokens: 100 }
    const body = { model, ...fields, tools: tools[name], tool_choice: choice, temperature: 0 }
    const answer = (await (await send(name, body)).json()) as Record<string, never[]>
    if (name === 'responses') return (answer.output ?? []).filter(({ type }) => type === 'function_call')
    if (name === 'messages') return (answer.content ?? []).filter(({ type }) => type === 'tool_use')
    return (answer.choices?.[0] as { message: { tool_calls?: unknown[] } } | undefined)?.message.tool_calls ?? []
  }

  it.each(names)(
    '[POL14] %s: the model calls a tool when one is required or named, and calls none with tool choice `none`',
    async (name) => {
      for (const choice of [named[name], forced[name]]) {
        const calls = await callsOf(name, choice)
        expect(calls.length).toBeGreaterThan(0)
        expect(JSON.stringify(calls[0])).toContain('get_weather')
      }
      expect(await callsOf(name, never[name])).toEqual([])
    },
  )

  it('[POL19] an answer to `functions` has `function_call`, streamed or not', async () => {
    const body = { functions: [described], function_call: { name: 'get_weather' }, messages: question, temperature: 0 }
    const whole = await (await send('chat', bodyOf('chat', { ...body, max_tokens: 100 }))).json()
    const { message, finish_reason: reason } = (whole as { choices: [{ message: object; finish_reason: string }] })
      .choices[0]
    expect(message).toMatchObject({ content: null, function_call: { name: 'get_weather' } })
    expect(message).not.toHaveProperty('tool_calls')
    expect(reason).toBe('function_call')
    const stream = await (await send('chat', bodyOf('chat', { ...body, max_tokens: 100, stream: true }))).text()
    expect(stream).toContain('"function_call":{"name":"get_weather"')
    expect(stream).toContain('"finish_reason":"function_call"')
    expect(stream).not.toContain('tool_calls')
    expect(stream.trimEnd().endsWith('data: [DONE]')).toBe(true)
  })

  it.each(names)('[POL17] %s: a tool with a name of 128 characters is called by it, streamed or not', async (name) => {
    const long = `mcp__${'plugin-'.repeat(17)}look`
    expect(long).toHaveLength(128)
    const body = JSON.stringify({ tools: tools[name], tool_choice: named[name] }).replaceAll('get_weather', long)
    for (const stream of [true, false]) {
      const answer = await send(name, { ...bodyOf(name, { temperature: 0, stream }), ...JSON.parse(body) })
      const text = await answer.text()
      expect(text).toContain(`"name":"${long}"`)
    }
  })

  it.each(names)(
    '[POL15] %s: an answer matches the requested schema, and its headers carry both request ids and the processing time',
    async (name) => {
      const schema = {
        type: 'object',
        properties: { n: { type: 'integer' } },
        required: ['n'],
        additionalProperties: false,
      }
      const chatFormat = { response_format: { type: 'json_schema', json_schema: { name: 'n', schema, strict: true } } }
      const format = {
        chat: chatFormat,
        mistral: chatFormat,
        responses: {
          text: { format: { type: 'json_schema', name: 'n', schema, strict: true } },
          max_output_tokens: 100,
        },
        messages: { output_config: { format: { type: 'json_schema', schema } } },
      }[name]
      const answer = await send(name, bodyOf(name, { max_tokens: 100, ...format }))
      for (const header of ['x-request-id', 'request-id'])
        expect(answer.headers.get(header)).toMatch(/^req_[0-9a-f]{32}$/)
      expect(Number(answer.headers.get('openai-processing-ms'))).toBeGreaterThanOrEqual(0)
      expect(JSON.parse(textOf(name, await answer.json()))).toEqual({ n: expect.any(Number) })
    },
  )
})

describe('browsers', () => {
  it('[POL4] preflight requests are answered, and only the tenant’s `cors_origins` get `Access-Control-Allow-Origin`', async () => {
    const url = `http://127.0.0.1:${product.port}${paths.chat}`
    const asked = { origin: 'https://app.example', 'access-control-request-method': 'POST' }
    const preflight = await fetch(url, {
      method: 'OPTIONS',
      headers: { ...asked, 'access-control-request-headers': 'authorization,content-type' },
    })
    expect(preflight.status).toBe(204)
    expect(preflight.headers.get('access-control-allow-headers')).toContain('authorization')
    const from = async (origin: string, change = {}) => {
      const answer = await send('chat', bodyOf('chat', change), { origin })
      await answer.text()
      return [answer.status, answer.headers.get('access-control-allow-origin')]
    }
    expect(await from('https://app.example')).toEqual([200, null])
    await product.admin('PATCH', '/admin/tenants/demo', { settings: { corsOrigins: ['https://app.example'] } })
    expect(await from('https://app.example')).toEqual([200, 'https://app.example'])
    expect(await from('https://app.example', { temperature: 9 })).toEqual([400, 'https://app.example'])
    expect(await from('https://evil.example')).toEqual([200, null])
  })
})

describe('disconnects and broken streams', () => {
  it.each(names)(
    '[POL5] %s: a client that disconnects during a stream frees its slot and its reservation',
    async (name) => {
      const leave = new AbortController()
      const response = await send(name, longBody(name), {}, leave.signal)
      const reader = response.body?.getReader()
      let seen = ''
      while (seen.length < 3_000) seen += new TextDecoder().decode((await reader?.read())?.value)
      leave.abort()
      expect(await settled()).toEqual(zero)
    },
  )

  it.each(names)(
    '[POL5] %s: a client that disconnects before a non-streaming answer frees its slot and its reservation',
    async (name) => {
      const leave = new AbortController()
      const answer = send(name, { ...longBody(name), stream: false }, {}, leave.signal).then((response) =>
        response.text(),
      )
      const running = async () => (await product.counters()).engineRunning
      expect(await eventually(running, (count) => count > 0)).toBe(1)
      leave.abort()
      await expect(answer).rejects.toThrow()
      expect(await settled()).toEqual(zero)
    },
  )

  it('[POL13] a client that disconnects before its answer frees its idempotency key, and a waiting request with the same key runs', async () => {
    const leave = new AbortController()
    const body = { ...bodyOf('responses'), text: { format: endless }, max_output_tokens: 2_200, store: false }
    const key = { 'idempotency-key': 'left' }
    const first = send('responses', body, key, leave.signal).then((response) => response.text())
    const running = async () => (await product.counters()).engineRunning
    expect(await eventually(running, (count) => count > 0)).toBe(1)
    const twin = send('responses', body, key)
    leave.abort()
    await expect(first).rejects.toThrow()
    const answer = await twin
    expect([answer.status, answer.headers.get('idempotency-replayed')]).toEqual([200, null])
    expect(await answer.json()).toMatchObject({ status: 'incomplete' })
    expect(await settled()).toEqual(zero)
  })

  it('[POL6] a worker that dies in mid-stream ends the stream with one error event in the client’s dialect and without an end marker', async () => {
    const open = await Promise.all(
      names.map(async (name) => {
        const response = await send(name, longBody(name))
        let text = ''
        const read = async () => {
          const decoder = new TextDecoder()
          for await (const chunk of response.body ?? []) text += decoder.decode(chunk, { stream: true })
        }
        return { name, text: () => text, ended: read() }
      }),
    )
    await eventually(
      () => Promise.resolve(Math.min(...open.map(({ text }) => text().length))),
      (length) => length > 300,
      60_000,
    )
    // A busy pool passes streams to the other one.
    const { latency, throughput } = product.demo().pids
    for (const pid of [latency, throughput]) process.kill(pid, 'SIGKILL')
    const last = Object.fromEntries(
      await Promise.all(
        open.map(async ({ name, text, ended }) => {
          await ended
          const event = text().trimEnd().split('\n\n').at(-1) ?? ''
          return [
            name,
            { event: /^event: (.*)$/m.exec(event)?.[1], ...JSON.parse(/^data: (.*)$/m.exec(event)?.[1] ?? '') },
          ]
        }),
      ),
    )
    expect(last.chat).toMatchObject({ object: 'error', error: { code: 'worker_lost' } })
    expect(last.mistral).toMatchObject({ object: 'error', code: 'worker_lost', message: expect.any(String) })
    expect(last.messages).toMatchObject({ event: 'error', type: 'error', error: { type: 'api_error' } })
    expect(last.responses).toMatchObject({
      event: 'response.failed',
      response: { status: 'failed', error: { code: 'worker_lost' } },
    })
    for (const { text } of open) expect(text()).not.toMatch(/\[DONE\]|message_stop|response\.completed/)
  })
})
