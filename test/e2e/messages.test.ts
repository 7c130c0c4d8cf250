/** Anthropic's Messages with the `@anthropic-ai/sdk` package, through the whole product. */
import Anthropic, { APIError } from '@anthropic-ai/sdk'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { eventually, isZero, type Product, startProduct, zero } from '../support/product.ts'

let product: Product
let client: Anthropic
let model: string

beforeAll(async () => {
  product = await startProduct()
  model = product.demo().model
  client = clientOf(product.demo().apiKey)
})

afterAll(async () => {
  await product?.stop()
})

function clientOf(apiKey: string, fetch?: typeof globalThis.fetch): Anthropic {
  return new Anthropic({
    baseURL: `http://127.0.0.1:${product.port}`,
    apiKey,
    maxRetries: 0,
    timeout: 60_000,
    ...(fetch && { fetch }),
  })
}

const ask = (content: string) => [{ role: 'user' as const, content }]
const weather = {
  name: 'get_weather',
  description: 'Get the weather for a city',
  input_schema: { type: 'object' as const, properties: { city: { type: 'string' } }, required: ['city'] },
}

async function refusal(work: Promise<unknown>): Promise<APIError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (!(error instanceof APIError)) throw new Error(`not refused: ${error}`)
  return error
}

describe('messages', () => {
  it('[MSG10] an answer has text, a stop reason, exact usage and its id, and its stream contains the same', async () => {
    const body = { model, max_tokens: 60, temperature: 0, messages: ask('Tell me a story about a fox.') }
    const { data, response } = await client.messages.create(body).withResponse()
    expect(data.content).toEqual([{ type: 'text', text: expect.stringMatching(/\w{3}/) }])
    expect(['end_turn', 'max_tokens']).toContain(data.stop_reason)
    expect(data.id).toMatch(/^msg_[0-9a-f]{32}$/)
    expect((data as { _request_id?: string })._request_id).toBe(response.headers.get('request-id'))
    expect(response.headers.get('x-tramontane-effort')).toBe('none')
    const started: number[] = []
    const stream = client.messages.stream(body)
    stream.on('streamEvent', (event) => {
      if (event.type === 'message_start') started.push(event.message.usage.input_tokens)
    })
    const streamed = await stream.finalMessage()
    expect(streamed.content).toMatchObject(data.content)
    expect(streamed.stop_reason).toBe(data.stop_reason)
    expect(streamed.usage.output_tokens).toBe(data.usage.output_tokens)
    const prompt = (usage: Anthropic.Usage) => usage.input_tokens + (usage.cache_read_input_tokens ?? 0)
    expect(prompt(streamed.usage)).toBe(prompt(data.usage))
    expect(started).toEqual([prompt(data.usage)])
  })

  it('[MSG11] reasoning arrives in thinking blocks of its own, and replaying a shown or an omitted block by its signature gives the same prompt', async () => {
    const messages = ask('What is 7 plus 5?')
    const body = { model, max_tokens: 300, temperature: 0, messages }
    const shown = await client.messages.create({ ...body, thinking: { type: 'enabled', budget_tokens: 1_024 } })
    expect(shown.content.map((block) => block.type)).toEqual(['thinking', 'text'])
    const thinking = shown.content[0]
    if (thinking?.type !== 'thinking') throw new Error('no thinking')
    expect(thinking.thinking).toMatch(/\w/)
    expect(shown.usage.output_tokens_details?.thinking_tokens).toBeGreaterThan(2)
    const omitted = await client.messages
      .stream({ ...body, thinking: { type: 'adaptive', display: 'omitted' } })
      .finalMessage()
    const hidden = omitted.content[0]
    if (hidden?.type !== 'thinking') throw new Error('no thinking')
    expect(hidden.thinking).toBe('')
    // The prompt is the same, to the token, for the shown and the omitted block.
    const again = (content: Anthropic.ContentBlock[]) =>
      client.messages.create({
        ...body,
        max_tokens: 1,
        messages: [...messages, { role: 'assistant', content }, ...ask('And 2 plus 2?')],
      })
    const [first, second, without] = [
      await again(shown.content),
      await again(omitted.content),
      await again(shown.content.slice(1)),
    ]
    const prompt = ({ usage }: Anthropic.Message) => usage.input_tokens + (usage.cache_read_input_tokens ?? 0)
    expect(prompt(second)).toBe(prompt(first))
    expect(prompt(first)).toBeGreaterThan(prompt(without))
  })

  it('[MSG12] the model calls a tool, streamed or not, and answers its result; a stop sequence is reported by its text', async () => {
    const messages = ask('What is the weather in Paris?')
    const body = { model, max_tokens: 200, temperature: 0, tools: [weather], messages }
    const forced = { ...body, tool_choice: { type: 'tool' as const, name: 'get_weather' } }
    const whole = await client.messages.create(forced)
    expect(whole.stop_reason).toBe('tool_use')
    const call = whole.content.find((block) => block.type === 'tool_use')
    expect(call).toMatchObject({ id: expect.stringMatching(/^toolu_[A-Za-z0-9]{9}$/), name: 'get_weather' })
    expect(call?.input).toEqual({ city: expect.any(String) })
    const streamed = await client.messages.stream(forced).finalMessage()
    expect(streamed.content.find((block) => block.type === 'tool_use')?.input).toEqual(call?.input)
    const answered = await client.messages.create({
      ...body,
      messages: [
        ...messages,
        { role: 'assistant', content: whole.content },
        {
          role: 'user',
          content: [{ type: 'tool_result', tool_use_id: call?.id ?? '', content: '{"sky": "sunny", "celsius": 21}' }],
        },
      ],
    })
    expect(answered.content.some((block) => block.type === 'text' && /\w/.test(block.text))).toBe(true)
    const story = { model, max_tokens: 60, temperature: 0, messages: ask('Tell me a story about a fox.') }
    const full = (await client.messages.create(story)).content[0]
    const stop = full?.type === 'text' ? full.text.slice(12, 20) : ''
    const cut = await client.messages.create({ ...story, stop_sequences: ['never', stop] })
    expect(cut).toMatchObject({ stop_reason: 'stop_sequence', stop_sequence: stop })
  })

  it('[MSG14] `GET /v1/models` returns Anthropic’s shape to Anthropic clients, and an unknown model returns 404 `not_found_error`', async () => {
    const listed = await client.models.list()
    expect(listed.data).toMatchObject([{ id: model, type: 'model', lifecycle: 'active', max_input_tokens: 4_096 }])
    expect((await client.models.retrieve(model)).capabilities?.thinking.supported).toBe(true)
    expect(await refusal(client.models.retrieve('claude-9'))).toMatchObject({ status: 404, type: 'not_found_error' })
    expect((await product.client().models.list()).data).toMatchObject([{ id: model, object: 'model' }])
  })

  it('[MSG15] `POST /v1/messages/count_tokens` returns the prompt tokens that an answer would report and bills nothing, and marks an estimate', async () => {
    await eventually(product.counters, isZero)
    const before = await product.tenant('demo')
    const thinking = { type: 'adaptive' as const }
    const prompts: Anthropic.MessageCountTokensParams[] = [
      { model, messages: ask('Tell me a story about a fox.') },
      { model, messages: ask('What is the weather in Paris?'), tools: [weather], system: 'Be brief.', thinking },
    ]
    const counts = await Promise.all(prompts.map((prompt) => client.messages.countTokens(prompt).withResponse()))
    expect(counts.map(({ response }) => response.headers.get('x-tramontane-estimated'))).toEqual(['false', 'false'])
    expect((await product.tenant('demo')).totals.entries).toBe(before.totals.entries)
    for (const [index, prompt] of prompts.entries()) {
      const { usage } = await client.messages.create({ ...prompt, max_tokens: 1 })
      const sent = usage.input_tokens + (usage.cache_read_input_tokens ?? 0)
      expect(counts[index]?.data.input_tokens).toBe(sent)
    }
    const source = { type: 'base64' as const, media_type: 'application/pdf' as const, data: btoa('%PDF-1.7\n') }
    const document = await client.messages.countTokens({
      model,
      messages: [{ role: 'user', content: [{ type: 'document', source }] }],
    })
    expect(document).toMatchObject({ input_tokens: expect.any(Number), estimated: true })
    expect(await refusal(client.messages.countTokens({ model, messages: [] }))).toMatchObject({ status: 400 })
  })

  it('[MSG16] a stream that waits for a slot sends SSE comments, which the client ignores, and then the answer', async () => {
    const pools = await product.admin<Record<string, { slots: number }>>('GET', '/admin/pools')
    const slots = Object.values(pools).reduce((sum, pool) => sum + pool.slots, 0)
    const schema = { type: 'array', items: { type: 'integer' }, minItems: 300 }
    const long = {
      model,
      max_tokens: 400,
      messages: ask('Count.'),
      output_config: { format: { type: 'json_schema' as const, schema } },
    }
    // More requests of one kind than there are slots, so that some must wait.
    const began = Promise.withResolvers<number>()
    const leaving = Array.from({ length: slots + 2 }, () => new AbortController())
    const answers = leaving.map(({ signal }, index) => {
      const watched: typeof fetch = async (input, init) => {
        const response = await fetch(input, init)
        const [read, passed] = response.body?.tee() ?? []
        const first = await read?.getReader().read()
        if (new TextDecoder().decode(first?.value).startsWith(': waiting')) began.resolve(index)
        return new Response(passed, response)
      }
      return clientOf(product.demo().apiKey, watched).messages.stream(long, { signal }).finalMessage()
    })
    const ended = Promise.allSettled(answers)
    const waited = await began.promise
    for (const [index, each] of leaving.entries()) if (index !== waited) each.abort()
    expect((await answers[waited])?.stop_reason).toBe('max_tokens')
    await ended
  })

  it('[MSG13] refusals have Anthropic’s shape: 400 with the field name, 401, 404, and 402 for an exhausted budget', async () => {
    const body = { model, max_tokens: 10, messages: ask('hi') }
    const bodyOf = (error: APIError) => error.error as { type: string; error: { type: string; message: string } }
    const bad = await refusal(client.messages.create({ ...body, max_tokens: 0 }))
    expect(bad).toMatchObject({ status: 400, type: 'invalid_request_error' })
    expect(bad.requestID).toMatch(/^req_/)
    expect(bodyOf(bad).error.message).toContain('max_tokens')
    expect(await refusal(clientOf('nonsense').messages.create(body))).toMatchObject({
      status: 401,
      type: 'authentication_error',
    })
    expect(await refusal(client.messages.create({ ...body, model: 'claude-9' }))).toMatchObject({
      status: 404,
      type: 'not_found_error',
    })
    const poor = await product.admin<{ apiKey: string }>('POST', '/admin/tenants/demo/keys', {
      name: 'poor',
      limits: { budgetNano: { total: 10 } },
    })
    const broke = await refusal(clientOf(poor.apiKey).messages.create(body))
    expect(broke).toMatchObject({ status: 402, type: 'billing_error' })
    expect(broke.headers?.get('x-should-retry')).toBe('false')
    expect(await eventually(product.counters, isZero)).toEqual(zero)
  })
})
