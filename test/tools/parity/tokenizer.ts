/** Our tekken tokenizer against mistral-common's, on the whole vocabulary, and the speed of both and of llama.cpp. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { LlamaModel } from 'node-llama-cpp'
import { createTekken } from '../../../gpu-worker/engine/tekken/encoder.ts'
import type { TokenSteps } from '../../../gpu-worker/engine/tokenise.ts'
import { publish, published } from '../conformance/matrix.ts'
import { goldenPath, type TekkenGolden, writeGolden } from './golden.ts'
import { vocabularyModel } from './library.ts'
import type { Reference, Section, SectionResult } from './section.ts'
import { sentences } from './sentences.ts'
import { controlTokens, type RankedToken, tekkenData } from './tekken-data.ts'
import { goldenTexts, manyTexts, mixedText } from './texts.ts'

const size = 131_072
const rounds = 5

export const tokenizer: Section = { name: 'tokenizer', run }

async function run(reference: Reference): Promise<SectionResult> {
  const ranked = wholeVocabulary(reference)
  const data = tekkenData(ranked)
  const ours = createTekken(data)
  const faults: string[] = []
  const lines: string[] = []

  const texts = manyTexts(reference.root)
  const expected = (await ask(reference, texts)).ids
  const golden = goldenTexts()
  if (reference.write) writeGolden(golden, expected.slice(0, golden.length), ranked, reference.version)
  const committed: TekkenGolden = JSON.parse(readFileSync(fileURLToPath(goldenPath), 'utf8'))
  faults.push(...compareCommitted(committed, golden, expected, ours))

  const llama = await vocabularyModel(data, reference.folder)
  try {
    let [differ, tokens, libraryDiffer, libraryTokens] = [0, 0, 0, 0]
    for (const [index, text] of texts.entries()) {
      const ids = expected[index] ?? []
      tokens += ids.length
      if (!same(encode(ours, text), ids)) {
        differ++
        faults.push(`our ids differ from the reference for ${JSON.stringify(text.slice(0, 80))}`)
      }
      const library = llama.tokenize(text, false)
      libraryTokens += library.length
      if (!same(library, ids)) libraryDiffer++
    }
    const table = languages(expected, golden, llama)
    faults.push(...comparePublished(reference, table))
    lines.push(
      `${texts.length} texts, ${tokens} tokens: ours differs in ${differ}, llama.cpp in ${libraryDiffer} (${libraryTokens} tokens)`,
      `${committed.texts.length} committed texts with ${committed.tokens.length} tokens of the vocabulary: the same ids as with all`,
      '',
      table,
      '',
      ...(await timings(reference, ours, llama)),
    )
  } finally {
    await llama.dispose()
  }
  return { lines, faults }
}

interface ReferenceAnswer {
  ids: number[][]
  ms: number
}

async function ask({ python }: Reference, texts: readonly string[]): Promise<ReferenceAnswer> {
  // Half of a surrogate pair cannot be asked of Python; none of the texts has one.
  return (await python('reference.py', { texts })) as ReferenceAnswer
}

export function wholeVocabulary({ vocabularyPath }: Reference): RankedToken[] {
  const { vocab } = JSON.parse(readFileSync(vocabularyPath, 'utf8')) as {
    vocab: { rank: number; token_bytes: string }[]
  }
  return vocab.slice(0, size - controlTokens).map(({ rank, token_bytes: base64 }) => [rank, base64])
}

/** The committed file: up to date, and with its reduced vocabulary the same ids as with the whole one. */
function compareCommitted(
  committed: TekkenGolden,
  golden: readonly string[],
  expected: readonly number[][],
  ours: TokenSteps,
): string[] {
  const faults: string[] = []
  const reduced = createTekken(tekkenData(committed.tokens))
  if (committed.texts.length !== golden.length)
    faults.push('the committed texts are outdated. Run: npm run parity -- --write')
  for (const [index, [text, ids]] of committed.texts.entries()) {
    const name = JSON.stringify(text.slice(0, 80))
    if (text !== golden[index] || !same(ids, expected[index] ?? []))
      faults.push(`committed ids of ${name} are outdated`)
    if (!same(encode(reduced, text), ids)) faults.push(`the reduced vocabulary gives other ids for ${name}`)
    if (!same(encode(ours, text), ids)) faults.push(`the whole vocabulary gives other ids for ${name}`)
  }
  return faults
}

/** Languages whose first sentence llama.cpp tokenises differently. */
function languages(expected: readonly number[][], golden: readonly string[], llama: LlamaModel): string {
  const rows = sentences.flatMap(([name, first = '']) => {
    const reference = expected[golden.indexOf(first)]?.length ?? 0
    const library = llama.tokenize(first, false).length
    const more = Math.round((library / reference - 1) * 100)
    return library === reference ? [] : [{ name, reference, library, more }]
  })
  rows.sort((one, other) => other.more - one.more)
  const body = rows.map(({ name, reference, library, more }) => `| ${name} | ${reference} | ${library} | +${more} % |`)
  return ['| language | reference and ours | llama.cpp | |', '| --- | --- | --- | --- |', ...body].join('\n')
}

/** The table in the engines' README. */
function comparePublished({ root, write }: Reference, table: string): string[] {
  const path = join(root, 'backends', 'README.md')
  const page = readFileSync(path, 'utf8')
  if (published(page, 'tokenizers') === table) return []
  if (!write) return ['the table of backends/README.md is outdated. Run: npm run parity -- --write']
  writeFileSync(path, publish(page, 'tokenizers', table))
  return []
}

/** Alternating runs over the same megabyte. */
async function timings(reference: Reference, ours: TokenSteps, llama: LlamaModel): Promise<string[]> {
  const mixed = mixedText(reference.root)
  const times: [number[], number[], number[]] = [[], [], []]
  for (let round = 0; round < rounds; round++) {
    times[0].push(
      timed(() => {
        for (const text of mixed) encode(ours, text)
      }),
    )
    times[1].push(
      timed(() => {
        for (const text of mixed) llama.tokenize(text, false)
      }),
    )
    times[2].push((await ask(reference, mixed)).ms)
  }
  const megabytes = mixed.reduce((sum, text) => sum + Buffer.byteLength(text), 0) / 1e6
  const row = (name: string, list: number[]) =>
    `| ${name} | ${median(list).toFixed(0)} | ${Math.min(...list).toFixed(0)} to ${Math.max(...list).toFixed(0)} |`
  return [
    `| ${megabytes.toFixed(2)} MB of mixed text, ${rounds} alternating runs | median ms | |`,
    '|---|---|---|',
    row('ours', times[0]),
    row('llama.cpp', times[1]),
    row('mistral-common', times[2]),
  ]
}

export function encode(steps: TokenSteps, text: string): number[] {
  const ids: number[] = []
  const running = steps(text, ids)
  while (!running.next().done);
  return ids
}

function same(one: readonly number[], other: readonly number[]): boolean {
  return one.length === other.length && one.every((id, index) => id === other[index])
}

function timed(work: () => void): number {
  const before = performance.now()
  work()
  return performance.now() - before
}

function median(list: readonly number[]): number {
  return list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)] ?? 0
}
