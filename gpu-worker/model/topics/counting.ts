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
  if (random.chance(0.4)) return { first: 1, last: random.integer(2, random.pick([12, 25, 40, 60, 100, LONGEST])) }
  const first = random.integer(2, random.pick([9, 99, 120]))
  return { first, last: first + random.integer(1, 15) }
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
