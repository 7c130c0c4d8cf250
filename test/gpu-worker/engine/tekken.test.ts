/**
 * The tekken tokenizer against ids that mistral-common wrote (`npm run parity -- --write`), with the part of the
 * vocabulary that they need. `npm run parity` compares more texts, with the whole vocabulary.
 */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { budgets } from '../../../backends/model/budgets.ts'
import { readTokenizer } from '../../../gpu-worker/engine/model-file.ts'
import { createTekken } from '../../../gpu-worker/engine/tekken/encoder.ts'
import { type Merges, mergeLong, mergeShort } from '../../../gpu-worker/engine/tekken/merge.ts'
import { PairTable } from '../../../gpu-worker/engine/tekken/pair-table.ts'
import { wordsOf } from '../../../gpu-worker/engine/tekken/split.ts'
import { createVocabulary } from '../../../gpu-worker/engine/vocabulary.ts'
import { goldenPath, type TekkenGolden } from '../../tools/parity/golden.ts'
import { tekkenData } from '../../tools/parity/tekken-data.ts'
import { encoder, type Spelling, spelled } from '../../tools/toy-model/tokenizer.ts'

const golden: TekkenGolden = JSON.parse(readFileSync(fileURLToPath(goldenPath), 'utf8'))
const data = tekkenData(golden.tokens)
const tekken = createTekken(data)

function encode(text: string, steps = tekken): number[] {
  const ids: number[] = []
  const running = steps(text, ids)
  while (!running.next().done);
  return ids
}

/** A merge for every pair of the letters a to d, and for some of their results, with ranks in a random order. */
const randomMerges = fc
  .array(fc.tuple(fc.nat(11), fc.nat(11)), { minLength: 1, maxLength: 40 })
  .map((pairs): Merges => {
    const ranks = new PairTable(pairs.length)
    for (const [rank, [left, right]] of pairs.entries()) ranks.set(left, right, rank)
    return { ranks, results: Int32Array.from(pairs, (_, rank) => 4 + (rank % 8)) }
  })
const word = fc.array(fc.nat(3), { minLength: 1, maxLength: 120 })

describe('tekken', () => {
  it('[TOK1] every text of the golden file has the ids of the reference', () => {
    expect(golden.texts.length).toBeGreaterThanOrEqual(400)
    const wrong = golden.texts.filter(([text, ids]) => encode(text).join() !== ids.join())
    expect(wrong.map(([text]) => text)).toEqual([])
  })

  it('[TOK1] the texts of the golden file are in at least 40 scripts', () => {
    const scripts =
      'Latn Cyrl Grek Copt Geor Armn Hebr Arab Syrc Thaa Nkoo Deva Beng Guru Gujr Orya Taml Telu Knda Mlym Sinh Thai Laoo Mymr Khmr Tibt Ethi Mong Cher Cans Hani Hira Kana Hang Bopo Yiii Java Bali Sund Tfng Olck Mtei Vaii Adlm Goth Runr Ogam Dsrt Xsux Egyp'
    const all = golden.texts.map(([text]) => text).join('')
    const found = scripts.split(' ').filter((script) => new RegExp(`\\p{Script=${script}}`, 'u').test(all))
    expect(found.length).toBeGreaterThanOrEqual(40)
  })

  it('[TOK1] white space is that of Unicode, not that of JavaScript', () => {
    expect(wordsOf('x\u0085\u0085\u0085y')).toEqual(['x', '\u0085\u0085', '\u0085y'])
    expect(wordsOf('x\ufeff\ufeff\ufeffy')).toEqual(['x', '\ufeff\ufeff\ufeff', 'y'])
    expect(wordsOf('!\u0085 \ufeff?')).toEqual(['!', '\u0085', ' \ufeff?'])
  })

  it('[TOK2] the tokens of a text are its bytes, and none of them is a control token', () => {
    const { bytes, controlIds } = createVocabulary(data.tokens, data.types)
    const control = new Set(controlIds)
    const name = fc.constantFrom(...data.tokens.slice(0, 40), '\0', 'नि', '👩🏽‍🚀')
    fc.assert(
      fc.property(fc.array(fc.oneof(name, fc.string({ unit: 'binary' }))), (parts) => {
        const text = parts.join('')
        const ids = encode(text)
        expect(ids.some((id) => control.has(id))).toBe(false)
        expect(Buffer.concat(ids.map(bytes)).equals(Buffer.from(text))).toBe(true)
      }),
    )
  })

  it('[TOK2] a control token is not used, even if its name is a word or a merge makes it', () => {
    const id = data.tokens.indexOf('Ġand')
    expect(encode('salt and pepper')).toContain(id)
    const steps = createTekken({ ...data, types: data.types.map((type, at) => (at === id ? 3 : type)) })
    for (const text of [' and', 'salt and pepper', ' andante']) expect(encode(text, steps)).not.toContain(id)
  })

  it('[TOK3] long words are merged as short ones', () => {
    fc.assert(
      fc.property(randomMerges, word, (merges, letters) => {
        const [short, long] = [Int32Array.from(letters), Int32Array.from(letters)]
        const length = mergeShort(merges, short, new Int32Array(letters.length), letters.length)
        const merged: number[] = []
        for (const _ of mergeLong(merges, long, merged));
        expect(merged).toEqual([...short.subarray(0, length)])
      }),
      { numRuns: 500 },
    )
  })

  it('[TOK3] the longest word is tokenised in short steps, and four times its length takes about four times as long', () => {
    const { value: longest } = budgets.wordCharacters
    for (const letter of ['a', 'A', ' ', '-', '\n', '\u0301', '漢', 'ก']) {
      const [small, large] = [steps(letter.repeat(longest)), steps(letter.repeat(longest * 4))]
      expect(small.count, letter).toBeGreaterThan(longest / 2_048)
      expect(large.ms, letter).toBeLessThan(Math.max(400, small.ms * 16))
    }
  })

  it('[TOK3] a merge works in steps of bounded size', () => {
    const { ranks, results } = { ranks: new PairTable(1), results: Int32Array.of(1) }
    ranks.set(0, 0, 0)
    let yields = 0
    const merged: number[] = []
    for (const _ of mergeLong({ ranks, results }, new Int32Array(100_000), merged)) yields++
    expect(merged).toEqual(Array(50_000).fill(1))
    expect(yields).toBeGreaterThan(100)
  })

  it('[TOK4] the toy model keeps its tokens: merges of its file, and whole words that no merge makes', () => {
    const toy = readTokenizer(fileURLToPath(new URL('../../../gpu-worker/model/tiny.gguf', import.meta.url)))
    const spelling: Spelling = JSON.parse(
      readFileSync(fileURLToPath(new URL('../../tools/toy-model/tokenizer.json', import.meta.url)), 'utf8'),
    )
    expect(toy.family).toBe('tekken')
    const [ours, trained] = [createTekken(toy), encoder(spelled(spelling))]
    const said = fc.constantFrom('the ', 'theme', ' What', ' is 12 + 30?', 'Ünï', '\n', '{"a": 1}', '_x', 'ing', '  ')
    fc.assert(
      fc.property(fc.array(fc.oneof(said, fc.string())), (parts) => {
        const text = parts.join('')
        expect(encode(text, ours)).toEqual(trained(text))
      }),
    )
  })

  it('[TOK5] a vocabulary without a token for every byte is refused', () => {
    const tokens = data.tokens.map((token, id) => (id === 1_000 + 200 ? '' : token))
    expect(() => createTekken({ ...data, tokens })).toThrow('its vocabulary has no token for the byte 200')
  })
})

function steps(text: string): { ms: number; count: number } {
  const before = performance.now()
  let count = 0
  const running = tekken(text, [])
  while (!running.next().done) count++
  return { ms: performance.now() - before, count }
}
