import { describe, expect, it } from 'vitest'
import { parsePartial } from '../../../backends/model/partial-json.ts'

describe('partial JSON', () => {
  it('[CUT1] every prefix of a JSON object parses to a part of it, and the whole text to itself', () => {
    const value = { a: 'x\\"é\u2028', list: [1, -2.5e3, true, null, { b: [] }], 'k"e,y': { c: 'd', e: ['f,g'] } }
    for (const text of [JSON.stringify(value), JSON.stringify(value, null, 1).replace('é', '\\u00e9')]) {
      for (let length = 0; length <= text.length; length++) {
        const part = parsePartial(text.slice(0, length)) as typeof value
        expect(Object.keys(value).slice(0, Object.keys(part).length)).toEqual(Object.keys(part))
        if (part.a !== undefined) expect(value.a.startsWith(part.a)).toBe(true)
        if (part.list) expect(part.list.length).toBeLessThanOrEqual(5)
      }
      expect(parsePartial(text)).toEqual(value)
    }
    expect(parsePartial('{"q": "two wor')).toEqual({ q: 'two wor' })
    expect(parsePartial('{"q": "a", "n": 12')).toEqual({ q: 'a' })
    expect(parsePartial('nothing')).toEqual({})
  })

  it('[CUT1] a long text is completed in linear time', () => {
    const began = performance.now()
    parsePartial(`{"a":${'['.repeat(200_000)}`)
    parsePartial(`{"a":"${'\\\\'.repeat(500_000)}`)
    expect(performance.now() - began).toBeLessThan(2_000)
  })
})
