import { EventSourceParserStream } from 'eventsource-parser/stream'
import { describe, expect, it, vi } from 'vitest'
import { chunkWriter, completion } from '../../../backends/model/chunk.ts'
import { errorBody, errorTable } from '../../../backends/model/errors.ts'
import { errorResponse, failureOf } from '../../../src/dialects/error-response.ts'
import { openaiErrors } from '../../../src/dialects/openai-chat/errors.ts'
import { GatewayError } from '../../../src/http/errors.ts'

const head = {
  id: 'chatcmpl-1',
  created: 5,
  model: 'm "quoted"',
  effort: { asked: 'low', effective: 'none' },
  rates: { inputNano: 150, cachedNano: 15, outputNano: 600 },
} as const
const counts = { promptTokens: 7, cachedTokens: 2, outputTokens: 5, reasoningTokens: 3 }

async function events(text: string): Promise<string[]> {
  const stream = new Blob([text])
    .stream()
    .pipeThrough(new TextDecoderStream())
    .pipeThrough(new EventSourceParserStream())
  const all: string[] = []
  for await (const event of stream) all.push(event.data)
  return all
}

describe('chunks and errors', () => {
  it('[WIR1] every chunk is a complete event with id, model and choices, and any text survives', async () => {
    const writer = chunkWriter(head, false)
    const odd = 'line\nbreak "quote" \u2028 \ud83e\udd8a data: x'
    const text =
      writer.role() + writer.text('content', odd) + writer.text('reasoning', 'hm') + writer.end('stop', counts)
    const all = await events(text)
    expect(all.at(-1)).toBe('[DONE]')
    const chunks = all.slice(0, -1).map((data) => JSON.parse(data))
    for (const chunk of chunks)
      expect(chunk).toMatchObject({
        id: 'chatcmpl-1',
        object: 'chat.completion.chunk',
        created: 5,
        model: 'm "quoted"',
      })
    expect(chunks[0].choices[0].delta).toEqual({ role: 'assistant', content: '' })
    expect(chunks[1].choices[0].delta).toEqual({ content: odd })
    expect(chunks[2].choices[0].delta).toEqual({ reasoning_content: 'hm' })
  })

  it('[WIR2] usage is in the chunk with the finish reason, or in its own chunk with include_usage', async () => {
    const last = (await events(chunkWriter(head, false).end('length', counts)))
      .slice(0, -1)
      .map((data) => JSON.parse(data))
    expect(last.length).toBe(1)
    expect(last[0]).toMatchObject({ choices: [{ finish_reason: 'length' }], usage: { completion_tokens: 5 } })
    const asked = (await events(chunkWriter(head, true).end('stop', counts)))
      .slice(0, -1)
      .map((data) => JSON.parse(data))
    expect(asked.length).toBe(2)
    expect(asked[0]).not.toHaveProperty('usage')
    expect(asked[1]).toMatchObject({
      choices: [],
      usage: {
        prompt_tokens: 7,
        completion_tokens: 5,
        total_tokens: 12,
        prompt_tokens_details: { cached_tokens: 2 },
        completion_tokens_details: { reasoning_tokens: 3 },
        reasoning_effort: 'none',
        reasoning_effort_asked: 'low',
        cost: 0.00000378,
        cost_nano: 3_780,
      },
    })
  })

  it('[WIR3] each tool call is one complete delta, numbered from zero', async () => {
    const writer = chunkWriter(head, false)
    const call = (id: string) => ({ id, name: 'f', arguments: '{"a": 1}' })
    const deltas = (await events(writer.call(call('a')) + writer.call(call('b')))).map(
      (data) => JSON.parse(data).choices[0].delta,
    )
    expect(deltas).toEqual([
      { tool_calls: [{ index: 0, id: 'a', type: 'function', function: { name: 'f', arguments: '{"a": 1}' } }] },
      { tool_calls: [{ index: 1, id: 'b', type: 'function', function: { name: 'f', arguments: '{"a": 1}' } }] },
    ])
  })

  it('[WIR4] a non-streaming answer has a string as content, or null when it contains only calls', () => {
    const base = { content: 'x', reasoning: '', calls: [], finishReason: 'stop', counts } as const
    expect(JSON.parse(completion(head, { ...base, calls: [] })).choices[0].message).toEqual({
      role: 'assistant',
      content: 'x',
      refusal: null,
    })
    const called = JSON.parse(
      completion(head, { ...base, content: '', reasoning: 'hm', calls: [{ id: 'a', name: 'f', arguments: '{}' }] }),
    )
    expect(called.choices[0].message).toMatchObject({
      content: null,
      reasoning_content: 'hm',
      tool_calls: [{ id: 'a' }],
    })
  })

  it('[WIR5] every code has a status and a type, and its body has the flat and the nested shape', () => {
    for (const code of Object.keys(errorTable) as (keyof typeof errorTable)[]) {
      const body = errorBody(code, 'm', 'p', 'req_1')
      expect(body).toMatchObject({
        object: 'error',
        code,
        param: 'p',
        error: { code, type: errorTable[code].type, param: 'p' },
      })
      const response = errorResponse(new GatewayError(code, 'm', { retryAfterMs: 1 }), 'req_1')
      expect(response.status).toBe(errorTable[code].status)
      expect(response.headers.get('x-should-retry')).toBe(errorTable[code].retry ? null : 'false')
    }
  })

  it('[WIR6] Retry-After is a whole number of seconds from 1 to 60', () => {
    const after = (retryAfterMs: number) =>
      errorResponse(new GatewayError('rate_limit_exceeded', 'm', { retryAfterMs }), 'r').headers.get('retry-after')
    expect([0, 1, 1_001, 60_000, 3_600_000].map(after)).toEqual(['1', '1', '2', '60', '60'])
  })

  it('[WIR7] an internal error’s message never reaches the response', async () => {
    const log = vi.spyOn(console, 'error').mockImplementation(() => undefined)
    const secret = new Error('password=hunter2')
    const text = await errorResponse(secret, 'req_1').text()
    expect(text + openaiErrors.event(failureOf(secret, 'req_1'))).not.toContain('hunter2')
    expect(JSON.parse(text)).toMatchObject({ code: 'internal_error', request_id: 'req_1' })
    expect(log).toHaveBeenCalled()
    log.mockRestore()
  })
})
