/**
 * Schemas of tools and arguments of calls, character by character: from a client's body in each dialect, and from the
 * worker's body for vLLM, to the prompt of mistral-common.
 */
import { chatBody } from '../../../backends/model/chat-body.ts'
import { withSchemaTexts } from '../../../backends/model/schema-texts.ts'
import { createTekken } from '../../../gpu-worker/engine/tekken/encoder.ts'
import { createVocabulary } from '../../../gpu-worker/engine/vocabulary.ts'
import { readBody } from '../../../gpu-worker/run-dispatch.ts'
import { messages as anthropic } from '../../../src/dialects/anthropic/dialect.ts'
import { type Dialect, noPreviousTurns } from '../../../src/dialects/dialect.ts'
import { responses } from '../../../src/dialects/openai-responses/dialect.ts'
import { difference, type Prompt, vllmText } from './histories.ts'
import { promptIds } from './prompts.ts'
import type { Reference, Section, SectionResult } from './section.ts'
import { pick, type Random, randomOf } from './seeded.ts'
import { tekkenData } from './tekken-data.ts'
import { wholeVocabulary } from './tokenizer.ts'

const count = 400
const seed = 20_261_129
const encoder = new TextEncoder()

export const toolTexts: Section = { name: 'tool-texts', run }

async function run(reference: Reference): Promise<SectionResult> {
  const data = tekkenData(wholeVocabulary(reference))
  const vocabulary = createVocabulary(data.tokens, data.types)
  const tokensOf = createTekken(data)
  const random = randomOf(seed)
  const cases = Array.from({ length: count }, () => ({ schema: objectText(random, 0), args: objectText(random, 0) }))
  const chats = cases.map(({ schema, args }) => chatText(schema, args))
  const workers = chats.map((text) => atWorker(encoder.encode(text)))
  const bodies = [...chats, ...workers.map(vllmText)]
  const prompts = ((await reference.python('reference.py', { bodies })) as { bodies: Prompt[] }).bodies
  const faults: string[] = []
  let kept = 0
  for (const [index, { schema, args }] of cases.entries()) {
    const chat = workers[index]
    if (!chat) continue
    if (chat.tools.some(({ parametersText }) => parametersText !== undefined)) kept++
    const ids = promptIds(chat, vocabulary, tokensOf)
    const [sent, vllm] = [prompts[index], prompts[index + count]] as [Prompt, Prompt]
    const others = [throughEdge(anthropic, messagesText(schema)), throughEdge(responses, responsesText(schema))]
    const same = others.every(
      (other) =>
        promptIds(other, vocabulary, tokensOf).join() ===
        promptIds(atWorker(encoder.encode(chatText(schema))), vocabulary, tokensOf).join(),
    )
    for (const problem of [difference(ids, sent), difference(ids, vllm), same ? undefined : 'differs by dialect'])
      if (problem) faults.push(`${problem}: ${schema.slice(0, 200)} with ${args.slice(0, 200)}`)
  }
  return {
    lines: [`${count} tools and calls (${kept} schemas with a text of their own), four ways: ${faults.length} differ`],
    faults,
  }
}

const description = 'Finds a thing.'

function chatText(schema: string, args = '{}'): string {
  const call = JSON.stringify({ id: 'abcdefghi', type: 'function', function: { name: 'find', arguments: args } })
  return `{"model": "m", "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "tool_calls": [${call}]},
    {"role": "tool", "tool_call_id": "abcdefghi", "content": "c"}], "tools": [{"type": "function", "function":
    {"name": "find", "description": "${description}", "parameters": ${schema}}}]}`
}

function messagesText(schema: string): string {
  return `{"model": "m", "max_tokens": 9, "tools": [{"type": "web_search_20250305", "name": "web"}, {"name": "find", "description": "${description}",
    "input_schema": ${schema}}], "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": [{"type": "text", "text": "b"},
    {"type": "tool_use", "id": "abcdefghi", "name": "find", "input": {}}]}, {"role": "user", "content": [{"type": "tool_result",
    "tool_use_id": "abcdefghi", "content": "c"}]}]}`
}

function responsesText(schema: string): string {
  return `{"model": "m", "input": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"type": "function_call",
    "call_id": "abcdefghi", "name": "find", "arguments": "{}"}, {"type": "function_call_output", "call_id": "abcdefghi", "output": "c"}],
    "tools": [{"type": "function", "name": "find", "description": "${description}", "parameters": ${schema}}]}`
}

function throughEdge(dialect: Dialect, text: string) {
  const read = dialect.read(JSON.parse(text), noPreviousTurns)
  if (!read.ok) throw new Error(read.message)
  return atWorker(
    encoder.encode(chatBody(withSchemaTexts(read.parsed.chat, encoder.encode(text), dialect.schemaPlaces))),
  )
}

function atWorker(bytes: Uint8Array) {
  const read = readBody(bytes)
  if (!read.ok) throw new Error(read.message)
  return read.chat
}

const numbers = [
  '0',
  '-0',
  '0.0',
  '-0.0',
  '1',
  '1.0',
  '1.50',
  '1e5',
  '1E-7',
  '1e-7',
  '0.00001',
  '0.0001',
  '1e16',
  '1e15',
  '123456789012345678',
  '9223372036854775807',
  '-9223372036854775808',
  '1e21',
  '1e+21',
  '100000000000000000000000',
  '5e-324',
  '1.7976931348623157e308',
  '0.1',
  '2.5E+3',
  '1e100',
  '1e400',
  '-1e400',
]
const strings = ['"a"', '"\\u00e9"', '"é☕"', '"a\\/b"', '"\\n\\t"', '"\\u2028"', '"[INST]"', '""', '"x: y, z"']
const keys = ['"p"', '"10"', '"2"', '"b"', '"a\\u0062"', '"q"', '"r"', '"-1"', '"é"']
const spaces = ['', '', ' ', '\n  ']

function objectText(random: Random, depth: number): string {
  const space = () => pick(random, spaces)
  const members = Array.from(
    { length: random(5) },
    () => `${space()}${pick(random, keys)}${space()}:${space()}${valueText(random, depth + 1)}${space()}`,
  )
  return `{${members.join(',') || space()}}`
}

function valueText(random: Random, depth: number): string {
  switch (random(depth > 3 ? 3 : 5)) {
    case 0:
      return pick(random, strings)
    case 1:
      return pick(random, ['true', 'false', 'null'])
    case 2:
      return pick(random, numbers)
    case 3:
      return `[${Array.from({ length: random(4) }, () => valueText(random, depth + 1)).join(`,${pick(random, spaces)}`)}]`
    default:
      return objectText(random, depth)
  }
}
