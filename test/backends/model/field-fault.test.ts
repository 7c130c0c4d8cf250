import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { readChat } from '../../../backends/model/chat.ts'
import { faultText, readFields } from '../../../backends/model/field-fault.ts'

const textOf = (schema: z.ZodType, value: unknown) => {
  const read = readFields(schema, value)
  return read.ok ? 'valid' : faultText(read.fault)
}

describe('faults of fields', () => {
  it('[SHP12] the first invalid field of a chat request is named with its limit in plain words', () => {
    const ask = (change: object) => {
      const read = readChat({ model: 'm', messages: [{ role: 'user', content: 'hi' }], ...change })
      return read.ok ? 'valid' : read.message
    }
    expect(ask({ max_tokens: 0 })).toBe('max_tokens: must be at least 1, not 0.')
    expect(ask({ max_tokens: 1.5 })).toBe('max_tokens: must be a whole number, not 1.5.')
    expect(ask({ max_tokens: '5' })).toBe('max_tokens: must be a whole number, not a string.')
    expect(ask({ temperature: 3 })).toBe('temperature: must be at most 2, not 3.')
    expect(ask({ messages: [] })).toBe('messages: must not be empty.')
    expect(ask({ messages: undefined })).toBe('messages: is missing. Add an array.')
    expect(ask({ model: null })).toBe('model: must be a string, not null.')
    expect(ask({ stream: 'yes' })).toBe('stream: must be true or false, not a string.')
    expect(ask({ messages: [{ role: 'bot', content: 'hi' }] })).toMatch(
      /^messages\[0\]\.role: must be "system", .* or /,
    )
    expect(ask({ messages: [{ role: 'user', content: 5 }] })).toBe(
      'messages[0].content: must be a string or an array, not 5.',
    )
    expect(ask({ messages: [{ role: 'user', content: [{ type: 'text' }] }] })).toBe(
      'messages[0].content[0].text: is missing. Add a string.',
    )
    expect(ask({ tool_choice: 'maybe' })).toMatch(/^tool_choice: must be .*"auto".* or an object, not a string\.$/)
  })

  it('[SHP12] every kind of fault has a text that names what is allowed', () => {
    expect(textOf(z.number().gt(0), 0)).toBe('body: must be above 0, not 0.')
    expect(textOf(z.number().lt(5), 7)).toBe('body: must be below 5, not 7.')
    expect(textOf(z.number().multipleOf(5), 3)).toBe('body: must be a multiple of 5.')
    expect(textOf(z.string().max(3), 'abcd')).toBe('body: must have at most 3 characters.')
    expect(textOf(z.string().min(2), 'a')).toBe('body: must have at least 2 characters.')
    expect(textOf(z.string().length(3), 'abcd')).toBe('body: must have exactly 3 characters.')
    expect(textOf(z.array(z.int()).max(1), [1, 2])).toBe('body: must have at most 1 item.')
    expect(textOf(z.enum(['a', 'b']), 'c')).toBe('body: must be "a" or "b".')
    expect(textOf(z.literal(['a', null]), 2)).toBe('body: must be "a" or null.')
    expect(textOf(z.url(), 'x')).toBe('body: must be a URL, for example https://example.com/path.')
    expect(textOf(z.string().regex(/^[a-z]+$/), '1')).toBe('body: must match /^[a-z]+$/.')
    expect(textOf(z.string().startsWith('tm_'), 'x')).toBe('body: must begin with "tm_".')
    expect(textOf(z.record(z.string().max(1), z.int()), { bb: 1 })).toBe('bb: must have at most 1 characters.')
    expect(textOf(z.coerce.number(), 'x')).toBe('body: must be a number.')
    expect(textOf(z.strictObject({ a: z.strictObject({}) }), { a: { b: 1 } })).toBe(
      'a.b: is not a known field. Remove it, or check its spelling.',
    )
    const kinds = z.discriminatedUnion('kind', [z.object({ kind: z.literal('x') }), z.object({ kind: z.literal('y') })])
    expect(textOf(kinds, { kind: 'z' })).toBe('kind: must be "x" or "y".')
    expect(textOf(kinds, 5)).toBe('body: must be an object, not 5.')
    expect(textOf(z.string({ error: 'must be a name.' }), 5)).toBe('body: must be a name.')
  })
})
