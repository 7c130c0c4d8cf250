/**
 * Grammars for ranges of whole numbers.
 *
 * A range falls into ranges of numbers of the same length, and those, digit by digit, into a lowest part, a highest
 * part, and a middle in which all further digits are free: 17 to 342 is 1[7-9] | [2-9][0-9] | [1-2][0-9]{2} | 3(…).
 */

const digitsMax = 15

/** An expression for the whole numbers from `min` to `max`, either of which may be infinite. */
export function integersBetween(min: number, max: number): string | undefined {
  if ([min, max].some((bound) => Number.isFinite(bound) && String(Math.abs(bound)).length > digitsMax)) return undefined
  const parts: string[] = []
  if (max >= 0) parts.push(...naturals(Math.max(0, min), max))
  if (min < 0) parts.push(...naturals(Math.max(1, -max), -min).map((text) => `"-" ${text}`))
  return parts.length > 0 ? `(${parts.join(' | ')})` : undefined
}

/** Expressions for the numbers from `min` to `max`, both at least 0, by number of digits. */
function naturals(min: number, max: number): string[] {
  const parts: string[] = []
  const longest = Number.isFinite(max) ? String(max).length : digitsMax
  for (let digits = String(min).length; digits <= longest; digits++) {
    const from = Math.max(min, digits === 1 ? 0 : 10 ** (digits - 1))
    const to = Math.min(max, 10 ** digits - 1)
    parts.push(...sameLength(String(from), String(to)))
  }
  return parts
}

/** Expressions for the numbers between two of the same length. */
function sameLength(from: string, to: string): string[] {
  if (from.length === 0) return ['']
  if (from === to) return [`"${from}"`]
  const rest = from.length - 1
  if (/^0*$/.test(from.slice(1)) && /^9*$/.test(to.slice(1))) return [`${digit(from, to)}${some(rest)}`]
  if (from[0] === to[0]) return sameLength(from.slice(1), to.slice(1)).map((text) => `"${from[0]}" ${text}`)
  const low = sameLength(from.slice(1), '9'.repeat(rest)).map((text) => `"${from[0]}" ${text}`)
  const high = sameLength('0'.repeat(rest), to.slice(1)).map((text) => `"${to[0]}" ${text}`)
  const between = [Number(from[0]) + 1, Number(to[0]) - 1] as const
  const middle = between[0] > between[1] ? [] : [`${digit(String(between[0]), String(between[1]))}${some(rest)}`]
  return [...low, ...middle, ...high]
}

function digit(from: string, to: string): string {
  return from[0] === to[0] ? `"${from[0]}"` : `[${from[0]}-${to[0]}]`
}

function some(digits: number): string {
  return digits === 0 ? '' : ` [0-9]{${digits}}`
}
