/**
 * Real clients against the whole product: SDKs as in their quickstarts, frameworks on top of them, old model names,
 * documents, images. The tiny model is served as Small 4, so that Small 4's aliases exist; where an answer must make
 * sense, an additional worker with a scripted engine answers.
 */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { createAnthropic } from '@ai-sdk/anthropic'
import { createMistral } from '@ai-sdk/mistral'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { HumanMessage, ToolMessage } from '@langchain/core/messages'
import { ChatOpenAI } from '@langchain/openai'
import { Validator } from '@seriousme/openapi-schema-validator'
import { generateText, type LanguageModel, Output, stepCountIs, streamText, tool } from 'ai'
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import type { Chat } from '../../backends/model/chat.ts'
import { Message } from '../../src/dialects/anthropic/answer.ts'
import { ChatCompletion, ChatCompletionChunk } from '../../src/dialects/openai-chat/answer.ts'
import { sdkQuickstarts } from '../../src/docs/quickstarts.ts'
import { ModelList, Refusal } from '../../src/http/response-schemas.ts'
import { dataUrl, png } from '../support/images.ts'
import { encryptedPdf, pdf } from '../support/pdf.ts'
import { eventually, isZero, type Product, startProduct } from '../support/product.ts'
import { type Script, type ScriptedWorker, startScriptedWorker } from '../support/scripted-worker.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const model = 'mistral-small-4'

let product: Product
let origin: string
let apiKey: string
let scripted: ScriptedWorker | undefined

beforeAll(async () => {
  product = await startProduct({ env: { TRAMONTANE_MODEL_ID: model } })
  origin = `http://127.0.0.1:${product.port}`
  apiKey = product.demo().apiKey
})

afterAll(async () => {
  await scripted?.stop()
  await product.stop()
})

const openai = () => product.client()

async function refusal(answer: PromiseLike<unknown>): Promise<InstanceType<typeof OpenAI.APIError>> {
  const error = await answer.then(
    () => undefined,
    (error: unknown) => error,
  )
  if (error instanceof OpenAI.APIError) return error
  throw new Error(`no refusal: ${error}`)
}

async function post(path: string, body: object): Promise<{ response: Response; body: unknown }> {
  const headers = { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' }
  const response = await fetch(origin + path, { method: 'POST', headers, body: JSON.stringify(body) })
  return { response, body: await response.json() }
}

describe('the embedded engine', () => {
  it.each(sdkQuickstarts)('[CLI1] the quickstart of $title runs as printed and prints an answer', async ({ code }) => {
    const run = promisify(execFile)
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', code({ origin, model })], {
      cwd: root,
      env: { ...process.env, TRAMONTANE_API_KEY: apiKey },
      timeout: 60_000,
    })
    expect(stdout).toContain('478 + 356 =')
  })

  it('[CLI2] both OpenAPI documents are valid OpenAPI 3.1, and answers match their schemas', async () => {
    for (const path of ['/openapi.json', '/openapi/operators.json']) {
      const document = (await (await fetch(origin + path)).json()) as Record<string, unknown>
      const validator = new Validator()
      expect(await validator.validate(document), path).toEqual({ valid: true })
      expect(validator.version).toBe('3.1')
    }
    const body = { model, messages: [{ role: 'user', content: 'What is 12 + 7?' }], max_tokens: 200 }
    const whole = await post('/v1/chat/completions', { ...body, reasoning_effort: 'high' })
    ChatCompletion.parse(whole.body)
    const stream = await openai().chat.completions.create({ ...body, stream: true } as never)
    for await (const chunk of stream as unknown as AsyncIterable<unknown>) ChatCompletionChunk.parse(chunk)
    Message.parse((await post('/v1/messages', body)).body)
    Refusal.parse((await post('/v1/chat/completions', { ...body, temperature: 3 })).body)
    const models = await fetch(`${origin}/v1/models`, { headers: { 'x-api-key': apiKey } })
    ModelList.parse(await models.json())
  })

  it('[CLI3] a request for an older model name is served by Mistral Small 4 with the effort of that name, and the headers report both names', async () => {
    const messages = [{ role: 'user' as const, content: 'What is 12 + 7?' }]
    const asked = openai().chat.completions.create({ model: 'magistral-small-2509', messages, max_tokens: 300 })
    const { data, response } = await asked.withResponse()
    expect(data.model).toBe(model)
    expect(data.usage?.completion_tokens_details?.reasoning_tokens).toBeGreaterThan(0)
    expect(Object.fromEntries(response.headers)).toMatchObject({
      deprecation: '@1777507200',
      'x-tramontane-model': model,
      'x-tramontane-model-asked': 'magistral-small-2509',
      'x-tramontane-effort': 'high',
    })
    const explicit = openai().chat.completions.create({
      ...{ model: 'magistral-small-2509', messages, max_tokens: 50 },
      reasoning_effort: 'none',
    })
    expect((await explicit).usage?.completion_tokens_details?.reasoning_tokens).toBe(0)
    const unknown = await refusal(openai().chat.completions.create({ model: 'mistral-smal-4', messages }))
    expect(unknown).toMatchObject({ status: 404, code: 'model_not_found' })
    expect(unknown.message).toContain('Use mistral-small-4')
  })

  it('[CLI4] a PDF is read at the worker in any dialect, and its words are billed as prompt tokens', async () => {
    const lines = Array.from({ length: 20 }, (_, index) => `Line ${index} of a long page of plain words.`)
    const file = { filename: 'a.pdf', file_data: dataUrl(pdf([lines]), 'application/pdf') }
    const ask = (content: unknown) =>
      openai().chat.completions.create({ model, messages: [{ role: 'user', content }] as never, max_tokens: 5 })
    const without = await ask([{ type: 'text', text: 'Sum up.' }])
    const read = await ask([
      { type: 'file', file },
      { type: 'text', text: 'Sum up.' },
    ])
    const more = (read.usage?.prompt_tokens ?? 0) - (without.usage?.prompt_tokens ?? 0)
    expect(more).toBeGreaterThan(100)
    expect(more).toBeLessThan(lines.join(' ').length)
    await eventually(product.counters, isZero)
    const before = await product.tenant('demo')
    const locked = { filename: 'a.pdf', file_data: dataUrl(encryptedPdf(), 'application/pdf') }
    const error = await refusal(
      ask([
        { type: 'text', text: 'Sum up.' },
        { type: 'file', file: locked },
      ]),
    )
    expect(error).toMatchObject({ status: 400, code: 'invalid_value', param: 'messages[0].content[1]' })
    expect(error.message).toContain('Send it without a password')
    await eventually(product.counters, isZero)
    expect((await product.tenant('demo')).postedNano).toBe(before.postedNano)
    // The same document in the other dialects, each with its own format.
    const bytes = pdf([lines])
    const url = dataUrl(bytes, 'application/pdf')
    const source = { type: 'base64', media_type: 'application/pdf', data: bytes.toString('base64') }
    const messages = (document: object, text: string) => [
      { role: 'user', content: [document, { type: text, text: 'Sum up.' }] },
    ]
    const requests: [string, object][] = [
      ['/v1/messages', { max_tokens: 5, messages: messages({ type: 'document', source }, 'text') }],
      ['/v1/responses', { max_output_tokens: 16, input: messages({ type: 'input_file', ...file }, 'input_text') }],
      ['/mistral/v1/chat/completions', { messages: messages({ type: 'document_url', document_url: url }, 'text') }],
    ]
    for (const [path, change] of requests) {
      const { response, body } = await post(path, { model, ...change })
      expect(response.status, path).toBe(200)
      const { usage } = body as {
        usage: { input_tokens?: number; prompt_tokens?: number; cache_read_input_tokens?: number }
      }
      // Messages counts cached tokens apart from the input.
      const tokens = (usage.input_tokens ?? usage.prompt_tokens ?? 0) + (usage.cache_read_input_tokens ?? 0)
      // Not every dialect reports the document's name.
      expect(Math.abs(tokens - (read.usage?.prompt_tokens ?? 0)), path).toBeLessThan(20)
    }
  })

  it('[CLI5] an image that no registered engine can see returns 400, before anything is reserved', async () => {
    await eventually(product.counters, isZero)
    const before = await product.tenant('demo')
    const content = [
      { type: 'text', text: 'What is this?' },
      { type: 'image_url', image_url: { url: dataUrl(png(56, 56)) } },
    ]
    const error = await refusal(
      openai().chat.completions.create({ model, messages: [{ role: 'user', content }] as never }),
    )
    expect(error).toMatchObject({ status: 400, code: 'invalid_value', param: 'messages[0].content' })
    expect(error.message).toContain('no engine of mistral-small-4 supports images')
    const after = await product.tenant('demo')
    expect(after.totals).toEqual(before.totals)
  })
})

/** Calls the weather tool once, then answers with its result. */
function weather(chat: Chat): Script {
  const result = chat.messages.findLast((message) => message.role === 'tool')
  const text = result?.content.map((part) => (part.kind === 'text' ? part.text : '')).join('')
  const named = chat.tools.find(({ name }) => /weather/i.test(name))
  if (chat.format.kind === 'json_schema') return { text: '{"city": "Oslo", "degrees": 21}' }
  if (named && text === undefined)
    return { reasoning: 'I should look.', calls: [{ name: named.name, arguments: { city: 'Oslo' } }] }
  const images = chat.messages
    .flatMap((message) => (message.role === 'assistant' ? [] : message.content))
    .filter(({ kind }) => kind === 'image')
  if (images.length > 0)
    return { text: `${images.length} seen: ${images.map((part) => 'url' in part && part.url.slice(0, 15))}` }
  return { reasoning: 'I know it now.', text: `In Oslo it is ${text ?? 'as always'}.` }
}

describe('a scripted engine', () => {
  beforeAll(async () => {
    // Few slots, so that the other workers are tried first.
    scripted = await startScriptedWorker(product, { vision: true, slots: 2, script: weather })
  })

  it('[CLI6] a request with an image goes to a worker with vision', async () => {
    const content = [
      { type: 'text', text: 'What is this?' },
      { type: 'image_url', image_url: { url: dataUrl(png(56, 56), 'image/jpeg') } },
    ]
    const answer = await openai().chat.completions.create({ model, messages: [{ role: 'user', content }] as never })
    expect(answer.choices[0]?.message.content).toBe('1 seen: data:image/png;')
    const pages = { file_data: dataUrl(pdf([['one'], ['two']]), 'application/pdf') }
    const file = [{ type: 'file', file: pages }, ...content]
    const read = await openai().chat.completions.create({ model, messages: [{ role: 'user', content: file }] as never })
    expect(read.choices[0]?.message.content).toContain('3 seen')
    const many = Array.from({ length: 8 }, () =>
      openai().chat.completions.create({ model, messages: [{ role: 'user', content }] as never }),
    )
    for (const each of await Promise.all(many)) expect(each.choices[0]?.message.content).toContain('1 seen')
  })

  describe('alone', () => {
    beforeAll(() => scripted?.alone())

    const lookUp = tool({
      description: 'Get the weather',
      inputSchema: z.object({ city: z.string() }),
      execute: async ({ city }) => `21 degrees in ${city}`,
    })
    const compatible = () =>
      createOpenAICompatible({
        ...{ name: 'tramontane', baseURL: `${origin}/v1`, apiKey, includeUsage: true, supportsStructuredOutputs: true },
      })(model)
    const anthropic = () => createAnthropic({ baseURL: `${origin}/v1`, apiKey })(model)
    const mistral = () => createMistral({ baseURL: `${origin}/mistral/v1`, apiKey })(model)
    const providers: [string, () => LanguageModel][] = [
      ['OpenAI-compatible', compatible],
      ['Anthropic', anthropic],
      ['Mistral', mistral],
    ]

    it.each(providers)(
      '[CLI7] ai with the %s provider works, streamed or not: reasoning, a tool call, its result and the answer',
      async (name, provider) => {
        const body = {
          prompt: 'How is the weather in Oslo?',
          tools: { get_weather: lookUp },
          stopWhen: stepCountIs(3),
        }
        const options =
          name === 'Anthropic'
            ? { providerOptions: { anthropic: { thinking: { type: 'enabled', budgetTokens: 2_000 } } } }
            : {}
        const whole = await generateText({ model: provider(), ...body, ...(options as object) })
        expect(whole.text).toBe('In Oslo it is 21 degrees in Oslo.')
        expect(whole.steps.map((step) => step.finishReason)).toEqual(['tool-calls', 'stop'])
        expect(whole.reasoningText).toBe('I know it now.')
        expect(whole.totalUsage.inputTokens).toBe(20)
        const stream = streamText({ model: provider(), ...body, ...(options as object) })
        const kinds: string[] = []
        let text = ''
        for await (const part of stream.fullStream) {
          kinds.push(part.type)
          if (part.type === 'text-delta') text += part.text
          if (part.type === 'error') throw part.error
        }
        expect(text).toBe('In Oslo it is 21 degrees in Oslo.')
        for (const kind of ['reasoning-delta', 'tool-call', 'tool-result', 'finish']) expect(kinds).toContain(kind)
        expect((await stream.totalUsage).outputTokens).toBeGreaterThan(0)
      },
    )

    it('[CLI7] ai returns an object by a schema, and a refusal as its own error class', async () => {
      const schema = z.object({ city: z.string(), degrees: z.number() })
      const { output } = await generateText({ model: compatible(), prompt: 'Oslo?', output: Output.object({ schema }) })
      expect(output).toEqual({ city: 'Oslo', degrees: 21 })
      const wrong = generateText({ model: compatible(), prompt: 'x', temperature: 9, maxRetries: 0 })
      await expect(wrong).rejects.toMatchObject({ statusCode: 400, message: expect.stringContaining('temperature') })
    })

    it('[CLI8] the package `@langchain/openai` works: a tool call, its result, a streamed answer and structured output', async () => {
      const chat = new ChatOpenAI({ model, apiKey, configuration: { baseURL: `${origin}/v1` }, maxRetries: 0 })
      const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] }
      const weatherTool = { type: 'function' as const, function: { name: 'get_weather', parameters } }
      const bound = chat.bindTools([weatherTool])
      const human = new HumanMessage('How is the weather in Oslo?')
      const asked = await bound.invoke([human])
      expect(asked.tool_calls).toMatchObject([{ name: 'get_weather', args: { city: 'Oslo' } }])
      expect(asked.usage_metadata).toMatchObject({ input_tokens: 10 })
      const result = new ToolMessage({ tool_call_id: asked.tool_calls?.[0]?.id ?? '', content: '21 degrees' })
      let text = ''
      for await (const chunk of await bound.stream([human, asked, result])) text += chunk.content
      expect(text).toBe('In Oslo it is 21 degrees.')
      const structured = chat.withStructuredOutput(z.object({ city: z.string(), degrees: z.number() }), {
        name: 'place',
      })
      expect(await structured.invoke('Oslo?')).toEqual({ city: 'Oslo', degrees: 21 })
    })
  })
})
