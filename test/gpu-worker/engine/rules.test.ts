import { describe, expect, it } from 'vitest'
import type { EffortWord } from '../../../backends/model/effort.ts'
import { compileGrammars } from '../../../gpu-worker/engine/grammar.ts'
import { grammarJob, rulesOf, samplingOf } from '../../../gpu-worker/engine/rules.ts'
import { controlNames, createVocabulary } from '../../../gpu-worker/engine/vocabulary.ts'
import { chatOf } from './prompt.ts'

const tokens = [...controlNames, '[IMG]', 'a']
const vocabulary = createVocabulary(
  tokens,
  tokens.map((name) => (name === 'a' ? 1 : 3)),
)
const { control } = vocabulary
const tools = ['f', 'g'].map((name) => ({ type: 'function', function: { name } }))
const json = { type: 'json_object' }

function rules(body: Record<string, unknown>, effort: EffortWord = 'none') {
  const chat = chatOf(body)
  const job = grammarJob(chat, vocabulary)
  if (job && 'ok' in job) throw new Error(job.message)
  const grammars = job ? compileGrammars(job) : { ok: true as const, content: null, call: null }
  if (!grammars.ok) throw new Error(grammars.message)
  return rulesOf(chat, effort, vocabulary, grammars)
}

describe('rules', () => {
  it('[ENG20] absent sampling values get the recommended defaults, and temperature 0 stays 0', () => {
    const defaults = { topP: 1, frequencyPenalty: 0, presencePenalty: 0 }
    expect(samplingOf(chatOf({}), 'none', 0.5)).toEqual({ ...defaults, temperature: 0.3, seed: 2 ** 31 })
    expect(samplingOf(chatOf({}), 'high', 0)).toEqual({ ...defaults, temperature: 0.7, seed: 0 })
    const given = { temperature: 0, top_p: 0.5, seed: -1, frequency_penalty: 1, presence_penalty: -1 }
    expect(samplingOf(chatOf(given), 'high', 0)).toEqual({
      temperature: 0,
      topP: 0.5,
      seed: 2 ** 32 - 1,
      frequencyPenalty: 1,
      presencePenalty: -1,
    })
  })

  it('[ENG12] without tools, or with tool_choice none, no call can be sampled', () => {
    for (const body of [{}, { tools, tool_choice: 'none' }]) {
      const { bannedIds, callId, call } = rules(body)
      expect(bannedIds).toEqual(
        expect.arrayContaining([control['[TOOL_CALLS]'], control['[ARGS]'], tokens.indexOf('[IMG]')]),
      )
      expect([callId, call]).toEqual([null, null])
    }
    expect(rules({ tools }).bannedIds).not.toContain(control['[TOOL_CALLS]'])
  })

  it('[ENG7] the end token, thinking tokens and text may always be sampled', () => {
    const { bannedIds, endIds } = rules({})
    expect(endIds).toEqual([control['</s>']])
    for (const id of [control['</s>'], control['[THINK]'], control['[/THINK]'], tokens.indexOf('a')])
      expect(bannedIds).not.toContain(id)
  })

  it('[ENG12] a forced call constrains the whole answer, and a named tool is the only one allowed', () => {
    const required = rules({ tools, tool_choice: 'required' })
    const callId = control['[TOOL_CALLS]']
    expect(required.content?.text).toBe(`root ::= <[${callId}]>`)
    expect(required.again?.text).toBe(`root ::= <[${callId}]>?`)
    expect(required.call?.ends).toBe(false)
    expect(rules({ tools, tool_choice: 'required', parallel_tool_calls: false }).call?.ends).toBe(true)
    const named = rules({ tools, tool_choice: { type: 'function', function: { name: 'g' } } }).call
    expect(named?.text).toContain(`call ::= "g" <[${control['[ARGS]']}]>`)
    expect(named?.ends).toBe(true)
    expect(rules({ tools }).again).toBeNull()
  })

  it('[ENG12] with tool_choice auto a call is constrained from its start, and ends the answer if only one is allowed', () => {
    expect(rules({ tools }).call).toMatchObject({ ends: false })
    expect(rules({ tools, parallel_tool_calls: false }).call).toMatchObject({ ends: true })
  })

  it('[ENG11] thinking may precede a response format only with effort high', () => {
    expect(rules({ response_format: json }, 'high')).toMatchObject({ mayThink: true, content: { ends: true } })
    expect(rules({ response_format: json }, 'none')).toMatchObject({ mayThink: false, content: { ends: true } })
    expect(rules({}).content).toBeNull()
  })

  it('[ENG11] a bare number may continue after it is complete, so the model ends it', () => {
    const format = (schema: Record<string, unknown>) => ({
      response_format: { type: 'json_schema', json_schema: { name: 'n', schema } },
    })
    expect(rules(format({ type: 'integer' })).content?.ends).toBe(false)
    expect(rules(format({ anyOf: [{ type: 'string' }, { type: 'number' }] })).content?.ends).toBe(false)
    expect(rules(format({ type: 'string' })).content?.ends).toBe(true)
  })
})
