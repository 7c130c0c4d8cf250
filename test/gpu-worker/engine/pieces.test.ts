import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { cutText } from '../../../gpu-worker/engine/pieces.ts'

/** The split into words before merging, in this tokenizer family. */
const words =
  /[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+/gu

const character = fc.constantFrom(...'aZé0 9\n\t.,!/\r[漢字', '\u0301', '😀', "'", '  ', 'hello ')

describe('pieces', () => {
  it('[ENG18] text is split only between words, so that no token changes', () => {
    fc.assert(
      fc.property(fc.array(character, { minLength: 1, maxLength: 60 }), (parts) => {
        const text = parts.join('').repeat(Math.ceil(6_000 / parts.join('').length))
        fc.pre(/[\p{L}\p{N}] /u.test(text))
        const ends = new Set([...text.matchAll(words)].map((match) => match.index + match[0].length))
        let at = 0
        for (const piece of cutText(text)) {
          at += piece.length
          expect(ends.has(at)).toBe(true)
        }
        expect(at).toBe(text.length)
      }),
    )
  })

  it('[ENG18] text without word boundaries is split too, never inside a character', () => {
    for (const text of [
      'a'.repeat(100_000),
      '😀'.repeat(50_000),
      `.${'😀'.repeat(50_000)}`,
      ` ${'x😀'.repeat(30_000)}`,
    ]) {
      const pieces = [...cutText(text)]
      expect(pieces.join('')).toBe(text)
      expect(Math.max(...pieces.map((piece) => piece.length))).toBeLessThanOrEqual(8_193)
      expect(pieces.every((piece) => piece.isWellFormed())).toBe(true)
    }
  })
})
