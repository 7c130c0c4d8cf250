/** Text processing in linear time. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { trimmedEnd } from '../../../backends/model/trim-end.ts'
import { LogLines } from '../../../gpu-worker/engine/log-lines.ts'
import { cutText, partsOf } from '../../../gpu-worker/engine/pieces.ts'
import { respace } from '../../../gpu-worker/engine/python-json.ts'
import { createStopSearch } from '../../../gpu-worker/engine/stop.ts'

function msOf(work: () => unknown): number {
  const before = performance.now()
  work()
  return performance.now() - before
}

describe('text', () => {
  it('[EGS21] processing four times the text takes about four times as long', () => {
    const jobs: Record<string, (count: number) => unknown> = {
      'cut one letter': (count) => [...cutText('a'.repeat(count), 65_536)],
      'cut one character': (count) => [...cutText('漢'.repeat(count), 65_536)],
      'cut marks': (count) => [...cutText('a\u0301'.repeat(count / 2), 65_536)],
      'spaces before a letter': (count) => trimmedEnd(`${' '.repeat(count)}x`, ' '),
      'spaces at the end': (count) => trimmedEnd(`x${' '.repeat(count)}`, ' '),
      'one JSON string': (count) => respace(JSON.stringify('a'.repeat(count))),
      'JSON escapes': (count) => respace(`"${'\\n'.repeat(count / 2)}"`),
    }
    for (const [name, job] of Object.entries(jobs)) {
      const best = (count: number) => Math.min(...[1, 2, 3].map(() => msOf(() => job(count))))
      job(100_000)
      const [small, large] = [best(500_000), best(2_000_000)]
      expect(large, `${name}: ${small} ms and ${large} ms`).toBeLessThan(Math.max(50, small * 10))
    }
  })

  it('[EGS21] respacing arguments changes only white space and escapes, at any size', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(0, 2, '\t'), (value, indent) => {
        const text = JSON.stringify(value, null, indent) ?? 'null'
        expect(JSON.parse(respace(text))).toEqual(JSON.parse(text))
        expect(respace(respace(text))).toBe(respace(text))
      }),
      { seed: 5 },
    )
    expect(respace('{"a":1.0,"b":[1,2],"c":"x,\\u00e9:y"}')).toBe('{"a": 1.0, "b": [1, 2], "c": "x,é:y"}')
    expect(respace('not json')).toBe('"not json"')
    expect(respace(`"${'a'.repeat(30_000_000)}"`)).toHaveLength(30_000_002)
  })

  it('[EGS21] the stop string search equals a naive search for any split of the text', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', '\ud83d', '\ude00'), minLength: 1, maxLength: 5 })
    fc.assert(
      fc.property(fc.array(letters, { maxLength: 4 }), fc.array(letters, { maxLength: 12 }), (stop, parts) => {
        const text = parts.join('')
        const ends = stop.flatMap((each) =>
          text.includes(each) ? [{ each, end: text.indexOf(each) + each.length }] : [],
        )
        const first = Math.min(...ends.map(({ end }) => end))
        const expected = ends.filter(({ end }) => end === first).sort((a, b) => b.each.length - a.each.length)[0]
        const search = createStopSearch(stop)
        const sent = parts.map((part) => search.push(part)).join('')
        expect(search.which).toBe(expected?.each)
        expect(sent + search.flush()).toBe(expected ? text.slice(0, expected.end - expected.each.length) : text)
      }),
      { numRuns: 2_000, seed: 3 },
    )
  })

  it('[EGS21] the worst stop strings take less than 0.2 ms per token', () => {
    const stop = Array.from({ length: 16 }, (_, index) => `${'a'.repeat(239 + index)}b`)
    const search = createStopSearch(stop)
    const ms = msOf(() => {
      for (let token = 0; token < 10_000; token++) search.push('aaaa')
    })
    expect(ms / 10_000).toBeLessThan(0.2)
  })

  it('[EGS21] a long prompt is split into parts lazily', () => {
    let read = 0
    function* pieces() {
      for (let index = 0; index < 100; index++) {
        read++
        yield index % 3 === 0 ? index : 'x'.repeat(1_000)
      }
    }
    const parts = partsOf(pieces(), 10_000)
    expect(parts.next().value?.length).toBeLessThan(20)
    expect(read).toBeLessThan(20)
    expect([...partsOf(pieces(), 10_000)].flat()).toEqual([...pieces()])
  })
})

describe('an engine’s output in the log', () => {
  it('[EGS22] a dumped grammar becomes one line without text from the client', () => {
    const lines: string[] = []
    const log = new LogLines(
      (line) => lines.push(line),
      () => 0,
    )
    log.push('parse: error parsing grammar: expecting name at secret ::= x')
    log.push('')
    log.push('root ::= "secret"')
    log.push('root-1 ::= "{" ws "\\"secret\\":" ws string')
    log.push('GGML_ASSERT(x) failed')
    expect(lines).toEqual(['the library refused a grammar', 'GGML_ASSERT(x) failed'])
  })

  it('[EGS22] lines are printable, short and at most 100 per second, and dropped lines are counted', () => {
    const lines: string[] = []
    let now = 0
    const log = new LogLines(
      (line) => lines.push(line),
      () => now,
    )
    for (let index = 0; index < 5_000; index++) log.push(`\u001b[31m${'x'.repeat(2_000)}\r`)
    expect(lines).toHaveLength(100)
    expect(lines.every((line) => /^[\x20-\x7e]{1,300}$/.test(line))).toBe(true)
    now = 1_500
    log.push('later')
    expect(lines.slice(100)).toEqual(['4900 more lines in one second were not logged', 'later'])
  })
})
