/**
 * Splits text at places where a split does not change its tokens.
 *
 * The tokenizer first splits text into words and merges only inside a word, so text may be split where a word ends.
 * Long text must be split: each piece is a message to the engine's process, and a word takes memory while it is merged.
 */
import { budgets } from '../../backends/model/budgets.ts'
import { tekkenFamily } from './tekken/encoder.ts'
import { seam } from './tekken/split.ts'

const pieceChars = 2_048
/** The library's regular expressions recurse once per character: a word of 100,000 letters ended the process. */
const libraryWordMax = 8_192

/** Longer words are split anyway, which adds a token or two for each split. */
export function wordCharactersMax(tokenizerFamily: string): number {
  return tokenizerFamily === tekkenFamily ? budgets.wordCharacters.value : libraryWordMax
}

export function* cutText(text: string, wordMax: number): Generator<string> {
  let start = 0
  while (text.length - start > pieceChars) {
    const end = seamAfter(text, start + pieceChars, Math.min(text.length, start + wordMax))
    yield text.slice(start, end)
    start = end
  }
  if (start < text.length) yield text.slice(start)
}

function seamAfter(text: string, from: number, to: number): number {
  const start = afterPair(text, from)
  // Search this part only: in a text of one repeated letter each search would otherwise read the whole remaining text.
  const match = seam.exec(text.slice(start, to + 2))
  seam.lastIndex = 0
  const end = match ? start + match.index + match[0].length : to + 1
  return end <= to ? end : afterPair(text, to)
}

/** Avoids a split between the halves of a surrogate pair. */
function afterPair(text: string, index: number): number {
  const code = text.charCodeAt(index)
  return code >= 0xdc00 && code <= 0xdfff ? index + 1 : index
}

/** Groups pieces into parts of about `charactersMax` characters, lazily. A piece is never split. */
export function* partsOf(pieces: Iterable<number | string>, charactersMax: number): Generator<(number | string)[]> {
  let part: (number | string)[] = []
  let characters = 0
  for (const piece of pieces) {
    part.push(piece)
    characters += typeof piece === 'string' ? piece.length : 1
    if (characters < charactersMax) continue
    yield part
    part = []
    characters = 0
  }
  if (part.length > 0) yield part
}
