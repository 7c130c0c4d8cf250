/** Warnings for fields that a schema does not read. */
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import {
  fieldWithoutEffect,
  removedObject,
  unsupportedField,
  unusedFields,
} from '../../../backends/model/unused-fields.ts'

const Part = z.union([
  z.discriminatedUnion('type', [
    z
      .object({ type: z.literal('a'), text: z.string(), detail: unsupportedField('auto') })
      .transform(({ text }) => text),
    z.object({ type: z.literal('b'), free: z.record(z.string(), z.unknown()) }),
  ]),
  removedObject(z.object({ type: z.string() })),
])
const Body = z.object({
  parts: z.union([z.string(), z.array(Part)]).nullish(),
  label: fieldWithoutEffect('a label'),
  inner: z.object({ known: z.number() }).nullish(),
})
const fields = (body: unknown) => unusedFields(Body, body).map((warning) => warning.split(':')[0])

describe('fields without effect', () => {
  it('[SHP17] an unknown field is named by its path, in every kind of schema, and once for all items of a list', () => {
    const parts = [
      { type: 'a', text: 't', more: 1 },
      { type: 'a', text: 't', more: 2, detail: 'high' },
      { type: 'b', free: { any: { thing: 1 } }, text: 't' },
      { type: 'c', other: 1 },
    ]
    expect(fields({ parts, label: 'l', inner: { known: 1, extra: 2 }, unknown: {} })).toEqual([
      'parts[0].more',
      'parts[1].detail',
      'parts[2].text',
      'inner.extra',
      'unknown',
    ])
  })

  it('[SHP17] null, a value that asks for nothing, and an empty unsupported field add no warning', () => {
    const part = (detail: unknown) => ({ type: 'a', text: 't', detail })
    expect(fields({ parts: ['auto', null, {}, []].map(part), unknown: null })).toEqual([])
    expect(fields({ parts: 'text' })).toEqual([])
    expect(fields(null)).toEqual([])
    expect(fields([])).toEqual([])
  })

  it('[SHP17] a body with 65,536 unknown fields adds 33 warnings of bounded length, in linear time', () => {
    const many = Object.fromEntries(Array.from({ length: 65_536 }, (_, index) => [`${'x'.repeat(200)}${index}`, 1]))
    const each = Object.fromEntries(Array.from({ length: 65_536 }, (_, index) => [`f${index}`, 1]))
    const start = performance.now()
    // Names that are equal after they were cut count once.
    expect(unusedFields(Body, many)).toHaveLength(1)
    const warnings = unusedFields(Body, { inner: each, ...each })
    expect(warnings).toHaveLength(33)
    expect(warnings.at(-1)).toBe('body: more fields are not supported and were ignored')
    expect(performance.now() - start).toBeLessThan(10_000)
    expect(Math.max(...warnings.map(({ length }) => length))).toBeLessThan(200)
  })
})
