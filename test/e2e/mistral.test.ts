/** Mistral's dialect with the `@mistralai/mistralai` package, through the whole product. */
import { Mistral } from '@mistralai/mistralai'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { eventually, isZero, type Product, startProduct, zero } from '../support/product.ts'

let product: Product
let client: Mistral
let model: string

beforeAll(async () => {
  product = await startProduct()
  model = product.demo().model
  client = clientOf(product.demo().apiKey)
})

afterAll(async () => {
  await product?.stop()
})

function clientOf(apiKey: string): Mistral {
  return new Mistral({
    serverURL: `http://127.0.0.1:${product.port}/mistral`,
    apiKey,
    retryConfig: { strategy: 'none' },
  })
}

const ask = (content: string) => [{ role: 'user' as const, content }]
const tools = [
  {
    type: 'function' as const,
    function: {
      name: 'get_weather',
      description: 'Get the weather for a city',
      parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
    },
  },
]

describe('mistral', () => {
  it('[MIS10] an answer is a string, its stream contains the same, and usage is always included', async () => {
    const body = { model, messages: ask('Tell me a story about a fox.'), temperature: 0, maxTokens: 60, randomSeed: 3 }
    const whole = await client.chat.complete({ ...body, safePrompt: false })
    const content = whole.choices?.[0]?.message?.content
    expect(content).toMatch(/\w{3}/)
    let text = ''
    let usage: number | undefined
    for await (const { data } of await client.chat.stream(body)) {
      const delta = data.choices[0]?.delta.content
      if (typeof delta === 'string') text += delta
      usage ??= data.usage?.completionTokens
    }
    expect(text).toBe(content)
    expect(usage).toBe(whole.usage.completionTokens)
    const safe = await client.chat.complete({ ...body, maxTokens: 1, safePrompt: true })
    expect(safe.usage.promptTokens).toBeGreaterThan((whole.usage.promptTokens ?? 0) + 20)
  })

  it('[MIS11] reasoning arrives as chunks, streamed or not, for an effort or a prompt mode, and replaying it adds it to the prompt', async () => {
    const messages = ask('What is 7 plus 5?')
    const body = { model, messages, temperature: 0, maxTokens: 300 }
    const whole = await client.chat.complete({ ...body, promptMode: 'reasoning' })
    const content = whole.choices?.[0]?.message?.content
    if (!Array.isArray(content)) throw new Error('no chunks')
    expect(content.map((chunk) => chunk.type)).toEqual(['thinking', 'text'])
    let thought = ''
    for await (const { data } of await client.chat.stream({ ...body, reasoningEffort: 'high' })) {
      const delta = data.choices[0]?.delta.content
      for (const chunk of Array.isArray(delta) ? delta : [])
        if (chunk.type === 'thinking') for (const part of chunk.thinking) if (part.type === 'text') thought += part.text
    }
    const thinking = content[0]?.type === 'thinking' ? content[0].thinking : []
    expect(thought).toBe(thinking.map((part) => (part.type === 'text' ? part.text : '')).join(''))
    const again = async (said: typeof content) =>
      (
        await client.chat.complete({
          ...body,
          maxTokens: 1,
          messages: [...messages, { role: 'assistant', content: said }, ...ask('And 2 plus 2?')],
        })
      ).usage.promptTokens ?? 0
    expect(await again(content)).toBeGreaterThan(await again(content.slice(1)))
  })

  it('[MIS12] with `tool_choice: "any"` the model calls a tool in one chunk, and answers its result', async () => {
    const messages = ask('What is the weather in Paris?')
    const body = { model, messages, tools, temperature: 0, maxTokens: 200 }
    const whole = await client.chat.complete({ ...body, toolChoice: 'any' })
    const message = whole.choices?.[0]?.message
    const call = message?.toolCalls?.[0]
    expect(whole.choices?.[0]?.finishReason).toBe('tool_calls')
    expect(call).toMatchObject({ id: expect.stringMatching(/^[A-Za-z0-9]{9}$/), function: { name: 'get_weather' } })
    const calls = []
    for await (const { data } of await client.chat.stream({ ...body, toolChoice: 'any' }))
      calls.push(...(data.choices[0]?.delta.toolCalls ?? []))
    expect(calls).toHaveLength(1)
    expect(calls[0]?.function.arguments).toBe(call?.function.arguments)
    const answered = await client.chat.complete({
      ...body,
      messages: [
        ...messages,
        { role: 'assistant', toolCalls: message?.toolCalls ?? [] },
        { role: 'tool', name: 'get_weather', toolCallId: call?.id ?? '', content: '{"sky": "sunny"}' },
      ],
    })
    expect(answered.choices?.[0]?.message?.content).toMatch(/\w/)
  })

  it('[MIS13] the dialect lists models, refuses with status and instructions, and returns 404 with the supported routes for FIM and embeddings', async () => {
    expect((await client.models.list()).data).toMatchObject([{ id: model }])
    const status = (work: Promise<unknown>) =>
      work.then(
        () => undefined,
        (error: { statusCode: number; body: string }) => [error.statusCode, error.body],
      )
    expect(await status(client.chat.complete({ model, messages: ask('hi'), maxTokens: 0 }))).toEqual([
      400,
      expect.stringContaining('max_tokens'),
    ])
    expect(await status(clientOf('nonsense').chat.complete({ model, messages: ask('hi') }))).toEqual([
      401,
      expect.stringContaining('invalid_api_key'),
    ])
    const instead = expect.stringContaining('POST /v1/chat/completions')
    expect(await status(client.fim.complete({ model, prompt: 'def f' }))).toEqual([404, instead])
    expect(await status(client.embeddings.create({ model, inputs: ['x'] }))).toEqual([404, instead])
    expect(await eventually(product.counters, isZero)).toEqual(zero)
  })
})
