/** Labels of a request, from the JSON of any dialect. */
import { describe, expect, it } from 'vitest'
import { readUsageLabels } from '../../src/dialects/usage-labels.ts'

describe('labels of a request', () => {
  it('[REQ6] a label that cannot be one is named in a warning and refuses nothing', () => {
    const long = 'x'.repeat(257)
    const cases: [unknown, string[]][] = [
      [{ user: long }, ['user']],
      [{ user: 5 }, ['user']],
      [{ user: 'a\u0000b' }, ['user']],
      [{ user: 'a', safety_identifier: 'b' }, ['user']],
      [{ user: 'a', safety_identifier: 'a' }, []],
      [{ metadata: { user_id: { a: 1 } } }, ['metadata.user_id']],
      [{ metadata: { a: [1], b: {}, c: null, d: 'fine' } }, ['metadata.a', 'metadata.b']],
      [{ metadata: { a: long } }, ['metadata.a']],
      [{ metadata: Object.fromEntries(Array.from({ length: 40 }, (_, index) => [`n${index}`, index])) }, ['metadata']],
      [{ metadata: 'text' }, ['metadata']],
      [{ metadata: ['text'] }, ['metadata']],
      [{ user: null, metadata: null }, []],
      [null, []],
      [[], []],
    ]
    for (const [body, fields] of cases) {
      const { warnings, labels } = readUsageLabels(body, null)
      expect(
        warnings.map((warning) => warning.split(':')[0]),
        JSON.stringify(body),
      ).toEqual(fields)
      expect(labels.tags.length).toBeLessThanOrEqual(16)
    }
    expect(readUsageLabels({ user: long }, null).labels).toEqual({ endUser: null, tags: [] })
    const tagged = { safety_identifier: 'b', user: 'a', metadata: { on: true, __proto__x: 1 } }
    expect(readUsageLabels(tagged, ' x ,,x,on:true').labels).toEqual({
      endUser: 'b',
      tags: ['x', 'on:true', '__proto__x:1'],
    })
    expect(() => readUsageLabels({}, long)).toThrow(/^x-tramontane-tags: /)
  })
})
