/**
 * Grammars for ranges of whole numbers, read digit by digit with one way open at a time.
 *
 * While the digits read so far equal the beginning of a bound, the next digit is compared with that bound's next one;
 * as soon as they differ from both bounds, only the number of digits still counts: 17 to 342 is
 * `"1" ([7-9] [0-9]{0,1} | [0-6] [0-9]) | "2" … | "3" …`.
 */

const digitsMax = 15
/** Larger bounds are cut to this, which leaves a range inside the one asked for. */
const integerMax = 10 ** digitsMax - 1

/** An expression for the whole numbers from `min` to `max`, either of which may be infinite; undefined for none. */
export function integersBetween(min: number, max: number): string | undefined {
  const from = Math.max(-integerMax, Math.ceil(min))
  const to = Math.min(integerMax, Math.floor(max))
  if (!(from <= to)) return undefined
  const parts: string[] = []
  if (from <= 0 && to >= 0) parts.push('"0"')
  if (to >= 1) parts.push(naturals(Math.max(1, from), to))
  if (from <= -1) parts.push(`"-" ${naturals(Math.max(1, -to), -from)}`)
  return parts.length === 1 ? parts[0] : `(${parts.join(' | ')})`
}

/** An expression for the numbers from `min` to `max`, both at least 1. */
function naturals(min: number, max: number): string {
  return after({ low: String(min), high: String(max) }, 0, 0, 0)
}

interface Bounds {
  low: string
  high: string
}

/**
 * What may follow `read` digits. `low` and `high` say how these digits compare with as many of each bound: -1, 0 or 1.
 */
function after(bounds: Bounds, read: number, low: number, high: number): string {
  if (low !== 0 && high !== 0) {
    const [fewest, most] = lengths(bounds, read, low, high)
    return digits(fewest - read, most - read)
  }
  const parts: string[] = []
  for (const { first, last, ...compared } of nextDigits(bounds, read, low, high)) {
    const [fewest, most] = lengths(bounds, read + 1, compared.low, compared.high)
    if (fewest > most) continue
    const rest = after(bounds, read + 1, compared.low, compared.high)
    const digit = first === last ? `"${first}"` : `[${first}-${last}]`
    parts.push(rest === '' ? digit : `${digit} ${rest}`)
  }
  // A number above the upper bound is left out before it gets here.
  const mayEnd = read >= bounds.low.length && low >= 0
  if (parts.length === 0) return ''
  return mayEnd ? `(${parts.join(' | ')})?` : parts.length === 1 ? (parts[0] ?? '') : `(${parts.join(' | ')})`
}

/** The fewest and the most digits that a number which begins so may have in all. */
function lengths({ low: min, high: max }: Bounds, read: number, low: number, high: number): [number, number] {
  const fewest = low < 0 ? min.length + 1 : min.length
  return [Math.max(read, fewest), high > 0 ? max.length - 1 : max.length]
}

/** Digits in runs that compare alike with both bounds. */
function nextDigits({ low: min, high: max }: Bounds, read: number, low: number, high: number) {
  const runs: { first: number; last: number; low: number; high: number }[] = []
  for (let digit = read === 0 ? 1 : 0; digit <= 9; digit++) {
    const compared = {
      low: read >= min.length ? 1 : low || Math.sign(digit - Number(min[read])),
      high: high || Math.sign(digit - Number(max[read])),
    }
    const run = runs.at(-1)
    if (run && run.low === compared.low && run.high === compared.high) run.last = digit
    else runs.push({ first: digit, last: digit, ...compared })
  }
  return runs
}

function digits(fewest: number, most: number): string {
  if (most === 0) return ''
  if (fewest === most) return most === 1 ? '[0-9]' : `[0-9]{${most}}`
  return `[0-9]{${fewest},${most}}`
}
