/** Schemas without `strict`, through the job, the compiling process and the real grammar reader. */
import { afterAll, describe, expect, it } from 'vitest'
import type { Grammars } from '../../../gpu-worker/engine/grammar.ts'
import { GrammarService } from '../../../gpu-worker/engine/grammar-service.ts'
import { grammarJob } from '../../../gpu-worker/engine/rules.ts'
import { controlNames, createVocabulary } from '../../../gpu-worker/engine/vocabulary.ts'
import { accepts } from './accepts.ts'
import { chatOf } from './prompt.ts'

const vocabulary = createVocabulary(
  [...controlNames],
  controlNames.map(() => 3),
)
const backReference = { type: 'string', pattern: '(a)\\1' }
const pair = { type: 'object', properties: { p: backReference, n: { type: 'integer', minimum: 3 } }, required: ['n'] }
/** Too many parse stacks. */
const costly = {
  anyOf: Array.from({ length: 300 }, (_, index) => ({
    type: 'object',
    properties: { a: true, [`b${index}`]: true },
    required: ['a', `b${index}`],
  })),
}

describe('a schema without strict', () => {
  const service = new GrammarService(() => undefined)
  afterAll(() => service.close())

  async function compiled(body: Record<string, unknown>) {
    const job = grammarJob(chatOf(body), vocabulary)
    if (!job || 'ok' in job) return job ?? undefined
    return service.compile(job)
  }

  async function grammars(schema: unknown, strict?: boolean | null): Promise<Grammars> {
    const answer = await compiled({ response_format: { type: 'json_schema', json_schema: { schema, strict } } })
    if (!answer?.ok) throw new Error(answer?.message)
    return answer
  }

  it('[ENG34] a keyword that cannot be enforced is left out with a warning, and the others are enforced', async () => {
    for (const strict of [undefined, null, false]) {
      const { content, warnings } = await grammars(pair, strict)
      expect(warnings).toEqual([
        expect.stringMatching(/^response_format\.json_schema\.schema: "pattern" at #\/properties\/p is not enforced: /),
      ])
      const fits = accepts(content?.text ?? '')
      expect(['{"p": "b", "n": 3}', '{"p": 1, "n": 3}', '{"n": 2}'].map(fits)).toEqual([true, false, false])
    }
    await expect(grammars(pair, true)).rejects.toThrow('"pattern" at #/properties/p')
  })

  it('[ENG34] a keyword of a tool that cannot be enforced is named in a warning with the tool', async () => {
    const tools = [
      { type: 'function', function: { name: 'f', parameters: pair } },
      { type: 'function', function: { name: 'g', parameters: costly } },
      { type: 'function', function: { name: 'h', parameters: { type: 'object' } } },
    ]
    const answer = await compiled({ tools })
    expect(answer?.ok && answer.warnings).toEqual([
      expect.stringMatching(/^tools: the parameters of "f": "pattern" at #\/properties\/p is not enforced: /),
      expect.stringMatching(/^tools: the parameters of "g" are not enforced, any JSON object is accepted: /),
    ])
    expect(answer?.ok && answer.call?.text).toContain('args-1 ::= object')
  })

  it('[ENG38] a strict tool whose schema cannot be enforced is refused by its name, for each reason', async () => {
    const named = (parameters: unknown) => [{ type: 'function', function: { name: 'f', strict: true, parameters } }]
    const long = { type: 'object', properties: { a: { enum: ['x'.repeat(2 ** 20)] } } }
    for (const [parameters, reason] of [
      [pair, '"pattern" at #/properties/p'],
      [costly, ': '],
      [long, 'too long'],
      [{ type: 'string' }, 'no object'],
    ] as const) {
      const answer = await compiled({ tools: named(parameters) })
      expect(answer, reason).toMatchObject({ ok: false, code: 'invalid_value', param: 'tools' })
      expect(answer).toHaveProperty('message', expect.stringContaining(reason))
      expect(answer).toHaveProperty(
        'message',
        expect.stringMatching(/^tools: the parameters of "f" have "strict": true/),
      )
    }
    const closed = {
      type: 'object',
      properties: { n: { type: 'integer' } },
      required: ['n'],
      additionalProperties: false,
    }
    expect(await compiled({ tools: named(closed) })).toMatchObject({ ok: true, warnings: [] })
  })

  it('[ENG34] the warnings of one schema are bounded in number and length', async () => {
    const properties = Object.fromEntries(
      Array.from({ length: 100 }, (_, index) => [`${index}${'\n'.repeat(500)}`, backReference]),
    )
    const { warnings } = await grammars({ type: 'object', properties })
    expect(warnings.length).toBe(17)
    expect(warnings.at(-1)).toBe('response_format.json_schema.schema: and 84 more')
    expect(Math.max(...warnings.map(({ length }) => length))).toBeLessThan(400)
  })

  it('[ENG35] a schema that exceeds its budget accepts any JSON, with a warning', async () => {
    const { content, warnings } = await grammars(costly)
    expect(warnings).toEqual([
      expect.stringMatching(
        /^response_format\.json_schema\.schema: any JSON value is accepted, because .*parse stacks/,
      ),
    ])
    expect(accepts(content?.text ?? '')('[1]')).toBe(true)
    const object = await grammars({ type: 'object', description: 'x'.repeat(600_000) })
    expect(object.warnings[0]).toMatch(/any JSON object is accepted, because it is too long/)
    expect(['{}', '[]'].map(accepts(object.content?.text ?? ''))).toEqual([true, false])
    await expect(grammars(costly, true)).rejects.toThrow('parse stacks')
  })

  it('[ENG35] an invalid schema is refused in any case', async () => {
    for (const schema of [{ type: 'text' }, { $ref: '#/nowhere' }, { type: 'string', minLength: 3, maxLength: 2 }])
      await expect(grammars(schema)).rejects.toThrow('response_format.json_schema.schema: ')
  })
})
