import { type Exchange, exchange } from '../chat.ts'
import { drawn, type Random, type Split } from '../random.ts'

/**
 * Long output on request: the length is known beforehand, which load tests and first looks at streaming like. The full
 * stop at the end is also in most questions, so that where to stop is found by copying.
 */
const LONGEST = 130

const WORDS = 'zero one two three four five six seven eight nine ten eleven twelve'.split(' ')

export function counting(random: Random, split: Split): Exchange {
  const { first, last } = drawn(
    split,
    () => span(random),
    (drawnSpan) => `count ${drawnSpan.first} ${drawnSpan.last}`,
  )
  const end = last < WORDS.length && random.chance(0.25) ? WORDS[last] : String(last)
  const numbers = Array.from({ length: last - first + 1 }, (_, index) => first + index)
  const ask = random.pick(first === 1 ? ASK_TO : ASK_FROM)(String(first), end ?? '')
  return exchange(ask, `I count from ${first} to ${last}.`, `${numbers.join(' ')}.`)
}

/** From one to anything, or a short way from anywhere: the stop has to work for every number. */
function span(random: Random): { first: number; last: number } {
  if (random.chance(0.5)) return { first: 1, last: random.integer(2, random.pick([12, 40, 60, 100, LONGEST])) }
  const first = random.integer(2, random.pick([9, 99, 140]))
  return { first, last: first + random.integer(1, 15) }
}

/**
 * Twenty, thirty … a hundred and twenty: the cheapest way to meet numbers that end like the last one and are not it.
 * Training only: no question is asked.
 */
export function countingInSteps(random: Random, split: Split): Exchange {
  const { first, last, step } = drawn(
    split,
    () => steps(random),
    (each) => `count ${each.first} ${each.last} by ${each.step}`,
  )
  const numbers = Array.from({ length: (last - first) / step + 1 }, (_, index) => first + index * step)
  const ask = random.pick([
    `Count in steps of ${step} from ${first} to ${last}.`,
    `Count from ${first} to ${last} in steps of ${step}.`,
    `Can you count from ${first} to ${last} in steps of ${step}?`,
    `Write every ${step}th number from ${first} to ${last}.`,
  ])
  return exchange(ask, `I count from ${first} to ${last} by ${step}.`, `${numbers.join(' ')}.`)
}

function steps(random: Random): { first: number; last: number; step: number } {
  const step = random.pick([5, 10, 10, 10])
  const first = random.integer(1, random.pick([9, 30, 99]))
  return { first, last: first + step * random.integer(2, random.pick([6, 12, 14])), step }
}

type Ask = (first: string, last: string) => string

const ASK_FROM: readonly Ask[] = [
  (first, last) => `Count from ${first} to ${last}.`,
  (first, last) => `Please count from ${first} to ${last}.`,
  (first, last) => `Can you count from ${first} to ${last}?`,
  (first, last) => `Write the numbers from ${first} to ${last}.`,
]

const ASK_TO: readonly Ask[] = [
  ...ASK_FROM,
  (_, last) => `Count from one to ${last}.`,
  (_, last) => `Please count from one to ${last}.`,
  (_, last) => `Count to ${last}.`,
  (_, last) => `Count up to ${last}.`,
  (_, last) => `Can you count to ${last}?`,
]
