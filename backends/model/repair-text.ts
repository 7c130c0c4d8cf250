/**
 * Replaces what no tokenizer can process with U+FFFD. A C string ends at a NUL, and half of a surrogate pair has no
 * UTF-8 form. Both occur in tool results and logs, and stay in a conversation, so a refusal would end it.
 */
import type { Chat, Message, Part, ToolCall, TurnPart } from './chat.ts'

interface ReadRequest {
  chat: Chat
  warnings: string[]
  /** Path of each message in the client's body. Default: `messages[n]`. */
  fieldPaths?: string[]
}

/** Repairs the texts of all messages and tools. A warning names each one that was changed. */
export function repairRequest<Request extends ReadRequest>(request: Request): Request {
  const { chat, fieldPaths } = request
  const warnings: string[] = []
  const warn = (path: string) =>
    warnings.push(`${path}: NUL characters and halves of surrogate pairs were replaced with U+FFFD`)
  const messages = chat.messages.map((message, index) => {
    const repaired = repairMessage(message)
    if (repaired !== message) warn(fieldPaths?.[index] ?? `messages[${index}]`)
    return repaired
  })
  const tools = chat.tools.map((tool, index) => {
    const description = repairText(tool.description)
    if (description === tool.description) return tool
    warn(`tools[${index}]`)
    return { ...tool, description }
  })
  if (warnings.length === 0) return request
  return { ...request, chat: { ...chat, messages, tools }, warnings: [...request.warnings, ...warnings] }
}

/** Returns the same text if it is sound. */
function repairText(text: string): string {
  const wellFormed = text.isWellFormed() ? text : text.toWellFormed()
  return wellFormed.includes('\0') ? wellFormed.replaceAll('\0', '\ufffd') : wellFormed
}

/** Returns the same message if all its texts are sound. */
function repairMessage(message: Message): Message {
  switch (message.role) {
    case 'system':
    case 'user': {
      const content = changed(message.content, repairPart)
      return content === message.content ? message : { ...message, content }
    }
    case 'tool': {
      const content = changed(message.content, repairPart)
      const toolCallId = repairText(message.toolCallId)
      const same = content === message.content && toolCallId === message.toolCallId
      return same ? message : { ...message, content, toolCallId }
    }
    case 'assistant': {
      const content = changed(message.content, repairPart)
      const toolCalls = changed(message.toolCalls, repairCall)
      const same = content === message.content && toolCalls === message.toolCalls
      return same ? message : { ...message, content, toolCalls }
    }
  }
}

function repairPart<Each extends Part | TurnPart>(part: Each): Each {
  switch (part.kind) {
    case 'text':
    case 'thinking': {
      const text = repairText(part.text)
      return text === part.text ? part : { ...part, text }
    }
    case 'document': {
      const name = repairText(part.name)
      return name === part.name ? part : { ...part, name }
    }
    case 'image':
      return part
  }
}

/** The id too: a result must keep the id of its call. */
function repairCall(call: ToolCall): ToolCall {
  const [id, name, json] = [repairText(call.id), repairText(call.name), repairText(call.arguments)]
  return id === call.id && name === call.name && json === call.arguments ? call : { ...call, id, name, arguments: json }
}

/** The same list if nothing changes. */
function changed<Item>(list: Item[], repair: (item: Item) => Item): Item[] {
  const repaired = list.map(repair)
  return repaired.some((item, index) => item !== list[index]) ? repaired : list
}
