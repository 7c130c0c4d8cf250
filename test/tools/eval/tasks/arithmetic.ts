/** Sums, and products with one digit: small enough to check, long enough that writing the steps down helps. */
import { drawn, type Random } from '../../toy-model/random.ts'
import { asked, type Case } from '../case.ts'
import { lastInteger } from '../extract.ts'

const SUM = [
  (a: number, b: number) => `What is ${a} + ${b}?`,
  (a: number, b: number) => `What is ${a} plus ${b}?`,
  (a: number, b: number) => `Add ${a} and ${b}.`,
  (a: number, b: number) => `How much is ${a} + ${b}?`,
  (a: number, b: number) => `${a} + ${b} = ?`,
]

const PRODUCT = [
  (a: number, b: number) => `What is ${a} times ${b}?`,
  (a: number, b: number) => `What is ${a} × ${b}?`,
  (a: number, b: number) => `Multiply ${a} by ${b}.`,
  (a: number, b: number) => `How much is ${a} times ${b}?`,
  (a: number, b: number) => `${a} × ${b} = ?`,
]

/** The pairs are from the eighth of all pairs that the product's toy model was never trained on. */
export function sum(random: Random): Case {
  const pair = () => [random.integer(100, 999), random.integer(100, 999)] as const
  const [a, b] = drawn('held', pair, ([x, y]) => `${x}+${y}`)
  return asked('sums', random.pick(SUM)(a, b), ({ content }) => lastInteger(content) === a + b)
}

export function product(random: Random): Case {
  const pair = () => [random.integer(100, 999), random.integer(2, 9)] as const
  const [a, b] = drawn('held', pair, ([x, y]) => `${x}*${y}`)
  return asked('products', random.pick(PRODUCT)(a, b), ({ content }) => lastInteger(content) === a * b)
}
