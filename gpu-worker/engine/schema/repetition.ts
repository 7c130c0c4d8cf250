/**
 * Bounded repetition of an item, in a form that is cheap for the grammar reader.
 *
 * The reader copies the item once per repetition, and refuses 2,000. So a large bound is written in two levels: blocks
 * of k items and a remainder, which costs twice the square root of the bound instead of the bound.
 */
import { SchemaRefused } from './compile-budget.ts'

export interface Repeats {
  /** Makes the text a separate rule and returns its name. */
  rule: (text: string) => string
  /** Charges the budget of repetitions; throws SchemaRefused if it is exceeded. */
  spend: (repeats: number) => void
  path: string
}

/** Up to this bound, one level is cheap enough. */
const plainMax = 40
/** Above this bound, even two levels exceed the reader's limit for one repetition. */
const boundMax = 1_000_000

/** @param item the name of a rule @param max may be infinite */
export function repetition(item: string, min: number, max: number, repeats: Repeats): string {
  if (!(isCount(min) && (max === Number.POSITIVE_INFINITY || isCount(max)) && min <= max))
    throw new SchemaRefused(
      'schema',
      repeats.path,
      `its bounds ${min} and ${max} are not a range. The lower bound must not exceed the upper bound`,
    )
  if (min > boundMax || (max > boundMax && max !== Number.POSITIVE_INFINITY))
    throw new SchemaRefused(
      'schema',
      repeats.path,
      `a bound is more than ${boundMax.toLocaleString('en-US')}. Use a smaller bound`,
    )
  if (min === 0 && max === Number.POSITIVE_INFINITY) return `${item}*`
  if (max === Number.POSITIVE_INFINITY) return joined(exactly(item, min, repeats), `${item}*`)
  if (max <= plainMax) return plain(item, min, max, repeats)
  return joined(exactly(item, min, repeats), atMost(item, max - min, repeats))
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0
}

function plain(item: string, min: number, max: number, { spend }: Repeats): string {
  if (max === 0) return ''
  if (max === 1) return min === 1 ? item : `${item}?`
  spend(max)
  return min === max ? `${item}{${max}}` : `${item}{${min},${max}}`
}

function exactly(item: string, count: number, repeats: Repeats): string {
  if (count <= plainMax) return plain(item, count, count, repeats)
  const size = Math.floor(Math.sqrt(count))
  const block = repeats.rule(plain(item, size, size, repeats))
  const blocks = Math.floor(count / size)
  return joined(plain(block, blocks, blocks, repeats), plain(item, count % size, count % size, repeats))
}

/** Blocks, then less than one block, then the remainder: together any number from 0 to `count`. */
function atMost(item: string, count: number, repeats: Repeats): string {
  if (count <= plainMax) return plain(item, 0, count, repeats)
  const { size, blocks, rest } = split(count)
  const block = repeats.rule(plain(item, size, size, repeats))
  return joined(
    joined(plain(block, 0, blocks, repeats), plain(item, 0, size - 1, repeats)),
    plain(item, 0, rest, repeats),
  )
}

/**
 * Finds `blocks * size + size - 1 + rest = count`. Each item of `rest` needs one more parse stack, so `rest` is small.
 */
function split(count: number): { size: number; blocks: number; rest: number } {
  const root = Math.floor(Math.sqrt(count + 1))
  let best = { size: root, blocks: 0, rest: count, cost: Number.POSITIVE_INFINITY }
  for (let size = Math.max(2, Math.floor(root / 2)); size <= root * 2; size++) {
    const blocks = Math.floor((count + 1) / size) - 1
    const rest = count - (blocks * size + size - 1)
    const cost = blocks + 2 * size + rest * root
    if (cost < best.cost) best = { size, blocks, rest, cost }
  }
  return best
}

function joined(a: string, b: string): string {
  return a === '' || b === '' ? a + b : `${a} ${b}`
}
