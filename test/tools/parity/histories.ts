/**
 * One history, one prompt: the body that the worker sends to vLLM passes mistral-common's validator, and its prompt has
 * the ids of the embedded engine's. A history that mistral-common accepts as the client sent it has those ids, too.
 */
import { capabilities } from '../../../backends/contract/backend.ts'
import { vllm } from '../../../backends/engines/vllm.ts'
import { type Chat, readChat } from '../../../backends/model/chat.ts'
import { normaliseHistory } from '../../../backends/model/history.ts'
import { createTekken } from '../../../gpu-worker/engine/tekken/encoder.ts'
import { createVocabulary } from '../../../gpu-worker/engine/vocabulary.ts'
import { historyCases, randomHistories } from './history-cases.ts'
import { promptIds } from './prompts.ts'
import type { Reference, Section, SectionResult } from './section.ts'
import { tekkenData } from './tekken-data.ts'
import { wholeVocabulary } from './tokenizer.ts'

const randomCount = 1_000
const seed = 20_261_128

export const histories: Section = { name: 'histories', run }

export type Prompt = { tokens: number[] } | { error: string }
type Messages = Record<string, unknown>[]

async function run(reference: Reference): Promise<SectionResult> {
  const data = tekkenData(wholeVocabulary(reference))
  const vocabulary = createVocabulary(data.tokens, data.types)
  const tokensOf = createTekken(data)
  const cases = [...historyCases, ...randomHistories(randomCount, seed)]
  const tools = [{ type: 'function', function: { name: 'look_up', description: 'd', parameters: { type: 'object' } } }]
  const read = cases.map(([name, messages]) => chatOf(name, { messages, tools, reasoning_effort: 'high' }))
  const prompts = await ask(reference, [
    ...read.map(vllmText),
    ...cases.map(([, messages]) => ({ ...given(messages), tools, reasoning_effort: 'high' })),
  ])
  const faults: string[] = []
  let [tokens, accepted, changed] = [0, 0, 0]
  const excepted = new Map<string, number>()
  for (const [index, [name, messages]] of cases.entries()) {
    const chat = read[index] as Chat
    const ours = promptIds(chat, vocabulary, tokensOf)
    const [sent, raw] = [prompts[index], prompts[index + cases.length]] as [Prompt, Prompt]
    const { warnings } = normaliseHistory(chat.messages)
    const shown = JSON.stringify(messages).slice(0, 400)
    tokens += ours.length
    if (warnings.length > 0) changed++
    const problem = difference(ours, sent)
    if (problem) faults.push(`${name}: our body for vLLM ${problem}: ${shown}`)
    if ('error' in raw) continue
    accepted++
    const other = difference(ours, raw)
    if (!other) continue
    const exception = exceptions.find(([, sign]) => warnings.some((warning) => warning.includes(sign)))
    if (exception) excepted.set(exception[0], (excepted.get(exception[0]) ?? 0) + 1)
    else faults.push(`${name}: as the client sent it ${other}: ${shown}`)
  }
  return {
    lines: [
      `${cases.length} histories (${historyCases.length} named, ${randomCount} random), ${tokens} tokens`,
      `as clients send them, the reference accepts ${accepted} and refuses ${cases.length - accepted}; we change ${changed}`,
      `our bodies for vLLM against our own prompts, and our prompts against the accepted histories: ${faults.length} differences`,
      ...[...excepted].map(([name, count]) => `exception in ${count} of the accepted: ${name}`),
    ],
    faults,
  }
}

/** Accepted histories that we change on purpose, each with a sign in our warning. */
const exceptions = [
  ['no user message: we add an empty one, because the reference leaves out tools and settings', 'tools and settings'],
  ['a result as the first message, which the reference does not check', 'a result without a call'],
] as const

async function ask({ python }: Reference, bodies: unknown[]): Promise<Prompt[]> {
  return ((await python('reference.py', { bodies })) as { bodies: Prompt[] }).bodies
}

function chatOf(name: string, body: object): Chat {
  const read = readChat({ model: 'm', ...body })
  if (!read.ok) throw new Error(`${name}: ${read.message}`)
  return read.chat
}

/** The worker's body for vLLM. */
export function vllmText(chat: Chat): string {
  const terms = {
    requestId: 'r',
    effort: chat.effort ?? 'none',
    outputTokensMax: 10,
    priority: 5,
    cacheSalt: '',
  } as const
  const can = capabilities({ ...vllm.capabilities, vision: true })
  const attached = { version: '1', model: 'm', contextTokens: 100_000, slotsMax: 1, capabilities: can, faults: [] }
  const request = vllm.request(chat, terms, attached)
  if (!request.ok) throw new Error(request.message)
  return request.call.body
}

/** The client's messages in vLLM's form: a prefix is a field of the body. */
function given(messages: Messages): { messages: Messages; continue_final_message: boolean } {
  return {
    messages: messages.map(({ prefix: _, ...message }) => message),
    continue_final_message: messages.at(-1)?.prefix === true,
  }
}

export function difference(ours: readonly number[], theirs: Prompt): string | undefined {
  if ('error' in theirs) return `is refused (${theirs.error})`
  const at = ours.findIndex((id, place) => id !== theirs.tokens[place])
  if (at < 0 && ours.length === theirs.tokens.length) return undefined
  return `has other ids from ${at < 0 ? ours.length : at} on (${ours.length} and ${theirs.tokens.length})`
}
