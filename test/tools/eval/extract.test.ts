import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { boxedInteger, integers, lastCode, lastInteger, listItems, sentences, words } from './extract.ts'

describe('reading an answer', () => {
  it.each([
    ['The answer is \\boxed{42}.', 42],
    ['First \\boxed{1}, then \\boxed{033}.', 33],
    ['\\boxed{\\text{070}} is final, see page 9', 70],
    ['\\boxed{$1{,}024$}', 1_024],
    ['\\boxed{m+n = 25+8 = 33}', 33],
    ['no box, but **113**', 113],
    ['\\boxed{x} or rather 17', 17],
    ['I do not know.', null],
    ['', null],
  ])('[EVL1] the answer is the last boxed integer, otherwise the last integer: %j', (text, value) => {
    expect(boxedInteger(text)).toBe(value)
  })

  it('[EVL2] integers are read from prose, grouped and negative, not within words or decimals', () => {
    expect(lastInteger('574 + 982 = 1,556.')).toBe(1_556)
    expect(integers('from -3 to 4, then 10-2, v8, 3.14 and 1 2 3.')).toEqual([-3, 4, 10, 2, 1, 2, 3])
    expect(lastInteger('none at all')).toBeNull()
    fc.assert(fc.property(fc.integer({ min: 0, max: 1e9 }), (value) => lastInteger(`It is ${value}.`) === value))
  })

  it('[EVL3] code is the last fenced block with a body, or the whole text without a fence', () => {
    expect(lastCode('a\n```python\nx = 1\n```\nb\n```py\nx = 2\n```\n```\n\n```')).toEqual({
      code: 'x = 2\n',
      language: 'py',
    })
    expect(lastCode('print(1)')).toEqual({ code: 'print(1)', language: '' })
    expect(lastCode('```python\nnever closed')).toBeNull()
    expect(lastCode('  ')).toBeNull()
  })

  it('[EVL4] words, sentences and list items are compared without punctuation and markup', () => {
    expect(words('The Moonlit   Harbour!')).toEqual(['moonlit', 'harbour'])
    expect(sentences('One. "Two?" Three! ')).toEqual(['One.', '"Two?"', 'Three!'])
    expect(listItems('Here:\n1. **Take** it.\n2) Draw it.\n- Sing.\n\nDone.')).toEqual([
      'Take it.',
      'Draw it.',
      'Sing.',
    ])
  })
})
