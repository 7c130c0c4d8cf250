/**
 * Mistral's tekken tokenizer: text to token ids, from the token list and merges of a model file.
 *
 * The library's own tokenizer splits words with an approximation for ASCII: Hindi, Thai, Burmese and others came out up
 * to 70 % longer than the model's own tokens. This one returns the reference's ids; see `npm run parity`.
 */
import type { TokenSteps } from '../tokenise.ts'
import { bytesOf } from '../vocabulary.ts'
import { type Merges, mergeLong, mergeShort } from './merge.ts'
import { PairTable } from './pair-table.ts'
import { wordsOf } from './split.ts'

/** The value of `tokenizer.ggml.pre` of a model file with this tokenizer. */
export const tekkenFamily = 'tekken'

export interface TokenizerData {
  /** In the byte-level alphabet, by id. */
  tokens: readonly string[]
  /** One number per token. */
  types: readonly number[]
  /** Two tokens with a space between, in order of rank. */
  merges: readonly string[]
}

/** Words that are tokenised between two yields. */
const wordsPerYield = 64
/** `tokenizer.ggml.token_type` of an ordinary token. */
const normalType = 1
/** Longer words, in UTF-8 bytes, are merged with a heap. */
const shortBytes = 128

/** @throws an Error if a byte has no token */
export function createTekken(data: TokenizerData): TokenSteps {
  const ids = idsByToken(data)
  const whole = wholeWords(ids)
  const bytes = byteTokens(ids)
  const merges = readMerges(data.merges, ids)
  const encoder = new TextEncoder()
  const utf8 = new Uint8Array(shortBytes)
  const tokens = new Int32Array(shortBytes)
  const ranks = new Int32Array(shortBytes)

  /** A character has at most three bytes for each of its code units. */
  const isShort = (word: string) => word.length * 3 <= shortBytes

  function short(word: string, into: number[]): void {
    const { written } = encoder.encodeInto(word, utf8)
    for (let at = 0; at < written; at++) tokens[at] = bytes[utf8[at] ?? 0] ?? -1
    const length = mergeShort(merges, tokens, ranks, written)
    for (let at = 0; at < length; at++) into.push(tokens[at] ?? -1)
  }

  function long(word: string, into: number[]): Generator<void> {
    const utf8 = encoder.encode(word)
    const tokens = new Int32Array(utf8.length)
    for (let at = 0; at < utf8.length; at++) tokens[at] = bytes[utf8[at] ?? 0] ?? -1
    return mergeLong(merges, tokens, into)
  }

  return function* encode(text, into) {
    let count = 0
    for (const word of wordsOf(text)) {
      const id = whole.get(word)
      if (id !== undefined) into.push(id)
      else if (isShort(word)) short(word, into)
      else yield* long(word, into)
      if (++count % wordsPerYield === 0) yield
    }
  }
}

/** Only ordinary tokens, so that no text becomes a control token. */
function idsByToken({ tokens, types }: TokenizerData): Map<string, number> {
  const ids = new Map<string, number>()
  for (const [id, token] of tokens.entries()) if (types[id] === normalType && !ids.has(token)) ids.set(token, id)
  return ids
}

/** Tokens that are valid text, by that text. A whole word that is a token is never built from merges. */
function wholeWords(ids: ReadonlyMap<string, number>): Map<string, number> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  const whole = new Map<string, number>()
  for (const [token, id] of ids) {
    try {
      whole.set(decoder.decode(bytesOf(token)), id)
    } catch {
      // Part of a character is never a word.
    }
  }
  return whole
}

function byteTokens(ids: ReadonlyMap<string, number>): Int32Array {
  const bytes = new Int32Array(256).fill(-1)
  for (const [token, id] of ids) {
    const [byte, ...more] = bytesOf(token)
    if (byte !== undefined && more.length === 0) bytes[byte] = id
  }
  const missing = bytes.indexOf(-1)
  if (missing >= 0) throw new Error(`its vocabulary has no token for the byte ${missing}`)
  return bytes
}

/**
 * All merges that make one token have its first rank: the reference ranks results, and of equals takes the leftmost.
 */
function readMerges(merges: readonly string[], ids: ReadonlyMap<string, number>): Merges {
  const ranks = new PairTable(merges.length)
  const results: number[] = []
  const rankOf = new Map<number, number>()
  for (const merge of merges) {
    const between = merge.indexOf(' ', 1)
    const [left, right] = [merge.slice(0, between), merge.slice(between + 1)]
    const [leftId, rightId, result] = [ids.get(left), ids.get(right), ids.get(left + right)]
    if (leftId === undefined || rightId === undefined || result === undefined) continue
    let rank = rankOf.get(result)
    if (rank === undefined) {
      rank = results.push(result) - 1
      rankOf.set(result, rank)
    }
    ranks.set(leftId, rightId, rank)
  }
  return { ranks, results: Int32Array.from(results) }
}
