/**
 * The chat template of the model file, for engines that render it themselves: in jinja2, its prompts equal the embedded
 * engine's, which the section `histories` holds against mistral-common. The template that mistral-common generates
 * differs from its tokenizer in named kinds.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Chat, type Message, readChat, type TurnPart } from '../../../backends/model/chat.ts'
import { normaliseHistory } from '../../../backends/model/history.ts'
import { renderPrompt } from '../../../gpu-worker/engine/template.ts'
import { textOf } from '../../gpu-worker/engine/prompt.ts'
import { vllmText } from './histories.ts'
import { historyCases, randomHistories } from './history-cases.ts'
import type { Reference, Section, SectionResult } from './section.ts'
import { pick, type Random, randomOf } from './seeded.ts'
import { refusedCases, type TemplateChat, toolCases, writtenCases } from './template-cases.ts'

const randomCount = 1_000
const seed = 20_261_130

export const template: Section = { name: 'template', run }

interface Case {
  name: string
  chat: TemplateChat
  /** The prompt, or null for a chat that the template must refuse. */
  prompt: string | null
}
type Rendered = { text: string } | { error: string }

async function run(reference: Reference): Promise<SectionResult> {
  const random = randomOf(seed)
  const histories = [...historyCases, ...randomHistories(randomCount, seed)]
  const cases = [
    ...histories.flatMap(([name, messages]) => forms(name, messages, random)),
    ...toolCases.map(([name, chat]) => ({ name, chat, prompt: promptOf(chatOf(name, chat)) })),
    ...writtenCases,
    ...refusedCases.map(([name, chat]) => ({ name, chat, prompt: null })),
  ]
  const source = readFileSync(join(reference.root, 'gpu-worker/model/chat-template.jinja'), 'utf8')
  const answer = await reference.python('template.py', { template: source, chats: cases.map(({ chat }) => chat) })
  const { ours, theirs } = answer as { ours: Rendered[]; theirs: Rendered[] }
  const faults: string[] = []
  const kinds = new Map<string, number>()
  for (const [index, { name, chat, prompt }] of cases.entries()) {
    const [own, their] = [ours[index], theirs[index]] as [Rendered, Rendered]
    const problem = difference(prompt, own)
    if (problem) faults.push(`${name}: ${problem}: ${JSON.stringify(chat.messages).slice(0, 400)}`)
    const kind = generatedKind(chat, own, their)
    if (kind) kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
    else faults.push(`${name}: the generated template differs: ${JSON.stringify({ own, their }).slice(0, 600)}`)
  }
  return {
    lines: [
      `${histories.length} histories (${historyCases.length} named, ${randomCount} random) as ${cases.length} chats: ${faults.length} differences`,
      ...[...kinds]
        .sort(([, a], [, b]) => b - a)
        .map(([kind, count]) => `mistral-common's template: ${kind}: ${count}`),
    ],
    faults,
  }
}

function difference(prompt: string | null, own: Rendered): string | undefined {
  if ('error' in own) return prompt === null ? undefined : `refused (${own.error})`
  if (prompt === null) return 'not refused'
  return own.text === prompt ? undefined : `${JSON.stringify(own.text)} instead of ${JSON.stringify(prompt)}`
}

/**
 * How the generated template compares. Texts may differ by the known kinds only: the steps remove these from both texts.
 * Undefined: the texts still differ.
 */
function generatedKind({ messages, tools }: TemplateChat, own: Rendered, their: Rendered): string | undefined {
  if ('error' in their) return 'error' in own ? 'also refused' : 'refuses the order of roles, or an empty message'
  if ('error' in own) return 'accepts what its tokenizer refuses'
  if (own.text === their.text) return 'the same'
  if (messages.some(({ content }) => Array.isArray(content) && content.some(({ thinking }) => Array.isArray(thinking))))
    return 'writes a list of thinking as Python does'
  if (tools.some(({ function: { strict, description, parameters } }) => strict || !description || !parameters))
    return 'writes tools as sent'
  let texts = [own.text, their.text]
  for (const [kind, applies, change] of steps) {
    if (applies(messages)) texts = texts.map(change)
    if (texts[0] === texts[1]) return kind
  }
  return undefined
}

type Messages = TemplateChat['messages']

const steps: readonly (readonly [
  kind: string,
  applies: (messages: Messages) => boolean,
  change: (text: string) => string,
])[] = [
  ['ends a prefix', (messages) => messages.at(-1)?.prefix === true, (text) => text.replace(/<\/s>$/, '')],
  ['keeps trailing spaces', () => true, withoutSpaces],
  ['a blank line for an empty text', hasEmptyText, (text) => withoutSpaces(text.replaceAll('\n\n', ''))],
  ['no empty reasoning', hasEmptyReasoning, (text) => text.replaceAll('[THINK][/THINK]', '')],
]

function hasEmptyText(messages: Messages): boolean {
  return messages.some(({ content }) =>
    Array.isArray(content) ? content.some(({ text }) => text === '') : content === '',
  )
}

function hasEmptyReasoning(messages: Messages): boolean {
  return messages.some(({ reasoning, reasoning_content }) => reasoning === '' || reasoning_content === '')
}

/** Without the spaces before the end of a text. */
function withoutSpaces(prompt: string): string {
  return prompt.replaceAll(/ +(?=<\/s>|\[TOOL_CALLS\]|$)/g, '')
}

/** A history in each form that a client or worker sends: the worker's body for vLLM, one of many, and its own. */
function forms(name: string, messages: Messages, random: Random): Case[] {
  const given = { messages, tools, reasoning_effort: pick(random, ['none', 'high']) }
  const chat = chatOf(name, given)
  const prompt = promptOf(chat)
  const { messages: normal, warnings } = normaliseHistory(chat.messages)
  const body = JSON.parse(vllmText(chat)) as TemplateChat & { continue_final_message?: boolean }
  const sent = body.messages.map((message, index) =>
    body.continue_final_message && index === body.messages.length - 1 ? { ...message, prefix: true } : message,
  )
  const written = normal.map((message) => messageText(message, random))
  return [
    { name: `${name}, as sent to vLLM`, chat: { ...given, tools: body.tools, messages: sent }, prompt },
    { name: `${name}, message by message`, chat: { ...given, messages: written }, prompt },
    // Mistral's tokenizer moves results into the order of their calls; a template writes them as they come.
    ...(warnings.length === 0 && !resultsMove(messages, normal)
      ? [{ name: `${name}, as the client sent it`, chat: given, prompt }]
      : []),
  ]
}

function resultsMove(messages: Messages, normal: readonly Message[]): boolean {
  const given = messages.flatMap(({ role, tool_call_id: id }) => (role === 'tool' ? [id] : []))
  return given.join() !== normal.flatMap((each) => (each.role === 'tool' ? [each.toolCallId] : [])).join()
}

const tools = [{ type: 'function', function: { name: 'look_up', description: 'd', parameters: { type: 'object' } } }]

function chatOf(name: string, body: object): Chat {
  const read = readChat({ model: 'm', ...body })
  if (!read.ok) throw new Error(`${name}: ${read.message}`)
  return read.chat
}

function promptOf(chat: Chat): string {
  const rendered = renderPrompt(chat, chat.effort ?? 'none')
  if (!rendered.ok) throw new Error(rendered.message)
  return textOf(rendered.segments)
}

/** A message in one of the forms that a client may choose. */
function messageText(message: Message, random: Random): Messages[number] {
  if (message.role !== 'assistant') {
    const role = message.role === 'system' ? pick(random, ['system', 'developer']) : message.role
    return { role, content: contentOf(message.content as TurnPart[], random) }
  }
  const { content, toolCalls, prefix } = message
  const [first, ...rest] = content
  const field = first?.kind === 'thinking' && first.closed && first.text !== '' && random(2) === 0
  const plain = field && rest.every(({ kind }) => kind === 'text')
  return {
    role: 'assistant',
    content: contentOf(plain ? rest : content, random),
    ...(plain && { [pick(random, ['reasoning', 'reasoning_content'])]: first.text }),
    ...(toolCalls.length > 0 && {
      tool_calls: toolCalls.map(({ id, name, arguments: json }) => ({
        ...{ id, type: 'function' },
        function: { name, arguments: random(2) === 0 ? json : JSON.parse(json) },
      })),
    }),
    ...(prefix && { prefix }),
  }
}

function contentOf(parts: readonly TurnPart[], random: Random) {
  if (parts.every(({ kind }) => kind === 'text') && random(2) === 0) return parts.map(({ text }) => text).join('')
  return parts.map((part) => {
    if (part.kind === 'text') return { type: 'text', text: part.text }
    const thinking = random(2) === 0 ? part.text : [{ type: 'text', text: part.text }]
    return { type: 'thinking', thinking, ...((!part.closed || random(2) === 0) && { closed: part.closed }) }
  })
}
