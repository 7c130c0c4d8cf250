import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { budgets } from '../../../backends/model/budgets.ts'
import { type Prelude, PreludeReader, preludeLine } from '../../../backends/wire/prelude.ts'

const bytesOf = (text: string) => new TextEncoder().encode(text)
const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes)

function readCut(bytes: Uint8Array, cuts: number[]) {
  const reader = new PreludeReader()
  const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b)
  let from = 0
  for (const to of [...places, bytes.length]) {
    const read = reader.push(bytes.subarray(from, to))
    from = to
    if (read.kind === 'read')
      return { prelude: read.prelude, rest: textOf(Buffer.concat([read.rest, bytes.subarray(to)])) }
    if (read.kind === 'malformed') return read
  }
  return { kind: 'more' as const }
}

const prelude: fc.Arbitrary<Prelude> = fc.oneof(
  fc.record({
    kind: fc.constant('prepared' as const),
    promptTokens: fc.nat(),
    warnings: fc.array(fc.string({ unit: 'grapheme', maxLength: 80 }), { maxLength: 5 }),
  }),
  fc.record({
    kind: fc.constant('refused' as const),
    refusal: fc.record({ code: fc.string({ maxLength: 20 }), message: fc.string({ unit: 'binary', maxLength: 99 }) }),
  }),
)

describe('the prelude', () => {
  it('[PRL1] a prelude split at any byte reads as it was written, and the bytes after it are untouched', () => {
    fc.assert(
      fc.property(
        prelude,
        fc.string({ unit: 'grapheme' }),
        fc.array(fc.nat(), { maxLength: 6 }),
        (line, rest, cuts) => {
          const wellFormed = JSON.parse(JSON.stringify(line).toWellFormed())
          const read = readCut(bytesOf(preludeLine(line) + rest), cuts)
          expect(read).toEqual({ prelude: wellFormed, rest: rest.toWellFormed() })
        },
      ),
    )
  })

  it('[PRL2] a first line that is not a prelude is malformed, and an endless line is read only to its budget', () => {
    const texts = [
      '\n',
      'data: {}\n',
      '{"kind":"other"}\n',
      '{"kind":"prepared"}\n',
      ' \n{"kind":"prepared","warnings":[]}\n',
    ]
    for (const text of texts) expect(new PreludeReader().push(bytesOf(text)).kind).toBe('malformed')
    expect(new PreludeReader().push(new Uint8Array([0xff, 10])).kind).toBe('malformed')
    const reader = new PreludeReader()
    const part = new Uint8Array(4_096).fill(0x20)
    let pushed = 0
    while (pushed < 2 * budgets.preludeBytes.value && reader.push(part).kind === 'more') pushed += part.length
    expect(pushed).toBe(budgets.preludeBytes.value)
  })

  it('[PRL3] a prelude never exceeds its budget, for any text of the engine', () => {
    const long = 'ü🦊\n'.repeat(30_000)
    const refused: Prelude = { kind: 'refused', refusal: { code: 'invalid_value', message: long, param: long } }
    const prepared: Prelude = { kind: 'prepared', warnings: Array.from({ length: 500 }, () => long) }
    for (const each of [refused, prepared]) {
      const bytes = bytesOf(preludeLine(each))
      expect(bytes.length).toBeLessThan(budgets.preludeBytes.value)
      expect(new PreludeReader().push(bytes)).toMatchObject({ kind: 'read', prelude: { kind: each.kind } })
    }
  })
})
