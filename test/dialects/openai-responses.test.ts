/** OpenAI's Responses: reading a body, and writing an answer. */
import { describe, expect, it } from 'vitest'
import type { Chat } from '../../backends/model/chat.ts'
import type { AnswerEnd, AnswerPart } from '../../src/dialects/answer-events.ts'
import { sealThinking } from '../../src/dialects/carried-thinking.ts'
import { type DialectWriter, noPreviousTurns, type PreviousTurns } from '../../src/dialects/dialect.ts'
import { responses } from '../../src/dialects/openai-responses/dialect.ts'

const hello = { model: 'm', input: 'hi' }

function parsed(change: object, past: PreviousTurns = noPreviousTurns) {
  const read = responses.read({ ...hello, ...change }, past)
  if (!read.ok) throw new Error(read.message)
  return read.parsed
}
const chat = (change: object, past?: PreviousTurns): Chat => parsed(change, past).chat

function refusal(change: object, past: PreviousTurns = noPreviousTurns) {
  const read = responses.read({ ...hello, ...change }, past)
  if (read.ok) throw new Error('it was accepted')
  return read
}

const context = {
  requestId: 'req_1',
  now: () => 5_000,
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

const eventsOf = (text: string) =>
  text
    .split('\n\n')
    .filter((event) => event.startsWith('event: '))
    .map((event) => JSON.parse(/\ndata: (.*)$/.exec(event)?.[1] ?? ''))

const text = (text: string) => ({ kind: 'text', text })
const thinking = (text: string) => ({ kind: 'thinking', text, closed: true })
const assistant = { role: 'assistant', content: [], toolCalls: [], prefix: false }

describe('reading Responses', () => {
  it('[RSP1] reasoning, text and calls of a turn are one message, and outputs and later turns are separate messages', () => {
    const input = [
      { type: 'message', role: 'developer', content: [{ type: 'input_text', text: 'be brief' }] },
      { role: 'user', content: 'look' },
      { type: 'reasoning', id: 'rs_1', summary: [], content: [{ type: 'reasoning_text', text: 'hm' }] },
      { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'reading', annotations: [] }] },
      { type: 'function_call', call_id: 'c1', name: 'f', arguments: '{}' },
      { type: 'custom_tool_call', call_id: 'c2', name: 'patch', input: 'a"b' },
      { type: 'function_call_output', call_id: 'c1', output: 'one' },
      { type: 'custom_tool_call_output', call_id: 'c2', output: [{ type: 'input_text', text: 'two' }] },
      { type: 'reasoning', summary: [{ type: 'summary_text', text: 'so' }] },
      { type: 'message', role: 'assistant', content: 'done' },
      { type: 'reasoning', summary: [], encrypted_content: sealThinking('again') },
      { type: 'message', role: 'assistant', content: 'more' },
      { type: 'web_search_call', id: 'ws', status: 'completed' },
    ]
    const read = parsed({ input, instructions: 'help' })
    expect(read.chat.messages).toEqual([
      { role: 'system', content: [text('help')] },
      { role: 'system', content: [text('be brief')] },
      { role: 'user', content: [text('look')] },
      {
        ...assistant,
        content: [thinking('hm'), text('reading')],
        toolCalls: [
          { id: 'c1', name: 'f', arguments: '{}' },
          { id: 'c2', name: 'patch', arguments: '{"input":"a\\"b"}' },
        ],
      },
      { role: 'tool', toolCallId: 'c1', content: [text('one')] },
      { role: 'tool', toolCallId: 'c2', content: [text('two')] },
      { ...assistant, content: [thinking('so'), text('done')] },
      { ...assistant, content: [thinking('again'), text('more')] },
    ])
    expect(read.fieldPaths).toEqual(['instructions', ...[0, 1, 2, 6, 7, 8, 10].map((index) => `input[${index}]`)])
    expect(read.warnings).toEqual([expect.stringContaining('web_search_call')])
  })

  it('[RSP2] unsupported tools are removed with a warning, and a custom tool has one text argument', () => {
    const f = { type: 'function', name: 'f', parameters: { type: 'object' }, strict: false }
    const patch = {
      type: 'custom',
      name: 'patch',
      format: { type: 'grammar', syntax: 'lark', definition: 'start: "a"' },
    }
    const tools = [f, patch, { type: 'web_search' }, { type: 'namespace', name: 'n', tools: [f] }]
    const read = parsed({ tools })
    expect(read.chat.tools.map((tool) => tool.name)).toEqual(['f', 'patch'])
    expect(read.chat.tools[1]?.description).toContain('start: "a"')
    expect(read.warnings).toEqual([expect.stringContaining('tools')])
    const choice = (tool_choice: unknown) => chat({ tools, tool_choice })
    expect(choice({ type: 'custom', name: 'patch' }).toolChoice).toEqual({ kind: 'named', name: 'patch' })
    const allowed = choice({ type: 'allowed_tools', mode: 'required', tools: [{ type: 'function', name: 'f' }] })
    expect(allowed).toMatchObject({ toolChoice: { kind: 'required' }, tools: [{ name: 'f' }] })
    expect(refusal({ tools, tool_choice: { type: 'function', name: 'g' } }).param).toBe('tool_choice')
  })

  it('[RSP3] stored turns precede the new input, and an unknown reference is refused with its path', () => {
    const stored = {
      type: 'message',
      id: 'msg_1',
      role: 'assistant',
      content: [{ type: 'output_text', text: 'hello' }],
    }
    const before = { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'first' }] }
    const past: PreviousTurns = { turns: [{ input: [before], output: [stored] }], items: new Map([['msg_1', stored]]) }
    const messages = chat({ previous_response_id: 'resp_0' }, past).messages
    expect(messages).toEqual([
      { role: 'user', content: [text('first')] },
      { ...assistant, content: [text('hello')] },
      { role: 'user', content: [text('hi')] },
    ])
    const input = [before, { type: 'item_reference', id: 'msg_1' }, { role: 'user', content: 'hi' }]
    expect(chat({ input }, { ...past, turns: [] }).messages).toEqual(messages)
    expect(responses.refers?.({ ...hello, input, previous_response_id: 'resp_0' })).toEqual({
      previousId: 'resp_0',
      itemIds: ['msg_1'],
    })
    expect(responses.refers?.(hello)).toBeUndefined()
    expect(refusal({ input })).toMatchObject({ code: 'not_found', param: 'input[1].id' })
    expect(refusal({ previous_response_id: 'resp_0' }, { ...noPreviousTurns, turns: undefined })).toMatchObject({
      code: 'previous_response_not_found',
      param: 'previous_response_id',
    })
  })

  it('[RSP4] a field that needs an unsupported feature is refused with its path', () => {
    for (const [param, value] of [
      ['background', true],
      ['conversation', 'conv_1'],
      ['prompt', { id: 'p' }],
      ['top_logprobs', 5],
      ['reasoning.effort', undefined],
    ] as const) {
      const change = param === 'reasoning.effort' ? { reasoning: { effort: 'enormous' } } : { [param]: value }
      expect(refusal(change).param).toBe(param)
    }
    const picture = { type: 'input_image', image_url: 'data:image/png;base64,aaaa' }
    const file = { type: 'input_file', file_data: 'data:application/pdf;base64,JVBERi0xLjQ=' }
    const said = { type: 'input_text', text: 'hi' }
    for (const role of ['system', 'developer', 'assistant'])
      for (const part of [picture, file]) {
        const { param, message } = refusal({
          input: [
            { role: 'user', content: [part] },
            { role, content: [said, part] },
          ],
        })
        expect(param).toBe('input[1].content[1]')
        expect(message).toMatch(/messages hold only text\. Send the (image|document) in a user message\.$/)
      }
    const image = { type: 'input_image', file_id: 'file_1' }
    expect(refusal({ input: [{ role: 'user', content: [image] }] }).param).toBe('input[0].content[0].file_id')
    expect(refusal({ input: [] }).param).toBe('input')
  })
})

describe('writing Responses', () => {
  const parts: AnswerPart[] = [
    { kind: 'text', channel: 'reasoning', text: 'h' },
    { kind: 'text', channel: 'reasoning', text: 'm' },
    { kind: 'beat' },
    { kind: 'text', channel: 'content', text: 'ab' },
    { kind: 'call', id: 'abcdefghi', name: 'f', arguments: '{"x":1}' },
  ]
  const played = (made: DialectWriter) => made.open(70) + parts.map((part) => made.part(part)).join('')

  it('[RSP5] items are added, filled and done in numbered order, and the end holds the streamed items', () => {
    const made = writer({ store: false })
    const events = eventsOf(played(made) + made.close(end, false))
    expect(events.map((event) => event.sequence_number)).toEqual(events.map((_, index) => index))
    expect(events.map((event) => [event.type.replace('response.', ''), event.output_index])).toEqual([
      ['created', undefined],
      ['in_progress', undefined],
      ['output_item.added', 0],
      ['content_part.added', 0],
      ['reasoning_text.delta', 0],
      ['reasoning_text.delta', 0],
      ['reasoning_text.done', 0],
      ['content_part.done', 0],
      ['output_item.done', 0],
      ['output_item.added', 1],
      ['content_part.added', 1],
      ['output_text.delta', 1],
      ['output_text.done', 1],
      ['content_part.done', 1],
      ['output_item.done', 1],
      ['output_item.added', 2],
      ['function_call_arguments.delta', 2],
      ['function_call_arguments.done', 2],
      ['output_item.done', 2],
      ['completed', undefined],
    ])
    const { response } = events.at(-1)
    const done = events.filter((event) => event.type === 'response.output_item.done').map((event) => event.item)
    expect(response.output).toEqual(done)
    expect(response).toMatchObject({ id: 'resp_1', status: 'completed', created_at: 5, completed_at: 5, store: false })
    expect(response).not.toHaveProperty('user')
    expect(response.usage).toMatchObject({
      input_tokens: 70,
      input_tokens_details: { cached_tokens: 20, cache_write_tokens: 0 },
      output_tokens: 15,
    })
    expect(new Set(done.map((item) => item.id)).size).toBe(3)
    // The served effort is lower than the prepared one.
    const lowered = writer({ store: false })
    const less = { ...end, effort: { asked: 'max', effective: 'none' } } as const
    expect(lowered.whole(less, false)).toMatchObject({
      reasoning: { effort: 'none' },
      usage: { reasoning_effort: 'none' },
    })
    const whole = writer({ store: false })
    played(whole)
    expect(whole.whole(end, false)).toEqual(response)
  })

  it('[RSP6] an answer that reaches its token limit is incomplete, with the reason', () => {
    const made = writer()
    played(made)
    made.part({ kind: 'text', channel: 'content', text: 'more' })
    const cut = made.whole({ ...end, finishReason: 'length' }, false) as { output: { status: string }[] }
    expect(cut).toMatchObject({
      status: 'incomplete',
      completed_at: null,
      incomplete_details: { reason: 'max_output_tokens' },
    })
    expect(cut.output.map((item) => item.status)).toEqual(['completed', 'completed', 'completed', 'incomplete'])
  })

  it('[CUT2] a call that the token limit cut off has the status `incomplete` and its arguments so far', () => {
    const made = writer()
    const stream = made.open(1) + made.part({ kind: 'call', id: 'abcdefghi', name: 'f', arguments: '{"a":"b' })
    expect(stream).toContain('"delta":"{\\"a\\":\\"b"')
    expect(made.whole({ ...end, finishReason: 'length' }, false)).toMatchObject({
      status: 'incomplete',
      output: [{ type: 'function_call', status: 'incomplete', arguments: '{"a":"b' }],
    })
  })

  it('[RSP7] a failure is one numbered event with its code, after response.created', () => {
    const failure = { code: 'server_is_overloaded', message: 'full', param: null, requestId: 'req_1' } as const
    const early = eventsOf(writer().fail(failure))
    expect(early.map((event) => event.type)).toEqual(['response.created', 'response.in_progress', 'response.failed'])
    const made = writer()
    const before = eventsOf(played(made))
    expect(eventsOf(made.fail(failure))).toMatchObject([
      {
        type: 'response.failed',
        sequence_number: before.length,
        response: { status: 'failed', error: { code: 'server_is_overloaded', message: 'full' } },
      },
    ])
  })

  it('[RSP8] the stored response equals the returned one with its input; `store: false` stores nothing', () => {
    const made = writer({ metadata: { a: 'b' }, previous_response_id: 'resp_0' })
    played(made)
    made.part({ kind: 'text', channel: 'content', text: 'last' })
    const stored = made.toStore?.(end)
    expect(stored).toMatchObject({
      responseId: 'resp_1',
      previousId: 'resp_0',
      input: [{ type: 'message', role: 'user', content: [{ type: 'input_text', text: 'hi' }] }],
    })
    const closing = eventsOf(made.close(end, true))
    expect(closing.at(-1).response).toEqual(stored?.body)
    // Storing closes the last item; the stream still gets the events of that.
    expect(closing.slice(0, -1).map((event) => event.type)).toEqual([
      'response.output_text.done',
      'response.content_part.done',
      'response.output_item.done',
    ])
    expect(stored?.body).toMatchObject({ store: true, metadata: { a: 'b' }, output: stored?.output })
    expect(writer({ store: false }).toStore).toBeUndefined()
  })

  it('[RSP9] a call of a custom tool has its text as input', () => {
    const made = writer({ tools: [{ type: 'custom', name: 'f' }] })
    const call = { kind: 'call', id: 'abcdefghi', name: 'f', arguments: '{"input":"a\\nb"}' } as const
    const events = eventsOf(made.open(1) + made.part(call))
    expect(events.at(-1).item).toMatchObject({ type: 'custom_tool_call', call_id: 'call_abcdefghi', input: 'a\nb' })
    expect(events.map((event) => event.type)).toContain('response.custom_tool_call_input.delta')
  })
})
