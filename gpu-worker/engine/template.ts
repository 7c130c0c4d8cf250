/**
 * The prompt of Mistral Small 4 (template version 15), as segments.
 *
 *   <s> system… tools settings [INST]user[/INST] assistant </s> [TOOL_RESULTS]…
 *
 * Tools and settings come once, directly before the first user message. Control tokens are separate segments, and text
 * is tokenised as text: `[/INST]` in a user's message is not a control token.
 */
import { budgets } from '../../backends/model/budgets.ts'
import type { AssistantTurn, Chat, Message, Part, Tool, ToolCall, TurnPart } from '../../backends/model/chat.ts'
import type { EffortWord } from '../../backends/model/effort.ts'
import { normaliseHistory } from '../../backends/model/history.ts'
import { mergeParts, mergeTurns } from '../../backends/model/merge-turns.ts'
import { trimmedEnd } from '../../backends/model/trim-end.ts'
import type { EngineRefusal } from './engine.ts'
import { dumps, respace } from './python-json.ts'
import type { ControlName } from './vocabulary.ts'

export type Segment = { control: ControlName } | { text: string }

export type Rendered = { ok: true; segments: Segment[] } | EngineRefusal

export function renderPrompt(chat: Chat, effort: EffortWord): Rendered {
  const media = chat.messages.findIndex(({ role, content }) => role !== 'tool' && content.some(isMedia))
  if (media >= 0) return noVision(media)
  if (effort !== 'none' && effort !== 'high') return unknownEffort(effort)
  const messages = mergeTurns(normaliseHistory(chat.messages).messages)
  const spell = argumentCharacters(messages) <= budgets.argumentCharacters.value ? respace : unchanged
  const firstUser = messages.findIndex(({ role }) => role === 'user')
  const segments = messages.flatMap((message, index) =>
    index === firstUser
      ? [...tools(chat.tools), ...settings(effort), ...render(message, spell)]
      : render(message, spell),
  )
  return {
    ok: true,
    segments: [{ control: '<s>' }, ...segments.filter((segment) => !('text' in segment) || segment.text !== '')],
  }
}

function isMedia({ kind }: Part | TurnPart): boolean {
  return kind === 'image' || kind === 'document'
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
  return block('[AVAILABLE_TOOLS]', `[${list.map(toolText).join(', ')}]`, '[/AVAILABLE_TOOLS]')
}

/** As the reference prints a tool: without other fields, such as `strict`. */
function toolText({ name, description, parameters, parametersText }: Tool): string {
  const schema = parametersText === undefined ? dumps(parameters) : respace(parametersText)
  const members = `"name": ${dumps(name)}, "description": ${dumps(description)}, "parameters": ${schema}`
  return `{"type": "function", "function": {${members}}}`
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

function assistant({ content, toolCalls, prefix }: AssistantTurn, spell: Spell): Segment[] {
  // The reference tokenizer removes trailing spaces only from an answer without reasoning.
  const thinks = content.some(({ kind }) => kind === 'thinking')
  const text = thinks ? mergeParts([content]).flatMap(turnPart) : [{ text: trimmedEnd(plain(content), ' ') }]
  const end: Segment[] = prefix ? [] : [{ control: '</s>' }]
  return [...text, ...toolCalls.flatMap((each) => call(each, spell)), ...end]
}

function turnPart(part: TurnPart): Segment[] {
  if (part.kind === 'text') return [{ text: part.text }]
  const block: Segment[] = [{ control: '[THINK]' }, { text: part.text }]
  return part.closed ? [...block, { control: '[/THINK]' }] : block
}

function call({ name, arguments: json }: ToolCall, spell: Spell): Segment[] {
  return [{ control: '[TOOL_CALLS]' }, { text: name }, { control: '[ARGS]' }, { text: spell(json) }]
}

function block(start: ControlName, text: string, end: ControlName): Segment[] {
  return [{ control: start }, { text }, { control: end }]
}

/** A tool result stays in the conversation, so its image is not refused; this text takes its place. */
const imageLeftOut = '[an image, which this model cannot see]'

function plain(content: readonly (Part | TurnPart)[], image = ''): string {
  return content.map((part) => (part.kind === 'text' ? part.text : image)).join('')
}
