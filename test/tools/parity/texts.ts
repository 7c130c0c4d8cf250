/** The texts of the golden file, and the larger set for the comparison with the whole vocabulary. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pick, type Random, randomOf } from './seeded.ts'
import { others, sentences } from './sentences.ts'

/** Each sentence as it is and decomposed; and all of an entry with line ends, digits and punctuation between. */
export function goldenTexts(): string[] {
  const written = sentences.flatMap(([, first = '', second = '']) => [
    ...[first, second, first.normalize('NFD')],
    `${second}12:${first}\r\n\t${second}`,
    `("${first}")  ${second.toUpperCase()}…\n\n${first.replaceAll(' ', '')}`,
  ])
  return [...new Set([...written, ...others])]
}

/** Ranges of scripts and symbols that random texts draw from. */
const ranges: readonly (readonly [number, number])[] = [
  ...([
    [0x20, 0x7e],
    [0x20, 0x7e],
    [0x09, 0x0d],
    [0xa0, 0xff],
    [0x100, 0x24f],
    [0x250, 0x2ff],
    [0x300, 0x36f],
  ] as const),
  ...([
    [0x370, 0x3ff],
    [0x400, 0x52f],
    [0x531, 0x58f],
    [0x591, 0x5f4],
    [0x600, 0x6ff],
    [0x700, 0x7bf],
  ] as const),
  ...([
    [0x900, 0x97f],
    [0x980, 0x9ff],
    [0xa00, 0xa7f],
    [0xa80, 0xaff],
    [0xb00, 0xb7f],
    [0xb80, 0xbff],
  ] as const),
  ...([
    [0xc00, 0xc7f],
    [0xc80, 0xcff],
    [0xd00, 0xd7f],
    [0xd80, 0xdff],
    [0xe00, 0xe7f],
    [0xe80, 0xeff],
  ] as const),
  ...([
    [0xf00, 0xfff],
    [0x1000, 0x109f],
    [0x10a0, 0x10ff],
    [0x1100, 0x11ff],
    [0x1200, 0x137f],
  ] as const),
  ...([
    [0x13a0, 0x13ff],
    [0x1400, 0x167f],
    [0x1780, 0x17ff],
    [0x1800, 0x18af],
    [0x1ab0, 0x1aff],
  ] as const),
  ...([
    [0x1e00, 0x1fff],
    [0x2000, 0x206f],
    [0x2070, 0x20ff],
    [0x2100, 0x22ff],
    [0x2300, 0x27bf],
  ] as const),
  ...([
    [0x3000, 0x30ff],
    [0x3400, 0x34ff],
    [0x4e00, 0x9fff],
    [0xa000, 0xa4cf],
    [0xac00, 0xd7a3],
  ] as const),
  ...([
    [0xf900, 0xfdff],
    [0xfe00, 0xffef],
    [0x10000, 0x103ff],
    [0x1d400, 0x1d7ff],
    [0x1f300, 0x1faff],
  ] as const),
]

/** Golden texts, random texts of one script or of mixed ones, and pieces of this repository's files. */
export function manyTexts(root: string): string[] {
  const random = randomOf(20_261_127)
  const one = Array.from({ length: 600 }, () => randomText(random, [pick(random, ranges)], 1 + random(60)))
  const few = Array.from({ length: 300 }, () =>
    randomText(random, [pick(random, ranges), pick(random, ranges), [0x20, 0x2f]], 1 + random(80)),
  )
  const all = Array.from({ length: 300 }, () => randomText(random, ranges, 1 + random(80)))
  return [...goldenTexts(), ...one, ...few, ...all, ...filePieces(root)]
}

function filePieces(root: string): string[] {
  const files = execFileSync('git', ['ls-files'], { cwd: root, encoding: 'utf8' }).trim().split('\n')
  const read = files.filter((path) => /\.(ts|md|json|py|mjs|css|yml)$/.test(path) && !path.includes('golden.json'))
  return read
    .flatMap(
      (path) =>
        readFileSync(join(root, path), 'utf8')
          .match(/[\s\S]{1,1500}/gu)
          ?.slice(0, 3) ?? [],
    )
    .slice(0, 900)
}

/** About one megabyte of mixed text, for timing. */
export function mixedText(root: string): string[] {
  const texts = manyTexts(root)
  const mixed: string[] = []
  for (let bytes = 0, index = 0; bytes < 1_000_000; index++) {
    const text = texts[index % texts.length] ?? ''
    mixed.push(text)
    bytes += Buffer.byteLength(text)
  }
  return mixed
}

function randomText(random: Random, among: readonly (readonly [number, number])[], length: number): string {
  const characters = Array.from({ length }, () => {
    const [from, to] = pick(random, among)
    return random(7) === 0 ? ' ' : String.fromCodePoint(from + random(to - from + 1))
  })
  return characters.join('')
}
