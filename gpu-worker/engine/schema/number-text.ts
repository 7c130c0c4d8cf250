/**
 * A machine for the texts of numbers within bounds, read digit by digit.
 *
 * It compares the digits so far with those of each bound, so bounds of any size and fraction are exact. It writes no
 * exponent, no negative zero, at most 17 digits after the point, and at most 16 before it unless a bound has more.
 */
import type { Machine } from './automaton.ts'

export interface NumberBounds {
  integer: boolean
  min: number
  max: number
  /** Whether the bound itself is excluded. */
  aboveMin: boolean
  belowMax: boolean
  /** Every number is a multiple of each. */
  multiples: readonly number[]
  /** No number is a multiple of any of these. */
  others: readonly number[]
}

interface Decimal {
  whole: string
  fraction: string
}

interface Multiple {
  /** The multiple is `factor / 10 ** places`. */
  factor: number
  places: number
  excluded: boolean
}

/** A bound of the magnitude. */
interface Limit {
  decimal: Decimal
  excluded: boolean
}

interface NumberReading {
  negative: boolean
  part: 'start' | 'minus' | 'whole' | 'point' | 'fraction'
  digits: number
  zero: boolean
  /** The digits so far against those of the lower and the upper bound: -1, 0 or 1. */
  low: number
  high: number
  remainders: readonly number[]
}

/** A remainder that stays: the number has more places than the factor, so it is no multiple. */
const never = -1
const wholeMax = 16
const fractionMax = 17
const factorMax = 10_000

/** Returns undefined if a multiple has too many digits to be followed. */
export function numberMachine(bounds: NumberBounds): Machine<NumberReading> | undefined {
  const multiples = [
    ...bounds.multiples.map((value) => multipleOf(value, false)),
    ...bounds.others.map((value) => multipleOf(value, true)),
  ]
  if (multiples.some((each) => each === undefined)) return undefined
  const reader = new NumberReader(bounds, multiples as Multiple[])
  return {
    start: {
      negative: false,
      part: 'start',
      digits: 0,
      zero: true,
      low: 0,
      high: 0,
      remainders: multiples.map(() => 0),
    },
    key: ({ negative, part, digits, zero, low, high, remainders }) =>
      `${negative}${part}${digits}${zero}${low}${high},${remainders.join()}`,
    accepts: (state) => reader.accepts(state),
    *edges(state) {
      for (const character of '-.0123456789') {
        const next = reader.after(state, character)
        const code = character.charCodeAt(0)
        if (next) yield [code, code, next]
      }
    },
  }
}

class NumberReader {
  readonly #bounds: NumberBounds
  readonly #multiples: readonly Multiple[]
  readonly #positive: { low: Limit | undefined; high: Limit | undefined; possible: boolean }
  readonly #negative: { low: Limit | undefined; high: Limit | undefined; possible: boolean }
  readonly #wholeMax: number
  readonly #fractionMax: number

  constructor(bounds: NumberBounds, multiples: readonly Multiple[]) {
    const { min, max, aboveMin, belowMax } = bounds
    this.#bounds = bounds
    this.#multiples = multiples
    const limit = (value: number, excluded: boolean): Limit | undefined =>
      Number.isFinite(value) ? { decimal: decimalOf(Math.abs(value)), excluded } : undefined
    this.#positive = {
      low: min < 0 ? undefined : limit(min, aboveMin),
      high: limit(max, belowMax),
      possible: max >= 0 && min !== Number.POSITIVE_INFINITY,
    }
    this.#negative = {
      low: max > 0 ? undefined : limit(max, belowMax),
      high: limit(min, aboveMin),
      possible: min < 0 && max !== Number.NEGATIVE_INFINITY,
    }
    const finite = [min, max].filter(Number.isFinite).map((each) => decimalOf(Math.abs(each)))
    this.#wholeMax = Math.max(wholeMax, ...finite.map(({ whole }) => whole.length))
    this.#fractionMax = Math.max(fractionMax, ...finite.map(({ fraction }) => fraction.length + 1))
  }

  after(state: NumberReading, character: string): NumberReading | undefined {
    const { part, digits } = state
    if (character === '-')
      return part === 'start' && this.#negative.possible ? { ...state, negative: true, part: 'minus' } : undefined
    if (part === 'start' && !this.#positive.possible) return undefined
    if (character === '.')
      return part === 'whole' && !this.#bounds.integer ? this.#wholeEnd({ ...state, part: 'point' }) : undefined
    if (part === 'start' || part === 'minus') return this.#digit({ ...state, part: 'whole', digits: 0 }, character)
    if (part === 'whole') {
      if (state.zero || digits >= this.#wholeMax) return undefined
      return this.#digit(state, character)
    }
    if (digits >= this.#fractionMax) return undefined
    if (this.#multiples.some(({ places, excluded }) => !excluded && digits >= places)) return undefined
    return this.#digit({ ...state, part: 'fraction' }, character)
  }

  accepts(state: NumberReading): boolean {
    if (state.part !== 'whole' && state.part !== 'fraction') return false
    if (state.negative && state.zero) return false
    const end = state.part === 'whole' ? this.#wholeEnd(state) : state
    const { low, high } = state.negative ? this.#negative : this.#positive
    const above = low ? finalOf(end.low, low.decimal, end.digits) : 1
    const below = high ? finalOf(end.high, high.decimal, end.digits) : -1
    if (above < 0 || (above === 0 && low?.excluded) || below > 0 || (below === 0 && high?.excluded)) return false
    return this.#multiples.every(({ factor, places, excluded }, index) => {
      let remainder = state.remainders[index] ?? 0
      if (remainder === never) return true
      for (let digit = end.digits; digit < places; digit++) remainder = (remainder * 10) % factor
      return (remainder === 0) !== excluded
    })
  }

  #digit(state: NumberReading, character: string): NumberReading {
    const { low, high } = state.negative ? this.#negative : this.#positive
    const value = Number(character)
    return {
      ...state,
      digits: state.digits + 1,
      zero: state.zero && value === 0,
      low: low ? compared(state.low, state, low.decimal, value) : 0,
      high: high ? compared(state.high, state, high.decimal, value) : 0,
      remainders: state.remainders.map((each, index) => this.#remainder(each, state, index, value)),
    }
  }

  #remainder(remainder: number, { part, digits }: NumberReading, index: number, value: number): number {
    const { factor, places } = this.#multiples[index] ?? { factor: 1, places: 0 }
    if (remainder === never) return never
    if (part === 'fraction' && digits >= places) return value === 0 ? remainder : never
    return (remainder * 10 + value) % factor
  }

  /** After the last digit before the point, the number of digits decides first. */
  #wholeEnd(state: NumberReading): NumberReading {
    const { low, high } = state.negative ? this.#negative : this.#positive
    const decided = (limit: Limit | undefined, so: number) =>
      limit ? Math.sign(state.digits - limit.decimal.whole.length) || so : 0
    return { ...state, digits: 0, low: decided(low, state.low), high: decided(high, state.high) }
  }
}

function compared(so: number, { part, digits }: NumberReading, { whole, fraction }: Decimal, value: number): number {
  const text = part === 'whole' ? whole : fraction
  if (so !== 0) return so
  if (digits < text.length) return Math.sign(value - Number(text[digits]))
  return part === 'whole' ? 0 : Math.sign(value)
}

function finalOf(so: number, { fraction }: Decimal, digits: number): number {
  return so !== 0 ? so : digits < fraction.length ? -1 : 0
}

/** The digits of a finite number that is not negative, without an exponent and without zeros at the end. */
function decimalOf(value: number): Decimal {
  const [mantissa = '0', exponent = '0'] = String(value).split('e')
  const [whole = '0', fraction = ''] = mantissa.split('.')
  const shift = Number(exponent)
  const digits = `${whole}${fraction}`
  const point = whole.length + shift
  const before = point > 0 ? digits.slice(0, point).padEnd(point, '0') : '0'
  const after = point > 0 ? digits.slice(point) : `${'0'.repeat(-point)}${digits}`
  return { whole: before.replace(/^0+(?=\d)/, ''), fraction: after.replace(/0+$/, '') }
}

function multipleOf(value: number, excluded: boolean): Multiple | undefined {
  const { whole, fraction } = decimalOf(value)
  const factor = Number(`${whole}${fraction}`)
  return factor > 0 && factor <= factorMax ? { factor, places: fraction.length, excluded } : undefined
}
