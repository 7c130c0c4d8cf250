/**
 * The prompt of Mistral Small 4 (template version 15), as segments.
 *
 *   <s> system… tools settings [INST]user[/INST] assistant </s> [TOOL_RESULTS]…
 *
 * Tools and settings come once, directly before the first user message. Control tokens are separate segments, and text
 * is tokenised as text: `[/INST]` in a user's message is not a control token.
 */
import { budgets } from '../../backends/model/budgets.ts'
import type { Chat, Message, Part, Tool, ToolCall } from '../../backends/model/chat.ts'
import type { EffortWord } from '../../backends/model/effort.ts'
import { trimmedEnd } from '../../backends/model/trim-end.ts'
import type { EngineRefusal } from './engine.ts'
import { dumps, respace } from './python-json.ts'
import type { ControlName } from './vocabulary.ts'

export type Segment = { control: ControlName } | { text: string }

export type Rendered = { ok: true; segments: Segment[] } | EngineRefusal

type Assistant = Extract<Message, { role: 'assistant' }>
type ToolResult = Extract<Message, { role: 'tool' }>

export function renderPrompt(chat: Chat, effort: EffortWord): Rendered {
  const media = chat.messages.findIndex(
    ({ role, content }) => role !== 'tool' && content.some(({ kind }) => kind !== 'text'),
  )
  if (media >= 0) return noVision(media)
  if (effort !== 'none' && effort !== 'high') return unknownEffort(effort)
  const messages = withUser(inCallOrder(merged(chat.messages)))
  const spell = argumentCharacters(messages) <= budgets.argumentCharacters.value ? respace : unchanged
  const firstUser = messages.findIndex(({ role }) => role === 'user')
  const segments = messages.flatMap((message, index) =>
    index === firstUser
      ? [...tools(chat.tools), ...settings(effort), ...render(message, spell)]
      : render(message, spell),
  )
  return { ok: true, segments: joined([{ control: '<s>' }, ...segments]) }
}

function noVision(index: number): EngineRefusal {
  const param = `messages[${index}].content`
  const message = `${param}: this engine has no vision. Leave the image out, or use a model that accepts images.`
  return { ok: false, code: 'invalid_value', message, param }
}

function unknownEffort(effort: EffortWord): EngineRefusal {
  const message = `reasoning_effort: this model does not support "${effort}". Use "none" or "high".`
  return { ok: false, code: 'invalid_value', message, param: 'reasoning_effort' }
}

function tools(list: readonly Tool[]): Segment[] {
  if (list.length === 0) return []
  const functions = list.map(({ name, description, parameters }) => ({
    type: 'function',
    function: { name, description, parameters },
  }))
  return block('[AVAILABLE_TOOLS]', dumps(functions), '[/AVAILABLE_TOOLS]')
}

function settings(effort: EffortWord): Segment[] {
  return block('[MODEL_SETTINGS]', dumps({ reasoning_effort: effort }), '[/MODEL_SETTINGS]')
}

type Spell = (json: string) => string
const unchanged: Spell = (json) => json

/**
 * Characters of all calls' arguments. Above the budget they fit no context and are not respaced, which would take too
 * long.
 */
function argumentCharacters(messages: readonly Message[]): number {
  let characters = 0
  for (const message of messages)
    if (message.role === 'assistant') for (const call of message.toolCalls) characters += call.arguments.length
  return characters
}

function render(message: Message, spell: Spell): Segment[] {
  switch (message.role) {
    case 'system':
      return block('[SYSTEM_PROMPT]', plain(message.content), '[/SYSTEM_PROMPT]')
    case 'user':
      return block('[INST]', plain(message.content), '[/INST]')
    case 'assistant':
      return assistant(message, spell)
    case 'tool':
      return block('[TOOL_RESULTS]', plain(message.content, imageLeftOut), '[/TOOL_RESULTS]')
  }
}

function assistant({ reasoning, content, toolCalls, prefix }: Assistant, spell: Spell): Segment[] {
  const thinking = reasoning === '' ? [] : block('[THINK]', reasoning, '[/THINK]')
  // The reference tokenizer removes trailing spaces only from an answer without reasoning.
  const text = reasoning === '' ? trimmedEnd(plain(content), ' ') : plain(content)
  const end: Segment[] = prefix ? [] : [{ control: '</s>' }]
  return [...thinking, { text }, ...toolCalls.flatMap((each) => call(each, spell)), ...end]
}

function call({ name, arguments: json }: ToolCall, spell: Spell): Segment[] {
  return [{ control: '[TOOL_CALLS]' }, { text: name }, { control: '[ARGS]' }, { text: spell(json) }]
}

function block(start: ControlName, text: string, end: ControlName): Segment[] {
  return [{ control: start }, { text }, { control: end }]
}

/** A tool result stays in the conversation, so its image is not refused; this text takes its place. */
const imageLeftOut = '[an image, which this model cannot see]'

function plain(content: readonly Part[], image = ''): string {
  return content.map((part) => (part.kind === 'text' ? part.text : image)).join('')
}

/** Merges consecutive user messages, and consecutive assistant messages, with a blank line between them. */
function merged(messages: readonly Message[]): Message[] {
  const result: Message[] = []
  for (const message of messages) {
    const last = result.at(-1)
    if (last?.role === 'user' && message.role === 'user') {
      result[result.length - 1] = { ...last, content: blankLine(last.content, message.content) }
    } else if (last?.role === 'assistant' && message.role === 'assistant') {
      result[result.length - 1] = mergedAssistant(last, message)
    } else result.push(message)
  }
  return result
}

function mergedAssistant(a: Assistant, b: Assistant): Assistant {
  return {
    role: 'assistant',
    reasoning: [a.reasoning, b.reasoning].filter((text) => text !== '').join('\n\n'),
    content: blankLine(a.content, b.content),
    toolCalls: [...a.toolCalls, ...b.toolCalls],
    prefix: b.prefix,
  }
}

function blankLine(a: readonly Part[], b: readonly Part[]): Part[] {
  if (plain(a) === '' || plain(b) === '') return [...a, ...b]
  return [...a, { kind: 'text', text: '\n\n' }, ...b]
}

/** Sorts tool results in the order of their calls, because the prompt has no call ids. */
function inCallOrder(messages: readonly Message[]): Message[] {
  const result: Message[] = []
  let calls: string[] = []
  let results: ToolResult[] = []
  const place = ({ toolCallId }: ToolResult) => {
    const index = calls.indexOf(toolCallId)
    return index < 0 ? calls.length : index
  }
  const flush = () => {
    result.push(...results.sort((a, b) => place(a) - place(b)))
    results = []
  }
  for (const message of messages) {
    if (message.role === 'tool') {
      results.push(message)
      continue
    }
    flush()
    if (message.role === 'assistant') calls = message.toolCalls.map(({ id }) => id)
    result.push(message)
  }
  flush()
  return result
}

/** Adds an empty user message after the system messages if there is none, because tools and settings precede it. */
function withUser(messages: Message[]): Message[] {
  if (messages.some(({ role }) => role === 'user')) return messages
  const firstOther = messages.findIndex(({ role }) => role !== 'system')
  const at = firstOther < 0 ? messages.length : firstOther
  return messages.toSpliced(at, 0, { role: 'user', content: [] })
}

/** Joins consecutive text, because a token may span both parts; removes empty text. */
function joined(segments: readonly Segment[]): Segment[] {
  const result: Segment[] = []
  for (const segment of segments) {
    const last = result.at(-1)
    if ('text' in segment && last && 'text' in last) last.text += segment.text
    else if (!('text' in segment)) result.push(segment)
    else if (segment.text !== '') result.push({ text: segment.text })
  }
  return result
}
