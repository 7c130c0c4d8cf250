/** OpenAI's Responses with the `openai` package, through the whole product. */
import type OpenAI from 'openai'
import { APIError } from 'openai'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { eventually, isZero, type Product, startProduct, zero } from '../support/product.ts'

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

const weather = {
  type: 'function' as const,
  name: 'get_weather',
  description: 'Get the weather for a city',
  parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  strict: false,
}
type Events = OpenAI.Responses.ResponseStreamEvent[]

async function refusal(work: Promise<unknown>): Promise<APIError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (!(error instanceof APIError)) throw new Error(`not refused: ${error}`)
  return error
}

async function streamed(body: OpenAI.Responses.ResponseCreateParamsNonStreaming) {
  const events: Events = []
  for await (const event of await client.responses.create({ ...body, stream: true })) events.push(event)
  const last = events.at(-1)
  if (last?.type !== 'response.completed' && last?.type !== 'response.incomplete')
    throw new Error(`ends with ${last?.type}`)
  return { events, response: last.response }
}

describe('responses', () => {
  it('[RSP20] an answer has text, a status, exact usage and its ids, and its stream contains the same in numbered events', async () => {
    const body = { model, input: 'Tell me a story about a fox.', temperature: 0, max_output_tokens: 60 }
    const { data, response } = await client.responses.create(body).withResponse()
    expect(data.output_text).toMatch(/\w{3}/)
    expect(data.output.map((item) => item.type)).toEqual(['message'])
    expect(data.id).toMatch(/^resp_[0-9a-f]{32}$/)
    expect(response.headers.get('x-request-id')).toBe(data.id.replace('resp', 'req'))
    expect(data.usage?.total_tokens).toBe((data.usage?.input_tokens ?? 0) + (data.usage?.output_tokens ?? 0))
    const { events, response: last } = await streamed(body)
    expect(events.map((event) => event.sequence_number)).toEqual(events.map((_, index) => index))
    const text = events.flatMap((event) => (event.type === 'response.output_text.delta' ? [event.delta] : []))
    expect(text.length).toBeGreaterThan(5)
    expect(text.join('')).toBe(data.output_text)
    expect(last).toMatchObject({ status: data.status, usage: { output_tokens: data.usage?.output_tokens } })
    // The package assembles the events into the same response.
    const helper = await client.responses.stream(body).finalResponse()
    expect(helper.output_text).toBe(data.output_text)
  })

  it('[RSP21] reasoning is an item of its own, as text, as a summary or encrypted, and replaying any of the three gives the same prompt', async () => {
    const input = [{ role: 'user' as const, content: 'What is 7 plus 5?' }]
    const body = { model, input, temperature: 0, max_output_tokens: 300, store: false }
    const plain = await streamed({ ...body, reasoning: { effort: 'medium' } })
    const kinds = new Set(plain.events.map((event) => event.type))
    expect(kinds).toContain('response.reasoning_text.delta')
    expect(plain.response.output.map((item) => item.type)).toEqual(['reasoning', 'message'])
    expect(plain.response.usage).toMatchObject({ reasoning_effort: 'high', reasoning_effort_asked: 'medium' })
    expect(plain.response.usage?.output_tokens_details.reasoning_tokens).toBeGreaterThan(2)
    const summed = await streamed({ ...body, reasoning: { effort: 'high', summary: 'auto' } })
    expect(new Set(summed.events.map((event) => event.type))).toContain('response.reasoning_summary_text.delta')
    const sealed = await client.responses.create({
      ...body,
      reasoning: { effort: 'high' },
      include: ['reasoning.encrypted_content'],
    })
    const again = async (items: OpenAI.Responses.ResponseOutputItem[]) => {
      const next = { role: 'user' as const, content: 'And 2 plus 2?' }
      const replayed = [...input, ...(items as OpenAI.Responses.ResponseInputItem[]), next]
      return (
        (await client.responses.create({ ...body, input: replayed, max_output_tokens: 16 })).usage?.input_tokens ?? 0
      )
    }
    const [asText, asSummary] = [await again(plain.response.output), await again(summed.response.output)]
    const unseen = sealed.output.map((item) =>
      item.type === 'reasoning' ? { ...item, content: [], summary: [] } : item,
    )
    expect(asSummary).toBe(asText)
    expect(await again(unseen)).toBe(asText)
    expect(await again(plain.response.output.slice(1))).toBeLessThan(asText)
  })

  it('[RSP22] the model calls a function, streamed or not, and answers its output; tools that the gateway does not run are accepted with a warning', async () => {
    const input = [{ role: 'user' as const, content: 'What is the weather in Paris?' }]
    const tools = [
      weather,
      { type: 'web_search' as const },
      { type: 'namespace', name: 'n', tools: [weather] } as never,
    ]
    const body = {
      model,
      input,
      tools,
      temperature: 0,
      store: false,
      tool_choice: { type: 'function', name: 'get_weather' } as const,
    }
    const { data, response } = await client.responses.create(body).withResponse()
    expect(response.headers.get('x-tramontane-warnings')).toContain('tools')
    const call = data.output.find((item) => item.type === 'function_call')
    expect(call).toMatchObject({ name: 'get_weather', call_id: expect.stringMatching(/^call_[A-Za-z0-9]{9}$/) })
    expect(JSON.parse(call?.arguments ?? '')).toEqual({ city: expect.any(String) })
    const { events } = await streamed(body)
    const done = events.find((event) => event.type === 'response.function_call_arguments.done')
    expect(done).toMatchObject({ arguments: call?.arguments })
    const output = { type: 'function_call_output' as const, call_id: call?.call_id ?? '', output: '{"sky": "sunny"}' }
    const answered = await client.responses.create({
      ...body,
      tool_choice: 'auto',
      input: [...input, ...(data.output as OpenAI.Responses.ResponseInputItem[]), output],
    })
    expect(answered.output.length).toBeGreaterThan(0)
  })

  it('[RSP23] an answer under a JSON schema parses and matches the schema', async () => {
    const schema = {
      type: 'object',
      properties: { animal: { enum: ['fox', 'owl'] }, legs: { type: 'integer' } },
      required: ['animal', 'legs'],
      additionalProperties: false,
    }
    const answer = await client.responses.create({
      model,
      input: 'Name an animal.',
      text: { format: { type: 'json_schema', name: 'animal', schema, strict: true } },
      max_output_tokens: 200,
    })
    expect(answer.status).toBe('completed')
    expect(['fox', 'owl']).toContain(JSON.parse(answer.output_text).animal)
    expect(await eventually(product.counters, isZero)).toEqual(zero)
  })

  it('[RSP24] a refusal names the field by its path in the client’s request', async () => {
    const wrong = (body: object) => refusal(client.responses.create({ model, input: 'hi', ...body } as never))
    expect(await wrong({ max_output_tokens: 0 })).toMatchObject({ status: 400, param: 'max_output_tokens' })
    expect(await wrong({ background: true })).toMatchObject({ status: 400, param: 'background' })
    expect(await wrong({ input: [{ role: 'user', content: [{ type: 'input_text' }] }] })).toMatchObject({
      status: 400,
      param: 'input[0].content[0].text',
    })
    expect(await wrong({ model: 'gpt-9' })).toMatchObject({ status: 404, code: 'model_not_found' })
  })

  it('[RSP25] a conversation continued by `previous_response_id` or by item references has the same prompt as the same conversation sent whole', async () => {
    const first = { role: 'user' as const, content: 'What is 7 plus 5?' }
    const next = { role: 'user' as const, content: 'And 2 plus 2?' }
    const bounds = { model, temperature: 0, max_output_tokens: 200, reasoning: { effort: 'high' as const } }
    const begun = await client.responses.create({ ...bounds, input: [first] })
    expect(begun).toMatchObject({ store: true })
    const going = await streamed({ ...bounds, previous_response_id: begun.id, input: [next] })
    expect(going.response.previous_response_id).toBe(begun.id)
    const output = begun.output as OpenAI.Responses.ResponseInputItem[]
    const whole = await client.responses.create({ ...bounds, store: false, input: [first, ...output, next] })
    expect(going.response.usage?.input_tokens).toBe(whole.usage?.input_tokens)
    const items = begun.output.map((item) => ({ type: 'item_reference' as const, id: item.id ?? '' }))
    const byItems = await client.responses.create({ ...bounds, store: false, input: [first, ...items, next] })
    expect(byItems.usage?.input_tokens).toBe(whole.usage?.input_tokens)
    const third = await client.responses.create({ ...bounds, previous_response_id: going.response.id, input: [next] })
    expect(third.usage?.input_tokens).toBeGreaterThan((whole.usage?.input_tokens ?? 0) + 10)
  })

  it('[RSP27] `POST /v1/responses/input_tokens` returns the prompt tokens that an answer would report, including stored turns', async () => {
    const begun = await client.responses.create({ model, input: 'Hello!', max_output_tokens: 16 })
    const body = { model, input: 'And you?', previous_response_id: begun.id }
    const counted = await client.responses.inputTokens.count(body)
    const answer = await client.responses.create({ ...body, store: false, max_output_tokens: 16 })
    expect(counted).toEqual({ object: 'response.input_tokens', input_tokens: answer.usage?.input_tokens })
  })

  it('[RSP26] only the tenant of a stored response can read and delete it; with `store: false` or a retention of zero days nothing is stored', async () => {
    const { id, ...answer } = await client.responses.create({ model, input: 'Hello!', max_output_tokens: 16 })
    expect(await client.responses.retrieve(id)).toMatchObject({ id, output: answer.output, store: true })
    const sent = await client.responses.inputItems.list(id)
    expect(sent.data).toMatchObject([
      { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'Hello!' }] },
    ])
    await product.admin('POST', '/admin/tenants', { tenantId: 'other', name: 'other', creditNano: 1_000_000_000 })
    const { apiKey } = await product.admin<{ apiKey: string }>('POST', '/admin/tenants/other/keys', { name: 'k' })
    const other = product.client(apiKey)
    const gone = { status: 404, code: 'not_found' }
    const lost = { status: 400, code: 'previous_response_not_found', param: 'previous_response_id' }
    expect(await refusal(other.responses.retrieve(id))).toMatchObject(gone)
    expect(await refusal(other.responses.delete(id))).toMatchObject(gone)
    const on = (by: OpenAI) =>
      by.responses.create({ model, input: 'hi', previous_response_id: id, max_output_tokens: 16 })
    expect(await refusal(on(other))).toMatchObject(lost)
    expect((await on(client)).previous_response_id).toBe(id)
    await client.responses.delete(id)
    expect(await refusal(client.responses.retrieve(id))).toMatchObject(gone)
    expect(await refusal(on(client))).toMatchObject(lost)
    const unkept = await client.responses.create({ model, input: 'hi', store: false, max_output_tokens: 16 })
    expect(unkept).toMatchObject({ store: false })
    expect(await refusal(client.responses.retrieve(unkept.id))).toMatchObject(gone)
    await product.admin('PATCH', '/admin/tenants/other', { settings: { responseDays: 0 } })
    const never = await other.responses.create({ model, input: 'hi', max_output_tokens: 16 })
    expect(never).toMatchObject({ store: false })
    expect(await refusal(other.responses.retrieve(never.id))).toMatchObject(gone)
  })
})
