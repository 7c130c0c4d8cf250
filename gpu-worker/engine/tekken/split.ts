/**
 * The split of text into words, before merging, of Mistral's tekken tokenizers.
 *
 * White space is spelled out: `\s` of JavaScript has U+FEFF and lacks U+0085, unlike that of the reference.
 */
const space = String.raw`\t-\r\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000`
const upper = String.raw`\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}`
const lower = String.raw`\p{Ll}\p{Lm}\p{Lo}\p{M}`
const lead = String.raw`[^\r\n\p{L}\p{N}]?`

/** In the order of the reference: the first alternative that matches wins. */
const word = [
  `${lead}[${upper}]*[${lower}]+`,
  `${lead}[${upper}]+[${lower}]*`,
  String.raw`\p{N}`,
  String.raw` ?[^${space}\p{L}\p{N}]+[\r\n/]*`,
  String.raw`[${space}]*[\r\n]+`,
  `[${space}]+(?![^${space}])`,
  `[${space}]+`,
]
const words = new RegExp(word.join('|'), 'gu')

/**
 * Places where a word always ends: after a digit, after a letter before a character that is neither letter nor mark,
 * and after punctuation before white space that is no line end.
 */
export const seam = new RegExp(
  String.raw`\p{N}|\p{L}(?=[^\p{L}\p{M}])|[^${space}\p{L}\p{N}](?=[\t\v\f\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000])`,
  'gu',
)

export function wordsOf(text: string): readonly string[] {
  return text.match(words) ?? []
}
