/**
 * Writes the internal request as a Chat Completions body. The edge sends it to a worker when the client used another
 * dialect. `readChat` reads it back as the same request.
 */
import type { Chat, Message, Part, ResponseFormat, Tool, ToolChoice, TurnPart } from './chat.ts'
import { objectText } from './json-text.ts'

export function chatBody(chat: Chat): string {
  return hasTexts(chat) ? objectText(chatValue(chat), schemaTexts(chat)) : JSON.stringify(chatValue(chat))
}

/** Whether the body must be written with texts of schemas; see `schema-texts.ts`. */
export function hasTexts({ tools, format }: Chat): boolean {
  return tools.some(({ parametersText }) => parametersText !== undefined) || 'schemaText' in format
}

/** The texts of the members of `chatValue` that have schemas. */
export function schemaTexts(chat: Chat): { tools?: string; response_format?: string } {
  const { tools, response_format: format } = chatValue(chat)
  return {
    ...(tools && { tools: toolsText(tools) }),
    ...(format && { response_format: formatText(format) }),
  }
}

/** A `response_format`. A schema with a text is written as that text. */
export function formatText(format: { json_schema?: { schemaText?: string | undefined } }): string {
  const { schemaText, ...schema } = format.json_schema ?? {}
  if (schemaText === undefined) return JSON.stringify(format)
  return objectText(format, { json_schema: objectText(schema, { schema: schemaText }) })
}

/** A list of tools in OpenAI's form. A schema with a text is written as that text. */
export function toolsText(tools: readonly { type: string; function: Omit<Tool, 'strict'> }[]): string {
  const written = tools.map((tool) => {
    const { parametersText, ...rest } = tool.function
    const texts = parametersText === undefined ? {} : { parameters: parametersText }
    return objectText(tool, { function: objectText(rest, texts) })
  })
  return `[${written.join(',')}]`
}

/** The body before serialisation: the edge serialises large bodies in pieces. */
export function chatValue(chat: Chat) {
  const { frequencyPenalty, presencePenalty, outputTokensMax } = chat
  return {
    model: chat.model,
    messages: chat.messages.map(message),
    ...(chat.tools.length > 0 && {
      tools: chat.tools.map(({ strict, ...tool }) => ({
        type: 'function',
        function: { ...tool, ...(strict && { strict }) },
      })),
      tool_choice: toolChoice(chat.toolChoice),
      parallel_tool_calls: chat.parallelToolCalls,
    }),
    ...(chat.format.kind !== 'text' && { response_format: format(chat.format) }),
    // `JSON.stringify` leaves out undefined fields.
    reasoning_effort: chat.effort,
    temperature: chat.temperature,
    top_p: chat.topP,
    seed: chat.seed,
    frequency_penalty: frequencyPenalty,
    presence_penalty: presencePenalty,
    ...(chat.stop.length > 0 && { stop: chat.stop }),
    max_completion_tokens: outputTokensMax,
    stream: chat.stream,
    ...(chat.includeUsage && { stream_options: { include_usage: true } }),
  }
}

function message(message: Message) {
  switch (message.role) {
    case 'system':
    case 'user':
      return { role: message.role, content: content(message.content) }
    case 'tool':
      return { role: 'tool', tool_call_id: message.toolCallId, content: content(message.content) }
    case 'assistant':
      return {
        role: 'assistant',
        ...turn(message.content),
        ...(message.toolCalls.length > 0 && {
          tool_calls: message.toolCalls.map(({ id, name, arguments: json }) => ({
            id,
            type: 'function',
            function: { name, arguments: json },
          })),
        }),
        ...(message.prefix && { prefix: true }),
      }
  }
}

/** Complete thinking before the text has a field of its own, which every worker reads. */
function turn(parts: readonly TurnPart[]) {
  const [first, ...rest] = parts
  if (first?.kind !== 'thinking' || !first.closed || !rest.every(isText)) return { content: content(parts) }
  return { content: content(rest), reasoning_content: first.text }
}

const isText = ({ kind }: TurnPart) => kind === 'text'

/** A single text part becomes a string, as most clients write it. */
function content(parts: readonly (Part | TurnPart)[]) {
  const only = parts.length === 1 ? parts[0] : undefined
  if (parts.length === 0) return ''
  return only?.kind === 'text' && only.text !== '' ? only.text : parts.map(part)
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
      return { type: 'document_url', document_url: part.url, document_name: part.name }
  }
}

function toolChoice(choice: ToolChoice) {
  return choice.kind === 'named' ? { type: 'function', function: { name: choice.name } } : choice.kind
}

function format(format: Exclude<ResponseFormat, { kind: 'text' }>) {
  if (format.kind === 'json_object') return { type: 'json_object' }
  const { kind, ...schema } = format
  return { type: kind, json_schema: schema }
}
