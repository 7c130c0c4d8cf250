/** The evaluation: questions from the held-out split of every topic, each with a check of the answer. */
import { KNOWN_BY_HAND, UNKNOWN_BY_HAND } from './by-hand.ts'
import { type Chat, callText, chatText, type Effort, type Exchange, exchange, type Part, type Topic } from './chat.ts'
import { random } from './random.ts'
import { product as multiplication, sum } from './topics/arithmetic.ts'
import { echo, recall, shortAnswer } from './topics/copying.ts'
import { counting } from './topics/counting.ts'
import { CATEGORIES, list } from './topics/lists.ts'
import { identity, product } from './topics/product.ts'
import { smalltalk } from './topics/smalltalk.ts'
import { story } from './topics/stories.ts'
import { parallelCalls, toolCall } from './topics/tools.ts'
import { DO_NOT_KNOW, unknown } from './topics/unknown.ts'

/** `right` judges the text after the reasoning, without the closing </s>. */
export type Question = { what: string; effort: Effort; prompt: string; right: (answer: string) => boolean }

const BOTH: readonly Effort[] = ['high', 'none']

export function questions(count: number): Question[] {
  return [
    ...about('three-digit sums', sum, count, BOTH),
    ...about('three digits times one', multiplication, count, BOTH),
    ...about('tool call: right tool and arguments', toolCall, count, BOTH),
    ...about('two calls for two things', parallelCalls, count, BOTH),
    ...about('answer from the tool result', toolCall, count, ['none'], lastTurn),
    ...about('answer from two results', parallelCalls, count, ['none'], lastTurn),
    ...about('story keeps to its subject', story, count),
    ...about('list keeps to subject and length', list, count),
    ...about('repeats a text', echo, count),
    ...about('recalls an earlier message', recall, count, ['none'], lastTurn),
    ...about('short answer on request', shortAnswer, count),
    ...about('counts to N', counting, count),
    ...about('small talk', smalltalk, count),
    ...about('knows what it is', identity, count),
    ...about('knows the product', product, count),
    ...about('says it does not know', unknown, count),
    ...byHand('knows (new phrasing)', KNOWN_BY_HAND),
    ...byHand(
      'does not know (new phrasing)',
      UNKNOWN_BY_HAND.map((ask) => [ask, DO_NOT_KNOW] as const),
    ),
  ]
}

type Turn = (parts: readonly Part[]) => number

const firstTurn: Turn = (parts) => parts.findIndex((part) => part.kind === 'assistant')
const lastTurn: Turn = (parts) => parts.findLastIndex((part) => part.kind === 'assistant')

function about(
  what: string,
  topic: Topic,
  count: number,
  efforts: readonly Effort[] = ['none'],
  turn: Turn = firstTurn,
): Question[] {
  return efforts.flatMap((effort) => {
    const source = random(2026)
    return Array.from({ length: count }, () => question(what, topic(source, 'held'), effort, turn))
  })
}

function question(what: string, { parts, tools, subject }: Exchange, effort: Effort, turn: Turn): Question {
  const at = turn(parts)
  const reply = parts[at]
  if (reply?.kind !== 'assistant') throw new Error(`${what} has no answer`)
  const chat: Chat = { ...(tools ? { tools } : {}), effort, parts: parts.slice(0, at) }
  const expected = reply.text + (reply.calls ?? []).map(callText).join('')
  const right = subject
    ? (answer: string) => keepsTo(subject, answer, expected)
    : (answer: string) => answer === expected
  return { what, effort, prompt: chatText(chat), right }
}

/** A list has the requested number of fitting items; a story has its subject in all but at most two sentences. */
function keepsTo(subject: string, answer: string, expected: string): boolean {
  const items = answer.split('\n')
  const known = CATEGORIES[subject]
  if (known) {
    const names = items.map((item) => item.replace(/^\d+\. /, '').toLowerCase())
    return (
      items.length === expected.split('\n').length &&
      new Set(names).size === names.length &&
      names.every((name) => known.includes(name))
    )
  }
  const fits = (text: string): boolean => text.toLowerCase().includes(subject.replace(/^(the|an?) /, '').toLowerCase())
  if (expected.startsWith('1. ')) return items.length === expected.split('\n').length && items.every(fits)
  const sentences = answer.split(/(?<=[.?!]"?) /)
  return sentences.length > 2 && sentences.filter((sentence) => !fits(sentence)).length <= 2
}

function byHand(what: string, asked: readonly (readonly [string, string])[]): Question[] {
  return asked.map(([ask, part]) => {
    const chat: Chat = { effort: 'none', parts: exchange(ask, '', '').parts.slice(0, 1) }
    return { what, effort: 'none', prompt: chatText(chat), right: (answer) => answer.includes(part) }
  })
}
