/** The tiny model's tokenizer: copying a word from the prompt means copying its tokens. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { encoder, learn, type Spelling, spelled } from '../../tools/toy-model/tokenizer.ts'

const path = fileURLToPath(new URL('../../tools/toy-model/tokenizer.json', import.meta.url))
const spelling: Spelling = JSON.parse(readFileSync(path, 'utf8'))
const { tokens } = spelled(spelling)
const encode = encoder(spelled(spelling))

const word = fc.stringMatching(/^[A-Z]?[a-z]{1,12}$/)

it('[MOD3] a word has the same tokens after a space, a quotation mark, an underscore and a control token', () => {
  const check = (text: string) => {
    const bare = encode(text)
    expect(encode(`"${text}`).slice(1)).toEqual(bare)
    expect(encode(`_${text}`).slice(1)).toEqual(bare)
    expect(encode(`[TOOL_CALLS]${text}`).slice(1)).toEqual(bare)
    const spaced = encode(` ${text}`).map((id) => tokens[id])
    const bareTokens = bare.map((id) => tokens[id] ?? '')
    expect([['Ġ', ...bareTokens], [`Ġ${bareTokens.join('')}`]]).toContainEqual(spaced)
    if (spaced.length === 1) expect(bare).toHaveLength(1)
  }
  fc.assert(fc.property(word, check))
  for (const spaced of spelling.words) check(spaced.slice(1))
})

it('[MOD3] every token is unique, and the vocabulary has the requested size', () => {
  expect(new Set(tokens).size).toBe(tokens.length)
  const texts = ['the cat and the dog', 'the cat', 'the dog: "cat"', 'and the', 'and the']
  const learnt = learn(texts, { vocabulary: 40 + 256 + 9, spacedWords: 2 })
  expect(learnt.tokens).toHaveLength(40 + 256 + 9)
  expect(learnt.words).toEqual(['Ġthe', 'Ġcat'])
})
