/**
 * Converts the items of an OpenAI Responses conversation, new or stored, into messages. Thinking, text and calls are
 * separate items; one assistant turn becomes one message.
 */
import { z } from 'zod'
import {
  type AssistantTurn,
  asText,
  CalledName,
  cacheHints,
  callIdMax,
  documentSource,
  imageSource,
  type Message,
  otherObject,
  type Part,
  partOr,
  Text,
  type TurnPart,
} from '../../../backends/model/chat.ts'
import { documentBy, imageByUrl } from '../../../backends/model/media.ts'
import { fieldWithoutEffect, unsupportedField } from '../../../backends/model/unused-fields.ts'
import { unsealThinking } from '../carried-thinking.ts'

const cache = { prompt_cache_breakpoint: cacheHints.prompt_cache_breakpoint }
/** Fields of an item of an earlier answer. */
const origin = {
  id: fieldWithoutEffect('items have their order'),
  status: fieldWithoutEffect('every item counts as complete'),
}
const calling = {
  async: unsupportedField(false),
  caller: fieldWithoutEffect('the call is the same'),
  namespace: unsupportedField(),
}

const TextPart = z
  .object({
    type: z.enum(['input_text', 'output_text', 'text']).describe('All three mean text.'),
    text: Text.describe('The text. NUL and half of a surrogate pair are replaced, with a warning.'),
    annotations: fieldWithoutEffect('the text stands alone'),
    logprobs: fieldWithoutEffect('the text stands alone'),
    ...cache,
  })
  .transform(({ text }): Part => ({ kind: 'text', text }))
const RefusalPart = z
  .object({
    type: z.literal('refusal').describe('Always `refusal`.'),
    refusal: Text.describe('The text of an earlier refusal, read as text.'),
  })
  .transform(({ refusal }): Part => ({ kind: 'text', text: refusal }))
const noFiles = { ok: false as const, message: 'file ids are not supported. Send the data itself, or its address.' }
const ImagePart = z
  .object({
    type: z.literal('input_image').describe('Always `input_image`.'),
    image_url: z
      .string()
      .nullish()
      .describe(imageSource)
      .meta({ examples: ['https://example.com/cat.png'] }),
    file_id: z.string().nullish().describe('Not supported: an image without `image_url` is refused.'),
    detail: unsupportedField('auto'),
    ...cache,
  })
  .transform(({ image_url: url, file_id: id }, context): Part => {
    if (url) return partOr(imageByUrl(url), context, 'image_url')
    return partOr(noFiles, context, id ? 'file_id' : 'image_url')
  })
const FilePart = z
  .object({
    type: z.literal('input_file').describe('Always `input_file`.'),
    file_data: z.string().nullish().describe(documentSource),
    file_url: z.string().nullish().describe('The same as `file_data`, which overrides it.'),
    file_id: z.string().nullish().describe('Not supported: a file without data or address is refused.'),
    filename: z.string().nullish().describe('The name of the document, for the prompt. Cut to 256 characters.'),
    detail: unsupportedField('auto'),
    ...cache,
  })
  .transform(({ file_data: data, file_url: url, file_id: id, filename }, context): Part => {
    const source = data ?? url
    if (source) return partOr(documentBy(source, filename ?? ''), context, data ? 'file_data' : 'file_url')
    return partOr(noFiles, context, id ? 'file_id' : 'file_data')
  })
const Content = z.union([
  Text.transform(asText),
  z.array(z.discriminatedUnion('type', [TextPart, RefusalPart, ImagePart, FilePart])),
])

const MessageItem = z
  .object({
    type: z.literal('message').nullish().describe('An item without a type is a message.'),
    role: z.enum(['user', 'assistant', 'system', 'developer']).describe('The author of the message.'),
    content: Content.describe('A text, or parts in their order. Images and documents only in a user message.'),
    phase: fieldWithoutEffect('messages have their order'),
    ...origin,
  })
  .transform(({ role, content }, context) => {
    // No prompt has a picture in instructions or in an answer.
    const index = role === 'user' ? -1 : content.findIndex(({ kind }) => kind !== 'text')
    if (index >= 0) {
      const message = `${role} messages hold only text. Send the ${content[index]?.kind} in a user message.`
      context.addIssue({ code: 'custom', message, path: ['content', index] })
    }
    return { kind: 'message' as const, role, content }
  })
const CallId = z.string().max(callIdMax).describe('The id of the call.')
const ToolName = CalledName.describe('The name of the tool.')
const FunctionCall = z
  .object({
    type: z.literal('function_call').describe('An earlier call of a function.'),
    call_id: CallId,
    name: ToolName,
    arguments: Text.describe('The arguments as JSON text.'),
    ...origin,
    ...calling,
  })
  .transform(({ call_id: id, name, arguments: json }) => ({ kind: 'call' as const, id, name, json }))
const CustomCall = z
  .object({
    type: z.literal('custom_tool_call').describe('An earlier call of a custom tool.'),
    call_id: CallId,
    name: ToolName,
    input: Text.describe('The input of the tool.'),
    ...origin,
    ...calling,
  })
  .transform(({ call_id: id, name, input }) => ({ kind: 'call' as const, id, name, json: JSON.stringify({ input }) }))
const CallOutput = z
  .object({
    type: z.enum(['function_call_output', 'custom_tool_call_output']).describe('The result of a call.'),
    call_id: CallId,
    output: Content.describe('A text, or texts, images and documents in their order.'),
    name: fieldWithoutEffect('the call names the tool'),
    ...origin,
    ...calling,
  })
  .transform(({ call_id: id, output }) => ({ kind: 'result' as const, id, output }))
const Texts = z
  .array(z.object({ type: z.string().nullish().describe('The kind of the text.'), text: Text.describe('The text.') }))
  .nullish()
const Reasoning = z
  .object({
    type: z.literal('reasoning').describe('Earlier reasoning of the model.'),
    summary: Texts.describe('The reasoning, if both other fields are empty.'),
    content: Texts.describe('The reasoning.'),
    encrypted_content: z
      .string()
      .nullish()
      .describe('The reasoning as an earlier answer encoded it, if `content` is empty.'),
    ...origin,
  })
  .transform(({ summary, content, encrypted_content: sealed }) => {
    const [shown, summed] = [content, summary].map((texts) => (texts ?? []).map(({ text }) => text).join('\n\n'))
    // The visible text if there is one, otherwise the encoded text, otherwise the summary.
    const text = shown || unsealThinking(sealed ?? '') || summed || ''
    return { kind: 'reasoning' as const, text }
  })
const Reference = z
  .object({
    type: z.literal('item_reference').nullish().describe('A stored item of an earlier response.'),
    id: z.string().max(256).describe('The id of the stored item.'),
    role: z.undefined().optional().describe('Absent, because an item with a role is a message.'),
  })
  .transform(({ id }) => ({ kind: 'reference' as const, id }))
const known = [
  'message',
  'function_call',
  'custom_tool_call',
  'function_call_output',
  'custom_tool_call_output',
  'reasoning',
  'item_reference',
]
// Items of server-side tools.
const Other = otherObject(known).transform(({ type }) => ({ kind: 'other' as const, type: type.slice(0, 64) }))

export const InputItem = z
  .union([
    z.discriminatedUnion('type', [FunctionCall, CustomCall, CallOutput, Reasoning]),
    MessageItem,
    Reference,
    Other,
  ])
  .meta({ id: 'ResponseInputItem' })
export type InputItem = z.infer<typeof InputItem>

export interface Conversation {
  messages: Message[]
  /** Path of each message's first item. */
  fieldPaths: string[]
  /** Types of the ignored items. */
  leftOut: Set<string>
}

/** The caller has resolved references. */
export function conversationOf(items: readonly { item: InputItem; place: string }[]): Conversation {
  const messages: Message[] = []
  const fieldPaths: string[] = []
  const leftOut = new Set<string>()
  const add = (place: string, message: Message) => {
    messages.push(message)
    fieldPaths.push(place)
  }
  /** The current assistant turn. Thinking after text or a call starts a new one, and so does text after a call. */
  const turn = (place: string, ends: (turn: AssistantTurn) => boolean) => {
    const last = messages.at(-1)
    if (last?.role === 'assistant' && !ends(last)) return last
    const begun = {
      role: 'assistant',
      content: [] as TurnPart[],
      toolCalls: [],
      prefix: false,
    } as AssistantTurn
    add(place, begun)
    return begun
  }
  for (const { item, place } of items) {
    switch (item.kind) {
      case 'reasoning':
        if (item.text !== '')
          turn(
            place,
            ({ content, toolCalls }) => content.some(({ kind }) => kind === 'text') || toolCalls.length > 0,
          ).content.push({
            kind: 'thinking',
            text: item.text,
            closed: true,
          })
        break
      case 'call':
        turn(place, () => false).toolCalls.push({ id: item.id, name: item.name, arguments: item.json })
        break
      case 'result':
        add(place, { role: 'tool', toolCallId: item.id, content: item.output })
        break
      case 'message':
        if (item.role === 'assistant')
          turn(place, ({ toolCalls }) => toolCalls.length > 0).content.push(...textsOf(item.content))
        else add(place, { role: item.role === 'user' ? 'user' : 'system', content: item.content })
        break
      case 'other':
        leftOut.add(item.type)
        break
      case 'reference':
        break
    }
  }
  return { messages, fieldPaths, leftOut }
}

function textsOf(parts: readonly Part[]): TurnPart[] {
  return parts.flatMap((part) => (part.kind === 'text' ? [part] : []))
}
