/** Parts in their order, some of them optional, with a bounded number of parts in all. */
import type { SchemaWriter } from './schema-writer.ts'

interface SequencePart {
  wanted: boolean
  text: string
}

/** The number of states that `countedSequence` may make. */
export function countedStates(parts: number, [min, max]: readonly [number, number]): number {
  return (parts + 1) * (capOf(min, max) + 1)
}

/**
 * The parts separated by commas, and after them any number of `extra`. Undefined if no sequence has so many parts; the
 * empty text if only the empty sequence has.
 */
export function countedSequence(
  writer: SchemaWriter,
  parts: readonly SequencePart[],
  extra: string | undefined,
  [min, max]: readonly [number, number],
  path: string,
): string | undefined {
  const cap = capOf(min, max)
  const known = new Map<string, string | undefined>()

  /** What may follow when `count` parts were written, at most `cap`. */
  function after(index: number, count: number): string | undefined {
    const key = `${index} ${count}`
    if (!known.has(key)) known.set(key, index < parts.length ? part(index, count) : end(count))
    return known.get(key)
  }

  function part(index: number, count: number): string | undefined {
    const { wanted, text } = parts[index] ?? { wanted: false, text: '' }
    const rest = count < max ? after(index + 1, Math.min(cap, count + 1)) : undefined
    const taken = rest === undefined ? undefined : joined(`${count > 0 ? '"," ws ' : ''}${text}`, rest)
    const skipped = wanted ? undefined : after(index + 1, count)
    if (taken === undefined || skipped === undefined) return taken ?? skipped
    // The empty alternative comes first: after a trailing "|" the library would read on into the next rule.
    return writer.rule(skipped === '' ? `| ${taken}` : `${taken} | ${skipped}`, path)
  }

  function end(count: number): string | undefined {
    const low = Math.max(0, min - count)
    const high = max - count
    if (extra === undefined || high === 0) return low > 0 ? undefined : ''
    const next = writer.rule(`"," ws ${extra}`, path)
    if (count > 0) return writer.times(next, low, high, path)
    const some = joined(extra, high === 1 ? '' : writer.times(next, Math.max(0, low - 1), high - 1, path))
    return low > 0 ? some : writer.rule(`| ${some}`, path)
  }

  return after(0, 0)
}

/** Above this count, another part changes nothing. */
function capOf(min: number, max: number): number {
  return Number.isFinite(max) ? max : Math.max(1, min)
}

function joined(a: string, b: string): string {
  return b === '' ? a : `${a} ${b}`
}
