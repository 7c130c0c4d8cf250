import { describe, expect, it } from 'vitest'
import type { HttpBackend } from '../../../backends/contract/backend.ts'
import { llamaCpp } from '../../../backends/engines/llama-cpp.ts'
import { engineSchema, schemaAllowance } from '../../../backends/engines/openai/engine-schema.ts'
import { sglang } from '../../../backends/engines/sglang.ts'
import { vllm } from '../../../backends/engines/vllm.ts'
import { readChat } from '../../../backends/model/chat.ts'

type Json = Record<string, unknown>

function reduced(schema: Json, reduction: 'enforced' | 'harmless' = 'enforced') {
  const read = engineSchema(schema, reduction, schemaAllowance())
  if (!read.ok) throw new Error(`${read.fault.keyword} ${read.fault.path} ${read.fault.reason}`)
  return { schema: read.schema, lost: read.losses.map(({ keyword, path }) => `${keyword} ${path}`) }
}

function request(backend: HttpBackend, body: Json) {
  const read = readChat({ model: 'm', messages: [{ role: 'user', content: 'hi' }], ...body })
  if (!read.ok) throw new Error(read.message)
  const terms = { requestId: 'r', effort: 'none', outputTokensMax: 1, priority: 0, cacheSalt: '' } as const
  const { capabilities } = backend
  return backend.request(read.chat, terms, {
    ...{ version: '', model: 'm', contextTokens: null, slotsMax: null, capabilities, faults: [] },
  })
}
const formatOf = (schema: Json, strict = false) => ({
  response_format: { type: 'json_schema', json_schema: { name: 'a', schema, strict } },
})
const toolOf = (parameters: Json, strict = false) => ({
  tools: [{ type: 'function', function: { name: 'f', parameters, strict } }],
})

const text = { type: 'string' }
const lookahead = "^(?!\\.)([A-Za-z0-9_'+\\-\\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\\-]*\\.)+[A-Za-z]{2,}$"
const optional = (count: number) => ({
  type: 'object',
  properties: Object.fromEntries(Array.from({ length: count }, (_, index) => [`p${index}`, text])),
})

describe('schemas for engines over HTTP', () => {
  it('[ADP42] a schema that all engines compile is sent unchanged', () => {
    const plain = {
      type: 'object',
      properties: {
        a: { type: ['string', 'null'], pattern: '^[a-z]{1,9}$', description: 'd', maxLength: 9 },
        b: { type: 'array', items: { $ref: '#/$defs/n' }, minItems: 1, maxItems: 5 },
        c: { anyOf: [{ const: 1 }, { enum: ['x'] }] },
        d: { type: 'string', format: 'date-time' },
      },
      required: ['a'],
      additionalProperties: false,
      $defs: { n: { type: 'number', minimum: 0, maximum: 1, multipleOf: 0.1, 'x-own': 1 } },
    }
    expect(reduced(plain)).toEqual({ schema: plain, lost: [] })
    expect(reduced(plain).schema).toBe(plain)
  })

  it('[ADP42] a keyword that some engine refuses is left out, and what loses nothing is not reported', () => {
    const cases: [Json, Json, string[]][] = [
      [{ type: 'array', uniqueItems: true, items: true }, { type: 'array', items: {} }, ['uniqueItems #']],
      [{ type: 'object', propertyNames: { type: 'string' } }, { type: 'object' }, []],
      [{ type: 'object', propertyNames: { maxLength: 2 } }, { type: 'object' }, ['propertyNames #']],
      [{ type: 'object', unevaluatedProperties: false }, { type: 'object', additionalProperties: false }, []],
      [{ allOf: [text], unevaluatedProperties: false }, { allOf: [text] }, ['unevaluatedProperties #']],
      [{ ...text, format: 'email', pattern: lookahead }, { ...text, format: 'email' }, []],
      [{ ...text, format: 'credit-card', pattern: '(a)\\1' }, text, ['pattern #']],
      [{ $schema: 'https://a.b/c', ...text }, text, []],
      [{ properties: { 'a/b': { not: text } } }, { properties: { 'a/b': {} } }, ['not #/properties/a~1b']],
      [{ type: 'integer', maximum: 2 ** 63, minimum: 0 }, { type: 'integer', minimum: 0 }, ['maximum #']],
      [{ ...text, maxLength: 5_000 }, text, ['maxLength #']],
      [{ ...text, pattern: 'a{3000}' }, text, ['pattern #']],
      [{ $ref: '#a', $defs: { b: { $anchor: 'a' } } }, { $defs: { b: { $anchor: 'a' } } }, ['$ref #']],
      [{ oneOf: [text, { type: 'null' }] }, { anyOf: [text, { type: 'null' }] }, []],
      [{ oneOf: [text, { maxLength: 1 }] }, { anyOf: [text, { maxLength: 1 }] }, ['oneOf #']],
      [
        { type: 'object', properties: { a: false } },
        { type: 'object', properties: { a: {} } },
        ['false #/properties/a'],
      ],
    ]
    for (const [given, schema, lost] of cases) expect(reduced(given), JSON.stringify(given)).toEqual({ schema, lost })
    const branch = (kind: string) => ({ type: 'object', properties: { kind: { const: kind } }, required: ['kind'] })
    const union = { oneOf: [{ $ref: '#/$defs/a' }, { $ref: '#/$defs/b' }], $defs: { a: branch('a'), b: branch('b') } }
    expect(reduced(union).lost).toEqual([])
  })

  it('[ADP42] a loss is a warning, and refuses a strict schema by its path as a thing that other engines may support', () => {
    const sets = { type: 'object', properties: { a: { type: 'array', items: text, uniqueItems: true } } }
    for (const backend of [vllm, sglang, llamaCpp]) {
      expect(request(backend, formatOf(sets))).toMatchObject({
        ok: true,
        warnings: [
          'response_format.json_schema.schema: "uniqueItems" at #/properties/a is not enforced: this engine does not support it',
        ],
      })
      expect(request(backend, formatOf(sets, true))).toMatchObject({
        ok: false,
        unsupported: true,
        param: 'response_format.json_schema.schema',
        message: expect.stringMatching(
          /^response_format.*"uniqueItems" at #\/properties\/a cannot be enforced: .*"strict": false\.$/,
        ),
      })
      expect(request(backend, toolOf(sets, true))).toMatchObject({ ok: false, unsupported: true, param: 'tools' })
      const loose = request(backend, toolOf(sets))
      if (!loose.ok) throw new Error(loose.message)
      // The schema is a part of the prompt.
      expect(loose.call.body).toContain('"uniqueItems":true')
      expect(loose.warnings.length).toBe(backend === llamaCpp ? 1 : 0)
    }
  })

  it('[ADP43] a schema that no value can match, or that refers to nothing, is refused with its path, strict or not', () => {
    const cases: [Json, string][] = [
      [{ type: 'array', minItems: 5, maxItems: 2 }, '"minItems" at #/properties/q'],
      [{ ...text, minLength: 5, maxLength: 2 }, '"minLength" at #/properties/q'],
      [{ type: 'object', minProperties: 5, maxProperties: 2 }, '"minProperties" at #/properties/q'],
      [{ type: 'integer', minimum: 5, maximum: 2 }, '"minimum" at #/properties/q'],
      [{ ...text, minLength: -1 }, '"minLength" at #/properties/q'],
      [{ ...text, maxLength: '5' }, '"maxLength" at #/properties/q'],
      [{ $ref: '#/$defs/none' }, '"$ref" at #/properties/q'],
      [{ $ref: '#/properties/q' }, '"$ref" at #/properties/q'],
      [{ anyOf: { a: 1 } }, '"anyOf" at #/properties/q/anyOf'],
    ]
    for (const [schema, place] of cases) {
      const within = { type: 'object', properties: { q: schema } }
      for (const backend of [vllm, llamaCpp]) {
        const message = expect.stringContaining(place)
        expect(request(backend, formatOf(within))).toMatchObject({ ok: false, code: 'invalid_value', message })
        expect(request(backend, toolOf(within, true))).toMatchObject({ ok: false, code: 'invalid_value', message })
      }
      expect(request(llamaCpp, toolOf(within))).toMatchObject({ ok: false, param: 'tools' })
    }
    expect(
      request(llamaCpp, toolOf({ type: 'object', properties: { a: { ...text, pattern: 'a{5,2}' } } })),
    ).toMatchObject({
      ok: true,
      call: { body: expect.not.stringContaining('{5,2}') },
    })
  })

  it('[ADP44] the schemas of one request share the parts and the optional properties that an engine compiles', () => {
    expect(reduced(optional(500)).lost).toEqual([])
    expect(reduced(optional(2_000))).toEqual({ schema: { type: 'object' }, lost: ['properties #'] })
    const tool = (index: number) => ({
      type: 'function',
      function: { name: `f${index}`, parameters: optional(300) },
    })
    const many = request(llamaCpp, { tools: [0, 1, 2, 3].map(tool) })
    if (!many.ok) throw new Error(many.message)
    const shown = JSON.parse(many.call.body).tools.map(({ function: each }: { function: { parameters: Json } }) =>
      Object.keys(each.parameters),
    )
    expect(shown).toEqual([['type', 'properties'], ['type', 'properties'], ['type'], ['type']])
    expect(many.warnings.filter((warning) => warning.includes('"properties" at # is not enforced'))).toHaveLength(2)
    const wide = { type: 'object', anyOf: Array.from({ length: 30_000 }, () => text) }
    expect(reduced(wide)).toEqual({ schema: { type: 'object' }, lost: ['schema #'] })
    const deep = Array.from({ length: 80 }).reduce<Json>((inner) => ({ properties: { a: inner } }), text)
    expect(reduced(deep).lost).toEqual([`schema #${'/properties/a'.repeat(60)}`])
    const self: Json = { $ref: '#/$defs/a', $defs: { a: { properties: { next: { $ref: '#/$defs/a' } } } } }
    expect(reduced(self).schema).toBe(self)
  })
})
