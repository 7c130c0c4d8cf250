import { type Exchange, exchange } from '../chat.ts'
import type { Random, Split } from '../random.ts'
import { adjective, article, capital, city, inventedWord, name, noun, THINGS } from '../words.ts'

/** Short stories that name their subject in nearly every sentence: staying on the subject is copying it. */
type Subject = { asked: string; first: string; the: string }

const ASK = [
  (s: string) => `Tell me a story about ${s}.`,
  (s: string) => `Write a story about ${s}.`,
  (s: string) => `Tell a story about ${s}`,
  (s: string) => `Can you tell me a story about ${s}?`,
  (s: string) => `I would like a story about ${s}.`,
  (s: string) => `Please write a short story about ${s}.`,
  (s: string) => `Tell me a short story about ${s}.`,
  (s: string) => `Write a little tale about ${s}.`,
  (s: string) => `Make up a story about ${s}.`,
]

const OPENINGS = [
  (s: Subject) => `Once upon a time there was ${s.first}.`,
  (s: Subject) => `This is the story of ${s.first}.`,
  (s: Subject) => `Long ago, by a quiet river, lived ${s.first}.`,
  (s: Subject) => `In a green valley lived ${s.first}.`,
]

const MIDDLES = [
  (s: Subject, o: Other) => `One morning ${s.the} walked to the ${o.place}.`,
  (s: Subject, o: Other) => `${capital(s.the)} wanted to see the ${o.place}.`,
  (s: Subject, o: Other) => `Near the ${o.place}, ${s.the} met ${o.friend}.`,
  (s: Subject, o: Other) => `"Can you help me?" asked ${s.the}. "Of course," said ${o.friend}.`,
  (s: Subject, o: Other) => `${o.friend} gave ${s.the} ${article(o.thing)}.`,
  (s: Subject) => `A strong wind blew, but ${s.the} was not afraid.`,
  (s: Subject, o: Other) => `${capital(s.the)} looked for the ${o.thing} all day.`,
  (s: Subject) => `At night ${s.the} slept under the stars.`,
  (s: Subject) => `Then ${s.the} had an idea and smiled.`,
  (s: Subject, o: Other) => `${capital(s.the)} shared some bread with ${o.friend}.`,
  (s: Subject, o: Other) => `It began to rain, so ${s.the} waited in the ${o.place}.`,
]

const ENDINGS = [
  (s: Subject) => `In the end ${s.the} came home, and everyone was glad.`,
  (s: Subject) => `And ${s.the} was happy ever after.`,
  (s: Subject) => `From that day on, ${s.the} was never alone.`,
  (s: Subject) => `So ${s.the} learned that friends make a long road short.`,
]

const PLACES = [
  'forest',
  'village',
  'harbour',
  'meadow',
  'market',
  'library',
  'lighthouse',
  'old mill',
  'valley',
  'castle',
]

const FRIENDS = ['Mia', 'Tom', 'Anna', 'Leo', 'Nora', 'Sam', 'Lily', 'Ben']

type Other = { friend: string; place: string; thing: string }

/** Who and what else is in the story: a few known ones, so that only the subject has to be copied. */
function company(random: Random): Other {
  return { friend: random.pick(FRIENDS), place: random.pick(PLACES), thing: random.pick(THINGS) }
}

export function story(random: Random, split: Split): Exchange {
  const s = subject(random, split)
  const count = random.integer(2, 4)
  const other = company(random)
  const sentences = [
    random.pick(OPENINGS)(s),
    ...random.sample(MIDDLES, count).map((sentence) => sentence(s, other)),
    random.pick(ENDINGS)(s),
  ]
  const think = `The user wants a story about ${s.asked}. I will stay with ${s.the}.`
  return { ...exchange(random.pick(ASK)(s.asked), think, sentences.join(' ')), subject: s.the }
}

/** Stories and answers of a fixed, small length. */
export function shortStory(random: Random, split: Split): Exchange {
  const s = subject(random, split)
  const other = company(random)
  const length = random.integer(1, 3)
  const words = ['one sentence', 'two sentences', 'three sentences'][length - 1]
  const all = [random.pick(OPENINGS)(s), random.pick(MIDDLES)(s, other), random.pick(ENDINGS)(s)]
  const text = length === 1 ? all[0] : length === 2 ? `${all[0]} ${all[2]}` : all.join(' ')
  const ask = random.pick([
    `Tell me a story about ${s.asked} in ${words}.`,
    `In ${words}, tell a story about ${s.asked}.`,
  ])
  return exchange(ask, `The user wants ${words} about ${s.asked}.`, text ?? '')
}

function subject(random: Random, split: Split): Subject {
  const kind = random.integer(0, 9)
  const who = name(random, split)
  const what = noun(random, split)
  if (kind < 3) return { asked: who, first: `a child called ${who}`, the: who }
  if (kind < 6) return { asked: article(what), first: article(what), the: `the ${what}` }
  if (kind < 8) {
    const full = `${adjective(random)} ${what}`
    return { asked: article(full), first: article(full), the: `the ${what}` }
  }
  if (kind < 9) return { asked: `${article(what)} called ${who}`, first: `${article(what)} called ${who}`, the: who }
  const place = random.chance(0.7) ? city(random, split) : capital(inventedWord(random, split))
  return { asked: `${article(what)} in ${place}`, first: `${article(what)} in ${place}`, the: `the ${what}` }
}
