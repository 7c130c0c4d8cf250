import { type Exchange, exchange } from '../chat.ts'
import { drawn, type Random, type Split } from '../random.ts'

/**
 * Sums and products, worked column by column. This is where the effort dial shows: with effort high the model copies
 * one column at a time and needs only small tables; with none it has to produce the first digit of the answer before
 * it has worked out any carry.
 */
const COLUMNS = ['Ones', 'Tens', 'Hundreds'] as const

const ASK_SUM = [
  (a: number, b: number) => `What is ${a} + ${b}?`,
  (a: number, b: number) => `What is ${a} plus ${b}?`,
  (a: number, b: number) => `${a} + ${b} = ?`,
  (a: number, b: number) => `${a} + ${b}`,
  (a: number, b: number) => `${a}+${b}`,
  (a: number, b: number) => `What is ${a}+${b}?`,
  (a: number, b: number) => `Please add ${a} and ${b}.`,
  (a: number, b: number) => `Add ${a} and ${b}.`,
  (a: number, b: number) => `How much is ${a} + ${b}?`,
  (a: number, b: number) => `Compute ${a} + ${b}.`,
  (a: number, b: number) => `What is the sum of ${a} and ${b}?`,
  (a: number, b: number) => `Calculate ${a} plus ${b}.`,
]

const ASK_PRODUCT = [
  (a: number, b: number) => `What is ${a} times ${b}?`,
  (a: number, b: number) => `What is ${a} × ${b}?`,
  (a: number, b: number) => `${a} × ${b} = ?`,
  (a: number, b: number) => `${a} * ${b}`,
  (a: number, b: number) => `What is ${a} * ${b}?`,
  (a: number, b: number) => `Multiply ${a} by ${b}.`,
  (a: number, b: number) => `Please multiply ${a} by ${b}.`,
  (a: number, b: number) => `How much is ${a} times ${b}?`,
  (a: number, b: number) => `Compute ${a} × ${b}.`,
  (a: number, b: number) => `What is the product of ${a} and ${b}?`,
]

export function sum(random: Random, split: Split): Exchange {
  const [a, b] = operands(random, split)
  return exchange(random.pick(ASK_SUM)(a, b), sumSteps(a, b), `${a} + ${b} = ${a + b}`)
}

export function product(random: Random, split: Split): Exchange {
  const make = (): [number, number] => [
    random.chance(0.8) ? random.integer(100, 999) : random.integer(2, 99),
    random.integer(2, 9),
  ]
  const [a, b] = drawn(split, make, ([x, y]) => `${x}*${y}`)
  return exchange(random.pick(ASK_PRODUCT)(a, b), productSteps(a, b), `${a} × ${b} = ${a * b}`)
}

/** Mostly three digits each, sometimes fewer, so that 2 + 2 is not a surprise. */
function operands(random: Random, split: Split): [number, number] {
  const short = split === 'train' && random.chance(0.15)
  const operand = (): number => (short ? random.integer(0, random.pick([9, 99, 999])) : random.integer(100, 999))
  return drawn(
    split,
    () => [operand(), operand()],
    ([x, y]) => `${x}+${y}`,
  )
}

function sumSteps(a: number, b: number): string {
  const width = Math.max(String(a).length, String(b).length)
  return steps(width, (column, carry) => {
    const [x, y] = [digit(a, column), digit(b, column)]
    return { work: `${x} + ${y} + ${carry} = ${x + y + carry}`, total: x + y + carry }
  })
}

function productSteps(a: number, b: number): string {
  return steps(String(a).length, (column, carry) => {
    const x = digit(a, column)
    return { work: `${x} × ${b} = ${x * b}, ${x * b} + ${carry} = ${x * b + carry}`, total: x * b + carry }
  })
}

type Column = (column: number, carry: number) => { work: string; total: number }

/** From the ones upwards: what is written and what is carried, and at last all digits in reading order. */
function steps(width: number, work: Column): string {
  const lines: string[] = []
  let carry = 0
  let written = ''
  for (let column = 0; column < width; column++) {
    const step = work(column, carry)
    const last = column === width - 1
    carry = Math.floor(step.total / 10)
    written = (last ? spaced(step.total) : String(step.total % 10)) + (written && ` ${written}`)
    lines.push(`${COLUMNS[column]}: ${step.work}${last ? '.' : `, write ${step.total % 10}, carry ${carry}.`}`)
  }
  return `${lines.join(' ')} Digits: ${written}.`
}

function digit(value: number, column: number): number {
  return Math.floor(value / 10 ** column) % 10
}

function spaced(value: number): string {
  return [...String(value)].join(' ')
}
