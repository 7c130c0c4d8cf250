/**
 * The internal request: every dialect produces it and every backend reads it.
 *
 * `readChat` accepts the body of OpenAI's Chat Completions, including what real clients send: unknown fields, tools
 * that are not functions, `developer` messages, and earlier reasoning under either name. It refuses invalid fields by
 * their path and lists unsupported ones in `warnings`.
 */

import { z } from 'zod'
import { EffortWord } from './effort.ts'
import { type FieldFault, faultText, readFields } from './field-fault.ts'
import {
  documentBy,
  documentBytesMax,
  documentsMax,
  imageBytesMax,
  imageByUrl,
  imagesMax,
  type MediaPart,
  type ReadPart,
} from './media.ts'
import { temperatureDefault } from './model.ts'
import { temperatureMin } from './sampling.ts'
import { fieldWithoutEffect, removedObject, unsupportedField, usageLabel, withWarning } from './unused-fields.ts'

/**
 * One part of a message. An image or document is in a data URL or at an https address. The worker fetches addresses and
 * converts documents, so an engine sees only text and images in data URLs.
 */
export type Part = { kind: 'text'; text: string } | MediaPart

/**
 * Thinking of an earlier turn, at its place among the texts. `closed` is false for thinking that was cut off: the prompt
 * has no end mark for it, and as the last part of a prefix it is continued.
 */
export interface Thinking {
  kind: 'thinking'
  text: string
  closed: boolean
}

/** One part of an assistant's turn. */
export type TurnPart = { kind: 'text'; text: string } | Thinking

export interface ToolCall {
  /** The client's id; adapters map it for engines that need another form. */
  id: string
  name: string
  /** JSON text, unchanged from the model. */
  arguments: string
}

export type Message =
  | { role: 'system'; content: Part[] }
  | { role: 'user'; content: Part[] }
  | { role: 'assistant'; content: TurnPart[]; toolCalls: ToolCall[]; prefix: boolean }
  | { role: 'tool'; content: Part[]; toolCallId: string }

export type AssistantTurn = Extract<Message, { role: 'assistant' }>

export interface Tool {
  name: string
  description: string
  /** JSON schema of the arguments; empty if the client sent none. */
  parameters: Record<string, unknown>
  /** The schema as the client wrote it, without white space, if `parameters` does not print as that text. */
  parametersText?: string
  /** Whether calls must match the schema, on engines that have a choice. */
  strict: boolean
}

export type ToolChoice = { kind: 'auto' } | { kind: 'none' } | { kind: 'required' } | { kind: 'named'; name: string }

export type ResponseFormat =
  | { kind: 'text' }
  | { kind: 'json_object' }
  | {
      kind: 'json_schema'
      name: string
      schema: Record<string, unknown>
      /** The schema as the client wrote it, without white space, if `schema` does not print as that text. */
      schemaText?: string
      /** The request is refused if its schema cannot be enforced. Otherwise it is enforced as far as possible. */
      strict: boolean
    }

export interface Chat {
  model: string
  messages: Message[]
  tools: Tool[]
  toolChoice: ToolChoice
  parallelToolCalls: boolean
  format: ResponseFormat
  effort: EffortWord | undefined
  temperature: number | undefined
  topP: number | undefined
  seed: number | undefined
  frequencyPenalty: number | undefined
  presencePenalty: number | undefined
  stop: string[]
  /** The client's limit on output tokens, including reasoning. */
  outputTokensMax: number | undefined
  stream: boolean
  includeUsage: boolean
}

export type ReadChat =
  | { ok: true; chat: Chat; warnings: string[] }
  | { ok: false; code: 'invalid_value'; message: string; param: string | null }

export const messagesMax = 4_096
/** Their names alone take a third of the bytes that a grammar may have. */
export const toolsMax = 1_024
export const stopMax = 16
export const callIdMax = 256
const mebibyte = 1024 * 1024

/** Text of a prompt. `repairChat` replaces what no tokenizer can process. */
export const Text = z.string()

/** Engines search for stop strings. One that no answer can contain is refused. */
export const StopText = z
  .string()
  .min(1)
  .max(256)
  .refine((text) => text.isWellFormed() && !text.includes('\0'), {
    error: 'must not contain a NUL character or half of a surrogate pair. Remove it.',
  })

export const imageSource = `An image: a data URL in base64, or an https address of at most 2,048 characters without a user name. At most ${imagesMax} a request, each of at most ${imageBytesMax / mebibyte} MiB.`
export const documentSource = `A PDF or a text (such as JSON or CSV): a data URL in base64, base64 alone (a PDF), or an https address of at most 2,048 characters. At most ${documentsMax} a request, each of at most ${documentBytesMax / mebibyte} MiB.`

/** Vendors' hints for their prefix caches. */
export const cacheHints = {
  cache_control: fieldWithoutEffect('prompts are cached automatically'),
  prompt_cache_breakpoint: fieldWithoutEffect('prompts are cached automatically'),
}

const thinkingMarks = {
  signature: fieldWithoutEffect('the text is read'),
  closed: fieldWithoutEffect('earlier thinking counts as complete'),
}

const TextPart = z
  .object({
    type: z.enum(['text', 'input_text', 'output_text']).describe('All three mean text.'),
    text: Text.describe('The text. NUL and half of a surrogate pair are replaced, with a warning.'),
    ...cacheHints,
  })
  .transform((part): { kind: 'text'; text: string } => ({ kind: 'text', text: part.text }))
const ImagePart = z
  .object({
    type: z.literal('image_url').describe('Always `image_url`.'),
    image_url: z
      .union([
        z.string(),
        z.object({ url: z.string().describe('The same as the text form.'), detail: unsupportedField('auto') }),
      ])
      .describe(imageSource)
      .meta({ examples: ['https://example.com/cat.png'] }),
    ...cacheHints,
  })
  .transform(({ image_url: image }, context): Part => {
    return partOr(imageByUrl(typeof image === 'string' ? image : image.url), context, 'image_url')
  })
const noUploads = {
  ok: false as const,
  message: 'uploaded files are not supported. Send the document in `file_data`.',
}
/** OpenAI's form. `file_id` refers to an uploaded file, which the gateway does not support. */
const FilePart = z
  .object({
    type: z.literal('file').describe('Always `file`.'),
    file: z
      .object({
        file_data: z.string().nullish().describe(documentSource),
        file_id: z.string().nullish().describe('Not supported: a file without `file_data` is refused.'),
        filename: z.string().nullish().describe('The name of the document, for the prompt. Cut to 256 characters.'),
      })
      .nullish()
      .describe('The document.'),
    file_id: z.string().nullish().describe('Not supported: a file without `file` is refused.'),
    ...cacheHints,
  })
  .transform(({ file }, context): Part => {
    if (!file) return partOr(noUploads, context, 'file_id')
    if (file.file_data) return partOr(documentBy(file.file_data, file.filename ?? ''), context, 'file')
    return partOr(noUploads, context, 'file', 'file_id')
  })
/** Mistral's form. */
const DocumentPart = z
  .object({
    type: z.literal('document_url').describe('Always `document_url`.'),
    document_url: z
      .union([z.string(), z.object({ url: z.string().describe('The same as the text form.') })])
      .describe(documentSource),
    document_name: z.string().nullish().describe('The name of the document, for the prompt. Cut to 256 characters.'),
  })
  .transform(({ document_url: document, document_name: name }, context): Part => {
    const url = typeof document === 'string' ? document : document.url
    return partOr(documentBy(url, name ?? ''), context, 'document_url')
  })
/** Mistral's references to sources: they have no text. */
const ReferencePart = z
  .object({
    type: z.literal('reference').describe('Always `reference`.'),
    reference_ids: unsupportedField(),
  })
  .transform((): { kind: 'text'; text: string } => ({ kind: 'text', text: '' }))
const ToolReferencePart = z
  .object({
    type: z.literal('tool_reference').describe('Always `tool_reference`.'),
    tool: unsupportedField(),
    title: unsupportedField(),
    url: unsupportedField(),
    favicon: unsupportedField(),
    description: unsupportedField(),
  })
  .transform((): { kind: 'text'; text: string } => ({ kind: 'text', text: '' }))
const thinkingForms = [
  Text,
  z.array(z.discriminatedUnion('type', [TextPart, ReferencePart, ToolReferencePart])),
] as const
/** Thinking in a message that is not the model's: mistral-common 1.13.1 refuses it for this model. */
const ThoughtPart = z
  .object({
    type: z.literal('thinking').describe('Always `thinking`.'),
    thinking: withWarning(
      z.union(thinkingForms).describe('Read as text, with a warning.'),
      'thinking in this message is read as text',
    ),
    ...thinkingMarks,
  })
  .transform(
    ({ thinking }): Part => ({ kind: 'text', text: typeof thinking === 'string' ? thinking : joinedText(thinking) }),
  )
const Parts = z.array(
  z.discriminatedUnion('type', [TextPart, ImagePart, FilePart, DocumentPart, ThoughtPart, ReferencePart]),
)

/** Returns the part, or adds an issue at its field. */
export function partOr(read: ReadPart<Part>, context: z.RefinementCtx, ...field: string[]): Part {
  if (read.ok) return read.part
  context.addIssue({ code: 'custom', message: read.message, path: field })
  return z.NEVER
}

const TextParts = z.array(z.discriminatedUnion('type', [TextPart, ThoughtPart]))
/** Mistral's form of reasoning: parts of the content. */
const ThinkingPart = z
  .object({
    type: z.literal('thinking').describe('Always `thinking`.'),
    thinking: z.union(thinkingForms).describe('Earlier reasoning of the model.'),
    closed: z
      .boolean()
      .nullish()
      .describe('Whether the reasoning is complete. At the end of a prefix, `false` continues it. Default: true.'),
    signature: thinkingMarks.signature,
  })
  .transform(
    ({ thinking, closed }): Thinking => ({
      kind: 'thinking',
      text: typeof thinking === 'string' ? thinking : joinedText(thinking),
      closed: closed ?? true,
    }),
  )
const RefusalPart = z
  .object({
    type: z.literal('refusal').describe('Always `refusal`.'),
    refusal: Text.describe('The text of an earlier refusal, read as text.'),
  })
  .transform(({ refusal }): { kind: 'text'; text: string } => ({ kind: 'text', text: refusal }))
const AssistantParts = z.array(z.discriminatedUnion('type', [TextPart, RefusalPart, ThinkingPart, ReferencePart]))

export const asText = (text: string): { kind: 'text'; text: string }[] => (text === '' ? [] : [{ kind: 'text', text }])
const Content = z.union([Text.transform(asText), Parts])
const TextContent = z.union([Text.transform(asText), TextParts])

/** Anthropic's limit. OpenAI's and Mistral's is 64; adapters shorten the name for engines that have it. */
export const FunctionName = z
  .string()
  .regex(/^[a-zA-Z0-9_-]{1,128}$/, 'must be 1 to 128 letters, digits, underscores or dashes.')
/** A history may come from another API, so its names have no rules. */
export const CalledName = z.string()
export const strictToolText =
  'Whether calls must match the schema, on engines that have a choice. The embedded engine matches it always. Default: false.'

const LegacyCall = z.object({
  name: CalledName.describe('The name of the function.'),
  arguments: Text.describe('The arguments as JSON text.'),
})
const callHead = {
  id: z
    .string()
    .max(callIdMax)
    .nullish()
    .describe('The id of the call. Calls without ids belong to the results in their order.'),
  index: fieldWithoutEffect('calls have the order of the list'),
}
// Mistral's SDK sends "null" for a call without an id.
const callId = (id: string | null | undefined) => (id == null || id === 'null' ? '' : id)
const CustomCall = z
  .object({
    ...callHead,
    type: z.literal('custom').describe('A call of a tool with free text as its input.'),
    custom: z
      .object({
        name: CalledName.describe('The name of the tool.'),
        input: Text.describe('The input of the tool.'),
      })
      .describe('The tool and its input.'),
  })
  .transform(
    ({ id, custom }): ToolCall => ({
      id: callId(id),
      name: custom.name,
      arguments: JSON.stringify({ input: custom.input }),
    }),
  )
const FunctionCall = z
  .object({
    ...callHead,
    type: z.literal('function').nullish().describe('A call without a type is `function`.'),
    function: z
      .object({
        name: CalledName.describe('The name of the function.'),
        arguments: z
          .union([Text, z.record(z.string(), z.unknown())])
          .describe('The arguments, as JSON text or object.'),
      })
      .describe('The function and its arguments.'),
  })
  .transform(
    ({ id, function: { name, arguments: args } }): ToolCall => ({
      id: callId(id),
      name,
      arguments: typeof args === 'string' ? args : JSON.stringify(args),
    }),
  )
const WireToolCall = z.union([FunctionCall, CustomCall])

const SystemMessage = z
  .object({
    role: z.enum(['system', 'developer']).describe('Both mean instructions to the model.'),
    content: TextContent.describe('The instructions.'),
    name: unsupportedField(),
  })
  .transform(({ content }): Message => ({ role: 'system', content }))
  .meta({ id: 'SystemMessage' })
const UserMessage = z
  .object({
    role: z.literal('user').describe('A message of the user.'),
    content: Content.describe('A text, or texts, images and documents in their order.'),
    name: unsupportedField(),
  })
  .transform(({ content }): Message => ({ role: 'user', content }))
  .meta({ id: 'UserMessage' })
const AssistantMessage = z
  .object({
    role: z.literal('assistant').describe('An earlier answer of the model.'),
    content: z
      .union([Text.transform(asText), AssistantParts])
      .nullish()
      .describe('Its text, or texts and reasoning in their order.'),
    reasoning_content: Text.nullish().describe('Its reasoning.'),
    reasoning: Text.nullish().describe('Its reasoning, if `reasoning_content` is absent.'),
    refusal: Text.nullish().describe('The text of an earlier refusal, read as text if `content` is empty.'),
    tool_calls: z.array(WireToolCall).max(toolsMax).nullish().describe('Its calls of tools.'),
    function_call: LegacyCall.nullish().describe('Its call of a function, in the older form.'),
    name: unsupportedField(),
    audio: unsupportedField(),
    prefix: z
      .boolean()
      .nullish()
      .describe('In the last message: whether the answer continues this text. Default: false.'),
  })
  .transform((message): Message => {
    const parts = message.content?.length ? message.content : asText(message.refusal ?? '')
    return {
      role: 'assistant',
      content: withThinking(message.reasoning_content ?? message.reasoning, parts),
      toolCalls: message.tool_calls ?? (message.function_call ? [olderCall(message.function_call)] : []),
      prefix: message.prefix ?? false,
    }
  })
  .meta({ id: 'AssistantMessage' })
/** The id of a call in the older form, which has none. Call and result have the same function. */
const legacyId = (name: string) => `function_${name}`.slice(0, callIdMax)
const olderCall = ({ name, arguments: json }: z.infer<typeof LegacyCall>): ToolCall => ({
  id: legacyId(name),
  name,
  arguments: json,
})
const ToolMessage = z
  .object({
    role: z.literal('tool').describe('The result of a tool.'),
    content: Content.nullish().describe('The result: a text, or texts, images and documents in their order.'),
    tool_call_id: z.string().max(callIdMax).describe('The id of the call.'),
    name: fieldWithoutEffect('the call names the function'),
  })
  .transform((message): Message => ({ role: 'tool', content: message.content ?? [], toolCallId: message.tool_call_id }))
  .meta({ id: 'ToolMessage' })

const FunctionMessage = z
  .object({
    role: z.literal('function').describe('The result of a function, in the older form.'),
    name: CalledName.describe('The name of the function.'),
    content: Text.nullish().describe('The result.'),
  })
  .transform(
    ({ name, content }): Message => ({ role: 'tool', content: asText(content ?? ''), toolCallId: legacyId(name) }),
  )
  .meta({ id: 'FunctionMessage' })

const WireFunction = z.object({
  name: FunctionName.describe('The name of the function.').meta({ examples: ['get_weather'] }),
  description: Text.nullish().describe('The purpose of the function, for the model.'),
  parameters: z
    .record(z.string(), z.unknown())
    .nullish()
    .describe('The JSON schema of the arguments. Default: no arguments.'),
  strict: z.boolean().nullish().describe(strictToolText),
})
const WireFunctionTool = z.object({
  type: z.literal('function').describe('Always `function`.'),
  function: WireFunction.describe('The function.'),
  cache_control: cacheHints.cache_control,
})
/** An object that is accepted and removed: of any type but the known ones. */
export function otherObject(known: readonly string[]) {
  const type = z
    .string()
    .refine((type) => !known.includes(type), { abort: true })
    .describe('Any other type: ignored, with a warning.')
    .meta({ not: { enum: known } })
  return removedObject(z.object({ type }))
}

// Agents also send tools that a vendor runs (web search, namespaces). They are accepted and left out.
const WireTool = z
  .union([WireFunctionTool, otherObject(['function'])], {
    error: 'must be {type: "function", function: {name, description?, parameters?}}',
  })
  .meta({ id: 'ChatTool' })

const AllowedTools = z.object({
  type: z.literal('allowed_tools').describe('Only some of the tools.'),
  allowed_tools: z
    .object({
      mode: z.enum(['auto', 'required']).describe('Whether the model must call one of them.'),
      tools: z
        .array(
          z.object({
            type: z.string().describe('The type of the tool.'),
            function: z
              .object({ name: z.string().describe('The name of a function in `tools`.') })
              .nullish()
              .describe('The function.'),
          }),
        )
        .max(toolsMax)
        .describe('The tools that the model may call. With the mode `required`, one of them must be in `tools`.'),
    })
    .describe('The tools.'),
})
const WireToolChoice = z.union([
  z.enum(['auto', 'none', 'required', 'any']),
  AllowedTools,
  z.object({
    type: z.literal('function').describe('Always `function`.'),
    function: z
      .object({ name: FunctionName.describe('The name of a function in `tools`.') })
      .describe('The function to call.'),
  }),
])

/** Clients send seeds of 64 bits. JSON keeps 53 of them, which is enough to repeat an answer. */
export const Seed = z
  .number()
  .refine(Number.isInteger, 'must be a whole number.')
  .meta({ type: 'integer' })
  .transform((seed) => (Number.isSafeInteger(seed) ? seed : Number(BigInt.asIntN(53, BigInt(seed)))))

export const schemaStrictText =
  'Whether a schema that cannot be enforced is refused. Default: `false`: it is enforced as far as possible, with a warning for each keyword that is not.'

const WireFormat = z.discriminatedUnion('type', [
  z.object({ type: z.literal('text').describe('Any text.') }),
  z.object({
    type: z.literal('json_object').describe('A JSON object.'),
    schema: z
      .record(z.string(), z.unknown())
      .nullish()
      .describe('The JSON schema of the object: the same as `json_schema`.'),
  }),
  z.object({
    type: z.literal('json_schema').describe('JSON that matches a schema.'),
    json_schema: z
      .object({
        name: z.string().max(64).nullish().describe('A name for the schema. Default: `answer`.'),
        schema: z.record(z.string(), z.unknown()).describe('The JSON schema of the text.'),
        strict: z.boolean().nullish().describe(schemaStrictText),
        description: unsupportedField(),
      })
      .describe('The schema and its name.'),
  }),
])

/** Fields that describe the client or its request. */
const clientLabels = {
  metadata: usageLabel('its texts are tags of the request in usage reports, as `name:value`.'),
  user: usageLabel('your name for the end user in usage reports, of at most 256 characters.'),
  safety_identifier: usageLabel('the same as `user`, which it overrides.'),
  prompt_cache_key: fieldWithoutEffect('prompts are cached automatically'),
}

export const TokensMax = z.int().min(1).max(1_048_576)

/** Descriptions of fields that several dialects have. */
export const effortText =
  'How much the model reasons. `none`, `minimal` and `low` mean the lowest effort of the model, the other words its highest. Default: `none`, or the effort of the alias.'
export const temperatureText = `The randomness of the answer. Below ${temperatureMin} the most likely token is always chosen. Default: ${temperatureDefault.high} with reasoning, ${temperatureDefault.none} without.`
export const topPText =
  'Only the most likely tokens with this total probability are sampled; with 0, always the most likely one. Default: 1.'
export const frequencyText = 'Lowers the chance of a token for each time that it occurred. Default: 0.'
export const presenceText = 'Lowers the chance of tokens that occurred. Default: 0.'
export const tokensText =
  'The limit of output tokens, reasoning included. This many tokens are reserved from the budget while the request runs. Default: that of the model, 32,768 for Mistral Small 4.'
export const seedText =
  'Makes sampling repeatable on the same engine. Of a number above 53 bits, the lower 53 are used. Default: random.'
export const streamText = 'Whether the answer is a stream of server-sent events. Default: false.'

export const WireChat = z
  .object({
    model: z
      .string()
      .min(1)
      .max(256)
      .describe('The id or an alias of a model; see `GET /v1/models`.')
      .meta({ examples: ['mistral-small-4'] }),
    messages: z
      .array(z.discriminatedUnion('role', [SystemMessage, UserMessage, AssistantMessage, ToolMessage, FunctionMessage]))
      .min(1)
      .max(messagesMax)
      .describe('The conversation, oldest message first.'),
    tools: z
      .array(WireTool)
      .max(toolsMax)
      .nullish()
      .describe('The functions that the model may call. Tools of other types are removed, with a warning.'),
    tool_choice: WireToolChoice.nullish().describe(
      'Whether the model calls a tool: `auto` (default), `none`, `required` or `any` (at least one), or one function, or some. All but `auto` and `none` need that function in `tools`.',
    ),
    functions: z
      .array(WireFunction)
      .max(toolsMax)
      .nullish()
      .describe('The functions in the older form, instead of `tools`. The answer has `function_call`.'),
    function_call: z
      .union([
        z.enum(['auto', 'none']),
        z.object({ name: FunctionName.describe('The name of a function in `functions`.') }),
      ])
      .nullish()
      .describe('Which of `functions` the model calls: `auto` (default), `none`, or one.'),
    parallel_tool_calls: z.boolean().nullish().describe('Whether one answer may have several calls. Default: true.'),
    response_format: WireFormat.nullish().describe('The form of the text. Default: `text`.'),
    reasoning_effort: EffortWord.nullish().describe(effortText),
    reasoning: z
      .object({ effort: EffortWord.nullish().describe(effortText) })
      .nullish()
      .describe('The effort in the form of Responses, if `reasoning_effort` is absent.'),
    temperature: z
      .number()
      .min(0)
      .max(2)
      .nullish()
      .describe(temperatureText)
      .meta({ examples: [0.3] }),
    top_p: z.number().min(0).max(1).nullish().describe(topPText),
    seed: Seed.nullish().describe(seedText),
    frequency_penalty: z.number().min(-2).max(2).nullish().describe(frequencyText),
    presence_penalty: z.number().min(-2).max(2).nullish().describe(presenceText),
    stop: z
      .union([StopText, z.array(StopText).max(stopMax)])
      .nullish()
      .describe('Texts of 1 to 256 characters that end the answer; they are not part of it. Default: none.'),
    max_tokens: TokensMax.nullish().describe('The same as `max_completion_tokens`, which overrides it.'),
    max_completion_tokens: TokensMax.nullish()
      .describe(tokensText)
      .meta({ examples: [500] }),
    n: z
      .literal(1, { error: 'must be 1. Repeat the request to get another answer.' })
      .nullish()
      .describe('The number of answers, always 1.'),
    logprobs: z
      .literal(false, { error: 'log probabilities are not supported. Remove the field.' })
      .nullish()
      .describe('Log probabilities are not supported.'),
    stream: z.boolean().nullish().describe(streamText),
    stream_options: z
      .object({
        include_usage: z
          .boolean()
          .nullish()
          .describe('Whether usage is in a chunk of its own, the last. Default: false.'),
        include_obfuscation: unsupportedField(false),
      })
      .nullish()
      .describe('Options of a stream.'),
    top_logprobs: z
      .literal(0, { error: 'log probabilities are not supported. Remove the field.' })
      .nullish()
      .describe('Log probabilities are not supported.'),
    modalities: z
      .array(z.literal('text', { error: 'the model answers with text only. Send ["text"], or remove the field.' }))
      .max(8)
      .nullish()
      .describe('The kinds of the answer: only `text`.'),
    audio: unsupportedField(),
    prediction: unsupportedField(),
    web_search_options: unsupportedField(),
    moderation: unsupportedField(),
    logit_bias: unsupportedField(),
    verbosity: unsupportedField('medium'),
    service_tier: unsupportedField('auto', 'default', 'standard'),
    store: unsupportedField(false),
    ...clientLabels,
    prompt_cache_options: cacheHints.cache_control,
    prompt_cache_retention: cacheHints.cache_control,
  })
  .meta({ id: 'ChatCompletionRequest' })
type WireChat = z.infer<typeof WireChat>

/** Reads an untrusted body; never throws. The first invalid field is named as OpenAI does: `messages[0].content`. */
export function readChat(body: unknown): ReadChat {
  const read = readFields(WireChat, body)
  if (!read.ok) return refuse(read.fault)
  const wire = read.data
  const older = (wire.functions ?? []).length > 0
  if (older && (wire.tools ?? []).length > 0)
    return refuse({ field: 'functions', message: 'has no effect with `tools`. Send one of the two.' })
  const known = older ? (wire.functions ?? []).map(functionOf) : (wire.tools ?? []).flatMap(functionTool)
  const chosen = older ? olderChoice(wire.function_call, known) : toolChoice(wire.tool_choice, known)
  if (!chosen) {
    const [field, list] = older ? ['function_call', 'functions'] : ['tool_choice', 'tools']
    const message = `needs a matching function in \`${list}\`. Add the function or change ${field}.`
    return refuse({ field, message })
  }
  const { tools, choice } = chosen
  const warnings: string[] = []
  if (!older && known.length < (wire.tools?.length ?? 0))
    warnings.push('tools: types other than "function" are not supported and were left out')
  return { ok: true, chat: chatOf(wire, tools, choice), warnings }
}

function chatOf(wire: WireChat, tools: Tool[], choice: ToolChoice): Chat {
  return {
    model: wire.model,
    messages: wire.messages,
    tools,
    toolChoice: choice,
    // The older form holds one call.
    parallelToolCalls: wire.functions?.length ? false : (wire.parallel_tool_calls ?? true),
    format: format(wire.response_format),
    effort: wire.reasoning_effort ?? wire.reasoning?.effort ?? undefined,
    temperature: wire.temperature ?? undefined,
    topP: wire.top_p ?? undefined,
    seed: wire.seed ?? undefined,
    frequencyPenalty: wire.frequency_penalty ?? undefined,
    presencePenalty: wire.presence_penalty ?? undefined,
    stop: typeof wire.stop === 'string' ? [wire.stop] : (wire.stop ?? []),
    outputTokensMax: wire.max_completion_tokens ?? wire.max_tokens ?? undefined,
    stream: wire.stream ?? false,
    includeUsage: wire.stream_options?.include_usage ?? false,
  }
}

function functionTool(tool: z.infer<typeof WireTool>): Tool[] {
  return 'function' in tool ? [functionOf(tool.function)] : []
}

function functionOf({ name, description, parameters, strict }: z.infer<typeof WireFunction>): Tool {
  return {
    name,
    description: description ?? '',
    parameters: parameters ?? {},
    strict: strict === true,
  }
}

/** The tools that the model sees, and its choice. */
interface Chosen {
  tools: Tool[]
  choice: ToolChoice
}

/** Undefined if no function matches the choice. */
function toolChoice(choice: WireChat['tool_choice'], tools: Tool[]): Chosen | undefined {
  if (choice == null || choice === 'auto') return { tools, choice: { kind: 'auto' } }
  if (choice === 'none') return { tools, choice: { kind: 'none' } }
  if (typeof choice === 'string') return tools.length > 0 ? { tools, choice: { kind: 'required' } } : undefined
  if (choice.type === 'function') return named(choice.function.name, tools)
  const { mode, tools: allowed } = choice.allowed_tools
  return allowedTools(mode, new Set(allowed.map(({ function: each }) => each?.name)), tools)
}

function olderChoice(choice: WireChat['function_call'], tools: Tool[]): Chosen | undefined {
  if (choice == null || typeof choice === 'string') return { tools, choice: { kind: choice ?? 'auto' } }
  return named(choice.name, tools)
}

function named(name: string, tools: Tool[]): Chosen | undefined {
  return tools.some((tool) => tool.name === name) ? { tools, choice: { kind: 'named', name } } : undefined
}

/** Shows only some of the tools. Undefined if one is required and none remains. */
export function allowedTools(
  mode: 'auto' | 'required',
  names: ReadonlySet<string | null | undefined>,
  all: readonly Tool[],
): Chosen | undefined {
  const tools = all.filter(({ name }) => names.has(name))
  return mode === 'required' && tools.length === 0 ? undefined : { tools, choice: { kind: mode } }
}

function format(wire: WireChat['response_format']): ResponseFormat {
  if (wire?.type === 'json_object' && wire.schema)
    return { kind: 'json_schema', name: 'answer', schema: wire.schema, strict: false }
  if (wire?.type !== 'json_schema') return { kind: wire?.type ?? 'text' }
  const { name, schema, strict } = wire.json_schema
  return { kind: 'json_schema', name: name ?? 'answer', schema, strict: strict === true }
}

function joinedText(parts: readonly { kind: string; text: string }[]): string {
  return parts.map(({ text }) => text).join('')
}

/** Thinking in a field of its own precedes the content. Some clients send it in both places: then it counts once. */
function withThinking(field: string | null | undefined, parts: TurnPart[]): TurnPart[] {
  if (field == null) return parts
  const thinking = parts.filter(({ kind }) => kind === 'thinking')
  const same = thinking.length > 0 && (field === '' || joinedText(thinking) === field)
  return same ? parts : [{ kind: 'thinking', text: field, closed: true }, ...parts]
}

/** The refusal of an invalid body, by its first invalid field. */
export function refuse(fault: FieldFault): { ok: false; code: 'invalid_value'; message: string; param: string | null } {
  return { ok: false, code: 'invalid_value', message: faultText(fault), param: fault.field }
}
