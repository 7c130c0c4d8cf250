/** The cost of schemas: bounds, walks and the compiled grammar, checked with the library's grammar reader. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { budgets } from '../../../backends/model/budgets.ts'
import { compileGrammars, formatJob } from '../../../gpu-worker/engine/grammar.ts'
import { loadGrammarReader } from '../../../gpu-worker/engine/grammar-reader.ts'
import { integersBetween } from '../../../gpu-worker/engine/schema/integer-range.ts'
import { literals } from '../../../gpu-worker/engine/schema/literals.ts'
import { repetition } from '../../../gpu-worker/engine/schema/repetition.ts'
import { accepts } from './accepts.ts'

type Schema = Record<string, unknown>

const reads = await loadGrammarReader()
const string = { type: 'string' }
const object = (properties: Schema, required = Object.keys(properties)): Schema => ({
  type: 'object',
  properties,
  required,
  additionalProperties: false,
})
const many = (count: number, each: (index: number) => unknown) =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`property_${index}`, each(index)]))

function compile(schema: Schema): { text: string } | { message: string } {
  const content = formatJob({ kind: 'json_schema', name: 'x', schema, strict: true })
  if (content && 'ok' in content) return content
  const compiled = compileGrammars({ content, call: null })
  return compiled.ok ? { text: compiled.content?.text ?? '' } : compiled
}

const messageOf = (schema: Schema) => {
  const compiled = compile(schema)
  return 'message' in compiled ? compiled.message : 'accepted'
}
const textOf = (schema: Schema) => {
  const compiled = compile(schema)
  if ('message' in compiled) throw new Error(compiled.message)
  return compiled.text
}

const pairs = [
  ['minItems', 'maxItems', (bounds: Schema) => ({ type: 'array', items: string, ...bounds })],
  ['minLength', 'maxLength', (bounds: Schema) => ({ type: 'string', ...bounds })],
  ['minProperties', 'maxProperties', (bounds: Schema) => ({ type: 'object', ...bounds })],
] as const

describe('the schema budget', () => {
  it('[EGS10] a pair of bounds with a wrong order, sign, fraction, range or type is refused with its path', () => {
    for (const [low, high, schemaOf] of pairs) {
      const refused = (bounds: Schema) => messageOf(object({ p: schemaOf(bounds) }))
      expect(refused({ [low]: 3, [high]: 2 })).toContain(`"${low}" at #/properties/p: ${low} is more than ${high}`)
      for (const wrong of [-5, -1, 0.5, 1.5, 1e21, 2 ** 53, Number.POSITIVE_INFINITY, '3', [], {}, true]) {
        expect(refused({ [low]: wrong }), `${low} ${wrong}`).toContain(`"${low}" at #/properties/p`)
        expect(refused({ [high]: wrong }), `${high} ${wrong}`).toContain(`"${high}" at #/properties/p`)
      }
      expect(refused({ [low]: 2_000_000 })).toMatch(/a bound is more than 1,000,000/)
      expect(refused({ [low]: 0, [high]: 0 })).toBe('accepted')
    }
    const number = (bounds: Schema) => messageOf(object({ n: { type: 'integer', ...bounds } }))
    expect(number({ minimum: 3, maximum: 2 })).toContain(
      '"minimum" at #/properties/n: no integer lies between the bounds',
    )
    expect(number({ exclusiveMinimum: 2, exclusiveMaximum: 3 })).toContain('no integer lies')
    expect(number({ minimum: Number.POSITIVE_INFINITY })).toContain('no integer lies')
    expect(number({ minimum: '3' })).toContain('"minimum" at #/properties/n: it must be a number')
    expect(number({ minimum: -9_007_199_254_740_991, maximum: 9_007_199_254_740_991 })).toBe('accepted')
  })

  it('[EGS10] bounds from references, branches and merges are checked too', () => {
    const wrong = { minItems: 3, maxItems: 2 }
    expect(messageOf({ $defs: { x: { type: 'array', ...wrong } }, $ref: '#/$defs/x' })).toContain('minItems is more')
    expect(messageOf({ anyOf: [{ type: 'array', ...wrong }] })).toContain('minItems is more')
    expect(messageOf({ allOf: [{ type: 'array', minItems: 3 }, { maxItems: 2 }] })).toContain('minItems is more')
    const merged = (...bounds: number[]) => ({
      type: 'array',
      minItems: 3,
      anyOf: bounds.map((maxItems) => ({ maxItems })),
    })
    expect(messageOf(merged(2, 1))).toContain('minItems is more')
    // Nothing matches the first branch, so only the second is written.
    const accepted = accepts(textOf(merged(2, 4)))
    expect(['[1,1]', '[1,1,1]', '[1,1,1,1,1]'].map(accepted)).toEqual([false, true, false])
  })

  it('[EGS10] no tool’s grammar has an invalid repetition', () => {
    const parameters = (schema: Schema) => ({
      name: 'f',
      parameters: JSON.stringify(object({ p: schema })),
      strict: false,
    })
    for (const [low, high, schemaOf] of pairs) {
      for (const [min, max] of [
        [3, 2],
        [-5, -6],
        [0.5, 1],
        [1e21, 1e22],
        ['a', 'b'],
      ]) {
        const call = {
          tools: [parameters(schemaOf({ [low]: min, [high]: max }))],
          options: { argsId: 3, single: true },
        }
        const compiled = compileGrammars({ content: null, call })
        const text = (compiled.ok && compiled.call?.text) || ''
        for (const [, from, to = from] of text.matchAll(/\{(\d+)(?:,(\d*))?\}/g))
          expect(Number(from)).toBeLessThanOrEqual(to === '' ? Number.POSITIVE_INFINITY : Number(to))
        const repeats = text.replace(/"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]/g, '').match(/\{[^}]*\}?/g) ?? []
        expect(repeats.filter((each) => !/^\{\d+(,\d*)?\}$/.test(each))).toEqual([])
        expect(reads(text)).toBe(true)
      }
    }
  })

  it('[EGS11] references and branches that multiply are compiled or refused within one second', () => {
    const chain = (levels: number, level: (next: Schema, index: number) => Schema): Schema => ({
      $defs: Object.fromEntries(
        Array.from({ length: levels }, (_, index) => [
          `d${index}`,
          index + 1 < levels ? level({ $ref: `#/$defs/d${index + 1}` }, index) : string,
        ]),
      ),
      $ref: '#/$defs/d0',
    })
    const two = (levels: number): Schema => {
      const next = (index: number) => ({
        anyOf: [{ $ref: `#/$defs/a${index + 1}` }, { $ref: `#/$defs/b${index + 1}` }],
      })
      const last: Schema[] = [string, { type: 'null' }]
      const names = ['a', 'b'].flatMap((name, at) =>
        Array.from({ length: levels }, (_, i) => [`${name}${i}`, i + 1 < levels ? next(i) : last[at]]),
      )
      return { $defs: Object.fromEntries(names), $ref: '#/$defs/a0' }
    }
    const schemas = [
      chain(31, (next) => ({ anyOf: [next, next, next] })),
      chain(60, (next) => ({ minLength: 0, anyOf: [next, next] })),
      chain(16, (next, index) => ({ allOf: [next, next, object({ [`p${index}`]: string })] })),
      chain(30, (next, index) => object({ [`a${index}`]: next, [`b${index}`]: next })),
      chain(30, (next) => ({ type: 'array', items: { anyOf: [next, { type: 'array', items: next }] } })),
      two(8),
      two(40),
      { type: 'object', properties: many(3_000, () => string), anyOf: Array.from({ length: 200 }, () => ({})) },
      { allOf: [{ $ref: '#' }] },
      { anyOf: [{ $ref: '#' }, { $ref: '#' }] },
      { type: 'array', prefixItems: Array(30_000).fill({ $ref: '#' }) },
    ]
    for (const [index, schema] of schemas.entries()) {
      const before = performance.now()
      const compiled = compile(schema)
      const read = 'message' in compiled || reads(compiled.text)
      expect(performance.now() - before, `schema ${index}`).toBeLessThan(1_000)
      expect(read, `schema ${index}`).toBe(true)
    }
  })

  it('[EGS11] tools and the response format share one budget', () => {
    const half = object(many(2_400, () => ({ type: 'array', items: string })))
    const schema = JSON.stringify(half)
    const content = { kind: 'schema' as const, schema, strict: true, object: true }
    const call = {
      tools: Array.from({ length: 3 }, () => ({ name: 'f', parameters: schema, strict: false })),
      options: { argsId: 3, single: true },
    }
    const alone = compileGrammars({ content: null, call: { ...call, tools: call.tools.slice(0, 1) } })
    const together = compileGrammars({ content, call })
    expect(alone.ok && alone.call?.text).not.toContain('args-0 ::= object')
    expect(together.ok && together.content?.text.length).toBeGreaterThan(10_000)
    expect(together.ok && together.call?.text).toContain('args-2 ::= object')
    expect(together.ok && (together.call?.text.length ?? 0)).toBeLessThan(budgets.grammarBytes.value)
  })

  it('[EGS11] OpenAI’s documented limits are accepted: 5,000 properties, 1,000 values, 120,000 characters', () => {
    expect(messageOf(object(many(5_000, () => string)))).toBe('accepted')
    const values = Array.from({ length: 1_000 }, (_, index) => `${(index * 7_919) % 1_000}`.padEnd(120, 'value '))
    expect(messageOf(object({ e: { enum: values } }))).toBe('accepted')
    expect(reads(textOf(object({ e: { enum: values } })))).toBe(true)
  })

  it('[EGS12] recursive branches that cannot be distinguished before they recurse are refused', () => {
    const itself = { $ref: '#/$defs/x' }
    const recursive = (...branches: Schema[]) => messageOf({ $defs: { x: { anyOf: branches } }, $ref: '#/$defs/x' })
    const kind = (name: string, rest: Schema) => object({ kind: { const: name }, ...rest })
    expect(recursive(object({ a: itself, b: string }), object({ a: itself, c: string }))).toMatch(
      /cannot be distinguished/,
    )
    expect(recursive({ type: 'array', items: itself, maxItems: 5 }, { type: 'array', items: itself })).toMatch(
      /distinguished/,
    )
    expect(recursive(object({ a: itself }, []), object({ a: itself, b: string }, []))).toMatch(
      /cannot be distinguished/,
    )
    const hidden = {
      $defs: {
        x: { anyOf: [{ $ref: '#/$defs/y' }, { $ref: '#/$defs/z' }, string] },
        y: object({ a: itself, b: string }),
        z: object({ a: itself, c: string }),
      },
      $ref: '#/$defs/x',
    }
    expect(messageOf(hidden)).toMatch(/cannot be distinguished/)
    expect(
      recursive(kind('add', { l: itself, r: itself }), kind('mul', { l: itself, r: itself }), { type: 'number' }),
    ).toBe('accepted')
    expect(recursive(object({ name: string, left: itself }), object({ name: string, right: itself }))).toBe('accepted')
    expect(recursive({ type: 'array', items: itself }, object({ a: itself }), { type: 'null' })).toBe('accepted')
    expect(messageOf(object({ value: string, next: { anyOf: [{ $ref: '#' }, { type: 'null' }] } }))).toBe('accepted')
  })

  it('[EGS12] a schema that needs more than 256 parse stacks is refused', () => {
    expect(
      messageOf(
        object(
          many(600, () => string),
          [],
        ),
      ),
    ).toMatch(/more than 256 parse stacks/)
    expect(
      messageOf(
        object(
          many(240, () => string),
          [],
        ),
      ),
    ).toBe('accepted')
    const branches = Array.from({ length: 200 }, (_, index) => object({ a: true, [`b${index}`]: string }))
    expect(messageOf({ anyOf: branches })).toMatch(/more than 256 parse stacks/)
  })

  it('[EGS13] names of inherited properties are ordinary names', () => {
    const own = JSON.parse('{"__proto__":{"type":"string"},"constructor":{"type":"null"}}')
    const accepted = accepts(textOf(object(own)))
    expect(accepted('{"__proto__":"a","constructor":null}')).toBe(true)
    expect(accepted('{"__proto__":"a"}')).toBe(false)
    expect(messageOf({ $ref: '#/constructor' })).toMatch(/points to nothing/)
    expect(messageOf({ $ref: '#/__proto__/toString' })).toMatch(/points to nothing/)
    const merged = textOf(JSON.parse('{"allOf":[{"__proto__":{"type":"object"}},{"type":"string"}]}'))
    expect(accepts(merged)('"a"')).toBe(true)
    expect(accepts(merged)('{}')).toBe(false)
  })

  it('[EGS13] a refusal is printable and short for any name in the schema', () => {
    const long = '\u{1f600}\r\n'.repeat(10_000)
    for (const schema of [
      object({ [long]: { minLength: -1, type: 'string' } }),
      { [long]: 1, type: 'string' },
      { type: long },
      { $ref: long },
    ]) {
      const message = messageOf(schema)
      expect(message).toMatch(/^[\x20-\x7e…]+$/)
      expect(message.length).toBeLessThan(600)
    }
  })
})

describe('grammars that are cheap for the reader', () => {
  it('[EGS14] a repetition accepts exactly its bounds, and costs about their square root', () => {
    const size = fc.oneof(fc.nat(60), fc.nat(3_000))
    fc.assert(
      fc.property(size, size, fc.boolean(), (a, b, endless) => {
        const [min, max] = [Math.min(a, b), endless ? Number.POSITIVE_INFINITY : Math.max(a, b)]
        const rules: string[] = []
        let repeats = 0
        const rule = (text: string) => `b-${rules.push(text) - 1}`
        const text = repetition('x', min, max, { rule, spend: (count) => (repeats += count), path: '#' })
        const lines = [`root ::= "<" ${text} ">"`, 'x ::= "x"', ...rules.map((each, index) => `b-${index} ::= ${each}`)]
        const accepted = accepts(lines.join('\n'))
        const near = [min - 1, min, min + 1, Math.floor((min + Math.min(max, 4_000)) / 2), max - 1, max, max + 1]
        for (const count of near)
          if (count >= 0 && count < 10_000)
            expect(accepted(`<${'x'.repeat(count)}>`)).toBe(count >= min && count <= max)
        expect(repeats).toBeLessThan(90 + 8 * Math.sqrt(Number.isFinite(max) ? max : min))
      }),
      { numRuns: 200, seed: 7 },
    )
  })

  it('[EGS14] an integer range accepts exactly its numbers', () => {
    const bound = fc.oneof(
      fc.integer({ min: -120, max: 120 }),
      fc.integer({ min: -(10 ** 6), max: 10 ** 6 }),
      fc.maxSafeInteger(),
    )
    fc.assert(
      fc.property(bound, bound, (a, b) => {
        const [min, max] = [Math.min(a, b), Math.max(a, b)]
        const range = integersBetween(min, max)
        if (range === undefined) {
          expect(Math.abs(min)).toBeGreaterThanOrEqual(10 ** 15)
          return
        }
        const accepted = accepts(`root ::= ${range}`)
        const to = 10 ** 15 - 1
        for (const number of [min - 1, min, min + 1, 0, 1, -1, 9, 10, 99, 100, max - 1, max, max + 1, -min, -max])
          if (Math.abs(number) <= to)
            expect(accepted(String(number)), `${number} in ${min} to ${max}`).toBe(number >= min && number <= max)
        expect(accepted('01')).toBe(false)
        expect(accepted('')).toBe(false)
      }),
      { numRuns: 400, seed: 11 },
    )
  })

  it('[EGS14] the reader reads every accepted bound of strings, arrays and maps', () => {
    for (const bound of [39, 40, 41, 1_999, 2_000, 2_001, 99_991, 999_999, 1_000_000]) {
      for (const [low, high, schemaOf] of pairs)
        for (const bounds of [{ [low]: bound }, { [high]: bound }, { [low]: bound, [high]: bound }])
          expect(reads(textOf(object({ p: schemaOf(bounds) }))), JSON.stringify(bounds)).toBe(true)
    }
  })

  it('[EGS15] values with a common prefix share one rule, and exactly these values are accepted', () => {
    const values = Array.from({ length: 10_000 }, (_, index) => `${'p'.repeat(40)}${index}`)
    const text = textOf(object({ e: { enum: values } }))
    expect(text.length).toBeLessThan(5_000)
    const accepted = accepts(text)
    expect(accepted(`{"e":"${'p'.repeat(40)}9999"}`)).toBe(true)
    expect(accepted(`{"e":"${'p'.repeat(40)}10000"}`)).toBe(false)
    // These two share the first half of a surrogate pair.
    const smileys = accepts(textOf({ enum: ['\u{1f600}', '\u{1f601}', '\u{1f600}a'] }))
    expect(['"\u{1f600}"', '"\u{1f601}"', '"\u{1f600}a"', '"\u{1f602}"'].map(smileys)).toEqual([
      true,
      true,
      true,
      false,
    ])
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'grapheme', maxLength: 6 }), { minLength: 1, maxLength: 30 }), (list) => {
        const texts = list.map((each) => JSON.stringify(each))
        const rules: string[] = []
        const tree = literals(texts, (each) => `t-${rules.push(each) - 1}`)
        const takes = accepts(
          [`root ::= ${tree.text}`, ...rules.map((each, index) => `t-${index} ::= ${each}`)].join('\n'),
        )
        expect(texts.filter((each) => !takes(each))).toEqual([])
        expect(takes(JSON.stringify(`${list[0]}x`))).toBe(list.includes(`${list[0]}x`))
      }),
      { numRuns: 200, seed: 13 },
    )
  })
})
