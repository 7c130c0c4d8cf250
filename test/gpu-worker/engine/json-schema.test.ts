import fc from 'fast-check'
import { getLlama, LlamaGrammar, LlamaLogLevel } from 'node-llama-cpp'
import { describe, expect, it } from 'vitest'
import { compileGrammars, formatJob } from '../../../gpu-worker/engine/grammar.ts'
import { dumps } from '../../../gpu-worker/engine/python-json.ts'
import { compileSchema, jsonRules } from '../../../gpu-worker/engine/schema/compile-schema.ts'

/** Texts are checked with the library's own grammar reader, without a model. */
const llama = await getLlama({ gpu: false, build: 'never', logLevel: LlamaLogLevel.disabled, progressLogs: false })

function contentGrammar(format: { kind: 'json_schema'; name: string; schema: Record<string, unknown> }) {
  const content = formatJob({ ...format, strict: true })
  if (content && 'ok' in content) return content
  const compiled = compileGrammars({ content, call: null })
  return compiled.ok ? compiled.content : compiled
}

function judge(schema: Record<string, unknown>): (text: string) => boolean {
  const compiled = contentGrammar({ kind: 'json_schema', name: 'answer', schema })
  if (!compiled || 'ok' in compiled) throw new Error(compiled?.message ?? 'no grammar')
  return accepts(compiled.text)
}

function accepts(grammar: string): (text: string) => boolean {
  const reader = new LlamaGrammar(llama, { grammar }) as unknown as { _testText(text: string): boolean }
  return (text) => reader._testText(text)
}

function refusal(schema: Record<string, unknown>) {
  const compiled = contentGrammar({ kind: 'json_schema', name: 'answer', schema })
  return compiled && 'ok' in compiled ? compiled : undefined
}

const object = (properties: Record<string, unknown>, required = Object.keys(properties)) => ({
  type: 'object',
  properties,
  required,
  additionalProperties: false,
})
const string = { type: 'string' }
const tree = {
  type: 'object',
  properties: { name: string, children: { type: 'array', items: { $ref: '#' } } },
  required: ['name', 'children'],
}

interface Case {
  schema: Record<string, unknown>
  accepts: string[]
  rejects: string[]
}

const cases: Record<string, Case> = {
  'required and optional properties keep their order': {
    schema: object({ a: string, b: { type: 'boolean' }, c: { type: 'null' } }, ['b']),
    accepts: ['{"b": true}', '{"a":"x","b":false}', '{"a": "x", "b": true, "c": null}', '{ "b":true,\n  "c":null\n}'],
    rejects: ['{}', '{"a":"x"}', '{"b":true,"a":"x"}', '{"b":true,}', '{"b":true,"d":1}', '{"b":true'],
  },
  'only optional properties': {
    schema: object({ a: string, b: string }, []),
    accepts: ['{}', '{"a":""}', '{"b":""}', '{"a":"","b":""}'],
    rejects: ['{,"b":""}', '{"b":"","a":""}'],
  },
  'an object without named properties is a map': {
    schema: { type: 'object', additionalProperties: { type: 'integer' } },
    accepts: ['{}', '{"x": 1, "y": -2}'],
    rejects: ['{"x": "1"}', '{"x": 1.5}'],
  },
  'a required property without a schema accepts any value': {
    schema: { type: 'object', required: ['x'] },
    accepts: ['{"x": [1, {"y": null}]}'],
    rejects: ['{}'],
  },
  'arrays and their bounds': {
    schema: { type: 'array', items: { enum: ['a', 'b'] }, minItems: 1, maxItems: 3 },
    accepts: ['["a"]', '["a", "b", "a"]'],
    rejects: ['[]', '["c"]', '["a","a","a","a"]'],
  },
  tuples: {
    schema: { type: 'array', prefixItems: [string, { type: 'integer' }], minItems: 2, maxItems: 2 },
    accepts: ['["a", 1]'],
    rejects: ['["a"]', '[1, "a"]'],
  },
  'strings and their bounds': {
    schema: { type: 'string', minLength: 2, maxLength: 3 },
    accepts: ['"ab"', '"äöü"', '"\\n\\u00e9"'],
    rejects: ['"a"', '"abcd"', '"a\nb"', '"\\ud800b"'],
  },
  formats: {
    schema: object({ d: { type: 'string', format: 'date' }, t: { type: 'string', format: 'date-time' } }),
    accepts: ['{"d":"2026-11-24","t":"2026-11-24T09:05:00Z"}'],
    rejects: ['{"d":"2026-13-24","t":"2026-11-24T09:05:00Z"}', '{"d":"2026-11-24","t":"today"}'],
  },
  'integers and their bounds': {
    schema: object({ n: { type: 'integer', minimum: -5, exclusiveMaximum: 120 } }),
    accepts: ['{"n":-5}', '{"n":0}', '{"n":9}', '{"n":10}', '{"n":99}', '{"n":119}'],
    rejects: ['{"n":-6}', '{"n":120}', '{"n":1000}', '{"n":01}', '{"n":1.0}'],
  },
  'constants and enumerations of any type': {
    schema: object({ c: { const: { k: [1, 'x"y'] } }, e: { enum: [1, null, 'two', false] } }),
    accepts: ['{"c":{"k": [1, "x\\"y"]},"e":"two"}', '{"c":{"k": [1, "x\\"y"]},"e":null}'],
    rejects: ['{"c":{},"e":1}', '{"c":{"k": [1, "x\\"y"]},"e":true}'],
  },
  'anyOf with different types': {
    schema: object({
      v: { anyOf: [string, { type: 'integer', maximum: 3, minimum: 0 }, { type: 'null' }] },
      w: { type: ['boolean', 'null'] },
    }),
    accepts: ['{"v":"x","w":null}', '{"v":2,"w":true}', '{"v":null,"w":false}'],
    rejects: ['{"v":true,"w":null}', '{"v":7,"w":null}', '{"v":"x","w":1}'],
  },
  allOf: {
    schema: {
      allOf: [
        { type: 'object', properties: { a: string }, required: ['a'] },
        { type: 'object', properties: { b: string }, required: ['b'] },
      ],
    },
    accepts: ['{"a":"","b":""}'],
    rejects: ['{"a":""}'],
  },
  'patterns, lengths and formats together': {
    schema: { type: 'string', pattern: '^[a-z]+(?!x)', maxLength: 3, minLength: 2 },
    accepts: ['"ab"', '"abc"', '"a1"'],
    rejects: ['"a"', '"abcd"', '"1a"'],
  },
  'numbers and their bounds': {
    schema: { type: 'array', items: { type: 'number', minimum: -0.5, exclusiveMaximum: 1e16 } },
    accepts: ['[-0.5, 0, 0.30000000000000004, 9999999999999999]'],
    rejects: ['[-0.51]', '[10000000000000000]', '[-1]'],
  },
  'multiples, also of fractions': {
    schema: {
      type: 'array',
      prefixItems: [
        { type: 'integer', multipleOf: 7 },
        { type: 'number', multipleOf: 0.05 },
      ],
    },
    accepts: ['[14, 0.35]', '[0, -2]'],
    rejects: ['[15, 0.35]', '[14, 0.01]'],
  },
  'keywords next to $ref and enum': {
    schema: {
      ...object({ a: { $ref: '#/$defs/s', maxLength: 2 }, e: { type: 'integer', enum: [1, 5], minimum: 3 } }),
      $defs: { s: string },
    },
    accepts: ['{"a": "to", "e": 5}'],
    rejects: ['{"a": "toolong", "e": 5}', '{"a": "to", "e": 1}'],
  },
  'properties without a name of their own': {
    schema: {
      ...object({ a: string }),
      patternProperties: { '^x-': { type: 'null' } },
      additionalProperties: { type: 'integer' },
      propertyNames: { maxLength: 4 },
    },
    accepts: ['{"a": ""}', '{"a": "", "b": 1, "x-y": null}'],
    rejects: ['{"b": 1}', '{"a": "", "b": ""}', '{"a": "", "x-y": 1}', '{"a": "", "bcdef": 1}'],
  },
  recursion: {
    schema: tree,
    accepts: ['{"name":"a","children":[{"name":"b","children":[]}]}'],
    rejects: ['{"name":"a","children":["b"]}'],
  },
  definitions: {
    schema: {
      ...object({ x: { $ref: '#/$defs/x~1y' }, y: { $ref: '#/$defs/x~1y' } }),
      $defs: { 'x/y': { type: 'boolean', description: 'yes or no' } },
    },
    accepts: ['{"x":true,"y":false}'],
    rejects: ['{"x":1,"y":false}'],
  },
}

describe('json schema', () => {
  for (const [name, { schema, accepts, rejects }] of Object.entries(cases)) {
    it(`[ENG11] ${name}`, () => {
      const accepted = judge(schema)
      expect(accepts.filter((text) => !accepted(text))).toEqual([])
      expect(rejects.filter(accepted)).toEqual([])
    })
  }

  it('[ENG11] a keyword that cannot be enforced is refused with its name and path', () => {
    const refused = (schema: Record<string, unknown>) => refusal(schema)?.message
    expect(refused(object({ p: { type: 'string', pattern: '(a)\\1' } }))).toMatch(/"pattern" at #\/properties\/p/)
    expect(refused({ type: 'array', items: string, uniqueItems: true })).toMatch(/"uniqueItems"/)
    expect(refused({ $ref: 'https://example.com/schema.json' })).toMatch(/"\$ref".*outside/)
    expect(refused({ $ref: '#/nowhere' })).toMatch(/points to nothing/)
    expect(refused({ type: 'object', not: { propertyNames: { pattern: 'a' } } })).toMatch(/"not"/)
    expect(refused({ type: 'text' })).toMatch(/not a JSON type/)
    expect(refusal({ not: {} })).toMatchObject({
      ok: false,
      code: 'invalid_value',
      param: 'response_format.json_schema.schema',
    })
  })

  it('[ENG12] a tool’s schema is enforced as far as possible, and never refused', () => {
    const schema = object({ p: { type: 'string', pattern: '(a)\\1' }, n: { type: 'number', minimum: 0.5 } }, ['p'])
    const compiled = compileSchema(schema, 'root', false)
    if (!compiled.ok) throw new Error(compiled.reason)
    const accepted = accepts([...compiled.rules, ...jsonRules].join('\n'))
    expect(accepted('{"p": "b", "n": 0.6}')).toBe(true)
    expect(accepted('{"p": "b", "n": 0.1}')).toBe(false)
    expect(compiled.warnings).toEqual([expect.stringContaining('"pattern" at #/properties/p is not enforced')])
    expect(accepted('{"n": 1}')).toBe(false)
  })

  it('[ENG11] an endless or very large schema is refused', () => {
    expect(refusal({ $ref: '#' })).toBeDefined()
    let deep: Record<string, unknown> = string
    for (let level = 0; level < 100; level++) deep = object({ a: deep })
    expect(refusal(deep)?.message).toMatch(/nested/)
    const wide = object(Object.fromEntries(Array.from({ length: 20_000 }, (_, index) => [`p${index}`, string])))
    expect(refusal(wide)?.message).toMatch(/more than 524,288 bytes/)
    // Each level refers to the next twice, with a shared keyword: 2^40 branches if all are expanded.
    const levels = Array.from({ length: 40 }, (_, level) => {
      const next = { $ref: `#/$defs/d${level + 1}` }
      return [`d${level}`, { minLength: 0, anyOf: [next, next] }]
    })
    const $defs = { ...Object.fromEntries(levels), d40: string }
    expect(refusal({ ...object({ a: { $ref: '#/$defs/d0' } }), $defs })?.message).toMatch(/too large|nested/)
  })

  it('[ENG11] the grammar accepts every value of the schema with its properties in order', () => {
    type Pair = { schema: Record<string, unknown>; value: unknown }
    const { pair } = fc.letrec<{ pair: Pair }>((tie) => ({
      pair: fc.oneof(
        { maxDepth: 3 },
        fc.string({ maxLength: 8, unit: 'grapheme' }).map((value) => ({ schema: string, value })),
        fc.boolean().map((value) => ({ schema: { type: 'boolean' }, value })),
        fc
          .tuple(fc.integer(), fc.integer(), fc.integer())
          .map((list) => list.sort((a, b) => a - b))
          .map(([minimum, value, maximum]) => ({ schema: { type: 'integer', minimum, maximum }, value })),
        fc.tuple(tie('pair'), fc.nat(3)).map(([{ schema, value }, length]) => ({
          schema: { type: 'array', items: schema, minItems: 0, maxItems: length },
          value: Array(length).fill(value),
        })),
        fc
          .array(
            fc.tuple(
              fc.string({ minLength: 1, maxLength: 5 }),
              tie('pair'),
              fc.constantFrom('required', 'present', 'absent'),
            ),
            {
              maxLength: 4,
            },
          )
          .map((members) => [...new Map(members.map((member) => [`k${member[0]}`, member])).entries()])
          .map((members) => ({
            schema: object(
              Object.fromEntries(members.map(([key, [, { schema }]]) => [key, schema])),
              members.filter(([, member]) => member[2] === 'required').map(([key]) => key),
            ),
            value: Object.fromEntries(
              members.filter(([, member]) => member[2] !== 'absent').map(([key, [, { value }]]) => [key, value]),
            ),
          })),
      ),
    }))
    fc.assert(
      fc.property(pair, ({ schema, value }) => {
        const accepted = judge(schema)
        expect(accepted(dumps(value))).toBe(true)
        expect(accepted(JSON.stringify(value))).toBe(true)
        expect(accepted(JSON.stringify(value, null, 2))).toBe(true)
      }),
      { numRuns: 150 },
    )
  })
})
