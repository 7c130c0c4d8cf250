/** A fleet whose only engine is an unknown one with Chat Completions: it takes no effort, no schema and no forced tool. */
import Anthropic from '@anthropic-ai/sdk'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openaiCompatible } from '../../backends/engines/openai-compatible.ts'
import { servedBy } from '../../gpu-worker/engine/engine.ts'
import { type Product, startProduct } from '../support/product.ts'
import { type ScriptedWorker, startScriptedWorker } from '../support/scripted-worker.ts'

let product: Product
let worker: ScriptedWorker

beforeAll(async () => {
  product = await startProduct()
  worker = await startScriptedWorker(product, { capabilities: servedBy(openaiCompatible.capabilities) })
  await worker.alone()
})

afterAll(async () => {
  await worker?.stop()
  await product?.stop()
})

const messages = [{ role: 'user' as const, content: 'hi' }]

function send(path: string, body: object) {
  const { baseUrl, apiKey, model } = product.demo()
  return fetch(baseUrl.replace(/\/v1$/, path), {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model, max_tokens: 20, messages, ...body }),
  })
}

const refusals: [string, object, string][] = [
  ['/v1/chat/completions', { response_format: { type: 'json_object' } }, 'response_format'],
  ['/v1/messages', { output_config: { format: { type: 'json_schema', schema: {} } } }, 'output_config.format'],
  ['/v1/messages', { stop_sequences: ['a', 'b', 'c', 'd', 'e'] }, 'stop_sequences'],
  ['/v1/responses', { messages: undefined, input: 'hi', text: { format: { type: 'json_object' } } }, 'text.format'],
]

describe('a fleet that lacks capabilities', () => {
  it('[NED3] an effort that no engine serves is mapped with a warning, on every dialect', async () => {
    const { baseUrl, apiKey, model } = product.demo()
    const client = new Anthropic({ baseURL: baseUrl.replace(/\/v1$/, ''), apiKey, maxRetries: 0 })
    const asked = client.messages.create({ model, max_tokens: 20, messages, output_config: { effort: 'high' } })
    const { response } = await asked.withResponse()
    expect(response.headers.get('x-tramontane-effort')).toBe('none')
    expect(response.headers.get('x-tramontane-warnings')).toContain('output_config.effort: no engine of')
    for (const effort of ['medium', 'high']) {
      const chat = await send('/v1/chat/completions', { reasoning_effort: effort })
      expect(chat.status).toBe(200)
      expect(chat.headers.get('x-tramontane-effort-asked')).toBe(effort)
      expect(chat.headers.get('x-tramontane-warnings')).toContain('reasoning_effort: no engine of')
    }
  })

  it('[NED4] a request that no engine can serve is refused by the field of its dialect, and nothing is reserved', async () => {
    const before = worker.engine.chats.length
    for (const [path, body, field] of refusals) {
      const answer = await send(path, body)
      const text = await answer.text()
      expect([answer.status, text]).toEqual([400, expect.stringContaining(`${field}: no engine of`)])
    }
    expect(worker.engine.chats.length).toBe(before)
    expect((await product.tenant('demo')).openReservations).toBe(0)
  })

  it('[NED5] a tenant that rejects unsupported efforts gets 400 before anything is reserved', async () => {
    const before = worker.engine.chats.length
    await product.admin('PATCH', '/admin/tenants/demo', { settings: { effortUnknown: 'reject' } })
    const answer = await send('/v1/chat/completions', { reasoning_effort: 'high' })
    const text = await answer.text()
    await product.admin('PATCH', '/admin/tenants/demo', { settings: { effortUnknown: 'map' } })
    expect([answer.status, text]).toEqual([400, expect.stringContaining('reasoning_effort: ')])
    expect(worker.engine.chats.length).toBe(before)
    expect((await product.tenant('demo')).openReservations).toBe(0)
  })
})
