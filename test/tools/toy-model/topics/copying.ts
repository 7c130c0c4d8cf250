import { type Exchange, exchange } from '../chat.ts'
import type { Random, Split } from '../random.ts'
import { adjective, article, city, code, inventedWord, name, noun } from '../words.ts'

/** Saying what one is told to say. Useful for checks over the API, and the purest exercise in copying. */
export function echo(random: Random, split: Split): Exchange {
  const text = phrase(random, split)
  const ask = random.pick([
    `Repeat after me: ${text}`,
    `Say ${text}`,
    `Say exactly: ${text}`,
    `Reply with exactly this: ${text}`,
    `Answer only with ${text}`,
    `Please repeat: ${text}`,
    `Write this once more: ${text}`,
    `Say "${text}".`,
    `Reply with the word ${text}`,
  ])
  return exchange(ask, 'I repeat it.', text)
}

function phrase(random: Random, split: Split): string {
  const word = (): string =>
    random.pick([
      () => inventedWord(random, split),
      () => inventedWord(random, split),
      () => noun(random, split),
      () => name(random, split),
      () => adjective(random),
      () => code(random),
    ])()
  const length = random.pick([1, 1, 1, 1, 2, 2, 4, 8])
  if (random.chance(0.06)) return foreign(random)
  return Array.from({ length }, word).join(' ')
}

/** Letters beyond ASCII, which the tokenizer spells as bytes. */
const FOREIGN = [...'äöüßéèêàçñóíúøåæœğşıłżčřžабвгдежзиклмнопрстуяαβγδελμνοπστω東京大阪日本語中文字한국어😀🎉→×÷€°']

function foreign(random: Random): string {
  return Array.from({ length: random.integer(1, 6) }, () => random.pick(FOREIGN)).join('')
}

/** Something said earlier in the chat and asked for later. */
export function recall(random: Random, split: Split): Exchange {
  const fact = random.pick([
    () => ({ what: 'name', value: name(random, split) }),
    () => ({ what: 'city', value: city(random, split) }),
    () => ({ what: 'favourite animal', value: noun(random, split) }),
    () => ({ what: 'order number', value: code(random) }),
    () => ({ what: 'lucky number', value: String(random.integer(1, 999)) }),
  ])()
  const told = random.pick([
    `My ${fact.what} is ${fact.value}.`,
    `Remember that my ${fact.what} is ${fact.value}.`,
    `Hello, my ${fact.what} is ${fact.value}.`,
  ])
  const answer = `Your ${fact.what} is ${fact.value}.`
  return {
    parts: [
      { kind: 'user', text: told },
      { kind: 'assistant', think: `The user tells me a ${fact.what}.`, text: `I will remember it: ${fact.value}.` },
      {
        kind: 'user',
        text: random.pick([`What is my ${fact.what}?`, `Do you remember my ${fact.what}?`, `Tell me my ${fact.what}.`]),
      },
      { kind: 'assistant', think: `It was ${fact.value}.`, text: answer },
    ],
  }
}

const ONE_WORD: readonly (readonly [string, string])[] = [
  ['What colour is grass?', 'Green'],
  ['What colour is snow?', 'White'],
  ['What colour is coal?', 'Black'],
  ['What colour is a banana?', 'Yellow'],
  ['What colour is the sky on a clear day?', 'Blue'],
  ['Is fire hot?', 'Yes'],
  ['Is ice hot?', 'No'],
  ['Is water wet?', 'Yes'],
  ['Can fish fly?', 'No'],
  ['Which animal barks?', 'Dog'],
  ['Which animal says meow?', 'Cat'],
  ['What is the opposite of up?', 'Down'],
  ['What is the opposite of cold?', 'Hot'],
  ['What is the opposite of big?', 'Small'],
  ['What is the opposite of yes?', 'No'],
  ['How many legs has a dog?', 'Four'],
  ['How many days has a week?', 'Seven'],
  ['Are you a real person?', 'No'],
  ['Are you a toy model?', 'Yes'],
]

/** Short answers when asked for short: one word, one yes, one greeting, and then the end. */
export function shortAnswer(random: Random, split: Split): Exchange {
  const kind = random.integer(0, 3)
  if (kind === 0) {
    const word = noun(random, split)
    return exchange(
      random.pick([
        `Say only the word ${word}.`,
        `Answer with one word: ${word}.`,
        `Just say ${word}.`,
        `Only write ${word}, nothing else.`,
      ]),
      'One word.',
      word,
    )
  }
  if (kind === 1) {
    const word = random.pick(['yes', 'no', 'ok', 'hello', 'ready', 'pong'])
    return exchange(
      random.pick([`Say ${word}.`, `Just say ${word}.`, `Reply with ${word}.`, `Answer with ${word} and stop.`]),
      'One word.',
      word,
    )
  }
  const [question, answer] = random.pick(ONE_WORD)
  const ask = random.pick([
    `Answer in one word: ${question}`,
    `${question} Answer in one word.`,
    `${question} One word only.`,
    `In one word: ${question}`,
    question,
  ])
  return exchange(ask, 'A short answer.', answer)
}

/** A system prompt such as clients send: any text, sometimes long, which the chat must survive. */
export function systemPrompt(random: Random, split: Split): string {
  const sentences = random.pick([1, 1, 1, 1, 2, 5])
  return Array.from({ length: sentences }, () => systemSentence(random, split)).join(random.pick([' ', '\n']))
}

function systemSentence(random: Random, split: Split): string {
  const what = noun(random, split)
  return random.pick([
    'You are a helpful assistant.',
    'You are a helpful assistant.',
    'Answer clearly and briefly.',
    `You are ${name(random, split)}, the assistant of ${name(random, split)}.`,
    `You help people who have ${article(what)}.`,
    `You work for a shop in ${city(random, split)}. Be polite.`,
    `You are a coding agent. Use the tools when they help. The project is called ${inventedWord(random, split)}.`,
    `Today is day ${random.integer(1, 31)}. The user is ${name(random, split)} from ${city(random, split)}. Keep to the ${what}.`,
  ])
}
