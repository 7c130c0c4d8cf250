/** The adapter of Mistral's hosted API, with its documented formats: requests, answers and refusals. */
import { describe, expect, it } from 'vitest'
import type { BackendEvent, RequestTerms, ResponseReader } from '../../../backends/contract/backend.ts'
import { nineCharacterIds } from '../../../backends/contract/call-ids.ts'
import { promptBound } from '../../../backends/contract/prompt-bound.ts'
import { mistral, mistralModel } from '../../../backends/engines/mistral.ts'
import { type Chat, readChat } from '../../../backends/model/chat.ts'
import type { EffortWord } from '../../../backends/model/effort.ts'
import { imageTokensMax } from '../../../backends/model/image.ts'

function chatOf(body: Record<string, unknown>): Chat {
  const read = readChat({ model: 'mistral-small-4', messages: [{ role: 'user', content: 'Hi' }], ...body })
  if (!read.ok) throw new Error(read.message)
  return read.chat
}

const termsOf = (effort: EffortWord): RequestTerms => ({
  requestId: 'req_1',
  effort,
  outputTokensMax: 100,
  priority: 0,
  cacheSalt: '',
})

function sent(body: Record<string, unknown>, effort: EffortWord = 'none') {
  const chat = chatOf(body)
  const request = mistral.request(chat, termsOf(effort), mistralModel('mistral-small-2603'))
  if (!request.ok) throw new Error(request.message)
  const { warnings, call } = request
  return { ...promptBound(chat, call.body), warnings, path: call.path, body: JSON.parse(call.body) }
}

const chunk = (delta: unknown, more: Record<string, unknown> = {}, finish: string | null = null) =>
  `data: ${JSON.stringify({
    id: '0a1b2c',
    object: 'chat.completion.chunk',
    created: 1_773_619_200,
    model: 'mistral-small-2603',
    choices: [{ index: 0, delta, finish_reason: finish }],
    ...more,
  })}\n\n`
const done = 'data: [DONE]\n\n'
const usage = { prompt_tokens: 20, total_tokens: 57, completion_tokens: 37 }
const thinking = (text: string, more: Record<string, unknown> = {}) => ({
  type: 'thinking',
  thinking: [{ type: 'text', text }],
  ...more,
})

/** As in the reasoning guide: lists during reasoning, one delta of both, then strings. */
const thoughtful = [
  chunk({ role: 'assistant', content: '' }),
  chunk({ content: [thinking('Ça ')] }),
  chunk({ content: [thinking('va 🦊')] }),
  chunk({ content: [thinking('.', { closed: true }), { type: 'text', text: 'The ' }] }),
  chunk({ content: 'answer' }),
  chunk({ content: '' }, { usage }, 'stop'),
  done,
].join('')
const thoughtfulEvents: BackendEvent[] = [
  { kind: 'text', channel: 'reasoning', text: 'Ça ' },
  { kind: 'text', channel: 'reasoning', text: 'va 🦊' },
  { kind: 'text', channel: 'reasoning', text: '.' },
  { kind: 'text', channel: 'content', text: 'The ' },
  { kind: 'text', channel: 'content', text: 'answer' },
  { kind: 'usage', usage: { promptTokens: 20, cachedTokens: null, outputTokens: 37, reasoningTokens: null } },
  { kind: 'end', finishReason: 'stop' },
]

function readAll(reader: ResponseReader, ...parts: (string | Uint8Array)[]): BackendEvent[] {
  const bytes = parts.map((part) => (typeof part === 'string' ? new TextEncoder().encode(part) : part))
  // The token counter reads pieces; token-counter.test.ts tests them.
  return [...bytes.flatMap((part) => reader.push(part)), ...reader.end()].filter(({ kind }) => kind !== 'piece')
}
const stream = (...parts: (string | Uint8Array)[]) => readAll(mistral.reader(termsOf('none'), true), ...parts)
const whole = (message: unknown, more: Record<string, unknown> = {}, finish = 'stop') =>
  readAll(
    mistral.reader(termsOf('none'), false),
    JSON.stringify({ object: 'chat.completion', choices: [{ index: 0, message, finish_reason: finish }], ...more }),
  )

describe('the request', () => {
  it('[BKD1] the body contains only fields that the API knows, at every level', () => {
    const { body, warnings } = sent(
      {
        messages: [
          { role: 'developer', content: 'Be brief.' },
          {
            role: 'user',
            content: [
              { type: 'text', text: 'What is it?' },
              { type: 'image_url', image_url: 'data:image/png;base64,AAAA' },
            ],
          },
          {
            role: 'assistant',
            content: null,
            reasoning_content: 'A picture.',
            refusal: null,
            tool_calls: [{ id: 'call_abc', type: 'function', index: 0, function: { name: 'look', arguments: '{}' } }],
          },
          { role: 'tool', tool_call_id: 'call_abc', name: 'look', content: 'a fox' },
        ],
        tools: [{ type: 'function', function: { name: 'look', parameters: { type: 'object' }, strict: true } }],
        tool_choice: 'required',
        parallel_tool_calls: false,
        response_format: { type: 'json_schema', json_schema: { name: 'a', schema: { type: 'object' }, strict: true } },
        max_completion_tokens: 5_000,
        stream_options: { include_usage: true },
        seed: 7,
        temperature: 0.7,
        top_p: 0.9,
        stop: 'END',
        logit_bias: {},
        user: 'u',
        store: false,
      },
      'high',
    )
    const id = body.messages[2].tool_calls[0].id
    expect(id).toMatch(/^[a-zA-Z0-9]{9}$/)
    expect(body).toEqual({
      model: 'mistral-small-2603',
      messages: [
        { role: 'system', content: 'Be brief.' },
        {
          role: 'user',
          content: [
            { type: 'text', text: 'What is it?' },
            { type: 'image_url', image_url: { url: 'data:image/png;base64,AAAA' } },
          ],
        },
        {
          role: 'assistant',
          content: [{ type: 'thinking', thinking: [{ type: 'text', text: 'A picture.' }] }],
          tool_calls: [{ id, type: 'function', function: { name: 'look', arguments: '{}' } }],
        },
        { role: 'tool', content: 'a fox', tool_call_id: id },
      ],
      max_tokens: 100,
      stream: true,
      reasoning_effort: 'high',
      temperature: 0.7,
      top_p: 0.9,
      random_seed: 7,
      stop: ['END'],
      tools: [
        { type: 'function', function: { name: 'look', description: '', parameters: { type: 'object' }, strict: true } },
      ],
      tool_choice: 'any',
      parallel_tool_calls: false,
      response_format: { type: 'json_schema', json_schema: { name: 'a', schema: { type: 'object' }, strict: true } },
    })
    expect(warnings).toEqual([])
    expect(Object.keys(sent({}).body)).toEqual(['model', 'messages', 'max_tokens', 'stream', 'reasoning_effort'])
  })

  it('[BKD2] the output bound is the reserved one, and a value that the API refuses is changed with a warning', () => {
    const { body, warnings } = sent({ temperature: 1.9, seed: -3, max_tokens: 7_000 })
    expect(body).toMatchObject({ max_tokens: 100, temperature: 1.5, random_seed: 3, reasoning_effort: 'none' })
    expect(warnings.map((warning) => warning.split(':')[0])).toEqual(['temperature', 'seed'])
  })

  it('[BKD3] call ids map to nine letters or digits, one to one and always the same way', () => {
    const own = 'abcDEF123'
    const clients = Array.from({ length: 3_000 }, (_, index) => `call_${index}`)
    const ids = nineCharacterIds([own, ...clients, own])
    expect(ids.get(own)).toBe(own)
    expect(new Set(ids.values()).size).toBe(clients.length + 1)
    for (const id of ids.values()) expect(id).toMatch(/^[a-zA-Z0-9]{9}$/)
    expect(nineCharacterIds(['call_7']).get('call_7')).toBe(ids.get('call_7'))
    // A client's id that equals the hash of another one.
    const taken = ids.get('call_7') ?? ''
    const both = nineCharacterIds(['call_7', taken])
    expect(both.get(taken)).toBe(taken)
    expect(both.get('call_7')).not.toBe(taken)
  })

  it('[BKD4] the prompt bound counts every byte of text and the most tokens of the images', () => {
    const digits = '7'.repeat(1_000)
    const plain = sent({ messages: [{ role: 'user', content: digits }] })
    expect(plain.textBytes).toBeGreaterThanOrEqual(1_000)
    expect(plain.otherTokensMax).toBe(64)
    const image = { type: 'image_url', image_url: { url: `data:image/png;base64,${'A'.repeat(90_000)}` } }
    const seen = sent({ messages: [{ role: 'user', content: [image, { type: 'text', text: digits }] }] })
    expect(seen.textBytes).toBeLessThan(2_000)
    expect(seen.otherTokensMax).toBe(64 + imageTokensMax)
    const foreign = sent({ messages: [{ role: 'user', content: '狐'.repeat(1_000) }] })
    expect(foreign.textBytes).toBeGreaterThanOrEqual(3_000)
  })
})

describe('the answer', () => {
  it('[BKD5] a stream gives the same events wherever its bytes are split', () => {
    expect(stream(thoughtful)).toEqual(thoughtfulEvents)
    const bytes = new TextEncoder().encode(thoughtful)
    for (let at = 0; at <= bytes.length; at++) {
      expect(stream(bytes.subarray(0, at), bytes.subarray(at))).toEqual(thoughtfulEvents)
    }
    expect(stream(...[...bytes].map((byte) => Uint8Array.of(byte)))).toEqual(thoughtfulEvents)
    expect(stream(thoughtful.replaceAll('\n', '\r\n'))).toEqual(thoughtfulEvents)
  })

  it('[BKD6] a non-streaming answer gives the same text, with separate reasoning, from a string or a list', () => {
    const list = [thinking('Ça va 🦊.'), { type: 'text', text: 'The answer' }]
    expect(whole({ role: 'assistant', content: list }, { usage })).toEqual([
      { kind: 'text', channel: 'reasoning', text: 'Ça va 🦊.' },
      { kind: 'text', channel: 'content', text: 'The answer' },
      ...thoughtfulEvents.slice(-2),
    ])
    expect(whole({ role: 'assistant', content: 'The answer', tool_calls: null }, { usage })).toEqual([
      { kind: 'text', channel: 'content', text: 'The answer' },
      ...thoughtfulEvents.slice(-2),
    ])
    // The same part in another version of the API, and a part of an unknown kind.
    expect(
      whole({
        content: [
          { type: 'thinking', thinking: 'Hm.' },
          { type: 'reference', reference_ids: [1] },
        ],
      }),
    ).toEqual([
      { kind: 'text', channel: 'reasoning', text: 'Hm.' },
      { kind: 'end', finishReason: 'stop' },
    ])
  })

  it('[BKD7] a tool call is reported once, complete and with an id, in every form of the stream', () => {
    const call = (id: string | undefined, index: number, name: string | undefined, args: unknown) => ({
      tool_calls: [{ ...(id && { id }), index, function: { ...(name !== undefined && { name }), arguments: args } }],
    })
    const calls = (...deltas: unknown[]) =>
      stream(...deltas.map((delta) => chunk(delta)), chunk({ content: '' }, {}, 'tool_calls'), done)
    const expected = (id: string, name: string, args: string): BackendEvent => ({
      kind: 'call',
      call: { id, name, arguments: args },
    })
    expect(calls(call('D681PevKs', 0, 'add', '{"a":1}'), call('x1yZ23456', 1, 'add', { a: 2 }))).toEqual([
      expected('D681PevKs', 'add', '{"a":1}'),
      expected('x1yZ23456', 'add', '{"a":2}'),
      { kind: 'end', finishReason: 'tool_calls' },
    ])
    // Two calls with the default index, one in pieces, one without arguments or an id.
    expect(calls(call('D681PevKs', 0, 'add', '{}'), call('x1yZ23456', 0, 'add', '{}'))).toHaveLength(3)
    expect(calls(call('D681PevKs', 0, 'add', '{"a"'), call(undefined, 0, '', ':1}'))[0]).toEqual(
      expected('D681PevKs', 'add', '{"a":1}'),
    )
    const [unnamed, other] = calls(call('null', 0, 'add', ''), call(undefined, 0, 'add', ''))
    expect(unnamed).toMatchObject({ kind: 'call', call: { name: 'add', arguments: '{}' } })
    expect(unnamed?.kind === 'call' && unnamed.call.id).toMatch(/^[a-zA-Z0-9]{9}$/)
    expect(other?.kind === 'call' && other.call.id).not.toBe(unnamed?.kind === 'call' && unnamed.call.id)
  })

  it('[BKD8] usage is read under each name, also after the finish reason, and is absent when invalid', () => {
    const last = (more: Record<string, unknown>) => stream(chunk({ content: '' }, more, 'stop'), done)[0]
    for (const cached of [
      { num_cached_tokens: 16 },
      { prompt_tokens_details: { cached_tokens: 16 } },
      { prompt_token_details: { cached_tokens: 16 } },
    ])
      expect(last({ usage: { ...usage, ...cached } })).toEqual({
        kind: 'usage',
        usage: { promptTokens: 20, cachedTokens: 16, outputTokens: 37, reasoningTokens: null },
      })
    expect(last({ usage: { ...usage, num_cached_tokens: 99 } })).toMatchObject({ usage: { cachedTokens: 20 } })
    expect(last({ usage: { prompt_tokens: -1 } })).toEqual({ kind: 'end', finishReason: 'stop' })
    expect(
      stream(chunk({ content: 'x' }, {}, 'stop'), `data: ${JSON.stringify({ choices: [], usage })}\n\n`, done).slice(1),
    ).toEqual(thoughtfulEvents.slice(-2))
  })

  it('[BKD9] an answer without a finish reason that clients know fails', () => {
    const text = chunk({ content: 'Hi' })
    const end = (...texts: string[]) => stream(...texts).at(-1)
    expect(end(text, chunk({ content: '' }, {}, 'model_length'), done)).toEqual({ kind: 'end', finishReason: 'length' })
    const failures = [
      [text, done],
      [text],
      [],
      [text, chunk({ content: '' }, {}, 'error'), done],
      [text, chunk({ content: '' }, {}, 'no_such_word'), done],
      [text, 'data: {"object":"error","message":"Service unavailable.","type":"unavailable","code":"3505"}\n\n', done],
      [text, 'data: {"choices":[{"index":0,"del'],
    ]
    for (const texts of failures) {
      const events = stream(...texts)
      expect(events.filter((event) => event.kind === 'failed')).toHaveLength(1)
      expect(events.some((event) => event.kind === 'end')).toBe(false)
    }
    expect(whole({ content: 'Hi' }, {}, 'error').at(-1)).toMatchObject({ kind: 'failed' })
    expect(readAll(mistral.reader(termsOf('none'), false), '<html>').at(-1)).toMatchObject({ kind: 'failed' })
  })
})

describe('a refusal', () => {
  it('[BKD10] a refusal of the client’s input keeps its message, and other refusals become an overload', () => {
    const flat = (message: unknown, more: Record<string, unknown> = {}) =>
      JSON.stringify({ object: 'error', message, type: 'invalid_request_error', param: null, code: null, ...more })
    const detail = (type: string) => ({
      detail: [{ type, loc: ['body', 'temperature'], msg: 'Input should be less than or equal to 1.5' }],
    })
    const refused = (status: number, body: string, retryAfter: string | null) =>
      mistral.failure({ status, headers: retryAfter === null ? {} : { 'retry-after': retryAfter }, body })
    expect(refused(400, flat('Prompt is too long.', { code: '3051' }), null)).toEqual({
      ok: false,
      param: null,
      code: 'invalid_value',
      message: 'the hosted API refused: Prompt is too long.',
      retryAfterMs: null,
      operator: false,
    })
    for (const body of [flat(detail('less_than_equal')), JSON.stringify(detail('less_than_equal'))])
      expect(refused(422, body, null)).toMatchObject({
        code: 'invalid_value',
        message: 'the hosted API refused: body.temperature: Input should be less than or equal to 1.5',
      })
    expect(refused(422, flat(detail('extra_forbidden')), null)).toMatchObject({
      code: 'server_is_overloaded',
      operator: true,
    })
    for (const status of [301, 401, 402, 403, 404])
      expect(refused(status, '{"detail":"Unauthorized"}', null)).toMatchObject({
        code: 'server_is_overloaded',
        operator: true,
      })
    expect(refused(429, flat('Requests rate limit exceeded'), '7')).toMatchObject({
      code: 'server_is_overloaded',
      retryAfterMs: 7_000,
      operator: false,
    })
    for (const status of [500, 502, 503, 529])
      expect(refused(status, '<html>', 'soon')).toMatchObject({
        code: 'server_is_overloaded',
        retryAfterMs: 2_000,
        operator: false,
      })
    expect(refused(413, '', null)).toMatchObject({ code: 'request_too_large' })
    expect(refused(400, flat('x'.repeat(9_000)), null).message.length).toBe(500)
  })
})
