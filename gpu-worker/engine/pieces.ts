/**
 * Cuts text where a cut cannot change its tokens.
 *
 * The tokenizer first splits text into words and merges only inside a word. With this family's split every digit is a
 * word, and no word holds a letter followed by something that is neither letter nor mark, so text may be cut there.
 * Long text must be cut: the regular expressions beneath the tokenizer recurse once per character (a word of 100,000
 * letters ended the process), and one call holds up the engine's event loop for as long as it takes.
 */

const pieceChars = 2_048
/** Without a harmless place in this many characters the cut is made anyway; that costs a token or two. */
const pieceCharsMax = 8_192
const seam = /\p{N}|\p{L}(?=[^\p{L}\p{M}])/gu

export function* cutText(text: string): Generator<string> {
  let start = 0
  while (text.length - start > pieceChars) {
    const end = seamAfter(text, start + pieceChars, Math.min(text.length, start + pieceCharsMax))
    yield text.slice(start, end)
    start = end
  }
  if (start < text.length) yield text.slice(start)
}

function seamAfter(text: string, from: number, to: number): number {
  const start = afterPair(text, from)
  // Looked for in this part only: in a text of one letter the search would read all that follows, again for each piece.
  const match = seam.exec(text.slice(start, to + 2))
  seam.lastIndex = 0
  const end = match ? start + match.index + match[0].length : to + 1
  return end <= to ? end : afterPair(text, to)
}

/** Never between the halves of a surrogate pair. */
function afterPair(text: string, index: number): number {
  const code = text.charCodeAt(index)
  return code >= 0xdc00 && code <= 0xdfff ? index + 1 : index
}

/** Pieces in parts of about `charactersMax` characters; a piece is never split. Each part is cut when it is asked for. */
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
