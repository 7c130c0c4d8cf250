/** Sets of Unicode code points, as sorted, disjoint, inclusive ranges. Halves of surrogate pairs are in no set. */
export type CharSet = readonly (readonly [number, number])[]

export const every: CharSet = [
  [0, 0xd7ff],
  [0xe000, 0x10ffff],
]

export function union(...sets: readonly CharSet[]): CharSet {
  const sorted = sets.flat().sort((a, b) => a[0] - b[0])
  const result: [number, number][] = []
  for (const [low, high] of sorted) {
    const last = result.at(-1)
    if (last && low <= last[1] + 1) last[1] = Math.max(last[1], high)
    else result.push([low, high])
  }
  return result
}

export function inverse(set: CharSet): CharSet {
  const result: [number, number][] = []
  for (const [first, last] of every) {
    let next = first
    for (const [low, high] of set) {
      if (high < next || low > last) continue
      if (low > next) result.push([next, low - 1])
      next = high + 1
    }
    if (next <= last) result.push([next, last])
  }
  return result
}

export function contains(set: CharSet, code: number): boolean {
  let from = 0
  let to = set.length - 1
  while (from <= to) {
    const middle = (from + to) >> 1
    const range = set[middle]
    if (!range || code < range[0]) to = middle - 1
    else if (code > range[1]) from = middle + 1
    else return true
  }
  return false
}

export function chars(text: string): CharSet {
  return union(...[...text].map((each): CharSet => [[each.codePointAt(0) ?? 0, each.codePointAt(0) ?? 0]]))
}

export const digit: CharSet = [[48, 57]]
export const word: CharSet = union(digit, [[65, 90]], [[95, 95]], [[97, 122]])
export const space: CharSet = union(chars('\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff'), [
  [0x2000, 0x200a],
])
export const lineEnd: CharSet = chars('\n\r\u2028\u2029')

const properties = new Map<string, CharSet>()

/** The set of a Unicode property, such as `L` or `Script=Greek`; undefined if it does not exist. */
export function property(name: string): CharSet | undefined {
  const known = properties.get(name)
  if (known || !/^[A-Za-z0-9_]+(=[A-Za-z0-9_]+)?$/.test(name)) return known
  let expression: RegExp
  try {
    expression = new RegExp(`\\p{${name}}`, 'u')
  } catch {
    return undefined
  }
  const result: [number, number][] = []
  for (const [first, last] of every)
    for (let code = first; code <= last; code++) {
      if (!expression.test(String.fromCodePoint(code))) continue
      const range = result.at(-1)
      if (range && range[1] === code - 1) range[1] = code
      else result.push([code, code])
    }
  properties.set(name, result)
  return result
}
