/**
 * Random schemas, ordinary and hostile, through the compiling process and the library's real grammar reader.
 *
 *   GRAMMAR_FUZZ_RUNS=20000 GRAMMAR_FUZZ_SEED=7 npx vitest run --config test/vitest.config.ts --project node grammar-fuzz
 */
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { budgets } from '../../../backends/model/budgets.ts'
import { callsJob, compileGrammars, formatJob, type GrammarJob } from '../../../gpu-worker/engine/grammar.ts'
import { forkGrammarChild, GrammarService } from '../../../gpu-worker/engine/grammar-service.ts'

const numRuns = Number(process.env.GRAMMAR_FUZZ_RUNS ?? 3_000)
const seed = Number(process.env.GRAMMAR_FUZZ_SEED ?? 20_261_127)

type Schema = Record<string, unknown>

const inherited = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'length']
const name = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('a', 'b', 'c', 'd', 'kind', 'value') },
  { weight: 1, arbitrary: fc.constantFrom(...inherited) },
  { weight: 2, arbitrary: fc.string({ unit: 'binary', maxLength: 12 }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      '"',
      '\\',
      '\n',
      '\u2028',
      '\ud800',
      '::=',
      '"} | root',
      '<[9]>',
      '\u0000',
      'p'.repeat(300),
    ),
  },
)
const bound = fc.oneof(
  { weight: 6, arbitrary: fc.nat(6) },
  { weight: 3, arbitrary: fc.nat(5_000) },
  {
    weight: 2,
    arbitrary: fc.constantFrom(-1, -5, 0.5, 1e21, 1e308, 2 ** 53, 2 ** 53 - 1, 1_999, 2_000, 2_001, 1_000_000),
  },
  { weight: 1, arbitrary: fc.constantFrom<unknown>('3', null, [], {}, true, Number.POSITIVE_INFINITY, Number.NaN, -0) },
)
const number = fc.oneof(bound, fc.integer(), fc.maxSafeInteger(), fc.double())
const json = fc.oneof(name, fc.integer(), fc.double(), fc.boolean(), fc.constant(null), fc.jsonValue({ maxDepth: 3 }))
const ref = fc.oneof(
  { weight: 8, arbitrary: fc.nat(5).map((index) => `#/$defs/d${index}`) },
  { weight: 1, arbitrary: fc.constant('#') },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      '#/%E0%A4%A',
      '#/$defs/5%',
      '#/constructor',
      '#/__proto__',
      '#/$defs',
      '#/anyOf/0',
      '##',
      'https://example.com',
      '',
    ),
  },
)
const optional = <Value>(arbitrary: fc.Arbitrary<Value>) => fc.option(arbitrary, { nil: undefined, freq: 2 })

const { schema } = fc.letrec<{ schema: unknown; list: unknown[]; properties: Schema }>((tie) => ({
  list: fc.array(tie('schema'), { maxLength: 4 }),
  properties: fc.array(fc.tuple(name, tie('schema')), { maxLength: 5 }).map((members) => {
    const own: Schema = Object.create(null)
    for (const [key, value] of members) own[key] = value
    return own
  }),
  schema: fc.oneof(
    { maxDepth: 6, depthSize: 'medium', withCrossShrink: true },
    fc.constantFrom<unknown>(
      { type: 'string' },
      { type: 'integer' },
      { type: 'null' },
      {},
      true,
      false,
      null,
      5,
      'x',
      [],
    ),
    fc.record({ $ref: ref }),
    fc.record({ $ref: ref }),
    fc.record({
      type: fc.constant('string'),
      minLength: optional(bound),
      maxLength: optional(bound),
      format: optional(fc.constantFrom('date', 'uuid', 'x', 'constructor')),
    }),
    fc.record({
      type: fc.constantFrom('integer', 'number', ['integer', 'null']),
      minimum: optional(number),
      maximum: optional(number),
      exclusiveMinimum: optional(number),
      exclusiveMaximum: optional(number),
    }),
    fc.record({ enum: fc.array(json, { maxLength: 40 }) }),
    fc.record({ const: json }),
    fc.record({
      type: fc.constant('object'),
      properties: tie('properties'),
      required: optional(fc.oneof(fc.array(name, { maxLength: 4 }), json)),
      additionalProperties: optional(fc.oneof(fc.boolean(), tie('schema'))),
      minProperties: optional(bound),
      maxProperties: optional(bound),
    }),
    fc.record({
      type: fc.constant('array'),
      items: optional(tie('schema')),
      minItems: optional(bound),
      maxItems: optional(bound),
    }),
    fc.record({
      type: fc.constant('array'),
      prefixItems: tie('list'),
      minItems: optional(bound),
      maxItems: optional(bound),
    }),
    fc.record({ anyOf: tie('list'), type: optional(fc.constantFrom('object', 'string', 'nonsense')) }),
    fc.record({ oneOf: tie('list'), properties: optional(tie('properties')) }),
    fc.record({ allOf: tie('list'), properties: optional(tie('properties')), required: optional(json) }),
    fc.record({
      type: fc.array(fc.constantFrom('object', 'array', 'string', 'integer', 'null', 'x')),
      items: tie('schema'),
    }),
    fc.dictionary(name, tie('schema'), { maxKeys: 3 }),
  ),
}))

const root = fc
  .tuple(schema, fc.array(schema, { minLength: 6, maxLength: 6 }), fc.boolean())
  .map(([body, definitions, strict]) => {
    const defs = Object.fromEntries(definitions.map((each, index) => [`d${index}`, each]))
    const isObject = body !== null && typeof body === 'object' && !Array.isArray(body)
    return { schema: { ...(isObject ? body : { not: body }), $defs: defs } as Schema, strict }
  })

function jobOf(schema: Schema, strict: boolean): GrammarJob | undefined {
  if (!strict)
    return {
      content: null,
      call: callsJob([{ name: 'f', description: '', strict: false, parameters: schema }], { argsId: 3, single: true }),
    }
  const content = formatJob({ kind: 'json_schema', name: 'x', schema, strict: true })
  return content && 'ok' in content ? undefined : { content, call: null }
}

describe('random schemas', () => {
  const lines: string[] = []
  let pid: number | undefined
  const service = new GrammarService(
    (line) => lines.push(line),
    () => {
      const child = forkGrammarChild()
      pid = child.pid
      return child
    },
  )
  afterAll(() => service.close())

  it('[EGS16] each is refused with its path, or its grammar is read, within the budgets of processor time and memory', async () => {
    const outcomes = { refused: 0, read: 0, longestMs: 0 }
    await fc.assert(
      fc.asyncProperty(root, async ({ schema, strict }) => {
        const job = jobOf(schema, strict)
        if (!job) return
        const before = process.cpuUsage()
        const compiled = compileGrammars(job)
        const { user, system } = process.cpuUsage(before)
        outcomes.longestMs = Math.max(outcomes.longestMs, (user + system) / 1_000)
        const text = compiled.ok ? (compiled.content ?? compiled.call)?.text : undefined
        expect(text?.length ?? 0).toBeLessThan(budgets.grammarBytes.value + 2_000)
        const answer = await service.compile(job)
        if (answer.ok) outcomes.read++
        else outcomes.refused++
        if (!answer.ok) expect(answer.message).toMatch(/^response_format\.json_schema\.schema: ".*" at #.*\.$/s)
        // A grammar that the reader refuses would be replaced by a looser one.
        else expect((answer.content ?? answer.call)?.text).toBe(text)
      }),
      { numRuns, seed },
    )
    expect(lines).toEqual([])
    expect(outcomes.read).toBeGreaterThan(numRuns / 10)
    expect(outcomes.refused).toBeGreaterThan(numRuns / 10)
    expect(outcomes.longestMs).toBeLessThan(1_000)
    if (process.platform === 'linux') {
      const peakKilobytes = Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
      expect(peakKilobytes / 1_024).toBeLessThan(budgets.grammarMemoryMegabytes.value)
      if (process.env.GRAMMAR_FUZZ_RUNS) console.log({ ...outcomes, peakMegabytes: Math.round(peakKilobytes / 1_024) })
    }
  }, 3_600_000)
})
