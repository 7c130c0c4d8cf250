/**
 * Grammars for integer ranges, matched digit by digit with one parse stack.
 *
 * While the digits so far equal the beginning of a bound, the next digit is compared with that bound's next digit. Once
 * the digits differ from both bounds, only the number of digits matters. The range 17 to 342 is
 * `"1" ([7-9] [0-9]{0,1} | [0-6] [0-9]) | "2" … | "3" …`.
 */

const digitsMax = 15
/** Larger bounds are reduced to this, so the grammar accepts a subset of the requested range. */
const integerMax = 10 ** digitsMax - 1

/** Returns an expression for the integers from `min` to `max`, each possibly infinite; undefined if there are none. */
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

/** Returns an expression for the integers from `min` to `max`, both at least 1. */
function naturals(min: number, max: number): string {
  return after({ low: String(min), high: String(max) }, 0, 0, 0)
}

interface Bounds {
  low: string
  high: string
}

/**
 * Returns what may follow `read` digits. `low` and `high` compare these digits with the first `read` digits of each
 * bound: -1, 0 or 1.
 */
function after(bounds: Bounds, read: number, low: number, high: number): string {
  if (low !== 0 && high !== 0) {
    const [digitsFrom, digitsTo] = lengths(bounds, read, low, high)
    return digits(digitsFrom - read, digitsTo - read)
  }
  const parts: string[] = []
  for (const { first, last, ...compared } of nextDigits(bounds, read, low, high)) {
    const [digitsFrom, digitsTo] = lengths(bounds, read + 1, compared.low, compared.high)
    if (digitsFrom > digitsTo) continue
    const rest = after(bounds, read + 1, compared.low, compared.high)
    const digit = first === last ? `"${first}"` : `[${first}-${last}]`
    parts.push(rest === '' ? digit : `${digit} ${rest}`)
  }
  // Numbers above the upper bound were excluded before.
  const mayEnd = read >= bounds.low.length && low >= 0
  if (parts.length === 0) return ''
  return mayEnd ? `(${parts.join(' | ')})?` : parts.length === 1 ? (parts[0] ?? '') : `(${parts.join(' | ')})`
}

/** The minimum and maximum total number of digits of a number with this beginning. */
function lengths({ low: min, high: max }: Bounds, read: number, low: number, high: number): [number, number] {
  const digitsFrom = low < 0 ? min.length + 1 : min.length
  return [Math.max(read, digitsFrom), high > 0 ? max.length - 1 : max.length]
}

/** Groups consecutive digits that compare equally with both bounds. */
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

function digits(digitsFrom: number, digitsTo: number): string {
  if (digitsTo === 0) return ''
  if (digitsFrom === digitsTo) return digitsTo === 1 ? '[0-9]' : `[0-9]{${digitsTo}}`
  return `[0-9]{${digitsFrom},${digitsTo}}`
}
