/**
 * Reads the body of Anthropic's Messages, including fields that real clients send: `system` among the messages,
 * thinking with its signature, server-side tools, beta fields. Unsupported fields are named in `warnings`. Only invalid
 * fields are refused, because one agent answers each 400 with five more requests.
 */

import { z } from 'zod'
import {
  asText,
  CalledName,
  type Chat,
  cacheHints,
  callIdMax,
  documentSource,
  effortText,
  FunctionName,
  imageSource,
  type Message,
  messagesMax,
  otherObject,
  type Part,
  partOr,
  refuse,
  StopText,
  stopMax,
  streamText,
  strictToolText,
  Text,
  TokensMax,
  type Tool,
  type ToolCall,
  type ToolChoice,
  type TurnPart,
  temperatureText,
  toolsMax,
  topPText,
} from '../../../backends/model/chat.ts'
import { EffortWord } from '../../../backends/model/effort.ts'
import { readFields } from '../../../backends/model/field-fault.ts'
import { documentBy, imageByData, imageByUrl } from '../../../backends/model/media.ts'
import { repairRequest } from '../../../backends/model/repair-text.ts'
import {
  fieldWithoutEffect,
  unsupportedField,
  unusedFields,
  usageLabel,
} from '../../../backends/model/unused-fields.ts'
import { unsealThinking } from '../carried-thinking.ts'
import type { ParsedRequest } from '../dialect.ts'

const cache = { cache_control: cacheHints.cache_control }
/** A request for citations, which no engine makes. */
const Citations = unsupportedField()
const MediaType = fieldWithoutEffect('the bytes decide')
const noUploads = { ok: false as const, message: 'file ids are not supported. Send the data itself, or its address.' }
const Uploaded = z
  .object({
    type: z.literal('file').describe('An uploaded file: refused.'),
    file_id: z.string().describe('Not supported: send the data itself, or its address.'),
  })
  .transform((_, context) => partOr(noUploads, context, 'file_id') as never)

const TextBlock = z.object({
  type: z.literal('text').describe('A block of text.'),
  text: Text.describe('The text. NUL and half of a surrogate pair are replaced, with a warning.'),
  citations: fieldWithoutEffect('the text stands alone'),
  ...cache,
})
const Source = z.discriminatedUnion('type', [
  z
    .object({
      type: z.literal('base64').describe('The bytes of the image.'),
      data: z.string().describe('The image in base64.'),
      media_type: MediaType,
    })
    .transform(({ data }) => imageByData(data)),
  z
    .object({ type: z.literal('url').describe('The address of the image.'), url: z.string().describe(imageSource) })
    .transform(({ url }, context) => partOr(imageByUrl(url), context, 'url')),
  Uploaded,
])
const ImageBlock = z.object({
  type: z.literal('image').describe('An image.'),
  source: Source.describe('The image.'),
  transformations: unsupportedField(),
  ...cache,
})
const DocumentBlock = z.object({
  type: z.literal('document').describe('A document.'),
  title: Text.nullish().describe('The title of the document, for the prompt.'),
  context: Text.nullish().describe('More about the document, for the prompt.'),
  citations: Citations,
  ...cache,
  source: z
    .discriminatedUnion('type', [
      z.object({
        type: z.literal('text').describe('A plain text.'),
        data: Text.describe('The text.'),
        media_type: MediaType,
      }),
      z.object({
        type: z.literal('content').describe('A text or blocks of text.'),
        content: z
          .union([Text, z.array(z.discriminatedUnion('type', [TextBlock, ImageBlock]))])
          .describe('The text, or texts and images.'),
      }),
      z
        .object({
          type: z.literal('base64').describe('The bytes of a PDF.'),
          media_type: z.string().max(64).nullish().describe('Ignored: the bytes decide.'),
          data: z.string().describe(documentSource),
        })
        .transform(({ data }, context) => ({
          type: 'file' as const,
          part: partOr(documentBy(data, ''), context, 'data'),
        })),
      z
        .object({ type: z.literal('url').describe('The address of a PDF.'), url: z.string().describe(documentSource) })
        .transform(({ url }, context) => ({
          type: 'file' as const,
          part: partOr(documentBy(url, ''), context, 'url'),
        })),
      Uploaded,
    ])
    .describe('The document.'),
})
const SearchResultBlock = z.object({
  type: z.literal('search_result').describe('A result of a search.'),
  source: Text.describe('The address of the result.'),
  title: Text.describe('The title of the result.'),
  content: z.array(TextBlock).describe('The text of the result.'),
  citations: Citations,
  ...cache,
})
const ThinkingBlock = z.object({
  type: z.literal('thinking').describe('Earlier thinking of the model.'),
  thinking: Text.describe('The thinking.'),
  signature: z
    .string()
    .nullish()
    .describe('The signature of an earlier answer, which has thinking that was not shown.'),
})
const RedactedBlock = z.object({
  type: z.literal('redacted_thinking').describe('Hidden thinking of another API.'),
  data: z.string().describe('Not used: the block is ignored.'),
})
const ToolUseBlock = z.object({
  type: z.literal('tool_use').describe('An earlier call of a tool.'),
  id: z.string().max(callIdMax).describe('The id of the call.'),
  name: CalledName.describe('The name of the tool.'),
  input: z.record(z.string(), z.unknown()).describe('The arguments of the tool.'),
  caller: fieldWithoutEffect('the call is the same'),
  toolset_name: unsupportedField(),
  ...cache,
})
const ShownBlock = z.discriminatedUnion('type', [TextBlock, ImageBlock, DocumentBlock, SearchResultBlock])

// Blocks of server-side tools, and unknown blocks: accepted and ignored.
const otherThan = (known: readonly string[]) =>
  otherObject(known).transform(({ type }) => ({ type: 'removed' as const, was: type.slice(0, 64) }))

const shownTypes = ['text', 'image', 'document', 'search_result']
const ResultBlock = z.union([ShownBlock, otherThan(shownTypes)])
const ToolResultBlock = z.object({
  type: z.literal('tool_result').describe('The result of a tool.'),
  tool_use_id: z.string().max(callIdMax).describe('The id of the call.'),
  content: z
    .union([Text, z.array(ResultBlock)])
    .nullish()
    .describe('The result.'),
  is_error: z.boolean().nullish().describe('Whether the tool failed. Default: false.'),
  toolset_name: unsupportedField(),
  ...cache,
})
const ContentBlock = z
  .union([
    z.discriminatedUnion('type', [...ShownBlock.options, ThinkingBlock, RedactedBlock, ToolUseBlock, ToolResultBlock]),
    otherThan([...shownTypes, 'thinking', 'redacted_thinking', 'tool_use', 'tool_result']),
  ])
  .meta({ id: 'ContentBlockParam' })

const System = z.union([Text, z.array(TextBlock)])
const Turn = z
  .object({
    role: z.enum(['user', 'assistant', 'system']).describe('The author of the message. `system` means instructions.'),
    content: z.union([Text, z.array(ContentBlock)]).describe('A text, or blocks in their order.'),
  })
  .meta({ id: 'MessageParam' })

const CustomTool = z.object({
  type: z.literal('custom').nullish().describe('A tool without a type is `custom`.'),
  name: FunctionName.describe('The name of the tool.').meta({ examples: ['get_weather'] }),
  description: Text.nullish().describe('The purpose of the tool, for the model.'),
  input_schema: z.record(z.string(), z.unknown()).describe('The JSON schema of the arguments.'),
  strict: z.boolean().nullish().describe(strictToolText),
  allowed_callers: unsupportedField(),
  defer_loading: unsupportedField(false),
  eager_input_streaming: unsupportedField(false),
  input_examples: unsupportedField(),
  ...cache,
})
const OwnTool = z
  .union([CustomTool, otherObject(['custom'])], {
    error: 'must be {name, description?, input_schema}',
  })
  .meta({ id: 'MessageTool' })
const OneCall = z.boolean().nullish().describe('Whether an answer has at most one call. Default: false.')
const Choice = z.discriminatedUnion('type', [
  z.object({
    type: z.enum(['auto', 'any', 'none']).describe('`any`: at least one tool.'),
    disable_parallel_tool_use: OneCall,
  }),
  z.object({
    type: z.literal('tool').describe('One tool.'),
    name: FunctionName.describe('The name of a tool in `tools`.'),
    disable_parallel_tool_use: OneCall,
  }),
])
const Display = z
  .string()
  .nullish()
  .describe('`omitted` hides the thinking in its signature; any other value shows it. Default: shown.')
const Thinking = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('enabled').describe('Thinking before the answer.'),
    budget_tokens: z
      .int()
      .min(1)
      .nullish()
      .describe('Not supported: ignored, with a warning. `max_tokens` limits thinking and answer together.'),
    display: Display,
  }),
  z.object({ type: z.literal('adaptive').describe('The same as `enabled`.'), display: Display }),
  z.object({ type: z.literal('disabled').describe('No thinking, for any effort.') }),
])
const SchemaFormat = z.object({
  type: z.literal('json_schema').describe('JSON that matches a schema.'),
  schema: z
    .record(z.string(), z.unknown())
    .describe('The JSON schema of the text. A warning names each keyword that is not enforced.'),
})

const prompt = {
  model: z
    .string()
    .min(1)
    .max(256)
    .describe('The id or an alias of a model; see `GET /v1/models`.')
    .meta({ examples: ['mistral-small-4'] }),
  messages: z.array(Turn).min(1).max(messagesMax).describe('The conversation, oldest message first.'),
  system: System.nullish().describe('Instructions to the model.'),
  tools: z
    .array(OwnTool)
    .max(toolsMax)
    .nullish()
    .describe('The tools that the model may call. Tools that a server runs are removed, with a warning.'),
  tool_choice: Choice.nullish().describe(
    'Whether the model calls a tool. Default: `auto`. `any` and `tool` need such a tool in `tools`.',
  ),
  thinking: Thinking.nullish().describe(
    'Whether the model thinks. `enabled` and `adaptive` without `output_config.effort` mean the effort `high`.',
  ),
  output_config: z
    .object({
      effort: EffortWord.nullish().describe(effortText),
      format: SchemaFormat.nullish().describe('The form of the text. Default: any text.'),
    })
    .nullish()
    .describe('The effort and the form of the answer.'),
  output_format: SchemaFormat.nullish().describe('The same as `output_config.format`, which overrides it.'),
  context_management: unsupportedField(),
  mcp_servers: unsupportedField(),
  container: unsupportedField(),
  diagnostics: unsupportedField(),
  inference_geo: unsupportedField('global'),
  service_tier: unsupportedField('auto', 'standard_only'),
  speed: unsupportedField('standard'),
  user_profile_id: fieldWithoutEffect('a label of the client'),
  workspace_id: fieldWithoutEffect('a label of the client'),
  metadata: usageLabel(
    '`user_id` is your name for the end user in usage reports, of at most 256 characters; other texts are tags.',
  ),
  ...cache,
}

export const CountBody = z.object(prompt).meta({ id: 'CountMessageTokensRequest' })
export const Body = z
  .object({
    ...prompt,
    max_tokens: TokensMax.describe(
      'The limit of output tokens, thinking included. This many tokens are reserved from the budget while the request runs.',
    ).meta({ examples: [500] }),
    stop_sequences: z
      .array(StopText)
      .max(stopMax)
      .nullish()
      .describe('Texts of 1 to 256 characters that end the answer; they are not part of it. Default: none.'),
    temperature: z
      .number()
      .min(0)
      .max(1)
      .nullish()
      .describe(temperatureText)
      .meta({ examples: [0.3] }),
    top_p: z.number().min(0).max(1).nullish().describe(topPText),
    top_k: unsupportedField(),
    stream: z.boolean().nullish().describe(streamText),
  })
  .meta({ id: 'MessageRequest' })
type CountBody = z.infer<typeof CountBody>
type ContentBlock = z.infer<typeof ContentBlock>
type Shown = z.infer<typeof ShownBlock>

export type ReadMessages =
  | { ok: true; parsed: ParsedRequest; thinkingShown: boolean }
  | { ok: false; code: 'invalid_value'; message: string; param: string | null }

/** Never throws. */
export function readMessages(body: unknown): ReadMessages {
  const parsed = readFields(Body, body)
  if (!parsed.ok) return refuse(parsed.fault)
  const wire = parsed.data
  return read(wire, {
    outputTokensMax: wire.max_tokens,
    stop: wire.stop_sequences ?? [],
    temperature: wire.temperature ?? undefined,
    topP: wire.top_p ?? undefined,
    stream: wire.stream ?? false,
    warnings: unusedFields(Body, body),
  })
}

/** The body of `count_tokens`: a prompt without limits for an answer. */
export function readPrompt(body: unknown): ReadMessages {
  const parsed = readFields(CountBody, body)
  if (!parsed.ok) return refuse(parsed.fault)
  const bounds = { outputTokensMax: 1, stop: [], temperature: undefined, topP: undefined, stream: false }
  return read(parsed.data, { ...bounds, warnings: unusedFields(CountBody, body) })
}

function read(
  wire: CountBody,
  bounds: Pick<Chat, 'outputTokensMax' | 'stop' | 'temperature' | 'topP' | 'stream'> & { warnings: string[] },
): ReadMessages {
  const { warnings, ...rest } = bounds
  const tools = (wire.tools ?? []).flatMap(functionTool)
  const toolChoice = choiceOf(wire.tool_choice, tools)
  if (!toolChoice) {
    const message = 'tool_choice: names no supported tool of `tools`. Name a listed tool with an input_schema.'
    return { ok: false, code: 'invalid_value', message, param: 'tool_choice' }
  }
  const { messages, places: fieldPaths, leftOut } = conversation(wire)
  const thinking = wire.thinking
  if (tools.length < (wire.tools?.length ?? 0))
    warnings.push('tools: server-side tools are not supported and were removed')
  if (leftOut.size > 0) warnings.push(`messages: blocks of these types were removed: ${[...leftOut].join(', ')}`)
  if (thinking?.type === 'enabled' && thinking.budget_tokens != null)
    warnings.push('thinking.budget_tokens: not enforced, max_tokens limits thinking and answer together')
  const format = wire.output_config?.format ?? wire.output_format
  const chat: Chat = {
    model: wire.model,
    messages,
    tools,
    toolChoice,
    parallelToolCalls: !wire.tool_choice?.disable_parallel_tool_use,
    format: format ? { kind: 'json_schema', name: 'answer', schema: format.schema, strict: false } : { kind: 'text' },
    effort: effortOf(wire),
    seed: undefined,
    frequencyPenalty: undefined,
    presencePenalty: undefined,
    includeUsage: false,
    ...rest,
  }
  const thinkingShown = !(thinking && 'display' in thinking && thinking.display === 'omitted')
  return { ok: true, parsed: repairRequest({ chat, warnings, fieldPaths }), thinkingShown }
}

/** Disabled thinking overrides the effort. Enabled thinking without an effort means `high`. */
function effortOf({ thinking, output_config: config }: CountBody): EffortWord | undefined {
  if (thinking?.type === 'disabled') return 'none'
  return config?.effort ?? (thinking ? 'high' : undefined)
}

function functionTool(tool: z.infer<typeof OwnTool>): Tool[] {
  if (!('input_schema' in tool)) return []
  const { name, description, input_schema: parameters, strict } = tool
  return [{ name, description: description ?? '', parameters, strict: strict === true }]
}

function choiceOf(choice: CountBody['tool_choice'], tools: readonly Tool[]): ToolChoice | undefined {
  switch (choice?.type) {
    case undefined:
    case 'auto':
      return { kind: 'auto' }
    case 'none':
      return { kind: 'none' }
    case 'any':
      return tools.length > 0 ? { kind: 'required' } : undefined
    case 'tool':
      return tools.some(({ name }) => name === choice.name) ? { kind: 'named', name: choice.name } : undefined
  }
}

function conversation({ system, messages: turns }: CountBody) {
  const messages: Message[] = []
  const places: string[] = []
  const leftOut = new Set<string>()
  const add = (place: string, message: Message) => {
    messages.push(message)
    places.push(place)
  }
  if (system) add('system', { role: 'system', content: typeof system === 'string' ? asText(system) : system.map(text) })
  turns.forEach(({ role, content }, index) => {
    const place = `messages[${index}]`
    const blocks = typeof content === 'string' ? asText(content).map(textBlock) : content
    for (const lost of blocks.flatMap((block) => removedTypes(role, block))) leftOut.add(lost)
    if (role === 'assistant') add(place, assistant(blocks, index === turns.length - 1))
    else if (role === 'system') add(place, { role, content: blocks.flatMap(shown).filter(isText) })
    else for (const message of userTurn(blocks)) add(place, message)
  })
  return { messages, places, leftOut }
}

/** The types of what no prompt has at this place. */
function removedTypes(role: CountBody['messages'][number]['role'], block: ContentBlock): string[] {
  switch (block.type) {
    case 'removed':
      return [block.was]
    case 'redacted_thinking':
      return [block.type]
    case 'tool_result': {
      const inner = typeof block.content === 'string' ? [] : (block.content ?? [])
      return role === 'user' ? inner.flatMap((each) => removedTypes('user', each)) : [block.type]
    }
    case 'tool_use':
    case 'thinking':
      return role === 'assistant' ? [] : [block.type]
    case 'image':
    case 'document':
      return role === 'user' || shown(block).every(isText) ? [] : [block.type]
    default:
      return []
  }
}

const isText = (part: Part) => part.kind === 'text'
const text = ({ text }: { text: string }): Part => ({ kind: 'text', text })
const textBlock = (part: Part): ContentBlock => ({ type: 'text', text: part.kind === 'text' ? part.text : '' })

/** Tool results become separate messages; blocks between them become user messages. */
function userTurn(blocks: readonly ContentBlock[]): Message[] {
  const messages: Message[] = []
  for (const block of blocks) {
    if (block.type === 'tool_result') {
      messages.push({ role: 'tool', toolCallId: block.tool_use_id, content: resultOf(block) })
      continue
    }
    const last = messages.at(-1)
    if (last?.role === 'user') last.content.push(...shown(block))
    else messages.push({ role: 'user', content: shown(block) })
  }
  return messages.length > 0 ? messages : [{ role: 'user', content: [] }]
}

/** The prompt format cannot mark a failed tool, so the text gets `Error: ` unless it already mentions a failure. */
function resultOf({ content, is_error: failed }: z.infer<typeof ToolResultBlock>): Part[] {
  const parts = typeof content === 'string' ? asText(content) : (content ?? []).flatMap(shown)
  const mentioned = parts.some((part) => part.kind === 'text' && /error|fail/i.test(part.text))
  return failed && !mentioned ? [{ kind: 'text', text: 'Error: ' }, ...parts] : parts
}

function shown(block: ContentBlock): Part[] {
  switch (block.type) {
    case 'text':
      return [text(block)]
    case 'image':
      return [block.source]
    case 'document':
      return documentText(block)
    case 'search_result':
      return [text({ text: `${block.title}\n${block.source}\n` }), ...block.content.map(text)]
    default:
      return []
  }
}

function documentText({ title, context, source }: Extract<Shown, { type: 'document' }>): Part[] {
  const about = context ? [text({ text: `${context}\n` })] : []
  if (source.type === 'file')
    return [...about, title && source.part.kind === 'document' ? { ...source.part, name: title } : source.part]
  const head = [...(title ? [text({ text: `${title}\n` })] : []), ...about]
  if (source.type === 'text') return [...head, text({ text: source.data })]
  return [...head, ...(typeof source.content === 'string' ? asText(source.content) : source.content.flatMap(shown))]
}

/** A final assistant message is the beginning of the answer. */
function assistant(blocks: readonly ContentBlock[], last: boolean): Message {
  const toolCalls = blocks.flatMap((block): ToolCall[] =>
    block.type === 'tool_use' ? [{ id: block.id, name: block.name, arguments: JSON.stringify(block.input) }] : [],
  )
  const content = blocks.flatMap((block) =>
    block.type === 'thinking' ? thinkingOf(block) : shown(block).filter(isText),
  )
  return { role: 'assistant', content, toolCalls, prefix: last && toolCalls.length === 0 }
}

/** Thinking that was hidden from the client is in its signature. Another API's signature holds none that can be read. */
function thinkingOf({ thinking, signature }: z.infer<typeof ThinkingBlock>): TurnPart[] {
  const text = thinking !== '' ? thinking : (unsealThinking(signature ?? '') ?? '')
  return text === '' ? [] : [{ kind: 'thinking', text, closed: true }]
}
