/**
 * A chat as the body that most engines take: OpenAI's Chat Completions. What differs between them is the `Dialect`;
 * what an engine cannot do is refused here, or left out with a warning, by its capabilities alone.
 */
import type { Attached, BackendFailure, Capabilities, HttpCall, Request, RequestTerms } from '../../contract/backend.ts'
import { nineCharacterIds } from '../../contract/call-ids.ts'
import type { Chat, Message, Part } from '../../model/chat.ts'
import { computable } from '../../model/sampling.ts'

export interface EngineDialect {
  path: string
  /** The field that takes earlier thinking; `chunk`: a part of the content, as Mistral writes it. */
  reasoningHistory: 'reasoning_content' | 'reasoning' | 'chunk'
  /**
   * How a tool is chosen. `narrowed`: the engine knows no named tool, so it is forced to call one and shown that one
   * only. `absent`: there is no such field; tools are shown or they are not.
   */
  toolChoice: 'object' | 'narrowed' | 'absent'
  outputBound: 'max_tokens' | 'max_completion_tokens'
  seed: 'seed' | 'random_seed'
  /** What `required` is called. */
  required: 'required' | 'any'
  /** The field, beside the message, that asks for its continuation. */
  prefix: 'prefix' | 'continue_final_message' | 'none'
  /** Everything that is the engine's own: effort, usage, priority, salt, ids. */
  extra: (order: RequestTerms, chat: Chat, can: Capabilities) => Record<string, unknown>
}

export const plainDialect: EngineDialect = {
  path: '/v1/chat/completions',
  reasoningHistory: 'reasoning_content',
  toolChoice: 'object',
  outputBound: 'max_tokens',
  seed: 'seed',
  required: 'required',
  prefix: 'none',
  extra: () => ({ stream_options: { include_usage: true } }),
}

export function openaiRequest(
  chat: Chat,
  order: RequestTerms,
  attached: Attached,
  dialect: EngineDialect,
): Request | BackendFailure {
  const { capabilities: can, model } = attached
  const refusal = refuse(chat, order, can)
  if (refusal) return refusal
  // An engine that does not tell its model's name serves one, and takes a body without.
  const body = {
    ...(model !== '' && { model }),
    ...openaiBody(chat, order, can, dialect),
    stream: true,
    ...dialect.extra(order, chat, can),
  }
  return {
    ok: true,
    call: { method: 'POST', path: dialect.path, body: JSON.stringify(body) },
    warnings: warnings(chat, can),
  }
}

/** The parts that both a generation and a count of its prompt are made of. */
export function openaiPrompt(chat: Chat, can: Capabilities, dialect: EngineDialect) {
  return {
    messages: messages(chat.messages, can, dialect),
    ...toolsOf(chat, dialect),
    ...continuation(chat, dialect),
  }
}

function openaiBody(chat: Chat, order: RequestTerms, can: Capabilities, dialect: EngineDialect) {
  const { temperature, topP, seed, frequencyPenalty, presencePenalty, stop } = computable(chat)
  return {
    ...openaiPrompt(chat, can, dialect),
    ...(chat.tools.length > 0 && dialect.toolChoice !== 'absent' && toolChoice(chat, can, dialect)),
    ...(chat.format.kind !== 'text' && { response_format: responseFormat(chat.format) }),
    [dialect.outputBound]: order.outputTokensMax,
    ...(temperature !== undefined && { temperature }),
    ...(topP !== undefined && { top_p: topP }),
    ...(seed !== undefined && can.seed && { [dialect.seed]: seed }),
    ...(frequencyPenalty !== undefined && can.penalties && { frequency_penalty: frequencyPenalty }),
    ...(presencePenalty !== undefined && can.penalties && { presence_penalty: presencePenalty }),
    ...(stop.length > 0 && { stop }),
  }
}

/** What would be another request if it were left out. */
function refuse(chat: Chat, order: RequestTerms, can: Capabilities): BackendFailure | undefined {
  const parts = chat.messages.flatMap((message) => message.content)
  const images = parts.filter((part) => part.kind === 'image')
  const { kind: choice } = chat.toolChoice
  const no = (param: string, message: string): BackendFailure => invalid(param, `${param}: ${message}`)
  if (!can.efforts.includes(order.effort))
    return no('reasoning_effort', `this backend takes ${can.efforts.join(', ')}, and not ${order.effort}`)
  if (images.length > 0 && !can.vision) return no('messages', 'this backend takes no images: send text only')
  if (!can.remoteMedia && images.some((image) => !image.url.startsWith('data:')))
    return no('messages', 'images are taken as data URLs only: send data:image/…;base64,…')
  if (parts.some((part) => part.kind === 'document') && !can.documents)
    return no('messages', 'this backend reads no documents: send their text, or their pages as images')
  if (chat.tools.length > 0 && choice !== 'none' && !can.tools) return no('tools', 'this backend calls no tools')
  if ((choice === 'required' || choice === 'named') && !can.forcedTool)
    return no('tool_choice', 'this backend cannot be made to call a tool: send "auto"')
  if (chat.format.kind === 'json_schema' && !can.jsonSchema)
    return no('response_format', 'this backend holds no answer to a JSON schema')
  if (chat.format.kind === 'json_object' && !can.jsonObject)
    return no('response_format', 'this backend holds no answer to JSON')
  if (chat.stop.length > can.stopsMax) return no('stop', `this backend takes ${can.stopsMax} stop strings at most`)
  if (isPrefix(chat) && !can.prefix) return no('messages', 'this backend continues no assistant message')
  return undefined
}

function invalid(param: string | null, message: string): BackendFailure {
  return { ok: false, code: 'invalid_value', message, param, retryAfterMs: null, operator: false }
}

function warnings(chat: Chat, can: Capabilities): string[] {
  const thinking = chat.messages.some((message) => message.role === 'assistant' && message.reasoning !== '')
  return [
    ...(chat.seed !== undefined && !can.seed ? ['seed: not supported by this backend, ignored'] : []),
    ...((chat.frequencyPenalty || chat.presencePenalty) && !can.penalties
      ? ['frequency_penalty, presence_penalty: not supported by this backend, ignored']
      : []),
    ...(chat.tools.length > 0 && !chat.parallelToolCalls && !can.parallelTools
      ? ['parallel_tool_calls: not supported by this backend, it may call several at once']
      : []),
    ...(thinking && !can.reasoningHistory
      ? ['messages: thinking of earlier turns is not taken by this backend and was left out']
      : []),
  ]
}

function toolsOf({ tools, toolChoice }: Chat, dialect: EngineDialect) {
  const { kind } = toolChoice
  const narrow = kind === 'named' && dialect.toolChoice === 'narrowed'
  const none = kind === 'none' && dialect.toolChoice === 'absent'
  const shown = none ? [] : narrow ? tools.filter((tool) => tool.name === toolChoice.name) : tools
  return shown.length > 0 && { tools: shown.map((tool) => ({ type: 'function', function: tool })) }
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
  return { type: 'json_schema', json_schema: { name: format.name, schema: format.schema, strict: true } }
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
  return chat.map((message) => messageOf(message, ids, can, dialect))
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

function assistant(
  message: Message & { role: 'assistant' },
  ids: Map<string, string>,
  can: Capabilities,
  dialect: EngineDialect,
) {
  const thinking = can.reasoningHistory && message.reasoning !== '' ? message.reasoning : undefined
  const chunk = { type: 'thinking', thinking: [{ type: 'text', text: message.reasoning }] }
  const asChunk = thinking !== undefined && dialect.reasoningHistory === 'chunk'
  return {
    role: 'assistant',
    content: asChunk ? [chunk, ...message.content.map((each) => part(each))] : content(message.content),
    ...(thinking !== undefined && !asChunk && { [dialect.reasoningHistory]: thinking }),
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

/** A string where there is text only: every engine takes that. */
function content(parts: Part[]) {
  const only = parts.length === 1 ? parts[0] : undefined
  if (parts.length === 0 || only?.kind === 'text') return only?.kind === 'text' ? only.text : ''
  return parts.map(part)
}

function part(part: Part) {
  switch (part.kind) {
    case 'text':
      return { type: 'text', text: part.text }
    case 'image':
      return { type: 'image_url', image_url: { url: part.url } }
    case 'document':
      return { type: 'document_url', document_url: part.url, ...(part.name !== '' && { document_name: part.name }) }
  }
}

/** A call without a body. */
export function get(path: string): HttpCall {
  return { method: 'GET', path }
}

export function post(path: string, body: unknown): HttpCall {
  return { method: 'POST', path, body: JSON.stringify(body) }
}
