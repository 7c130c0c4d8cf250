/**
 * The tokenizer: byte-level BPE with the "tekken" split and Mistral Small 4's control tokens at their real ids, so that
 * an engine that knows those ids (34 opens reasoning, 9 a tool call) needs no special case for the tiny model.
 *
 * Merges join letters only, never a word and the space before it, so that a word has the same tokens after a space, a
 * quotation mark or an underscore: copying a word is copying tokens. With the usual merged spaces a small model must
 * memorise both spellings of each token. Space and word are one token only for the commonest words that are one token
 * anyway. No merge produces these `words`: each is matched as a whole or not at all.
 */
export type Spelling = { merges: readonly string[]; words: readonly string[] }
export type Tokenizer = Spelling & { tokens: readonly string[] }

export const CONTROL: readonly string[] = controlTokens()

function controlTokens(): string[] {
  const named: { [id: number]: string } = {
    24: '[AUDIO]',
    25: '[BEGIN_AUDIO]',
    32: '[ARGS]',
    33: '[CALL_ID]',
    34: '[THINK]',
    35: '[/THINK]',
    36: '[MODEL_SETTINGS]',
    37: '[/MODEL_SETTINGS]',
  }
  const first =
    '<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS] [TOOL_CALLS] [IMG] <pad> [IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE] [SUFFIX] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [TOOL_CONTENT]'
  const tokens = first.split(' ')
  for (let id = tokens.length; id < 40; id++) tokens.push(named[id] ?? `<SPECIAL_${id}>`)
  return tokens
}

/** GPT-2's printable stand-in for each byte. */
const BYTE_CHARACTERS: readonly string[] = byteCharacters()

function byteCharacters(): string[] {
  let next = 256
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174
    return String.fromCodePoint(printable ? byte : next++)
  })
}

/** Where words end before merging: as in the real model, every digit is separate. */
const TEKKEN =
  /[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+/gu

const CONTROL_PATTERN = new RegExp(
  `(${CONTROL.map((token) => token.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|')})`,
)

const utf8 = new TextEncoder()

function symbols(word: string): string[] {
  return Array.from(utf8.encode(word), (byte) => BYTE_CHARACTERS[byte] ?? '')
}

function words(text: string): string[] {
  return text.match(TEKKEN) ?? []
}

/** Learns merges from texts, then the commonest words with their space, until the vocabulary is full. */
export function learn(texts: Iterable<string>, { vocabulary, spacedWords }: Size): Tokenizer {
  const counts = wordCounts(texts)
  const learner = new PairLearner(unspaced(counts))
  const pieces = new Set(BYTE_CHARACTERS)
  const merges: string[] = []
  while (CONTROL.length + pieces.size < vocabulary - spacedWords) {
    const pair = learner.mergeBest()
    if (!pair) throw new Error(`only ${merges.length} merges to learn`)
    merges.push(pair)
    pieces.add(pair.replace(' ', ''))
  }
  const commonest = [...counts].toSorted(([, one], [, other]) => other - one).map(([word]) => word)
  const words = commonest.filter((word) => /^ [A-Za-z]+$/.test(word) && pieces.has(word.slice(1)))
  return spelled({ merges, words: words.slice(0, spacedWords).map((word) => symbols(word).join('')) })
}

/** Number of tokens, and how many of them are a word with its space. */
type Size = { vocabulary: number; spacedWords: number }

export function spelled({ merges, words }: Spelling): Tokenizer {
  const pieces = new Set(merges.map((pair) => pair.replace(' ', '')))
  return { merges, words, tokens: [...CONTROL, ...BYTE_CHARACTERS, ...pieces, ...words] }
}

/** Word counts without the characters before the first letter. */
function unspaced(counts: ReadonlyMap<string, number>): Map<string, number> {
  const bare = new Map<string, number>()
  for (const [word, count] of counts) {
    const letters = word.replace(/^[^\p{L}\p{N}](?=\p{L})/u, '')
    bare.set(letters, (bare.get(letters) ?? 0) + count)
  }
  return bare
}

function wordCounts(texts: Iterable<string>): Map<string, number> {
  const counts = new Map<string, number>()
  for (const text of texts) {
    for (const part of text.split(CONTROL_PATTERN)) {
      if (CONTROL.includes(part)) continue
      for (const word of words(part)) counts.set(word, (counts.get(word) ?? 0) + 1)
    }
  }
  return counts
}

/** Keeps the count of every adjacent pair up to date while words are merged. */
class PairLearner {
  private readonly words: { symbols: string[]; count: number }[]
  private readonly counts = new Map<string, number>()
  private readonly places = new Map<string, Set<number>>()

  constructor(counts: ReadonlyMap<string, number>) {
    this.words = Array.from(counts, ([word, count]) => ({ symbols: symbols(word), count }))
    for (const index of this.words.keys()) this.tally(index, 1)
  }

  /** The most frequent pair, the earliest among equals; undefined if none occurs twice. */
  mergeBest(): string | undefined {
    let best: string | undefined
    let most = 1
    for (const [pair, count] of this.counts) if (count > most) [best, most] = [pair, count]
    if (best === undefined) return undefined
    const [left = '', right = ''] = best.split(' ')
    for (const index of this.places.get(best) ?? []) this.mergeIn(index, left, right)
    this.counts.delete(best)
    this.places.delete(best)
    return best
  }

  private mergeIn(index: number, left: string, right: string): void {
    const word = this.words[index]
    if (!word) return
    this.tally(index, -1)
    word.symbols = joined(word.symbols, left, right)
    this.tally(index, 1)
  }

  private tally(index: number, sign: 1 | -1): void {
    const word = this.words[index]
    if (!word) return
    for (let at = 0; at + 1 < word.symbols.length; at++) {
      const pair = `${word.symbols[at]} ${word.symbols[at + 1]}`
      this.counts.set(pair, (this.counts.get(pair) ?? 0) + sign * word.count)
      if (sign > 0) this.places.set(pair, (this.places.get(pair) ?? new Set()).add(index))
    }
  }
}

function joined(parts: readonly string[], left: string, right: string): string[] {
  const out: string[] = []
  for (let at = 0; at < parts.length; at++) {
    if (parts[at] === left && parts[at + 1] === right) out.push(left + right)
    else {
      out.push(parts[at] ?? '')
      continue
    }
    at++
  }
  return out
}

/** Converts text with control tokens to ids. Like llama.cpp, it matches a whole word before any merge. */
export function encoder({ tokens, merges }: Tokenizer): (text: string) => number[] {
  const ids = new Map(tokens.map((token, id) => [token, id]))
  const ranks = new Map(merges.map((pair, rank) => [pair, rank]))
  const known = new Map<string, readonly number[]>()
  const wordIds = (word: string): readonly number[] => {
    const before = known.get(word)
    if (before) return before
    const found = mergedWord(symbols(word), ids, ranks).map((symbol) => ids.get(symbol) ?? 0)
    known.set(word, found)
    return found
  }
  const partIds = (part: string): readonly number[] => {
    const control = CONTROL.indexOf(part)
    return control >= 0 ? [control] : words(part).flatMap(wordIds)
  }
  return (text) => text.split(CONTROL_PATTERN).flatMap(partIds)
}

function mergedWord(parts: string[], ids: ReadonlyMap<string, number>, ranks: ReadonlyMap<string, number>): string[] {
  if (ids.has(parts.join(''))) return [parts.join('')]
  let left = parts
  for (;;) {
    const pair = bestPair(left, ranks)
    if (!pair) return left
    left = joined(left, ...pair)
  }
}

function bestPair(parts: readonly string[], ranks: ReadonlyMap<string, number>): [string, string] | undefined {
  let best: [string, string] | undefined
  let lowest = Number.POSITIVE_INFINITY
  for (let at = 0; at + 1 < parts.length; at++) {
    const rank = ranks.get(`${parts[at]} ${parts[at + 1]}`) ?? Number.POSITIVE_INFINITY
    if (rank < lowest) [best, lowest] = [[parts[at] ?? '', parts[at + 1] ?? ''], rank]
  }
  return best
}
