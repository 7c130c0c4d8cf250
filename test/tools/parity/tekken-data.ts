/** The vocabulary of a `tekken.json` file in the form of a model file: as llama.cpp's converter writes it. */

import type { TokenizerData } from '../../../gpu-worker/engine/tekken/encoder.ts'
import { controlNames } from '../../../gpu-worker/engine/vocabulary.ts'

/** A token's rank and bytes. Its id is the rank plus `controlTokens`. */
export type RankedToken = readonly [rank: number, base64: string]

/** Ids below this are control tokens. */
export const controlTokens = 1_000
/** Ids of Mistral Small 4. */
const controlIds = [1, 2, 3, 4, 5, 6, 7, 8, 9, 32, 17, 18, 34, 35, 36, 37]

/** The character of each byte, in the byte-level alphabet. */
const characters = byteCharacters()

function byteCharacters(): string[] {
  let others = 0
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174
    return String.fromCodePoint(printable ? byte : 256 + others++)
  })
}

/** Tokens that are left out have empty names, and no text reaches them. */
export function tekkenData(ranked: readonly RankedToken[]): TokenizerData {
  const size = controlTokens + 1 + ranked.reduce((most, [rank]) => Math.max(most, rank), 0)
  const tokens = Array.from({ length: size }, () => '')
  const types = Array.from({ length: size }, () => 3)
  for (let id = 0; id < controlTokens; id++) tokens[id] = `<SPECIAL_${id}>`
  for (const [index, name] of controlNames.entries()) tokens[controlIds[index] ?? 0] = name
  for (const [rank, base64] of ranked) {
    tokens[controlTokens + rank] = Array.from(Buffer.from(base64, 'base64'), (byte) => characters[byte]).join('')
    types[controlTokens + rank] = 1
  }
  return { tokens, types, merges: mergesOf(tokens.slice(controlTokens)) }
}

/** Every split of every token into two tokens, in the order of the token, then of the parts. */
function mergesOf(tokens: readonly string[]): string[] {
  const ranks = new Map(tokens.map((token, rank) => [token, rank]))
  ranks.delete('')
  return tokens.flatMap((token) => {
    const splits: [left: number, right: number][] = []
    for (let at = 1; at < token.length; at++) {
      const left = ranks.get(token.slice(0, at))
      const right = ranks.get(token.slice(at))
      if (left !== undefined && right !== undefined) splits.push([left, right])
    }
    splits.sort(([a, b], [c, d]) => a - c || b - d)
    return splits.map(([left, right]) => `${tokens[left]} ${tokens[right]}`)
  })
}
