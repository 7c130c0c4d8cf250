/** Answers of a known length: all numbers up to N and then the end, or one word and then the end. */
import { drawn, type Random } from '../../toy-model/random.ts'
import { type Answer, asked, type Case } from '../case.ts'
import { integers, words } from '../extract.ts'

const COUNT = [
  (n: number) => `Count from one to ${n}.`,
  (n: number) => `Count from 1 to ${n}.`,
  (n: number) => `Please count from one to ${n}.`,
  (n: number) => `Write the numbers from 1 to ${n}.`,
  (n: number) => `Can you count to ${n}?`,
]

/** Questions with a one-word answer. */
const SHORT: readonly (readonly [question: string, ...right: string[]])[] = [
  ['What colour is grass?', 'green'],
  ['What colour is snow?', 'white'],
  ['What colour is a ripe banana?', 'yellow'],
  ['What is the opposite of up?', 'down'],
  ['What is the opposite of cold?', 'hot', 'warm'],
  ['What is the opposite of big?', 'small', 'little'],
  ['Is fire hot?', 'yes'],
  ['Is ice hot?', 'no'],
  ['Which animal barks?', 'dog', 'dogs'],
  ['How many days has a week?', 'seven', '7'],
]

const SHORTLY = [
  (question: string) => `${question} Answer in one word.`,
  (question: string) => `Answer in one word: ${question}`,
  (question: string) => `${question} One word only.`,
]

export function count(random: Random): Case {
  const last = drawn(
    'held',
    () => random.integer(2, random.pick([12, 40, 100, 130])),
    (n) => `count 1 ${n}`,
  )
  return asked('count', random.pick(COUNT)(last), (answer) => countsTo(last, answer))
}

export function countsTo(last: number, { content, finish }: Answer): boolean {
  const said = integers(content.replace(/(?<=\d),(?=\d)/g, ', '))
  return finish === 'stop' && said.length === last && said.every((value, index) => value === index + 1)
}

export function short(random: Random): Case {
  const [question, ...right] = random.pick(SHORT)
  return asked('count-short', random.pick(SHORTLY)(question), ({ content, finish }) => {
    const said = words(content)
    return finish === 'stop' && said.length <= 2 && right.some((word) => said.includes(word))
  })
}
