import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { budgets } from '../../../backends/model/budgets.ts'
import { cutText, wordCharactersMax } from '../../../gpu-worker/engine/pieces.ts'
import { wordsOf } from '../../../gpu-worker/engine/tekken/split.ts'

const wordMax = wordCharactersMax('tekken')
const character = fc.constantFrom(...'aZé0 9\n\t.,!/\r[漢字ก', '\u0301', '\u0e31', '😀', "'", '  ', '\u2003', 'hello ')

describe('pieces', () => {
  it('[ENG18] text is split only between words, so that no token changes', () => {
    fc.assert(
      fc.property(fc.array(character, { minLength: 1, maxLength: 60 }), (parts) => {
        const text = parts.join('').repeat(Math.ceil(6_000 / parts.join('').length))
        const pieces = [...cutText(text, wordMax)]
        expect(pieces.flatMap(wordsOf)).toEqual(wordsOf(text))
        if (/[\p{L}\p{N}!] /u.test(text)) expect(pieces.length).toBeGreaterThan(1)
      }),
    )
  })

  it('[ENG18] text without word boundaries is split too, never inside a character', () => {
    const other = wordCharactersMax('another family')
    expect(wordMax).toBe(budgets.wordCharacters.value)
    expect(other).toBeLessThan(10_000)
    for (const max of [wordMax, other]) {
      for (const text of [
        'a'.repeat(100_000),
        '😀'.repeat(50_000),
        `.${'😀'.repeat(50_000)}`,
        ` ${'x😀'.repeat(30_000)}`,
      ]) {
        const pieces = [...cutText(text, max)]
        expect(pieces.join('')).toBe(text)
        expect(Math.max(...pieces.map((piece) => piece.length))).toBeLessThanOrEqual(max + 1)
        expect(pieces.every((piece) => piece.isWellFormed())).toBe(true)
      }
    }
  })

  it('[ENG18] a word within the budget stays whole', () => {
    expect([...cutText('ACGT'.repeat(wordMax / 4), wordMax)]).toHaveLength(1)
    expect([...cutText(' '.repeat(wordMax), wordMax)]).toHaveLength(1)
  })
})
