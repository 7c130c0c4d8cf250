/** Keywords whose effect depends on other parts of the value, each with texts that its grammar accepts and rejects. */
import { describe, expect, it } from 'vitest'
import { compileSchema, jsonRules } from '../../../gpu-worker/engine/schema/compile-schema.ts'
import { accepts } from './accepts.ts'

interface Case {
  schema: Record<string, unknown>
  accepts: string[]
  rejects: string[]
}

const string = { type: 'string' }
const integer = { type: 'integer' }
const address = {
  type: 'object',
  properties: { country: { enum: ['US', 'CA'] }, zip: string },
  required: ['country', 'zip'],
  additionalProperties: false,
  if: { properties: { country: { const: 'US' } } },
  // biome-ignore lint/suspicious/noThenProperty: the keyword of JSON Schema
  then: { properties: { zip: { pattern: '^[0-9]{5}$' } } },
  else: { properties: { zip: { pattern: '^[A-Z]' } } },
}

const cases: Record<string, Case> = {
  'if, then and else': {
    schema: address,
    accepts: ['{"country":"US","zip":"12345"}', '{"country":"CA","zip":"K1A"}'],
    rejects: ['{"country":"US","zip":"K1A"}', '{"country":"CA","zip":"12345"}', '{"zip":"12345"}'],
  },
  'several conditions in allOf': {
    schema: {
      type: 'object',
      properties: { a: { type: 'boolean' }, b: integer, c: integer },
      required: ['a'],
      allOf: [true, false].map((value) =>
        Object.fromEntries([
          ['if', { properties: { a: { const: value } }, required: ['a'] }],
          ['then', { required: [value ? 'b' : 'c'] }],
        ]),
      ),
    },
    accepts: ['{"a":true,"b":1}', '{"a":false,"c":1}', '{"a":false,"b":1,"c":1}'],
    rejects: ['{"a":true,"c":1}', '{"a":false,"b":1}', '{"a":true}'],
  },
  dependentRequired: {
    schema: {
      type: 'object',
      properties: { a: integer, b: integer, c: integer },
      dependentRequired: { a: ['b', 'c'] },
      additionalProperties: false,
    },
    accepts: ['{}', '{"b":1}', '{"a":1,"b":1,"c":1}'],
    rejects: ['{"a":1}', '{"a":1,"b":1}', '{"a":1,"c":1}'],
  },
  'dependentSchemas, and dependencies of the older drafts': {
    schema: {
      type: 'object',
      properties: { a: integer, b: {}, c: integer },
      dependentSchemas: { a: { properties: { b: string }, required: ['b'] } },
      dependencies: { c: ['a'] },
    },
    accepts: ['{}', '{"a":1,"b":"x"}', '{"b":1}', '{"a":1,"b":"x","c":2}'],
    rejects: ['{"a":1}', '{"a":1,"b":1}', '{"b":1,"c":2}'],
  },
  'not of objects': {
    schema: { type: 'object', properties: { a: integer, b: integer }, not: { required: ['a', 'b'] } },
    accepts: ['{}', '{"a":1}', '{"b":1}'],
    rejects: ['{"a":1,"b":1}'],
  },
  'not of values, types and multiples': {
    schema: {
      type: 'array',
      prefixItems: [
        { not: { enum: ['x', 3, null] } },
        { type: 'number', not: { type: 'integer' } },
        { type: 'integer', not: { multipleOf: 5 } },
        { type: 'number', not: { const: 7 } },
      ],
      minItems: 4,
    },
    accepts: ['["y",0.5,6,7.5]', '[2.5,-1.25,-1,-7]', '[{"a":1},1.50,11,8]'],
    rejects: [
      '["x",0.5,6,8]',
      '[3,0.5,6,8]',
      '[null,0.5,6,8]',
      '["y",2,6,8]',
      '["y",2.0,6,8]',
      '["y",0.5,10,8]',
      '["y",0.5,6,7]',
    ],
  },
  'oneOf excludes values of two branches': {
    schema: {
      type: 'object',
      properties: { a: integer, b: integer },
      oneOf: [{ required: ['a'] }, { required: ['b'] }],
    },
    accepts: ['{"a":1}', '{"b":1}'],
    rejects: ['{"a":1,"b":1}', '{}'],
  },
  'oneOf of numbers': {
    schema: {
      oneOf: [
        { type: 'integer', multipleOf: 3 },
        { type: 'integer', multipleOf: 5 },
      ],
    },
    accepts: ['3', '5', '-10'],
    rejects: ['15', '0', '7', '-30'],
  },
  'contains, and its bounds': {
    schema: {
      type: 'array',
      prefixItems: [
        { type: 'array', items: integer, contains: { minimum: 10 } },
        { type: 'array', items: integer, contains: { minimum: 10 }, minContains: 2, maxContains: 2, maxItems: 4 },
        { type: 'array', items: integer, contains: { minimum: 10 }, minContains: 0, maxContains: 1 },
      ],
      minItems: 3,
    },
    accepts: ['[[10],[11,12],[]]', '[[1,11,2],[1,11,12,3],[1,11]]'],
    rejects: [
      '[[1],[11,12],[]]',
      '[[],[11,12],[]]',
      '[[10],[11],[]]',
      '[[10],[11,12,13],[]]',
      '[[10],[11,12],[10,11]]',
    ],
  },
  'uniqueItems of few values in any order': {
    schema: { type: 'array', items: { enum: ['a', 'b', 'c'] }, uniqueItems: true, minItems: 1 },
    accepts: ['["b","a"]', '["c"]', '["c","a","b"]'],
    rejects: ['["a","a"]', '[]', '["a","b","a"]'],
  },
  'uniqueItems of many values in their order': {
    schema: { type: 'array', items: { enum: [1, 2, 3, 4, 5, 6, 7, 8] }, uniqueItems: true, minItems: 2, maxItems: 3 },
    accepts: ['[1, 8]', '[2, 5, 7]'],
    rejects: ['[1]', '[1, 1]', '[2, 2, 3]', '[1, 2, 3, 4]'],
  },
  'minProperties and maxProperties of named properties': {
    schema: {
      type: 'object',
      properties: { a: integer, b: integer, c: integer },
      minProperties: 1,
      maxProperties: 2,
      additionalProperties: false,
    },
    accepts: ['{"a":1}', '{"b":1,"c":1}', '{ "a": 1, "c": 1 }'],
    rejects: ['{}', '{"a":1,"b":1,"c":1}'],
  },
  'minProperties counts properties without a name of their own': {
    schema: {
      type: 'object',
      properties: { a: integer },
      additionalProperties: string,
      minProperties: 2,
      maxProperties: 3,
    },
    accepts: ['{"a":1,"x":""}', '{"x":"","y":""}', '{"a":1,"x":"","y":""}'],
    rejects: ['{"a":1}', '{"x":""}', '{"a":1,"x":"","y":"","z":""}'],
  },
  'unevaluatedProperties sees the branches': {
    schema: {
      type: 'object',
      properties: { a: integer },
      anyOf: [
        { properties: { b: integer }, required: ['b'] },
        { properties: { c: integer }, required: ['c'] },
      ],
      unevaluatedProperties: false,
    },
    accepts: ['{"a":1,"b":1}', '{"c":1}'],
    rejects: ['{"a":1}', '{"b":1,"d":1}'],
  },
  'anchors, ids and relative references': {
    schema: {
      $id: 'https://example.com/root.json',
      type: 'object',
      properties: {
        a: { $ref: '#here' },
        b: { $ref: 'other.json' },
        c: { $ref: 'https://example.com/other.json#/$defs/x' },
        d: { const: { $id: 'https://example.com/other.json' } },
      },
      required: ['a', 'b', 'c', 'd'],
      $defs: {
        h: { $anchor: 'here', type: 'integer' },
        o: { $id: 'other.json', type: 'array', items: { $ref: '#/$defs/x' }, $defs: { x: { type: 'null' } } },
      },
    },
    accepts: ['{"a":1,"b":[null],"c":null,"d":{"$id": "https://example.com/other.json"}}'],
    rejects: [
      '{"a":null,"b":[null],"c":null,"d":{"$id": "https://example.com/other.json"}}',
      '{"a":1,"b":[1],"c":null}',
    ],
  },
}

describe('conditions in schemas', () => {
  for (const [name, { schema, accepts: yes, rejects }] of Object.entries(cases)) {
    it(`[ENG11] ${name}`, () => {
      const compiled = compileSchema(schema, 'root', true)
      if (!compiled.ok) throw new Error(`${compiled.keyword} at ${compiled.path}: ${compiled.reason}`)
      const accepted = accepts([...compiled.rules, ...jsonRules].join('\n'))
      expect(yes.filter((text) => !accepted(text))).toEqual([])
      expect(rejects.filter(accepted)).toEqual([])
    })
  }

  it('[ENG11] a branch without a type overlaps the branches of other types', () => {
    // A string matches the second branch too: `required` constrains objects only.
    const compiled = compileSchema({ oneOf: [string, { required: ['a'] }] }, 'root', true)
    if (!compiled.ok) throw new Error(compiled.reason)
    const accepted = accepts([...compiled.rules, ...jsonRules].join('\n'))
    expect(['"x"', '{"a":1}', '{}'].map(accepted)).toEqual([false, true, false])
  })

  it('[ENG11] what no grammar can exclude is refused by its keyword', () => {
    const refused = (schema: unknown) => {
      const compiled = compileSchema(schema, 'root', true)
      return compiled.ok ? 'accepted' : `${compiled.keyword} at ${compiled.path}`
    }
    expect(refused({ type: 'array', items: string, uniqueItems: true })).toBe('uniqueItems at #')
    expect(refused({ type: 'array', contains: string, minContains: 3_000 })).toBe('contains at #')
    expect(refused({ oneOf: Array.from({ length: 12 }, (_, index) => ({ minLength: index })) })).toBe('oneOf at #')
    expect(refused({ $ref: 'https://example.com/other.json' })).toBe('$ref at #')
  })
})
