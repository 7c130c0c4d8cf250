/** Mistral's dialect: reading its fields, and writing its chunks. */
import { describe, expect, it } from 'vitest'
import type { AnswerEnd, AnswerPart } from '../../src/dialects/answer-events.ts'
import { type DialectWriter, noPreviousTurns } from '../../src/dialects/dialect.ts'
import { mistral } from '../../src/dialects/mistral/dialect.ts'

const hello = { model: 'm', messages: [{ role: 'user', content: 'hi' }] }

function parsed(change: object) {
  const read = mistral.read({ ...hello, ...change }, noPreviousTurns)
  if (!read.ok) throw new Error(read.message)
  return read.parsed
}

function writer(): DialectWriter {
  const effort = { asked: 'max', effective: 'high' } as const
  const made = parsed({}).writer?.({ requestId: 'req_1', now: () => 5_000, model: 'm', effort, promptTokens: 9 })
  if (!made) throw new Error('no writer')
  return made
}

const end: AnswerEnd = {
  kind: 'end',
  finishReason: 'tool_calls',
  stop: undefined,
  promptTokens: 70,
  cachedTokens: 20,
  outputTokens: 15,
  reasoningTokens: 6,
  effort: { asked: 'max', effective: 'high' },
  costNano: 5_160,
}
const parts: AnswerPart[] = [
  { kind: 'text', channel: 'reasoning', text: 'hm' },
  { kind: 'text', channel: 'content', text: 'a' },
  { kind: 'call', id: 'abcdefghi', name: 'f', arguments: '{}' },
  { kind: 'call', id: 'bbcdefghi', name: 'g', arguments: '{}' },
]

describe('Mistral’s dialect', () => {
  it('[MIS1] seed, prompt mode, safe prompt and results without a call id are read', () => {
    expect(parsed({ random_seed: 7 }).chat.seed).toBe(7)
    expect(parsed({ prompt_mode: 'reasoning' }).chat.effort).toBe('high')
    expect(parsed({ prompt_mode: 'reasoning', reasoning_effort: 'none' }).chat.effort).toBe('none')
    const safe = parsed({ safe_prompt: true })
    expect(safe.chat.messages[0]).toMatchObject({
      role: 'system',
      content: [{ text: expect.stringContaining('respect') }],
    })
    expect(safe.fieldPaths).toEqual(['safe_prompt', 'messages[0].content'])
    const call = { id: 'c', function: { name: 'f', arguments: { a: 1 } } }
    const messages = [
      ...hello.messages,
      { role: 'assistant', tool_calls: [call] },
      { role: 'tool', name: 'f', content: 'x' },
    ]
    expect(parsed({ messages }).chat.messages.slice(1)).toMatchObject([
      { toolCalls: [{ arguments: '{"a":1}' }] },
      { role: 'tool', toolCallId: '' },
    ])
    expect(parsed({ guardrails: [{}], prediction: { type: 'content', content: '' } }).warnings).toHaveLength(2)
  })

  it('[MIS5] chunks that the SDK’s types allow are read, and references and thinking of others add a warning', () => {
    const thinking = {
      type: 'thinking',
      thinking: [
        { type: 'text', text: 'hm' },
        { type: 'reference', reference_ids: [1] },
        { type: 'tool_reference', tool: 'web_search', title: 't' },
      ],
      closed: true,
    }
    const text = { type: 'text', text: 'so' }
    const reference = { type: 'reference', reference_ids: [1, 2] }
    const { chat, warnings } = parsed({
      messages: [
        { role: 'system', content: [text, thinking] },
        { role: 'user', content: [thinking, text] },
        {
          role: 'assistant',
          content: [thinking, text, reference],
          tool_calls: [
            { function: { name: 'f', arguments: '{}' } },
            { id: 'null', function: { name: 'g', arguments: {} } },
          ],
        },
        { role: 'tool', name: 'f', content: [text, reference] },
      ],
    })
    const said = (index: number) => JSON.stringify(chat.messages[index]?.content)
    for (const index of [0, 1, 2]) expect(said(index)).toContain('hm')
    expect(chat.messages[2]).toMatchObject({
      toolCalls: [
        { id: '', name: 'f' },
        { id: '', name: 'g' },
      ],
    })
    const fields = warnings.map((warning) => warning.split(':')[0])
    expect(fields).toContain('messages[0].content[1].thinking')
    expect(fields).toContain('messages[2].content[2].reference_ids')
    expect(fields).not.toContain('messages[2].content[0].thinking')
  })

  it('[MIS2] an invalid field is refused under its Mistral name', () => {
    const refused = (change: object) => mistral.read({ ...hello, ...change }, noPreviousTurns)
    expect(refused({ random_seed: 'x' })).toMatchObject({ ok: false, param: 'random_seed' })
    expect(refused({ prompt_mode: 'deep' })).toMatchObject({ ok: false, param: 'prompt_mode' })
    expect(refused({ messages: [{ role: 'user', content: 5 }] })).toMatchObject({
      ok: false,
      param: 'messages[0].content',
    })
    expect(mistral.read(null, noPreviousTurns)).toMatchObject({ ok: false })
  })

  it('[MIS3] reasoning is in content chunks, text is a string, a call is complete, and usage is in the final chunk', () => {
    const made = writer()
    const chunks = (made.open(1) + parts.map((part) => made.part(part)).join('') + made.close(end, false))
      .split('\n\n')
      .filter((event) => event.startsWith('data: {'))
      .map((event) => JSON.parse(event.slice(6)))
    expect(chunks.map((chunk) => chunk.choices[0].delta.content)).toEqual([
      '',
      [{ type: 'thinking', thinking: [{ type: 'text', text: 'hm' }] }],
      'a',
      '',
      '',
      '',
    ])
    const calls = chunks.flatMap((chunk) => chunk.choices[0].delta.tool_calls ?? [])
    expect(calls).toMatchObject([
      { index: 0, id: 'abcdefghi', function: { name: 'f', arguments: '{}' } },
      { index: 1, id: 'bbcdefghi', function: { name: 'g' } },
    ])
    expect(chunks.filter((chunk) => 'usage' in chunk)).toEqual([chunks.at(-1)])
    expect(chunks.at(-1)).toMatchObject({ choices: [{ finish_reason: 'tool_calls' }], usage: { total_tokens: 85 } })
    expect(chunks.every((chunk) => 'finish_reason' in chunk.choices[0])).toBe(true)
  })

  it('[MIS4] a non-streaming answer is a string without reasoning, and closed chunks with it', () => {
    const plain = writer()
    plain.part({ kind: 'text', channel: 'content', text: 'a' })
    expect(plain.whole({ ...end, finishReason: 'stop' }, false)).toMatchObject({
      choices: [{ message: { role: 'assistant', content: 'a' }, finish_reason: 'stop' }],
    })
    const thought = writer()
    for (const part of parts) thought.part(part)
    expect(thought.whole(end, false)).toMatchObject({
      choices: [
        {
          message: {
            content: [
              { type: 'thinking', thinking: [{ type: 'text', text: 'hm' }], closed: true },
              { type: 'text', text: 'a' },
            ],
            tool_calls: [{ id: 'abcdefghi' }, { id: 'bbcdefghi' }],
          },
        },
      ],
    })
  })
})
