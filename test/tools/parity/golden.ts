/** The committed file: texts with the reference's ids, and the part of the vocabulary that they need. */
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { wordsOf } from '../../../gpu-worker/engine/tekken/split.ts'
import { controlTokens, type RankedToken } from './tekken-data.ts'

export const goldenPath = new URL('../../gpu-worker/engine/fixtures/tekken.json', import.meta.url)

export interface TekkenGolden {
  source: string
  tokens: RankedToken[]
  texts: [text: string, ids: number[]][]
}

export function writeGolden(
  texts: readonly string[],
  ids: readonly number[][],
  ranked: readonly RankedToken[],
  version: string,
): void {
  const source = `mistral-common ${version}, tekken_240911.json: rank and base64 of each token that the texts need; id is rank + ${controlTokens}`
  const lines = [
    `{"source": ${JSON.stringify(source)},`,
    '"tokens": [',
    needed(texts, ranked)
      .map((token) => JSON.stringify(token))
      .join(',\n'),
    '],',
    '"texts": [',
    texts.map((text, index) => JSON.stringify([text, ids[index]])).join(',\n'),
    ']}',
  ]
  writeFileSync(fileURLToPath(goldenPath), `${lines.join('\n')}\n`)
}

/**
 * Every token that appears at any moment while the words are merged, and all single bytes. A merge that is left out never
 * had the lowest rank, so the remaining ones take the same course.
 */
function needed(texts: readonly string[], ranked: readonly RankedToken[]): RankedToken[] {
  const ranks = new Map(ranked.map(([rank, base64]) => [Buffer.from(base64, 'base64').toString('latin1'), rank]))
  const keep = new Set(Array.from({ length: 256 }, (_, rank) => rank))
  for (const word of new Set(texts.flatMap(wordsOf)))
    for (const rank of merging(Buffer.from(word, 'utf8').toString('latin1'), ranks)) keep.add(rank)
  return ranked.filter(([rank]) => keep.has(rank))
}

/** The ranks of all tokens while a word is merged as the reference does it: written plainly, for short words. */
function* merging(word: string, ranks: ReadonlyMap<string, number>): Generator<number> {
  const whole = ranks.get(word)
  if (whole !== undefined) yield whole
  const parts = word.split('')
  for (;;) {
    const found = parts.slice(0, -1).map((part, at) => ranks.get(part + parts[at + 1]) ?? Number.POSITIVE_INFINITY)
    const lowest = found.reduce((least, rank) => Math.min(least, rank), Number.POSITIVE_INFINITY)
    if (lowest === Number.POSITIVE_INFINITY) return
    const at = found.indexOf(lowest)
    parts.splice(at, 2, `${parts[at]}${parts[at + 1]}`)
    yield lowest
  }
}
