/** Guarantees of every dialect's reader, for any body. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readChat } from '../../backends/model/chat.ts'
import { chatBody } from '../../backends/model/chat-body.ts'
import { messages } from '../../src/dialects/anthropic/dialect.ts'
import { type Dialect, noPreviousTurns } from '../../src/dialects/dialect.ts'
import { mistral } from '../../src/dialects/mistral/dialect.ts'
import { chatCompletions } from '../../src/dialects/openai-chat/dialect.ts'
import { completions } from '../../src/dialects/openai-completions/dialect.ts'
import { responses } from '../../src/dialects/openai-responses/dialect.ts'

const all = [chatCompletions, responses, messages, mistral, completions]

const bad = 'a\0b\ud800'
/** Bodies with bad text, with the paths that the warnings name. */
const unsound: Record<Dialect['name'], [body: object, paths: string[]]> = {
  chat: [{ messages: [{ role: 'user', content: bad }] }, ['messages[0]']],
  // Its first warning says that the prompt becomes a message.
  completions: [{ prompt: bad }, ['prompt', 'prompt']],
  mistral: [
    {
      safe_prompt: true,
      messages: [
        { role: 'user', content: 'u' },
        { role: 'tool', content: bad },
      ],
    },
    ['messages[1].content'],
  ],
  responses: [
    {
      instructions: bad,
      input: [
        { role: 'user', content: 'u' },
        { type: 'function_call_output', call_id: 'c', output: bad },
      ],
    },
    ['instructions', 'input[1]'],
  ],
  messages: [
    {
      max_tokens: 1,
      system: bad,
      messages: [{ role: 'user', content: [{ type: 'tool_result', tool_use_id: 'c', content: bad }] }],
    },
    ['system', 'messages[0]'],
  ],
}

const call = { id: 'abcdefghi', type: 'function', function: { name: 'f', arguments: '{"a":1}' } }
const schema = { type: 'object', properties: { a: { type: 'integer' } } }
/** Bodies with every supported field. */
const whole: Record<Dialect['name'], object> = {
  chat: {
    model: 'm',
    messages: [
      { role: 'system', content: [{ type: 'text', text: 's' }] },
      {
        role: 'user',
        content: [
          { type: 'text', text: 'u' },
          { type: 'image_url', image_url: { url: 'data:;base64,xx' } },
        ],
      },
      { role: 'assistant', content: 'a', reasoning_content: 'r', tool_calls: [call] },
      { role: 'tool', tool_call_id: 'abcdefghi', content: 't' },
    ],
    tools: [{ type: 'function', function: { name: 'f', parameters: schema } }, { type: 'web_search' }],
    tool_choice: { type: 'function', function: { name: 'f' } },
    response_format: { type: 'json_schema', json_schema: { name: 'n', schema } },
    stop: ['x'],
    stream: true,
    stream_options: { include_usage: true },
    max_tokens: 5,
  },
  completions: {
    ...{ model: 'm', prompt: 'u', stop: ['x'], seed: 1, stream: true, stream_options: { include_usage: true } },
    ...{ max_tokens: 5, echo: false, best_of: 1, n: 1, reasoning_effort: 'high' },
  },
  mistral: {
    model: 'm',
    random_seed: 4,
    safe_prompt: true,
    prompt_mode: 'reasoning',
    messages: [
      { role: 'user', content: 'u' },
      {
        role: 'assistant',
        content: [{ type: 'thinking', thinking: [{ type: 'text', text: 'r' }] }],
        tool_calls: [call],
      },
      { role: 'tool', name: 'f', content: 't' },
    ],
    tool_choice: 'any',
    tools: [{ type: 'function', function: { name: 'f', parameters: schema } }],
  },
  responses: {
    model: 'm',
    instructions: 'i',
    previous_response_id: 'resp_0',
    input: [
      { role: 'developer', content: 'd' },
      {
        type: 'message',
        role: 'user',
        content: [
          { type: 'input_text', text: 'u' },
          { type: 'input_image', image_url: 'data:;base64,xx' },
        ],
      },
      { type: 'reasoning', id: 'rs', summary: [{ type: 'summary_text', text: 'r' }], encrypted_content: 'tm1.cg' },
      { type: 'function_call', call_id: 'c', name: 'f', arguments: '{}' },
      { type: 'function_call_output', call_id: 'c', output: 'o' },
      { type: 'item_reference', id: 'msg_0' },
    ],
    tools: [
      { type: 'function', name: 'f', parameters: schema },
      { type: 'custom', name: 'g' },
      { type: 'namespace', tools: [] },
    ],
    tool_choice: { type: 'allowed_tools', mode: 'auto', tools: [{ type: 'function', name: 'f' }] },
    text: { format: { type: 'json_schema', name: 'n', schema } },
    reasoning: { effort: 'xhigh', summary: 'auto' },
    include: ['reasoning.encrypted_content'],
    max_output_tokens: 5,
  },
  messages: {
    model: 'm',
    max_tokens: 5,
    system: [{ type: 'text', text: 's', cache_control: { type: 'ephemeral' } }],
    messages: [
      {
        role: 'user',
        content: [
          { type: 'text', text: 'u' },
          { type: 'image', source: { type: 'base64', data: 'xx' } },
        ],
      },
      {
        role: 'assistant',
        content: [
          { type: 'thinking', thinking: '', signature: 'tm1.cg' },
          { type: 'tool_use', id: 't', name: 'f', input: {} },
        ],
      },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: 't', content: [{ type: 'text', text: 'o' }] }] },
    ],
    tools: [
      { name: 'f', input_schema: schema },
      { type: 'web_search_20250305', name: 'web_search' },
    ],
    tool_choice: { type: 'tool', name: 'f' },
    thinking: { type: 'adaptive', display: 'omitted' },
    output_config: { effort: 'low', format: { type: 'json_schema', schema } },
  },
}

type Json = null | boolean | number | string | Json[] | { [name: string]: Json }

/** The same body with one value, at any depth, replaced or removed. */
function changed(value: Json, path: readonly number[], to: Json | undefined): Json | undefined {
  const keys = typeof value === 'object' && value !== null ? Object.keys(value) : []
  const [at, ...rest] = path
  if (at === undefined || keys.length === 0) return to
  const key = keys[at % keys.length] ?? ''
  const copy = (Array.isArray(value) ? [...value] : { ...(value as object) }) as Record<string, Json | undefined>
  copy[key] = changed(copy[key] ?? null, rest, to)
  return copy as Json
}

const junk = fc.oneof(fc.jsonValue(), fc.constant(undefined), fc.constantFrom('\0', '\ud800', -1, 1e300, [], {}, [[]]))

describe('every dialect', () => {
  it.each(all)('[POL12] $name: a request is written as a body that reads back the same', ({ name, read }) => {
    const past = { turns: [], items: new Map([['msg_0', { type: 'message', role: 'assistant', content: 'stored' }]]) }
    const answer = read(whole[name], past)
    if (!answer.ok) throw new Error(answer.message)
    const { chat, fieldPaths } = answer.parsed
    expect(readChat(JSON.parse(chatBody(chat)))).toEqual({ ok: true, chat, warnings: [] })
    if (fieldPaths) expect(fieldPaths).toHaveLength(chat.messages.length)
  })

  it.each(all)(
    '[POL12] $name: any body is read or refused without throwing, and a body that was read can be sent to a worker',
    (surface) => {
      const body = fc.oneof(
        { weight: 1, arbitrary: fc.jsonValue() },
        {
          weight: 9,
          arbitrary: fc
            .tuple(fc.array(fc.nat({ max: 12 }), { minLength: 1, maxLength: 6 }), junk)
            .map(([path, to]) => changed(whole[surface.name] as Json, path, to as Json)),
        },
      )
      fc.assert(
        fc.property(body, (made) => {
          const value: unknown = JSON.parse(JSON.stringify(made) ?? 'null')
          surface.refers?.(value)
          const answer = surface.read(value, noPreviousTurns)
          if (!answer.ok) return answer.message !== ''
          const { chat } = answer.parsed
          const again = readChat(JSON.parse(chatBody(chat)))
          if (!again.ok) throw new Error(`a worker would refuse it: ${again.message}`)
          expect(again.chat).toEqual(chat)
          return true
        }),
        { numRuns: 500 },
      )
    },
  )

  it.each(all)('[POL16] $name: bad text is replaced, with a warning that names the message', (dialect) => {
    const [body, paths] = unsound[dialect.name]
    const read = dialect.read({ model: 'm', ...body }, noPreviousTurns)
    if (!read.ok) throw new Error(read.message)
    expect(JSON.stringify(read.parsed.chat)).not.toMatch(/\\u0000|\\ud800/)
    expect(read.parsed.warnings.map((warning) => warning.split(':')[0])).toEqual(paths)
  })
})
