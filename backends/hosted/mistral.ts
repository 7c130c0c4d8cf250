/**
 * Mistral's hosted API, described: what it is sent and what its refusals mean. Its answers are read by
 * `mistral-answer.ts`. Nothing here performs a call.
 *
 * It refuses fields that it does not know, at every level (422, `extra_forbidden`), so a body is built of known names
 * only: `random_seed`, `max_tokens`, no `stream_options`, and reasoning of earlier turns as a thinking part. It clamps
 * nothing to a budget: `max_tokens` is the whole bound on the output. The prompt's bound is taken from bytes: the
 * tokenizer works on bytes, so text never has more tokens than bytes, and the JSON around each message is longer
 * than the control tokens that it becomes. Only images and documents have more tokens than their addresses
 * have bytes; they are counted at the most that one can have. `prompt_cache_key` is not sent, so nothing is cached unless usage says so.
 */
import { z } from 'zod'
import { nineCharacterIds } from '../call-ids.ts'
import type { Chat, Message, Part } from '../protocol/chat.ts'
import type { EffortWord } from '../protocol/effort.ts'
import type { HostedFailure, HostedRequest } from './hosted.ts'

/** 55 rows of 55 patches and a break each, at the largest size that an image is scaled to. */
const imageTokensMax = 3_100
/** Pages are read there, and nothing tells beforehand how many tokens they have: all that fits. */
const documentTokensMax = 262_144
/** Control tokens at the prompt's ends and the block of settings. */
const promptOverheadTokens = 64
const temperatureMax = 1.5

export const mistralWorkerId = 'hosted-mistral'
export const mistralPath = '/chat/completions'

/** @param outputTokensMax the reserved bound; the API stops there, reasoning included */
export function mistralRequest(chat: Chat, effort: EffortWord, model: string, outputTokensMax: number): HostedRequest {
  const { temperature, topP, seed, frequencyPenalty, presencePenalty, stop } = chat
  const warnings: string[] = []
  if (temperature !== undefined && temperature > temperatureMax)
    warnings.push(`temperature: ${temperatureMax} is the most that the hosted API takes, and is what it was given`)
  if (seed !== undefined && seed < 0) warnings.push('seed: the hosted API takes no negative one, its sign was left out')
  const body = JSON.stringify({
    model,
    messages: messages(chat.messages),
    max_tokens: outputTokensMax,
    // The answer is always streamed, so that what was generated is known when the client leaves.
    stream: true,
    reasoning_effort: effort === 'none' ? 'none' : 'high',
    ...(temperature !== undefined && { temperature: Math.min(temperature, temperatureMax) }),
    ...(topP !== undefined && { top_p: topP }),
    ...(seed !== undefined && { random_seed: Math.abs(seed) }),
    ...(frequencyPenalty !== undefined && { frequency_penalty: frequencyPenalty }),
    ...(presencePenalty !== undefined && { presence_penalty: presencePenalty }),
    ...(stop.length > 0 && { stop }),
    ...(chat.tools.length > 0 && tools(chat)),
    ...(chat.format.kind !== 'text' && { response_format: responseFormat(chat.format) }),
  })
  return { body, ...promptSize(chat, body), warnings }
}

function tools({ tools, toolChoice, parallelToolCalls }: Chat) {
  const choice = {
    auto: () => 'auto',
    none: () => 'none',
    required: () => 'any',
    named: (name: string) => ({ type: 'function', function: { name } }),
  }
  return {
    tools: tools.map((tool) => ({ type: 'function', function: tool })),
    tool_choice: choice[toolChoice.kind](toolChoice.kind === 'named' ? toolChoice.name : ''),
    ...(!parallelToolCalls && { parallel_tool_calls: false }),
  }
}

function responseFormat(format: Exclude<Chat['format'], { kind: 'text' }>) {
  if (format.kind === 'json_object') return { type: 'json_object' }
  return { type: 'json_schema', json_schema: { name: format.name, schema: format.schema, strict: true } }
}

function messages(chat: Message[]) {
  const ids = nineCharacterIds(
    chat.flatMap((message) =>
      message.role === 'assistant'
        ? message.toolCalls.map((call) => call.id)
        : message.role === 'tool'
          ? [message.toolCallId]
          : [],
    ),
  )
  return chat.map((message) => messageOf(message, ids))
}

function messageOf(message: Message, ids: Map<string, string>) {
  switch (message.role) {
    case 'system':
    case 'user':
      return { role: message.role, content: content(message.content) }
    case 'tool':
      return { role: 'tool', content: content(message.content), tool_call_id: ids.get(message.toolCallId) }
    case 'assistant':
      return assistant(message, ids)
  }
}

function assistant(message: Message & { role: 'assistant' }, ids: Map<string, string>) {
  const thinking = { type: 'thinking', thinking: [{ type: 'text', text: message.reasoning }] }
  return {
    role: 'assistant',
    content: message.reasoning === '' ? content(message.content) : [thinking, ...message.content.map(part)],
    ...(message.toolCalls.length > 0 && {
      tool_calls: message.toolCalls.map((call) => ({
        id: ids.get(call.id),
        type: 'function',
        function: { name: call.name, arguments: call.arguments },
      })),
    }),
    ...(message.prefix && { prefix: true }),
  }
}

/** A string where there is text only: every version of the API takes that. */
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
      return { type: 'image_url', image_url: part.url }
    case 'document':
      return { type: 'document_url', document_url: part.url, ...(part.name !== '' && { document_name: part.name }) }
  }
}

function promptSize(chat: Chat, body: string): Pick<HostedRequest, 'textBytes' | 'otherTokensMax'> {
  const media = chat.messages.flatMap((message) => message.content.filter((part) => part.kind !== 'text'))
  const addresses = media.reduce((sum, part) => sum + bytes(JSON.stringify(part.url)), 0)
  const most = { image: imageTokensMax, document: documentTokensMax }
  return {
    textBytes: bytes(body) - addresses,
    otherTokensMax: media.reduce((sum, part) => sum + most[part.kind], promptOverheadTokens),
  }
}

function bytes(text: string): number {
  return new TextEncoder().encode(text).byteLength
}

/** Flat, or with the list of a validator in `message` or `detail`. */
const ErrorBody = z.object({
  message: z.union([z.string(), z.object({ detail: z.array(z.unknown()) })]).optional(),
  detail: z.union([z.string(), z.array(z.unknown())]).optional(),
})
const Detail = z.object({
  type: z.string().optional(),
  loc: z.array(z.union([z.string(), z.number()])).optional(),
  msg: z.string().optional(),
})
const messageMax = 500

/**
 * @param text the body, as far as it was read
 * @param retryAfter the header of that name
 */
export function mistralFailure(status: number, text: string, retryAfter: string | null): HostedFailure {
  const { message, details } = readError(text)
  const seconds = Number(retryAfter)
  const retryAfterMs = retryAfter !== null && seconds > 0 ? Math.ceil(seconds * 1_000) : 2_000
  const busy = { code: 'server_is_overloaded', message: unavailable, retryAfterMs } as const
  if (status === 429 || status >= 500) return { ...busy, operator: false }
  if (status === 413) return { code: 'request_too_large', message, retryAfterMs: null, operator: false }
  // A field that it does not know was written here, not by the client.
  const ours = details.some((detail) => detail.type === 'extra_forbidden')
  if ((status === 400 || status === 422) && !ours)
    return { code: 'invalid_value', message, retryAfterMs: null, operator: false }
  return { ...busy, operator: true }
}

const unavailable = 'no worker is up, and the hosted API does not take the request: try again soon'

function readError(text: string): { message: string; details: z.infer<typeof Detail>[] } {
  const parsed = ErrorBody.safeParse(parseJson(text))
  const { message, detail } = parsed.success ? parsed.data : {}
  const list = Array.isArray(detail) ? detail : typeof message === 'object' ? message.detail : []
  const details = list.flatMap((each) => Detail.safeParse(each).data ?? [])
  const told = details.map(({ loc, msg }) => `${loc?.join('.') ?? 'body'}: ${msg ?? 'not accepted'}`).join('; ')
  const plain = typeof message === 'string' ? message : typeof detail === 'string' ? detail : ''
  return { message: `the hosted API refused: ${told || plain || 'no reason given'}`.slice(0, messageMax), details }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
