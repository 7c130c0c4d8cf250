/**
 * Writes a chat as OpenAI's Chat Completions body, which most engines accept. `EngineDialect` describes their
 * differences. By the engine's capabilities alone, unsupported fields are refused or left out with a warning.
 */
import type { Attached, BackendFailure, Capabilities, Request, RequestTerms } from '../../contract/backend.ts'
import { nineCharacterIds } from '../../contract/call-ids.ts'
import { withEngineNames } from '../../contract/tool-names.ts'
import type { AssistantTurn, Chat, Message, Part, Thinking, Tool, TurnPart } from '../../model/chat.ts'
import { formatText, toolsText } from '../../model/chat-body.ts'
import { endsInThinking, normaliseChat } from '../../model/history.ts'
import { objectText } from '../../model/json-text.ts'
import { mergeTurns } from '../../model/merge-turns.ts'
import { computable } from '../../model/sampling.ts'
import { type StrictTools, withEngineSchemas } from './fit-schemas.ts'

export interface EngineDialect {
  path: string
  /**
   * The field for earlier reasoning. `chunk`: parts of the content, as in Mistral's API. A field holds only complete
   * reasoning before the text; `reasoningParts` says whether the engine takes any other as parts of the content.
   */
  reasoningHistory: 'reasoning_content' | 'reasoning' | 'chunk'
  reasoningParts: boolean
  /**
   * How to choose a tool. `narrowed`: the engine does not support a named tool, so the request shows only that tool and
   * forces a call. `absent`: the engine has no such field; tools are sent or left out.
   */
  toolChoice: 'object' | 'narrowed' | 'absent'
  outputBound: 'max_tokens' | 'max_completion_tokens'
  seed: 'seed' | 'random_seed'
  /** The engine's word for `required`. */
  required: 'required' | 'any'
  /** The field that requests a continuation of the last message. */
  prefix: 'prefix' | 'continue_final_message' | 'none'
  strictTools: StrictTools
  /** Fields specific to the engine: effort, usage, priority, salt, ids. */
  extra: (terms: RequestTerms, chat: Chat, can: Capabilities) => Record<string, unknown>
}

export const plainDialect: EngineDialect = {
  path: '/v1/chat/completions',
  reasoningHistory: 'reasoning_content',
  reasoningParts: false,
  toolChoice: 'object',
  outputBound: 'max_tokens',
  seed: 'seed',
  required: 'required',
  prefix: 'none',
  strictTools: 'absent',
  extra: () => ({ stream_options: { include_usage: true } }),
}

export function openaiRequest(
  given: Chat,
  terms: RequestTerms,
  attached: Attached,
  dialect: EngineDialect,
): Request | BackendFailure {
  const known = normaliseChat(given)
  const { capabilities: can, model } = attached
  const refusal = refuse(known, terms, can)
  if (refusal) return refusal
  const fitted = withEngineSchemas(known, dialect.strictTools)
  if (!fitted.ok) return fitted
  const { chat, clientNames } = withEngineNames(fitted.chat)
  // An engine that reports no model name serves one model and needs no `model` field.
  const body = {
    ...(model !== '' && { model }),
    ...openaiBody(chat, terms, can, dialect),
    stream: true,
    ...dialect.extra(terms, chat, can),
  }
  return {
    ok: true,
    call: postPrompt(dialect.path, body),
    warnings: [...warnings(known, can, dialect), ...fitted.warnings],
    clientNames,
  }
}

/** A call whose body has messages and tools. Schemas are written as the client wrote them. */
export function postPrompt(path: string, body: PromptBody) {
  return { method: 'POST' as const, path, body: bodyText(body) }
}

interface PromptBody {
  tools?: ReturnType<typeof toolEntry>[]
  response_format?: ReturnType<typeof responseFormat>
}

function bodyText(body: PromptBody): string {
  const { tools, response_format: format } = body
  return objectText(body, {
    ...(tools && { tools: toolsText(tools) }),
    ...(format && { response_format: formatText(format) }),
  })
}

/** The fields of a prompt count. */
export function openaiPrompt(chat: Chat, can: Capabilities, dialect: EngineDialect) {
  const known = normaliseChat(chat)
  const fitted = withEngineSchemas(known, dialect.strictTools)
  return promptFields(withEngineNames(fitted.ok ? fitted.chat : known).chat, can, dialect)
}

/** The fields that a generation and a prompt count share. */
function promptFields(chat: Chat, can: Capabilities, dialect: EngineDialect) {
  return {
    messages: messages(chat.messages, can, dialect),
    ...toolsOf(chat, dialect),
    ...continuation(chat, dialect),
  }
}

function openaiBody(chat: Chat, terms: RequestTerms, can: Capabilities, dialect: EngineDialect) {
  const { temperature, topP, seed, frequencyPenalty, presencePenalty, stop } = computable(chat)
  return {
    ...promptFields(chat, can, dialect),
    ...(chat.tools.length > 0 && dialect.toolChoice !== 'absent' && toolChoice(chat, can, dialect)),
    ...(chat.format.kind !== 'text' && { response_format: responseFormat(chat.format) }),
    [dialect.outputBound]: terms.outputTokensMax,
    ...(temperature !== undefined && { temperature }),
    ...(topP !== undefined && { top_p: topP }),
    ...(seed !== undefined && can.seed && { [dialect.seed]: seed }),
    ...(frequencyPenalty !== undefined && can.penalties && { frequency_penalty: frequencyPenalty }),
    ...(presencePenalty !== undefined && can.penalties && { presence_penalty: presencePenalty }),
    ...(stop.length > 0 && { stop }),
  }
}

/** Refuses unsupported fields whose loss would change the meaning of the request. */
function refuse(chat: Chat, terms: RequestTerms, can: Capabilities): BackendFailure | undefined {
  const parts = chat.messages.flatMap((message): (Part | TurnPart)[] => message.content)
  const images = parts.filter((part) => part.kind === 'image')
  const { kind: choice } = chat.toolChoice
  const no = (param: string, message: string): BackendFailure => ({
    ...invalid(param, `${param}: ${message}`),
    unsupported: true,
  })
  const efforts = can.efforts.join(' or ')
  if (!can.efforts.includes(terms.effort))
    return no('reasoning_effort', `this engine does not support ${terms.effort}. Use ${efforts}.`)
  if (images.length > 0 && !can.vision) return no('messages', 'this engine does not support images. Send text only.')
  if (!can.remoteMedia && images.some((image) => !image.url.startsWith('data:')))
    return no('messages', 'images must be data URLs. Send data:image/…;base64,….')
  if (parts.some((part) => part.kind === 'document') && !can.documents)
    return no('messages', 'this engine does not support documents. Send their text, or their pages as images.')
  if (chat.tools.length > 0 && choice !== 'none' && !can.tools)
    return no('tools', 'this engine does not support tools. Remove them.')
  if ((choice === 'required' || choice === 'named') && !can.forcedTool)
    return no('tool_choice', 'this engine cannot be forced to call a tool. Use "auto".')
  if (chat.format.kind === 'json_schema' && !can.jsonSchema)
    return no('response_format', 'this engine does not support JSON schemas. Use another type.')
  if (chat.format.kind === 'json_object' && !can.jsonObject)
    return no('response_format', 'this engine does not support json_object. Use another type.')
  if (chat.stop.length > can.stopsMax) return no('stop', `this engine supports at most ${can.stopsMax} stop strings`)
  if (isPrefix(chat) && !can.prefix) return no('messages', 'this engine cannot continue an assistant message')
  return undefined
}

function invalid(param: string | null, message: string): BackendFailure {
  return { ok: false, code: 'invalid_value', message, param, retryAfterMs: null, operator: false }
}

function warnings(chat: Chat, can: Capabilities, dialect: EngineDialect): string[] {
  const turns = mergeTurns(chat.messages).filter((message) => message.role === 'assistant')
  const thinking = turns.some(({ content }) => content.some(isThinking))
  const parts = dialect.reasoningParts || dialect.reasoningHistory === 'chunk'
  const strict = dialect.strictTools === 'absent' ? chat.tools.findIndex((tool) => tool.strict) : -1
  return [
    ...(strict >= 0
      ? [`tools[${strict}].function.strict: not supported by this engine, whose calls may differ from their schemas`]
      : []),
    ...(chat.seed !== undefined && !can.seed ? ['seed: not supported by this engine, ignored'] : []),
    ...((chat.frequencyPenalty || chat.presencePenalty) && !can.penalties
      ? ['frequency_penalty, presence_penalty: not supported by this engine, ignored']
      : []),
    ...(chat.tools.length > 0 && !chat.parallelToolCalls && !can.parallelTools
      ? ['parallel_tool_calls: not supported by this engine, which may call several tools at once']
      : []),
    ...(endsInThinking(chat.messages)
      ? ['messages: this engine may send the continuation of open thinking as content']
      : []),
    ...(thinking && !can.reasoningHistory
      ? ['messages: this engine does not accept thinking of earlier turns, which was left out']
      : []),
    ...(can.reasoningHistory && !parts && turns.some(({ content }) => !thinksFirst(content))
      ? [
          'messages: this engine accepts one complete thinking before the text of a turn, so other thinking was moved there',
        ]
      : []),
  ]
}

function toolsOf({ tools, toolChoice }: Chat, dialect: EngineDialect) {
  const { kind } = toolChoice
  const narrow = kind === 'named' && dialect.toolChoice === 'narrowed'
  const none = kind === 'none' && dialect.toolChoice === 'absent'
  const shown = none ? [] : narrow ? tools.filter((tool) => tool.name === toolChoice.name) : tools
  return shown.length > 0 && { tools: shown.map((tool) => toolEntry(tool, dialect)) }
}

function toolEntry(tool: Tool, dialect: EngineDialect) {
  return { type: 'function', function: toolOf(tool, dialect) }
}

function toolOf({ strict, ...tool }: Tool, { strictTools }: EngineDialect) {
  return strict && strictTools === 'sent' ? { ...tool, strict } : tool
}

function toolChoice({ toolChoice, parallelToolCalls }: Chat, can: Capabilities, dialect: EngineDialect) {
  const named = toolChoice.kind === 'named' ? { type: 'function', function: { name: toolChoice.name } } : undefined
  const word = { auto: 'auto', none: 'none', required: dialect.required, named: dialect.required }[toolChoice.kind]
  return {
    tool_choice: named && dialect.toolChoice === 'object' ? named : word,
    ...(can.parallelTools && { parallel_tool_calls: parallelToolCalls }),
  }
}

function responseFormat(format: Exclude<Chat['format'], { kind: 'text' }>) {
  if (format.kind === 'json_object') return { type: 'json_object' }
  const { kind, ...schema } = format
  // Always strict: with `strict: false`, an engine with mistral-common accepts any JSON. The schema is already reduced.
  return { type: kind, json_schema: { ...schema, strict: true } }
}

function isPrefix(chat: Chat): boolean {
  const last = chat.messages.at(-1)
  return last?.role === 'assistant' && last.prefix
}

function continuation(chat: Chat, dialect: EngineDialect) {
  if (dialect.prefix !== 'continue_final_message' || !isPrefix(chat)) return {}
  return { continue_final_message: true, add_generation_prompt: false }
}

function messages(chat: Message[], can: Capabilities, dialect: EngineDialect) {
  const ids = nineCharacterIds(
    chat.flatMap((message) => {
      if (message.role === 'assistant') return message.toolCalls.map((call) => call.id)
      return message.role === 'tool' ? [message.toolCallId] : []
    }),
  )
  return mergeTurns(chat).map((message) => messageOf(message, ids, can, dialect))
}

function messageOf(message: Message, ids: Map<string, string>, can: Capabilities, dialect: EngineDialect) {
  switch (message.role) {
    case 'system':
    case 'user':
      return { role: message.role, content: content(message.content) }
    case 'tool':
      return { role: 'tool', content: content(message.content), tool_call_id: ids.get(message.toolCallId) }
    case 'assistant':
      return assistant(message, ids, can, dialect)
  }
}

function assistant(message: AssistantTurn, ids: Map<string, string>, can: Capabilities, dialect: EngineDialect) {
  return {
    role: 'assistant',
    ...turn(message.content, can, dialect),
    ...(message.toolCalls.length > 0 && {
      tool_calls: message.toolCalls.map((call) => ({
        id: ids.get(call.id),
        type: 'function',
        function: { name: call.name, arguments: call.arguments },
      })),
    }),
    ...(message.prefix && dialect.prefix === 'prefix' && { prefix: true }),
  }
}

const isThinking = ({ kind }: TurnPart) => kind === 'thinking'

/** Whether a field of its own can hold the turn's thinking: there is none, or one complete thinking at the start. */
function thinksFirst([first, ...rest]: readonly TurnPart[]): boolean {
  return (first === undefined || first.kind === 'text' || first.closed) && !rest.some(isThinking)
}

function turn(parts: TurnPart[], can: Capabilities, { reasoningHistory: field, reasoningParts }: EngineDialect) {
  const texts = parts.filter((part) => part.kind === 'text')
  const thinking = parts.filter((part) => part.kind === 'thinking')
  if (!can.reasoningHistory || thinking.length === 0) return { content: content(texts) }
  if (field === 'chunk')
    return { content: parts.map((each) => (each.kind === 'text' ? part(each) : mistralChunk(each))) }
  if (reasoningParts && !thinksFirst(parts)) return { content: parts.map(part) }
  return { content: content(texts), [field]: thinking.map(({ text }) => text).join('\n\n') }
}

function mistralChunk({ text, closed }: Thinking) {
  return { type: 'thinking', thinking: [{ type: 'text', text }], ...(!closed && { closed }) }
}

/** A single text part becomes a string, which every engine accepts. */
function content(parts: Part[]) {
  const only = parts.length === 1 ? parts[0] : undefined
  if (parts.length === 0 || only?.kind === 'text') return only?.kind === 'text' ? only.text : ''
  return parts.map(part)
}

function part(part: Part | TurnPart) {
  switch (part.kind) {
    case 'text':
      return { type: 'text', text: part.text }
    case 'thinking':
      return { type: 'thinking', thinking: part.text, closed: part.closed }
    case 'image':
      return { type: 'image_url', image_url: { url: part.url } }
    case 'document':
      return { type: 'document_url', document_url: part.url, ...(part.name !== '' && { document_name: part.name }) }
  }
}
