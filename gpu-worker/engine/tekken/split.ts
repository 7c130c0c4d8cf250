/**
 * The split of text into words, before merging, of Mistral's tekken tokenizers.
 *
 * White space is the Unicode property, as in the reference: `\s` of JavaScript has U+FEFF and lacks U+0085.
 */
const space = String.raw`\p{White_Space}`
const upper = String.raw`\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}`
const lower = String.raw`\p{Ll}\p{Lm}\p{Lo}\p{M}`
const lead = String.raw`[^\r\n\p{L}\p{N}]?`

/** In the order of the reference: the first alternative that matches wins. */
const word = [
  `${lead}[${upper}]*[${lower}]+`,
  `${lead}[${upper}]+[${lower}]*`,
  String.raw`\p{N}`,
  String.raw` ?[^${space}\p{L}\p{N}]+[\r\n/]*`,
  String.raw`${space}*[\r\n]+`,
  String.raw`${space}+(?!\P{White_Space})`,
  `${space}+`,
]
const words = new RegExp(word.join('|'), 'gu')

/**
 * Places where a word always ends: after a digit, after a letter before a character that is neither letter nor mark,
 * and after punctuation before white space that is no line end.
 */
export const seam = /\p{N}|\p{L}(?=[^\p{L}\p{M}])|[^\p{White_Space}\p{L}\p{N}](?=[^\r\n\P{White_Space}])/gu

export function wordsOf(text: string): readonly string[] {
  return text.match(words) ?? []
}
