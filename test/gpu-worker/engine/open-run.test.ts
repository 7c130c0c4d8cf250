import { describe, expect, it } from 'vitest'
import { noClientNames } from '../../../backends/contract/tool-names.ts'
import { type EngineEvent, EngineRefused } from '../../../gpu-worker/engine/engine.ts'
import type { EndReason, Rules } from '../../../gpu-worker/engine/messages.ts'
import { createOpenRun } from '../../../gpu-worker/engine/open-run.ts'
import { runRefusal } from '../../../gpu-worker/engine/run-refusal.ts'
import { controlNames, createVocabulary } from '../../../gpu-worker/engine/vocabulary.ts'
import { chatOf } from './prompt.ts'

const tokens = [...controlNames, 'a']
const vocabulary = createVocabulary(
  tokens,
  tokens.map((name) => (name === 'a' ? 1 : 3)),
)
const grammar = { text: 'root ::= object', ends: true, stacks: 14 }
const plain: Rules = {
  endIds: [1],
  bannedIds: [],
  thinkId: 2,
  thinkEndId: 3,
  callId: null,
  argsId: 33,
  again: null,
  mayThink: false,
  inThinking: false,
  content: null,
  call: null,
}
const tools = [{ type: 'function', function: { name: 'f' } }]

async function end(reason: EndReason, sampled: number, rules: Rules, body: Record<string, unknown> = {}) {
  const run = createOpenRun({
    answer: { vocabulary, stop: [], tools: [], clientNames: noClientNames, inThinking: false },
    promptTokens: 3,
    askToStop: () => undefined,
    refusalOf: (why) => runRefusal(why, chatOf(body), rules),
  })
  run.prefilled(3)
  for (let index = 0; index < sampled; index++) run.sampled(tokens.length - 1)
  run.over(reason)
  const events: EngineEvent[] = []
  const error = await (async () => {
    for await (const event of run.events) events.push(event)
  })().catch((cause: unknown) => cause)
  return { error, events, counts: run.counts }
}

describe('a run that fails because of its own grammar or sampling values', () => {
  it('[EGS25] the run is refused with the field at fault, and never as a failure of the engine', async () => {
    const cases: [EndReason, Rules, Record<string, unknown>, RegExp][] = [
      ['failed', plain, {}, /^temperature: no token can be sampled .* Use 0, or 0\.1 or more\.$/],
      [
        'failed',
        { ...plain, content: grammar },
        {},
        /^response_format: no token matches the grammar of this request\./,
      ],
      ['failed', { ...plain, content: grammar }, { tools, tool_choice: 'required' }, /^tools: no token matches/],
      ['failed', { ...plain, call: grammar }, { tools }, /^tools: no token matches/],
      ['costly', { ...plain, content: grammar }, {}, /^response_format: .* takes too long .* Use a simpler schema\.$/],
    ]
    for (const [reason, rules, body, message] of cases) {
      const { error } = await end(reason, 0, rules, body)
      expect(error).toBeInstanceOf(EngineRefused)
      expect(error).toMatchObject({ afterTokens: false, refusal: { ok: false, code: 'invalid_value' } })
      expect((error as EngineRefused).message).toMatch(message)
    }
  })

  it('[EGS25] a refusal after generated tokens reports them, and earlier events are kept', async () => {
    const { error, events, counts } = await end('costly', 4, { ...plain, content: grammar })
    expect(error).toMatchObject({ afterTokens: true })
    expect(events.map(({ kind }) => kind)).toEqual(['started', 'text'])
    expect(counts).toMatchObject({ promptTokens: 3, outputTokens: 4 })
    expect((await end('length', 4, plain)).error).toBeUndefined()
  })
})
