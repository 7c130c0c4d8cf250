import { describe, expect, it } from 'vitest'
import { type Chat, messagesMax, readChat } from '../../../backends/model/chat.ts'
import { chatBody } from '../../../backends/model/chat-body.ts'
import { mapEffort } from '../../../backends/model/effort.ts'
import { prepare } from '../../../src/chat/prepare.ts'
import { noPreviousTurns } from '../../../src/dialects/dialect.ts'
import { chatCompletions } from '../../../src/dialects/openai-chat/dialect.ts'
import { asked } from '../../support/asked.ts'
import { dataUrl, png } from '../../support/images.ts'

const hello = { model: 'm', messages: [{ role: 'user', content: 'hi' }] }

function read(change: object): Chat {
  const answer = readChat({ ...hello, ...change })
  if (!answer.ok) throw new Error(answer.message)
  return answer.chat
}

function refusal(change: object) {
  const answer = readChat({ ...hello, ...change })
  if (answer.ok) throw new Error('the request was accepted')
  return answer
}

describe('reading a chat request', () => {
  const bad: [string, object, string][] = [
    ['no messages', { messages: undefined }, 'messages'],
    ['empty messages', { messages: [] }, 'messages'],
    ['too many messages', { messages: Array.from({ length: messagesMax + 1 }, () => hello.messages[0]) }, 'messages'],
    ['content of the wrong type', { messages: [{ role: 'user', content: 3 }] }, 'messages[0].content'],
    [
      'a part of the wrong type',
      { messages: [{ role: 'user', content: [{ type: 'text', text: 3 }] }] },
      'messages[0].content[0].text',
    ],
    ['an unknown role', { messages: [{ role: 'robot', content: 'x' }] }, 'messages[0].role'],
    ['a tool result without its call', { messages: [{ role: 'tool', content: 'x' }] }, 'messages[0].tool_call_id'],
    ['a negative bound', { max_tokens: -1 }, 'max_tokens'],
    ['a zero bound', { max_completion_tokens: 0 }, 'max_completion_tokens'],
    ['a fractional bound', { max_tokens: 1.5 }, 'max_tokens'],
    ['a temperature as text', { temperature: '0.7' }, 'temperature'],
    ['a temperature too high', { temperature: 2.1 }, 'temperature'],
    ['an unknown effort', { reasoning_effort: 'extreme' }, 'reasoning_effort'],
    ['two answers', { n: 2 }, 'n'],
    ['log probabilities', { logprobs: true }, 'logprobs'],
    ['a tool without a name', { tools: [{ type: 'function', function: {} }] }, 'tools[0].function.name'],
    [
      'a named choice that is not listed',
      { tool_choice: { type: 'function', function: { name: 'x' } } },
      'tool_choice',
    ],
    [
      'a schema that is not an object',
      { response_format: { type: 'json_schema', json_schema: { schema: 3 } } },
      'response_format.json_schema.schema',
    ],
    ['seventeen stop strings', { stop: Array.from({ length: 17 }, (_, index) => `s${index}`) }, 'stop'],
    ['an empty stop string', { stop: '' }, 'stop'],
    ['a stop string with a NUL', { stop: 'a\0' }, 'stop'],
    ['a stop string with half of a pair', { stop: '\ud800' }, 'stop'],
  ]
  it.each(bad)('[SHP1] %s is refused with the path of the field', (_, change, param) => {
    expect(refusal(change)).toMatchObject({ code: 'invalid_value', param })
    expect(refusal(change).message).toContain(param)
  })

  it.each([null, 3, 'text', [], undefined])('[SHP2] the body %j is refused and does not throw', (body) => {
    expect(readChat(body).ok).toBe(false)
  })

  it('[SHP3] unknown fields, other tool types and developer messages are accepted', () => {
    const chat = read({
      messages: [
        { role: 'developer', content: 'be brief', name: 'x' },
        { role: 'user', content: [{ type: 'text', text: 'hi', cache_control: { type: 'ephemeral' } }] },
        {
          role: 'assistant',
          content: null,
          reasoning_content: 'hm',
          tool_calls: [{ id: 'c1', type: 'function', function: { name: 'f', arguments: '{}' } }],
        },
        { role: 'tool', tool_call_id: 'c1', content: [{ type: 'text', text: 'ok' }] },
      ],
      tools: [
        { type: 'web_search' },
        { type: 'namespace', tools: [] },
        { type: 'function', function: { name: 'f' }, strict: null },
      ],
      store: false,
      metadata: { a: 1 },
      stream_options: null,
      user: 'u',
    })
    expect(chat.messages.map((message) => message.role)).toEqual(['system', 'user', 'assistant', 'tool'])
    expect(chat.messages[2]).toMatchObject({
      content: [{ kind: 'thinking', text: 'hm', closed: true }],
      toolCalls: [{ id: 'c1', name: 'f', arguments: '{}' }],
    })
    expect(chat.tools).toEqual([{ name: 'f', description: '', parameters: {}, strict: false }])
  })

  it('[SHP4] an accepted but unsupported field adds a warning', () => {
    const body = {
      ...hello,
      tools: [{ type: 'web_search' }],
      logit_bias: { 5: 1 },
      guided_json: {},
      verbosity: 'medium',
    }
    const read = chatCompletions.read(body, noPreviousTurns)
    if (!read.ok) throw new Error(read.message)
    expect(read.parsed.warnings.map((warning) => warning.split(':')[0])).toEqual(['tools', 'logit_bias', 'guided_json'])
  })

  it('[SHP5] max_completion_tokens wins over max_tokens, and `any` means required', () => {
    expect(read({ max_tokens: 5, max_completion_tokens: 7 }).outputTokensMax).toBe(7)
    const tools = [{ type: 'function', function: { name: 'f' } }]
    expect(read({ tools, tool_choice: 'any' }).toolChoice).toEqual({ kind: 'required' })
  })

  it('[SHP18] functions, their calls and their results in the older form are read as tools', () => {
    const functions = [{ name: 'f', parameters: { type: 'object' } }]
    const chat = read({
      functions,
      function_call: { name: 'f' },
      messages: [
        ...hello.messages,
        { role: 'assistant', content: null, function_call: { name: 'f', arguments: '{"a":1}' } },
        { role: 'function', name: 'f', content: '3' },
      ],
    })
    expect(chat).toMatchObject({
      tools: [{ name: 'f' }],
      toolChoice: { kind: 'named', name: 'f' },
      parallelToolCalls: false,
    })
    const [, call, result] = chat.messages
    if (call?.role !== 'assistant' || result?.role !== 'tool') throw new Error('not a call and its result')
    expect(call.toolCalls).toEqual([{ id: result.toolCallId, name: 'f', arguments: '{"a":1}' }])
    expect(read({ functions, function_call: 'none' }).toolChoice).toEqual({ kind: 'none' })
    expect(refusal({ functions, function_call: { name: 'g' } })).toMatchObject({ param: 'function_call' })
    expect(refusal({ functions, tools: [{ type: 'function', function: { name: 'f' } }] }).param).toBe('functions')
    expect(refusal({ functions: [{ name: 'a b' }] }).param).toBe('functions[0].name')
  })

  it('[SHP16] allowed tools, refusals, custom calls, a schema of json_object, and top_p 0 are read', () => {
    const tools = ['f', 'g'].map((name) => ({ type: 'function', function: { name } }))
    const allowed = (mode: string, name: string) => ({
      tools,
      tool_choice: {
        type: 'allowed_tools',
        allowed_tools: { mode, tools: [{ type: 'function', function: { name } }] },
      },
    })
    expect(read(allowed('required', 'g'))).toMatchObject({ tools: [{ name: 'g' }], toolChoice: { kind: 'required' } })
    expect(read(allowed('auto', 'h'))).toMatchObject({ tools: [], toolChoice: { kind: 'auto' } })
    expect(refusal(allowed('required', 'h')).param).toBe('tool_choice')
    const said = (message: object) =>
      read({ messages: [...hello.messages, { role: 'assistant', ...message }] }).messages[1]
    const text = [{ kind: 'text', text: 'No.' }]
    expect(said({ content: [{ type: 'refusal', refusal: 'No.' }] })).toMatchObject({ content: text })
    expect(said({ content: null, refusal: 'No.' })).toMatchObject({ content: text })
    const custom = { id: 'c', type: 'custom', custom: { name: 'f', input: 'x' } }
    expect(said({ tool_calls: [custom] })).toMatchObject({
      toolCalls: [{ id: 'c', name: 'f', arguments: '{"input":"x"}' }],
    })
    const schema = { type: 'object' }
    expect(read({ response_format: { type: 'json_object', schema } }).format).toMatchObject({
      kind: 'json_schema',
      schema,
    })
    expect(read({ top_p: 0 }).topP).toBe(0)
    expect(read({ reasoning: { effort: 'high' } }).effort).toBe('high')
    expect(refusal({ modalities: ['text', 'audio'] }).param).toBe('modalities[1]')
  })

  it('[SHP6] an unknown model returns 404 with the offered models', () => {
    expect(() => prepare(asked(hello), 50, ['tramontane-tiny'])).toThrow(
      expect.objectContaining({ code: 'model_not_found', param: 'model' }),
    )
    expect(() => prepare(asked(hello), 50, ['tramontane-tiny'])).toThrow(/Use tramontane-tiny/)
  })

  it('[SHP7] an image for a model without vision is refused before a reservation', () => {
    const messages = [
      { role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:image/png;base64,xx' } }] },
    ]
    expect(() => prepare(asked({ model: 'tramontane-tiny', messages }), 50, ['tramontane-tiny'])).toThrow(
      expect.objectContaining({ code: 'invalid_value', param: 'messages[0].content' }),
    )
  })

  it('[SHP9] an image in a tool result is removed with a warning, and its text stays', () => {
    const result = [
      { type: 'text', text: 'a screenshot' },
      { type: 'image_url', image_url: { url: dataUrl(png(8, 8)) } },
    ]
    const call = { id: 'c', type: 'function', function: { name: 'f', arguments: '{}' } }
    const messages = [
      { role: 'user', content: 'look' },
      { role: 'assistant', content: null, tool_calls: [call] },
      { role: 'tool', tool_call_id: 'c', content: result },
    ]
    const shaped = prepare(asked({ model: 'tramontane-tiny', messages }), 50, ['tramontane-tiny'])
    expect(shaped.warnings).toEqual([expect.stringContaining('images in tool results')])
  })

  it('[SHP10] reasoning is read from either field name and from parts of the content', () => {
    const said = (message: object) =>
      read({ messages: [...hello.messages, { role: 'assistant', ...message }] }).messages[1]
    const so = { kind: 'thinking', text: 'so', closed: true }
    const wanted = { role: 'assistant', content: [so, { kind: 'text', text: 'yes' }] }
    expect(said({ content: 'yes', reasoning_content: 'so' })).toMatchObject(wanted)
    expect(said({ content: 'yes', reasoning: 'so' })).toMatchObject(wanted)
    const answer = { type: 'text', text: 'yes' }
    for (const thinking of [
      'so',
      [
        { type: 'text', text: 's' },
        { type: 'text', text: 'o' },
      ],
    ])
      expect(said({ content: [{ type: 'thinking', thinking, closed: true }, answer] })).toMatchObject(wanted)
    const chunk = { type: 'thinking', thinking: 'so' }
    // A client that sends it in both places means it once; other text in the field precedes the content.
    expect(said({ content: [chunk, answer], reasoning_content: 'so' })).toMatchObject(wanted)
    expect(said({ content: [chunk], reasoning: 'hm' })).toMatchObject({ content: [{ ...so, text: 'hm' }, so] })
    expect(said({ content: 'yes', reasoning_content: '' })).toMatchObject({ content: [{ ...so, text: '' }, {}] })
  })

  it('[SHP13] thinking keeps its place in an assistant message, and its end where it has none', () => {
    const content = [
      { type: 'text', text: 'a' },
      { type: 'thinking', thinking: 'b' },
      { type: 'thinking', thinking: 'c', closed: true },
      { type: 'text', text: 'd' },
      { type: 'thinking', thinking: 'e', closed: false },
    ]
    const [, turn] = read({ messages: [...hello.messages, { role: 'assistant', content }] }).messages
    const thinking = (text: string, closed = true) => ({ kind: 'thinking', text, closed })
    const text = (text: string) => ({ kind: 'text', text })
    expect(turn?.content).toEqual([text('a'), thinking('b'), thinking('c'), text('d'), thinking('e', false)])
  })

  it('[SHP11] a request that is written as a body reads back as the same request', () => {
    const tools = [{ type: 'function', function: { name: 'f', description: 'd', parameters: { type: 'object' } } }]
    const call = { id: 'c', type: 'function', function: { name: 'f', arguments: '{"a":1}' } }
    const messages = [
      { role: 'system', content: 's' },
      {
        role: 'user',
        content: [
          { type: 'text', text: 'a' },
          { type: 'image_url', image_url: 'data:;base64,xx' },
          { type: 'document_url', document_url: 'https://a/b.pdf', document_name: 'n' },
        ],
      },
      { role: 'assistant', content: 'b', reasoning_content: 'r', tool_calls: [call] },
      { role: 'tool', tool_call_id: 'c', content: [] },
      { role: 'assistant', content: 'so', prefix: true },
    ]
    const schema = { type: 'json_schema', json_schema: { name: 'n', schema: { type: 'object' } } }
    const bounds = { temperature: 0, top_p: 0.5, seed: 3, stop: ['x'], max_tokens: 9, stream: true }
    const more = { frequency_penalty: 1, presence_penalty: -1, stream_options: { include_usage: true } }
    for (const change of [
      {},
      { messages, tools, ...bounds, ...more, response_format: schema, reasoning_effort: 'xhigh' },
      { tools, tool_choice: { type: 'function', function: { name: 'f' } }, parallel_tool_calls: false },
      { tools, tool_choice: 'required', response_format: { type: 'json_object' } },
    ]) {
      const chat = read(change)
      expect(readChat(JSON.parse(chatBody(chat)))).toEqual({ ok: true, chat, warnings: [] })
    }
  })

  it('[EFF1] an effort maps to itself if the model supports it, otherwise to the lowest or highest level', () => {
    const levels = ['none', 'high'] as const
    const table = ['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'] as const
    expect(table.map((word) => mapEffort(word, levels, 'none').effective)).toEqual([
      'none',
      'none',
      'none',
      'high',
      'high',
      'high',
      'high',
    ])
    expect(mapEffort('medium', ['none', 'medium', 'high'], 'none')).toEqual({ asked: 'medium', effective: 'medium' })
    expect(mapEffort(undefined, levels, 'none')).toEqual({ asked: undefined, effective: 'none' })
  })
})
