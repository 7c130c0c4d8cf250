/** Anthropic's Messages: reading a body, and writing an answer. */
import { describe, expect, it } from 'vitest'
import type { Chat } from '../../backends/model/chat.ts'
import type { ErrorCode } from '../../backends/model/errors.ts'
import type { AnswerEnd, AnswerPart } from '../../src/dialects/answer-events.ts'
import { messages } from '../../src/dialects/anthropic/dialect.ts'
import { sealThinking } from '../../src/dialects/carried-thinking.ts'
import { type DialectWriter, noPreviousTurns } from '../../src/dialects/dialect.ts'
import { errorResponse } from '../../src/dialects/error-response.ts'
import { GatewayError } from '../../src/http/errors.ts'

const hello = { model: 'm', max_tokens: 9, messages: [{ role: 'user', content: 'hi' }] }

function parsed(change: object) {
  const read = messages.read({ ...hello, ...change }, noPreviousTurns)
  if (!read.ok) throw new Error(read.message)
  return read.parsed
}
const chat = (change: object): Chat => parsed(change).chat

function refusal(change: object) {
  const read = messages.read({ ...hello, ...change }, noPreviousTurns)
  if (read.ok) throw new Error('it was accepted')
  return read
}

const context = {
  requestId: 'req_1',
  now: () => 0,
  model: 'm',
  effort: { asked: 'max', effective: 'high' },
  costNano: 5_160,
  promptTokens: 99,
} as const
const end: AnswerEnd = {
  kind: 'end',
  finishReason: 'stop',
  stop: undefined,
  promptTokens: 70,
  cachedTokens: 20,
  outputTokens: 15,
  reasoningTokens: 6,
  effort: { asked: 'max', effective: 'high' },
  costNano: 5_160,
}

function writer(change: object = {}): DialectWriter {
  const made = parsed(change).writer?.(context)
  if (!made) throw new Error('no writer')
  return made
}

/** Events as [name, data], comments as [':', text]. */
const eventsOf = (text: string) =>
  text
    .split('\n\n')
    .filter(Boolean)
    .map((event) => {
      if (event.startsWith(':')) return [':', event]
      const [, name, data] = /^event: (\w+)\ndata: (.*)$/.exec(event) ?? []
      return [name, JSON.parse(data ?? '')]
    })

describe('reading Messages', () => {
  it('[MSG17] names of 128 characters, 1,024 tools and any name in the history are read, and longer ones are refused', () => {
    const name = 'n'.repeat(128)
    const tool = (name: string, more: object = {}) => ({ name, input_schema: { type: 'object' }, ...more })
    const many = Array.from({ length: 1_024 }, (_, index) => tool(`t${index}`))
    expect(chat({ tools: [tool(name, { strict: true })], tool_choice: { type: 'tool', name } })).toMatchObject({
      tools: [{ name, strict: true }],
      toolChoice: { kind: 'named', name },
    })
    expect(chat({ tools: many }).tools).toHaveLength(1_024)
    expect(refusal({ tools: [...many, tool('more')] }).param).toBe('tools')
    expect(refusal({ tools: [tool(`${name}n`)] })).toMatchObject({
      param: 'tools[0].name',
      message: 'tools[0].name: must be 1 to 128 letters, digits, underscores or dashes.',
    })
    for (const past of ['a.b', 'with space', '', 'n'.repeat(300)]) {
      const turns = [
        ...hello.messages,
        { role: 'assistant', content: [{ type: 'tool_use', id: 't', name: past, input: {} }] },
        { role: 'user', content: [{ type: 'tool_result', tool_use_id: 't' }] },
      ]
      expect(chat({ messages: turns }).messages[1]).toMatchObject({ toolCalls: [{ name: past }] })
    }
  })

  it('[MSG1] tools, thinking blocks and interleaved system messages become one chat request', () => {
    const turns = [
      { role: 'user', content: [{ type: 'text', text: 'look', cache_control: { type: 'ephemeral' } }] },
      { role: 'system', content: 'environment' },
      {
        role: 'assistant',
        content: [
          { type: 'thinking', thinking: 'hm', signature: 'tm1' },
          { type: 'redacted_thinking', data: 'x' },
          { type: 'text', text: 'reading' },
          { type: 'tool_use', id: 'toolu_1', name: 'read', input: { path: 'a' } },
        ],
      },
      {
        role: 'user',
        content: [
          { type: 'tool_result', tool_use_id: 'toolu_1', content: [{ type: 'text', text: 'no file' }], is_error: true },
          { type: 'text', text: 'go on' },
        ],
      },
    ]
    const text = (text: string) => ({ kind: 'text', text })
    expect(
      chat({
        messages: turns,
        system: [
          { type: 'text', text: 'be' },
          { type: 'text', text: ' brief' },
        ],
      }).messages,
    ).toEqual([
      { role: 'system', content: [text('be'), text(' brief')] },
      { role: 'user', content: [text('look')] },
      { role: 'system', content: [text('environment')] },
      {
        role: 'assistant',
        content: [{ kind: 'thinking', text: 'hm', closed: true }, text('reading')],
        toolCalls: [{ id: 'toolu_1', name: 'read', arguments: '{"path":"a"}' }],
        prefix: false,
      },
      { role: 'tool', toolCallId: 'toolu_1', content: [text('Error: '), text('no file')] },
      { role: 'user', content: [text('go on')] },
    ])
    expect(parsed({ messages: turns }).fieldPaths).toEqual([
      'messages[0]',
      'messages[1]',
      'messages[2]',
      'messages[3]',
      'messages[3]',
    ])
  })

  it('[MSG2] effort comes from output_config, otherwise from thinking, and a token budget adds a warning', () => {
    const effort = (change: object) => chat(change).effort
    expect(effort({})).toBeUndefined()
    for (const word of ['low', 'medium', 'high', 'xhigh', 'max'])
      expect(effort({ output_config: { effort: word }, thinking: { type: 'adaptive' } })).toBe(word)
    expect(effort({ thinking: { type: 'adaptive' } })).toBe('high')
    expect(effort({ thinking: { type: 'enabled', budget_tokens: 1_024 } })).toBe('high')
    expect(effort({ thinking: { type: 'disabled' }, output_config: { effort: 'max' } })).toBe('none')
    expect(parsed({ thinking: { type: 'enabled', budget_tokens: 1_024 } }).warnings).toEqual([
      expect.stringContaining('thinking.budget_tokens'),
    ])
  })

  it('[MSG3] server tools and unsupported fields add a warning, and unknown fields are ignored', () => {
    const tools = [
      { name: 'read', input_schema: { type: 'object' }, defer_loading: true, strict: true },
      { type: 'web_search_20250305', name: 'web_search', max_uses: 5 },
    ]
    const messages = [
      { role: 'user', content: 'hi' },
      {
        role: 'assistant',
        content: [
          { type: 'server_tool_use', id: 's', name: 'web_search', input: {} },
          { type: 'text', text: 'so' },
        ],
      },
      { role: 'user', content: 'hm' },
    ]
    const read = parsed({
      tools,
      messages,
      context_management: { edits: [] },
      top_k: 5,
      betas: ['x'],
      metadata: { user_id: '{}' },
    })
    expect(read.chat.tools).toEqual([{ name: 'read', description: '', parameters: { type: 'object' }, strict: true }])
    for (const field of ['tools', 'messages', 'context_management', 'top_k'])
      expect(
        read.warnings.some((warning) => warning.startsWith(`${field}:`)),
        field,
      ).toBe(true)
    expect(refusal({ tools, tool_choice: { type: 'tool', name: 'web_search' } }).param).toBe('tool_choice')
    expect(chat({ tools, tool_choice: { type: 'any', disable_parallel_tool_use: true } })).toMatchObject({
      toolChoice: { kind: 'required' },
      parallelToolCalls: false,
    })
  })

  it('[MSG4] an invalid field is refused with its path', () => {
    expect(refusal({ max_tokens: undefined }).param).toBe('max_tokens')
    expect(refusal({ messages: [{ role: 'user', content: [{ type: 'text', text: 5 }] }] }).param).toBe(
      'messages[0].content[0].text',
    )
    expect(refusal({ messages: [{ role: 'robot', content: '' }] }).param).toBe('messages[0].role')
    expect(refusal({ tools: [{ name: 'a b', input_schema: {} }] }).param).toBe('tools[0].name')
    expect(refusal({ thinking: { type: 'sometimes' } }).param).toBe('thinking.type')
    expect(refusal({ output_config: { effort: 'enormous' } }).param).toBe('output_config.effort')
  })

  it('[MSG5] images become URLs, text documents become text, and a final assistant message is a prefix', () => {
    const content = [
      { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'xx' } },
      { type: 'image', source: { type: 'url', url: 'https://a/b.png' } },
      { type: 'document', title: 'T', source: { type: 'text', media_type: 'text/plain', data: 'body' } },
      { type: 'document', title: 'D', source: { type: 'base64', media_type: 'application/pdf', data: 'JVBERi0' } },
    ]
    const read = chat({
      messages: [
        { role: 'user', content },
        { role: 'assistant', content: 'I' },
      ],
    })
    expect(read.messages[0]?.content).toEqual([
      { kind: 'image', url: 'data:application/octet-stream;base64,xx' },
      { kind: 'image', url: 'https://a/b.png' },
      { kind: 'text', text: 'T\n' },
      { kind: 'text', text: 'body' },
      { kind: 'document', name: 'D', url: 'data:application/pdf;base64,JVBERi0' },
    ])
    expect(read.messages[1]).toMatchObject({ role: 'assistant', prefix: true })
    const format = { type: 'json_schema', schema: { type: 'object' } }
    const expected = { kind: 'json_schema', name: 'answer', schema: { type: 'object' }, strict: false }
    expect(chat({ output_config: { format } }).format).toEqual(expected)
    expect(chat({ output_format: format }).format).toEqual(expected)
  })
})

describe('writing Messages', () => {
  const parts: AnswerPart[] = [
    { kind: 'text', channel: 'reasoning', text: 'hm' },
    { kind: 'beat' },
    { kind: 'text', channel: 'content', text: 'a' },
    { kind: 'text', channel: 'content', text: 'b' },
    { kind: 'call', id: 'abcdefghi', name: 'f', arguments: '{"x":1}' },
  ]

  it('[MSG6] blocks open and close in order, each delta has its index, and the usage adds up', () => {
    const made = writer({ thinking: { type: 'adaptive' } })
    const finish = { ...end, finishReason: 'tool_calls' } as const
    const events = eventsOf(made.open(70) + parts.map((part) => made.part(part)).join('') + made.close(finish, false))
    expect(events.map(([name, data]) => [name, data.index])).toEqual([
      ['message_start', undefined],
      ['content_block_start', 0],
      ['content_block_delta', 0],
      ['ping', undefined],
      ['content_block_delta', 0],
      ['content_block_stop', 0],
      ['content_block_start', 1],
      ['content_block_delta', 1],
      ['content_block_delta', 1],
      ['content_block_stop', 1],
      ['content_block_start', 2],
      ['content_block_delta', 2],
      ['content_block_stop', 2],
      ['message_delta', undefined],
      ['message_stop', undefined],
    ])
    expect(events[0]?.[1].message).toMatchObject({ id: 'msg_1', content: [], usage: { input_tokens: 70 } })
    expect(events[10]?.[1].content_block).toEqual({ type: 'tool_use', id: 'toolu_abcdefghi', name: 'f', input: {} })
    expect(events[13]?.[1]).toMatchObject({
      delta: { stop_reason: 'tool_use', stop_sequence: null },
      usage: {
        input_tokens: 50,
        cache_read_input_tokens: 20,
        output_tokens: 15,
        output_tokens_details: { thinking_tokens: 6 },
        reasoning_effort: 'high',
        reasoning_effort_asked: 'max',
        cost: 0.00000516,
        cost_nano: 5_160,
      },
    })
  })

  it('[MSG7] hidden reasoning is carried in the signature and read back from it', () => {
    const thinking = { type: 'adaptive', display: 'omitted' }
    const made = writer({ thinking })
    const events = eventsOf(made.open(1) + parts.map((part) => made.part(part)).join(''))
    expect(JSON.stringify(events)).not.toContain('thinking_delta')
    const whole = writer({ thinking })
    for (const part of parts) whole.part(part)
    whole.part({ kind: 'text', channel: 'reasoning', text: 'later' })
    const { content } = whole.whole(end, false) as { content: { type: string; thinking?: string }[] }
    expect(content[0]).toMatchObject({ type: 'thinking', thinking: '' })
    // A block carries its own thinking only.
    expect(content.pop()).toMatchObject({ type: 'thinking', thinking: '', signature: sealThinking('later') })
    const back = chat({ messages: [...hello.messages, { role: 'assistant', content }, ...hello.messages] })
    expect(back.messages[1]?.content.filter(({ kind }) => kind === 'thinking')).toEqual([
      { kind: 'thinking', text: 'hm', closed: true },
    ])
    expect(back.messages[1]).toMatchObject({ toolCalls: [{ name: 'f', arguments: '{"x":1}' }] })
  })

  it('[MSG9] a refusal has Anthropic’s status and limit headers, and retry-after if a retry can help', async () => {
    const refused = (code: ErrorCode) => errorResponse(new GatewayError(code, 'm'), 'req_1', messages.errors)
    const overloaded = refused('server_is_overloaded')
    expect([overloaded.status, overloaded.headers.get('retry-after')]).toEqual([529, '1'])
    expect(await overloaded.json()).toMatchObject({ type: 'error', error: { type: 'overloaded_error' } })
    const broke = refused('insufficient_quota')
    expect([broke.status, broke.headers.get('x-should-retry')]).toEqual([402, 'false'])
    const left = { requests: { limit: 60, left: 59, resetMs: 1_500 }, tokens: { limit: 9, left: 0, resetMs: 60_000 } }
    expect(messages.rateHeaders(left, 1_000)).toEqual([
      ['anthropic-ratelimit-requests-limit', '60'],
      ['anthropic-ratelimit-requests-remaining', '59'],
      ['anthropic-ratelimit-requests-reset', '1970-01-01T00:00:02.500Z'],
      ['anthropic-ratelimit-tokens-limit', '9'],
      ['anthropic-ratelimit-tokens-remaining', '0'],
      ['anthropic-ratelimit-tokens-reset', '1970-01-01T00:01:01.000Z'],
    ])
  })

  it('[CUT2] a call that the token limit cut off streams its arguments so far, and a whole answer has the known part', () => {
    const made = writer()
    const stream = made.part({ kind: 'call', id: 'abcdefghi', name: 'f', arguments: '{"a":"b' })
    expect(stream).toContain('"partial_json":"{\\"a\\":\\"b"')
    expect(made.whole({ ...end, finishReason: 'length' }, false)).toMatchObject({
      stop_reason: 'max_tokens',
      content: [{ type: 'tool_use', name: 'f', input: { a: 'b' } }],
    })
  })

  it('[MSG8] each finish reason has its stop_reason, and a failure is one error event', () => {
    const stopped = (change: Partial<AnswerEnd>) => writer().whole({ ...end, ...change }, false)
    expect(stopped({})).toMatchObject({ stop_reason: 'end_turn', stop_sequence: null })
    expect(stopped({ stop: 'X' })).toMatchObject({ stop_reason: 'stop_sequence', stop_sequence: 'X' })
    expect(stopped({ finishReason: 'length' })).toMatchObject({ stop_reason: 'max_tokens' })
    const failure = { code: 'worker_lost', message: 'lost', param: null, requestId: 'req_1' } as const
    expect(eventsOf(writer().fail(failure))).toEqual([
      [
        'error',
        { type: 'error', error: { type: 'api_error', message: 'lost', code: 'worker_lost' }, request_id: 'req_1' },
      ],
    ])
  })
})
