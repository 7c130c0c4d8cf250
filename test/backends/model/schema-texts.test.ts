import { describe, expect, it } from 'vitest'
import { capabilities } from '../../../backends/contract/backend.ts'
import { vllm } from '../../../backends/engines/vllm.ts'
import { budgets } from '../../../backends/model/budgets.ts'
import { chatBody } from '../../../backends/model/chat-body.ts'
import { chatSchemaPlaces, withSchemaTexts } from '../../../backends/model/schema-texts.ts'
import { renderPrompt } from '../../../gpu-worker/engine/template.ts'
import { readBody } from '../../../gpu-worker/run-dispatch.ts'
import { chatBytes } from '../../../src/chat/chat-bytes.ts'
import { messages } from '../../../src/dialects/anthropic/dialect.ts'
import { type Dialect, noPreviousTurns } from '../../../src/dialects/dialect.ts'
import { mistral } from '../../../src/dialects/mistral/dialect.ts'
import { chatCompletions } from '../../../src/dialects/openai-chat/dialect.ts'
import { responses } from '../../../src/dialects/openai-responses/dialect.ts'
import { textOf } from '../../gpu-worker/engine/prompt.ts'

const schema = '{"b": 1.0,\n "2": [1e-7, -0.0, 0.00001, 1e16], "1": 9223372036854775807, "b\\u0063": "\\u00e9\\/" }'
const printed = '{"b": 1.0, "2": [1e-07, -0.0, 1e-05, 1e+16], "1": 9223372036854775807, "bc": "é/"}'

/** A body of each dialect, with a schema as text after a tool of another kind. */
const bodies: [Dialect, (schema: string) => string][] = [
  [chatCompletions, chatText],
  [
    chatCompletions,
    (text) =>
      `{"model":"m","functions":[{"name":"g","parameters":{"a":1}},{"parameters":${text},"name":"f"}],"messages":[{"role":"user","content":"a"}]}`,
  ],
  [mistral, chatText],
  [
    messages,
    (text) =>
      `{"model":"m","max_tokens":1,"tools":[{"type":"web_search","name":"f"},{"input_schema":{"a":[]}, "input_schema":${text},"name":"f"}],"messages":[{"role":"user","content":"a"}]}`,
  ],
  [
    responses,
    (text) =>
      `{"model":"m","tools":[{"type":"custom","name":"c"},{"type":"function","name":"f","parameters":${text}}],"input":"a"}`,
  ],
]

/** A body of each form of a format, with a schema as text. */
const formats: [Dialect, (schema: string) => string][] = [
  ...[chatCompletions, mistral].map((dialect): [Dialect, (schema: string) => string] => [
    dialect,
    (text) =>
      `{"model":"m","messages":[{"role":"user","content":"a"}],"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":${text}}}}`,
  ]),
  [
    chatCompletions,
    (text) =>
      `{"model":"m","messages":[{"role":"user","content":"a"}],"response_format":{"type":"json_object","schema":${text}}}`,
  ],
  [
    messages,
    (text) =>
      `{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"a"}],"output_config":{"format":{"type":"json_schema","schema":${text}}}}`,
  ],
  [
    messages,
    (text) =>
      `{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"a"}],"output_format":{"type":"json_schema","schema":${text}}}`,
  ],
  [
    responses,
    (text) => `{"model":"m","input":"a","text":{"format":{"type":"json_schema","name":"n","schema":${text}}}}`,
  ],
]

function chatText(text: string): string {
  const other = '{"type":"function","function":{"name":"g","description":"]}\\"","parameters":{"a":1}}}'
  return ` {"tools" : 1, "model":"m","t\\u006fols": [ {"type":"x","name":"f"}, ${other}, {"type":"function","function":{"name":"f","parameters" : ${text}}}],"messages":[{"role":"user","content":"\\"tools\\":[{"}]} `
}

const formatCases = formats.map(([dialect, body], index) => [index, dialect.name, dialect, body] as const)

const encoder = new TextEncoder()

function readAtEdge(dialect: Dialect, text: string) {
  const read = dialect.read(JSON.parse(text), noPreviousTurns)
  if (!read.ok) throw new Error(read.message)
  return withSchemaTexts(read.parsed.chat, encoder.encode(text), dialect.schemaPlaces)
}

function prompt(bytes: Uint8Array): string {
  const read = readBody(bytes)
  if (!read.ok) throw new Error(read.message)
  const rendered = renderPrompt(read.chat, 'none')
  if (!rendered.ok) throw new Error(rendered.message)
  return textOf(rendered.segments)
}

describe('schemas of tools', () => {
  it.each(bodies.map(([dialect, body]) => [dialect.name, dialect, body] as const))(
    '[SHP14] %s: a schema reaches the prompt and the engine’s body with its numbers and the order of its keys',
    (_, dialect, body) => {
      const chat = readAtEdge(dialect, body(schema))
      const small = encoder.encode(chatBody(chat))
      expect(prompt(small)).toContain(`"parameters": ${printed}}`)
      const large = new TextDecoder().decode(chatBytes(chat, 1e6, 'mark', true))
      expect(JSON.parse(large)).toEqual(JSON.parse(chatBody(chat)))
      expect(prompt(encoder.encode(large))).toBe(prompt(small))
      const terms = { requestId: 'r', effort: 'none', outputTokensMax: 1, priority: 5, cacheSalt: '' } as const
      const attached = {
        version: '1',
        model: 'm',
        contextTokens: 9,
        slotsMax: 1,
        capabilities: capabilities(vllm.capabilities),
        faults: [],
      }
      const request = vllm.request(chat, terms, attached)
      if (!request.ok) throw new Error(request.message)
      const written = '"parameters":{"b":1.0,"2":[1e-7,-0.0,0.00001,1e16],"1":9223372036854775807,"bc":"é/"}'
      expect(request.call.body).toContain(written)
      const count = vllm.count?.(chat, terms, attached)
      expect(count?.calls[0]?.body).toContain(written)
      expect(JSON.stringify(request.call.body) + count?.calls[0]?.body).not.toContain('parametersText')
    },
  )

  it.each(formatCases)(
    '[SHP19] form %i, %s: the schema of the answer reaches the worker with its numbers and the order of its keys, and no engine gets a rounded number',
    (_, __, dialect, body) => {
      const text =
        '{"type": "object", "properties": {"b": {"multipleOf": 1.0},\n "2": {"maximum": 9223372036854775807}}}'
      const written =
        '"schema":{"type":"object","properties":{"b":{"multipleOf":1.0},"2":{"maximum":9223372036854775807}}}'
      const chat = readAtEdge(dialect, body(text))
      const large = new TextDecoder().decode(chatBytes(chat, 1e6, 'mark', true))
      expect(JSON.parse(large)).toEqual(JSON.parse(chatBody(chat)))
      for (const sent of [chatBody(chat), large]) {
        expect(sent).toContain(written)
        const read = readBody(encoder.encode(sent))
        if (!read.ok) throw new Error(read.message)
        const terms = { requestId: 'r', effort: 'none', outputTokensMax: 1, priority: 5, cacheSalt: '' } as const
        const { capabilities } = vllm
        const attached = { version: '1', model: 'm', contextTokens: 9, slotsMax: 1, capabilities, faults: [] }
        const request = vllm.request(read.chat, terms, attached)
        if (!request.ok) throw new Error(request.message)
        expect(request.call.body).not.toMatch(/922337203685477\d+/)
        expect(request.call.body).not.toContain('schemaText')
      }
      // An engine that compiles the whole schema gets the client's text.
      const whole = readAtEdge(dialect, body('{"type": "object", "properties": {"b": {"const": 1.0}, "2": {}}}'))
      const terms = { requestId: 'r', effort: 'none', outputTokensMax: 1, priority: 5, cacheSalt: '' } as const
      const { capabilities } = vllm
      const attached = { version: '1', model: 'm', contextTokens: 9, slotsMax: 1, capabilities, faults: [] }
      const request = vllm.request(whole, terms, attached)
      expect(request).toMatchObject({
        ok: true,
        call: { body: expect.stringContaining('"properties":{"b":{"const":1.0},"2":{}}') },
      })
      const plain = readAtEdge(dialect, body('{"type": "object"}'))
      expect(plain.format).not.toHaveProperty('schemaText')
    },
  )

  it('[SHP14] a schema that prints as it was written needs no text, and neither do schemas that fit no prompt', () => {
    const plain = '{"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}}'
    for (const [dialect, body] of bodies) {
      const chat = readAtEdge(dialect, body(plain))
      expect(chat.tools.map(({ parametersText }) => parametersText)).toEqual(chat.tools.map(() => undefined))
    }
    const long = readAtEdge(chatCompletions, chatText(`{"a": 1.0, "b": "${'x'.repeat(budgets.toolBytes.value)}"}`))
    expect(long.tools[1]?.parametersText).toBeUndefined()
  })

  it('[SHP14] a tool without a schema has an empty one, and its calls take no arguments', () => {
    const body =
      '{"model":"m","messages":[{"role":"user","content":"a"}],"tools":[{"type":"function","function":{"name":"f"}}]}'
    expect(prompt(encoder.encode(body))).toContain('{"name": "f", "description": "", "parameters": {}}')
  })

  it('[SHP15] finding the schemas takes time in proportion to the body', () => {
    const tools = (count: number) =>
      `[${Array.from({ length: count }, () => '{"type":"function","function":{"name":"f","parameters":{"a":1.0}}}').join(',')}]`
    const shapes: ((count: number) => string)[] = [
      (count) => `{"a":"${'\\\\'.repeat(count * 20)}","tools":[]}`,
      (count) => `{"a":${'['.repeat(count * 20)}${']'.repeat(count * 20)},"tools":[]}`,
      (count) => `{${'"a":1,'.repeat(count * 8)}"tools":[]}`,
      (count) => `{"tools":${tools(count)}}`,
    ]
    const tool = { name: 'f', description: '', parameters: { a: 1 }, strict: false }
    for (const shape of shapes) {
      const time = (count: number) => {
        const bytes = encoder.encode(shape(count))
        const chat = {
          ...readAtEdge(chatCompletions, chatText('{}')),
          tools: Array.from({ length: count }, () => tool),
        }
        const tries = Array.from({ length: 3 }, () => {
          const before = performance.now()
          withSchemaTexts(chat, bytes, chatSchemaPlaces)
          return performance.now() - before
        })
        return Math.min(...tries)
      }
      const [small, large] = [time(1_000), time(32_000)]
      expect(large).toBeLessThan(Math.max(small * 200, 1_200))
    }
  })
})
