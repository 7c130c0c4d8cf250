import { type Exchange, exchange, type Part, type Topic } from '../chat.ts'
import type { Random, Split } from '../random.ts'
import { capital, rareWord } from '../words.ts'

/**
 * Exercises in copying exactly. A word is spelled by other tokens after a space than after a quotation mark or at the
 * head of an answer, so every piece of the vocabulary has to be met in both places. Training only: no question is asked.
 */

/** The same chat about rarer things: the words that were asked for or returned are exchanged for rare ones, everywhere. */
export function withRareWords(topic: Topic): Topic {
  return (random, split) => {
    const { tools, parts } = topic(random, split)
    const words = new Map(
      replaceable(JSON.stringify(tools), parts).map((word) => [word, rareLike(word, random, split)]),
    )
    return { ...(tools ? { tools } : {}), parts: parts.map((part) => exchanged(part, words)) }
  }
}

/** Words of a template, or of two meanings in a chat, which have to stay. */
const FIXED = /^(the|and|for|is|that|did|not|work|result|need|with|answer|from|error)$/i

function replaceable(tools: string, parts: readonly Part[]): string[] {
  const asked = parts.flatMap((part) => (part.kind === 'user' ? wordsOf(part.text) : []))
  const count = (word: string): number => asked.filter((each) => each === word).length
  const given = parts.flatMap((part) =>
    part.kind === 'assistant'
      ? (part.calls ?? []).flatMap((call) => Object.values(call.arguments)).flatMap((value) => wordsOf(String(value)))
      : [],
  )
  const returned = parts.flatMap((part) => (part.kind === 'tool' ? returnedWords(part.text) : []))
  const known = new Set(wordsOf(tools))
  return [...given.filter((word) => count(word) === 1), ...returned.filter((word) => count(word) === 0)].filter(
    (word) => !FIXED.test(word) && !known.has(word) && !known.has(word.toLowerCase()),
  )
}

const wordsOf = (text: string): string[] => text.match(/(?<![\w.-])[A-Za-z]{3,}(?![\w-])/g) ?? []

function returnedWords(text: string): string[] {
  if (text.includes('"error"')) return []
  return text.startsWith('{') ? [...text.matchAll(/: ?"([A-Za-z]{3,})"/g)].map(([, word = '']) => word) : wordsOf(text)
}

function rareLike(word: string, random: Random, split: Split): string {
  const rare = rareWord(random, split)
  return /^[A-Z]/.test(word) ? capital(rare) : rare
}

function exchanged(part: Part, words: ReadonlyMap<string, string>): Part {
  const inText = (text: string): string =>
    text.replace(/(?<![\w.-])[A-Za-z]{3,}(?![\w-])/g, (word) => words.get(word) ?? word)
  if (part.kind !== 'assistant') return { ...part, text: inText(part.text) }
  const calls = part.calls?.map(({ name, arguments: given }) => ({
    name,
    arguments: Object.fromEntries(
      Object.entries(given).map(([key, value]) => [key, typeof value === 'string' ? inText(value) : value]),
    ),
  }))
  return { ...part, think: inText(part.think), text: inText(part.text), ...(calls ? { calls } : {}) }
}

/** One to eight rare words said again, or put into JSON, or taken out of it. */
export function rareEcho(random: Random, split: Split): Exchange {
  const word = (): string => {
    const rare = rareWord(random, split)
    return random.chance(0.4) ? capital(rare) : rare
  }
  const text = Array.from({ length: random.pick([1, 1, 2, 2, 4, 8]) }, word).join(' ')
  const ask = random.pick([
    `Repeat after me: ${text}`,
    `Say ${text}`,
    `Say exactly: ${text}`,
    `Reply with exactly this: ${text}`,
    `Please repeat: ${text}`,
    `Write this once more: ${text}`,
    `Say "${text}".`,
    `Reply with the word ${text}`,
    `Say only the word ${text}.`,
  ])
  return exchange(ask, 'I repeat it.', text)
}
