/**
 * Random schemas, and random texts of their grammars, against another implementation of JSON Schema.
 *
 *   SCHEMA_SAMPLE_RUNS=5000 SCHEMA_SAMPLE_SEED=7 npx vitest run --config test/vitest.config.ts --project node schema-sample
 */
import { Ajv2020 } from 'ajv/dist/2020.js'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compileSchema, jsonRules } from '../../../gpu-worker/engine/schema/compile-schema.ts'
import { accepts } from './accepts.ts'
import { sampler } from './grammar-sample.ts'

const numRuns = Number(process.env.SCHEMA_SAMPLE_RUNS ?? 300)
const seed = Number(process.env.SCHEMA_SAMPLE_SEED ?? 20_261_128)
const textsEach = 12

type Schema = Record<string, unknown>

const name = fc.constantFrom('a', 'b', 'c', 'kind')
const small = fc.nat(3)
const number = fc.oneof(fc.integer({ min: -20, max: 20 }), fc.constantFrom(0.5, -2.5, 1e-3, 1e17))
const value = fc.oneof(
  fc.constantFrom<unknown>('x', 'y', '', 'ab', null, true, false, 0, 1, 2.5, -3, [], [1], {}, { a: 1 }),
)
const optional = <Value>(arbitrary: fc.Arbitrary<Value>) => fc.option(arbitrary, { nil: undefined, freq: 1 })
const names = fc.uniqueArray(name, { maxLength: 3 })

/** A literal with `then` would look like a promise. */
const conditional = ([condition, passed, failed]: readonly unknown[]): Schema =>
  Object.fromEntries([
    ['if', condition],
    ['then', passed],
    ['else', failed],
  ])

const { schema } = fc.letrec<{ schema: unknown; object: Schema; list: unknown[] }>((tie) => ({
  list: fc.array(tie('schema'), { minLength: 1, maxLength: 3 }),
  object: fc.record({
    type: fc.constant('object'),
    properties: fc.dictionary(name, tie('schema'), { maxKeys: 3 }),
    required: optional(names),
    additionalProperties: optional(fc.oneof(fc.boolean(), tie('schema'))),
    patternProperties: optional(fc.dictionary(fc.constantFrom('^a', 'b$', '[cd]'), tie('schema'), { maxKeys: 2 })),
    propertyNames: optional(fc.constantFrom({ pattern: '^[a-d]' }, { maxLength: 2 }, { enum: ['a', 'b', 'x'] })),
    minProperties: optional(small),
    maxProperties: optional(small),
    dependentRequired: optional(fc.dictionary(name, names, { maxKeys: 2 })),
    dependentSchemas: optional(fc.dictionary(name, tie('schema'), { maxKeys: 1 })),
    unevaluatedProperties: optional(fc.oneof(fc.boolean(), tie('schema'))),
  }),
  schema: fc.oneof(
    { maxDepth: 3, depthSize: 'small', withCrossShrink: true },
    fc.constantFrom<unknown>({ type: 'string' }, { type: 'boolean' }, { type: 'null' }, {}, true, false),
    fc.record({
      type: fc.constantFrom('string', ['string', 'null']),
      minLength: optional(small),
      maxLength: optional(fc.integer({ min: 2, max: 6 })),
      pattern: optional(fc.constantFrom('^a', '[0-9]$', '^(x|yz)*$', '^\\S+$', 'b')),
    }),
    fc.record({
      type: fc.constantFrom('integer', 'number', ['integer', 'string']),
      minimum: optional(number),
      maximum: optional(number),
      exclusiveMinimum: optional(number),
      multipleOf: optional(fc.constantFrom(1, 2, 3, 0.5, 0.25)),
    }),
    fc.record({ enum: fc.uniqueArray(value, { minLength: 1, maxLength: 5 }) }),
    fc.record({ const: value }),
    fc.record({ $ref: fc.constantFrom('#/$defs/d', '#/$defs/e', '#n') }),
    tie('object'),
    tie('object'),
    fc.record({
      type: fc.constant('array'),
      items: optional(tie('schema')),
      prefixItems: optional(tie('list')),
      minItems: optional(small),
      maxItems: optional(small),
      uniqueItems: optional(fc.boolean()),
      contains: optional(tie('schema')),
      unevaluatedItems: optional(fc.oneof(fc.boolean(), tie('schema'))),
    }),
    fc.record({
      type: fc.constant('array'),
      contains: tie('schema'),
      minContains: optional(small),
      maxContains: optional(small),
    }),
    fc.record({ type: optional(fc.constantFrom('object', 'string', 'number')), not: tie('schema') }),
    fc.tuple(tie('object'), tie('schema')).map(([each, not]) => ({ ...each, not })),
    fc.tuple(tie('schema'), tie('schema'), optional(tie('schema'))).map(conditional),
    fc
      .tuple(tie('object'), tie('object'), tie('object'))
      .map(([each, ...parts]) => ({ ...each, ...conditional(parts) })),
    fc.record({ anyOf: tie('list'), properties: optional(fc.dictionary(name, tie('schema'), { maxKeys: 2 })) }),
    fc.record({ oneOf: tie('list') }),
    fc.record({ oneOf: fc.array(tie('object'), { minLength: 2, maxLength: 3 }) }),
    fc.record({ allOf: tie('list'), unevaluatedProperties: optional(fc.boolean()) }),
    fc.record({ allOf: fc.array(tie('object'), { minLength: 2, maxLength: 3 }) }),
  ),
}))

const root = fc.tuple(schema, schema, schema).map(([body, d, e]) => {
  const isObject = body !== null && typeof body === 'object'
  const named = e !== null && typeof e === 'object' ? { ...e, $anchor: 'n' } : { $anchor: 'n', allOf: [e] }
  return { ...(isObject ? body : { allOf: [body] }), $defs: { d, e: named } } as Schema
})

/** Undefined fields of the generator are absent in JSON. */
const plain = (schema: Schema): Schema => JSON.parse(JSON.stringify(schema))

describe('texts of the grammars of random schemas', () => {
  it('[ENG36] every text that a grammar accepts is a value of its schema', () => {
    const ajv = new Ajv2020({ strict: false, validateFormats: false, allowUnionTypes: true, logger: false })
    const counts = { schemas: 0, refused: 0, texts: 0 }
    let state = seed
    const random = (below: number) => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
      return Math.floor((state / 2 ** 32) * below)
    }
    fc.assert(
      fc.property(root, (generated) => {
        const schema = plain(generated)
        const compiled = compileSchema(schema, 'root', true)
        counts.schemas++
        if (!compiled.ok) {
          counts.refused++
          return
        }
        const validate = ajv.compile(schema)
        const grammar = [...compiled.rules, ...jsonRules].join('\n')
        const fits = accepts(grammar)
        const write = sampler(grammar, random)
        for (let each = 0; each < textsEach; each++) {
          const text = write()
          counts.texts++
          expect(fits(text), `the reader refuses ${text}`).toBe(true)
          expect(validate(JSON.parse(text)), `${JSON.stringify(schema)} does not match ${text}`).toBe(true)
        }
      }),
      { numRuns, seed, endOnFailure: !process.env.SCHEMA_SAMPLE_SHRINK },
    )
    if (process.env.SCHEMA_SAMPLE_RUNS) console.log(counts)
    expect(counts.refused).toBeLessThan(counts.schemas * 0.7)
    expect(counts.texts).toBeGreaterThan(numRuns)
  }, 3_600_000)
})
