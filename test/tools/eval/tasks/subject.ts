/** Stories and lists that stay on the requested subject. */
import type { Random } from '../../toy-model/random.ts'
import { type Answer, asked, type Case } from '../case.ts'
import { listItems, sentences } from '../extract.ts'
import { article, SUBJECTS } from './names.ts'

const STORY = [
  (s: string) => `Tell me a story about ${s}.`,
  (s: string) => `Write a short story about ${s}.`,
  (s: string) => `Please tell me a short story about ${s}.`,
  (s: string) => `Can you tell me a story about ${s}?`,
]

const IDEAS = [
  (n: string, s: string) => `List ${n} things to do with ${s}.`,
  (n: string, s: string) => `Give me ${n} ideas for things to do with ${s}.`,
  (n: string, s: string) => `Give me ${n} ideas about ${s}.`,
]

const NUMBERS = { two: 2, three: 3, four: 4, five: 5 } as const

export function subject(random: Random): Case {
  return random.chance(0.5) ? story(random) : ideas(random)
}

function story(random: Random): Case {
  const what = random.pick(SUBJECTS)
  return asked('subject', random.pick(STORY)(article(what)), (answer) => staysOn(what, answer))
}

function ideas(random: Random): Case {
  const what = random.pick(SUBJECTS)
  const word = random.pick(Object.keys(NUMBERS) as (keyof typeof NUMBERS)[])
  return asked('subject', random.pick(IDEAS)(word, article(what)), (answer) => listsOf(what, NUMBERS[word], answer))
}

/** The story ends by itself, and its beginning, middle and end each name the subject; pronouns in between are fine. */
export function staysOn(what: string, { content, finish }: Answer): boolean {
  const all = sentences(content)
  const third = Math.ceil(all.length / 3)
  const parts = [all.slice(0, third), all.slice(third, -third), all.slice(-third)].filter((part) => part.length > 0)
  return finish === 'stop' && all.length >= 3 && parts.every((part) => names(what, part.join(' ')))
}

/** The list has the requested number of different items, at least half of which name the subject. */
export function listsOf(what: string, count: number, { content, finish }: Answer): boolean {
  const items = listItems(content)
  const different = new Set(items.map((item) => item.toLowerCase())).size
  const naming = items.filter((item) => names(what, item)).length
  return finish === 'stop' && items.length === count && different === count && naming * 2 >= count
}

function names(what: string, text: string): boolean {
  return new RegExp(`\\b${what}`, 'i').test(text)
}
