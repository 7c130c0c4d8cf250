/** Everything that the writers of the dialects write is in the documented schemas, and these describe nothing else. */
import { createParser } from 'eventsource-parser'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { chunkWriter, completion } from '../../backends/model/chunk.ts'
import type { AnswerEnd, AnswerPart } from '../../src/dialects/answer-events.ts'
import { Message, MessageEvent } from '../../src/dialects/anthropic/answer.ts'
import { messagesWriter } from '../../src/dialects/anthropic/write.ts'
import type { DialectWriter, EncoderContext } from '../../src/dialects/dialect.ts'
import { MistralChatCompletion, MistralChatCompletionEvent } from '../../src/dialects/mistral/answer.ts'
import { mistralWriter } from '../../src/dialects/mistral/write.ts'
import { ChatCompletion, ChatCompletionEvent } from '../../src/dialects/openai-chat/answer.ts'
import { openaiErrors } from '../../src/dialects/openai-chat/errors.ts'
import { functionCallWriter } from '../../src/dialects/openai-chat/function-call-writer.ts'
import { ResponseAnswer, ResponseEvent } from '../../src/dialects/openai-responses/answer.ts'
import { Body } from '../../src/dialects/openai-responses/body.ts'
import { responsesWriter } from '../../src/dialects/openai-responses/write.ts'

const effort = { asked: 'low', effective: 'none' } as const
const context: EncoderContext = {
  ...{ requestId: `req_${'a'.repeat(32)}`, now: () => 5_000, model: 'm', promptTokens: 3 },
  effort,
}
const ended: AnswerEnd = {
  ...{ kind: 'end', finishReason: 'stop', stop: undefined, effort },
  ...{ promptTokens: 3, cachedTokens: 1, outputTokens: 5, reasoningTokens: 2, costNano: 3_300 },
}
const ends: AnswerEnd[] = [
  ended,
  { ...ended, stop: 'x' },
  { ...ended, finishReason: 'length', effort: { asked: undefined, effective: 'high' } },
  { ...ended, finishReason: 'tool_calls' },
]
const call = { kind: 'call', id: 'abcdefghi', name: 'f', arguments: '{"input":"a"}' } as const
const parts: AnswerPart[][] = [
  [
    { kind: 'beat' },
    { kind: 'text', channel: 'reasoning', text: 'r' },
    { kind: 'text', channel: 'content', text: 'c' },
  ],
  [{ kind: 'text', channel: 'content', text: 'c' }, call, { ...call, name: 'g' }],
  [{ ...call, arguments: '{"input":"a' }],
  [{ ...call, name: 'g', arguments: '{"input":"a' }],
  [],
]
const failure = { code: 'worker_lost', message: 'm', param: null, requestId: context.requestId } as const

const body = {
  ...{
    model: 'm',
    input: 'i',
    user: 'u',
    metadata: { a: 'b' },
    instructions: 'n',
    max_output_tokens: 5,
    max_tool_calls: 1,
  },
  ...{ prompt_cache_key: 'k', safety_identifier: 's', previous_response_id: 'resp_1', temperature: 1, top_p: 0.5 },
  tools: [
    { type: 'function', name: 'f', parameters: { type: 'object' } },
    { type: 'custom', name: 'g', format: { type: 'grammar', syntax: 'lark', definition: 'd' } },
    { type: 'custom', name: 'h' },
    { type: 'web_search' },
  ],
}
const bodies = [
  { model: 'm', input: 'i' },
  { ...body, tool_choice: { type: 'function', name: 'f' }, reasoning: { effort: 'high', summary: 'auto' } },
  { ...body, tool_choice: { type: 'allowed_tools', mode: 'auto', tools: [{ type: 'custom', name: 'g' }] } },
  { ...body, include: ['reasoning.encrypted_content'], text: { format: { type: 'json_object' }, verbosity: 'low' } },
  { ...body, text: { format: { type: 'json_schema', name: 'n', schema: {} } }, reasoning: { summary: 'none' } },
].map((each) => Body.parse(each))

/** The data of every event, and every whole answer, that a writer makes of the parts and ends above. */
function written(make: () => DialectWriter): { events: unknown[]; answers: unknown[] } {
  const answers: unknown[] = []
  let text = ''
  for (const own of parts)
    for (const end of ends) {
      const stream = make()
      text += stream.open(3) + own.map((part) => stream.part(part)).join('') + stream.close(end, true)
      const whole = make()
      for (const part of own) whole.part(part)
      answers.push(whole.whole(end, false))
    }
  const lost = make()
  text += lost.open(undefined) + lost.fail(failure) + make().fail(failure)
  return { events: eventsOf(text), answers }
}

function eventsOf(text: string): unknown[] {
  const events: unknown[] = []
  createParser({ onEvent: ({ data }) => void (data === '[DONE]' || events.push(JSON.parse(data))) }).feed(text)
  return events
}

/** What the workers write for Chat Completions, which passes unchanged. */
function chat(): { events: unknown[]; answers: unknown[] } {
  const head = {
    id: 'chatcmpl-a',
    created: 5,
    model: 'm',
    effort,
    rates: { inputNano: 150, cachedNano: 15, outputNano: 600 },
  }
  const answers: unknown[] = []
  let text = openaiErrors.event(failure)
  for (const own of parts)
    for (const { finishReason, stop, costNano: _, ...counts } of ends)
      for (const includeUsage of [true, false]) {
        const chunks = chunkWriter(head, includeUsage)
        text += chunks.role()
        for (const part of own) {
          if (part.kind === 'text') text += chunks.text(part.channel, part.text)
          if (part.kind === 'call') text += chunks.call(part)
        }
        text += chunks.end(finishReason, counts, stop)
        const said = (channel: string) =>
          own.map((part) => (part.kind === 'text' && part.channel === channel ? part.text : '')).join('')
        const calls = own.filter((part) => part.kind === 'call')
        const answer = { content: said('content'), reasoning: said('reasoning'), calls, finishReason, stop, counts }
        answers.push(JSON.parse(completion(head, answer)))
      }
  return { events: eventsOf(text), answers }
}

/** With the answers to `functions`, which the gateway writes. */
function bothForms(own: ReturnType<typeof chat>): ReturnType<typeof chat> {
  const older = [true, false].map((includeUsage) => written(() => functionCallWriter(context, includeUsage)))
  return {
    events: [...own.events, ...older.flatMap(({ events }) => events)],
    answers: [...own.answers, ...older.flatMap(({ answers }) => answers)],
  }
}

const cases: [string, { events: unknown[]; answers: unknown[] }, z.ZodType, z.ZodType][] = [
  ['chat completions', bothForms(chat()), ChatCompletion, ChatCompletionEvent],
  ['Mistral’s', written(() => mistralWriter(context)), MistralChatCompletion, MistralChatCompletionEvent],
  ...[true, false].map((shown): (typeof cases)[0] => [
    `messages, thinking ${shown ? 'shown' : 'omitted'}`,
    written(() => messagesWriter(context, shown)),
    Message,
    MessageEvent,
  ]),
  ...bodies.map((wire, index): (typeof cases)[0] => [
    `responses ${index}`,
    written(() => responsesWriter(wire, [], context)),
    ResponseAnswer,
    ResponseEvent,
  ]),
]

interface Documented {
  $ref?: string
  anyOf?: unknown[]
  oneOf?: unknown[]
  properties?: { type?: { const?: string } }
}

/** The values of `type` that the schema of an event allows. */
function typesOf(schema: z.ZodType): string[] {
  const { $defs = {}, ...rest } = z.toJSONSchema(schema) as { $defs?: Record<string, unknown> }
  const top = (each: unknown): string[] => {
    const { $ref, anyOf, oneOf, properties } = each as Documented
    if ($ref) return top($defs[$ref.slice('#/$defs/'.length)])
    const alternatives = anyOf ?? oneOf
    if (alternatives) return alternatives.flatMap(top)
    return properties?.type?.const ? [properties.type.const] : []
  }
  return [...new Set(top(rest))].sort()
}

describe('the documented answers of the dialects', () => {
  it.each(cases)(
    '[REF13] every answer and event that is written is documented with all of its fields: %s',
    (_, made, Answer, Event) => {
      expect(made.answers.length).toBeGreaterThan(10)
      for (const [schema, values] of [
        [Answer, made.answers],
        [Event, made.events],
      ] as const) {
        // As a client reads the document, not as zod does: the schema of the document is closed.
        const documented = z.fromJSONSchema(z.toJSONSchema(schema, { io: 'output' }) as never)
        for (const value of values)
          expect(documented.safeParse(JSON.parse(JSON.stringify(value))).error, JSON.stringify(value)).toBeUndefined()
      }
    },
  )

  it('[REF14] every documented event of Messages and Responses is written by some answer', () => {
    for (const Event of [MessageEvent, ResponseEvent]) {
      const seen = cases.filter(([, , , each]) => each === Event).flatMap(([, { events }]) => events)
      const types = [...new Set(seen.flatMap((event) => (event as { type?: string }).type ?? []))].filter(
        (type) => type !== 'server_error',
      )
      expect(types.sort()).toEqual(typesOf(Event))
    }
  })
})
