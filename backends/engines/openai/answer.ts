/**
 * Reads OpenAI chat completions, streamed or not, into events. Bytes in, events out; pushes may split the bytes
 * anywhere.
 *
 * It accepts all variants seen in practice: `content` as a string or as parts with separate reasoning; reasoning as
 * `reasoning_content` or `reasoning`; tool calls complete or in pieces, with `index` always 0, or the id "null"; usage
 * on the last chunk, after it or on every chunk, with several names for cached and reasoning tokens; llama.cpp's
 * `timings`.
 *
 * Engines have their own finish reasons. `model_length` becomes `length`. `error` and `abort` become failures, because
 * clients continue their loop after a normal end. An answer without a finish reason fails.
 */
import { createParser } from 'eventsource-parser'
import { z } from 'zod'
import type { BackendEvent, BackendUsage, ResponseReader } from '../../contract/backend.ts'
import { nineCharacterIds } from '../../contract/call-ids.ts'
import { noClientNames } from '../../contract/tool-names.ts'
import type { FinishReason, WireCall } from '../../model/chunk.ts'
import { createThinkSplit } from './think-split.ts'

export interface AnswerOptions {
  /** Seed of the ids for calls without an id: the same seed gives the same ids. */
  idSeed: string
  /** The client's name of each tool that has another name at the engine. */
  clientNames?: ReadonlyMap<string, string> | undefined
  /** Marks around reasoning that this engine leaves in the content, or undefined. */
  inlineThinking?: readonly [string, string] | undefined
}

const Thinking = z.object({ text: z.string().nullish() })
const ContentPart = z.object({
  type: z.string().nullish(),
  text: z.string().nullish(),
  thinking: z.union([z.string(), z.array(Thinking)]).nullish(),
})
const Call = z.object({
  id: z.string().nullish(),
  index: z.int().nullish(),
  function: z.object({
    name: z.string().nullish(),
    arguments: z.union([z.string(), z.record(z.string(), z.unknown())]).nullish(),
  }),
})
const Said = z.object({
  content: z.union([z.string(), z.array(ContentPart)]).nullish(),
  reasoning_content: z.string().nullish(),
  reasoning: z.string().nullish(),
  tool_calls: z.array(Call).nullish(),
})
const Count = z.int().min(0)
const PromptDetails = z.object({ cached_tokens: Count.nullish() }).nullish()
const Usage = z.object({
  prompt_tokens: Count,
  completion_tokens: Count.nullish(),
  num_cached_tokens: Count.nullish(),
  prompt_tokens_details: PromptDetails,
  prompt_token_details: PromptDetails,
  reasoning_tokens: Count.nullish(),
  completion_tokens_details: z.object({ reasoning_tokens: Count.nullish() }).nullish(),
})
/** llama.cpp's running totals; `prompt_n` excludes cached tokens. */
const Timings = z.object({ prompt_n: Count, cache_n: Count.nullish(), predicted_n: Count })
const OpenAiAnswer = z.object({
  choices: z
    .array(z.object({ delta: Said.nullish(), message: Said.nullish(), finish_reason: z.string().nullish() }))
    .default([]),
  // Invalid usage counts as absent: the entry is then marked estimated.
  usage: Usage.nullish().catch(null),
  timings: Timings.nullish().catch(null),
})
type OpenAiAnswer = z.infer<typeof OpenAiAnswer>

/** Maximum characters of a chunk or of a buffered answer; a longer one fails. */
const textMax = 32 * 1024 * 1024

/** @param streams whether the answer is `text/event-stream`, or one JSON text */
export function openaiReader(options: AnswerOptions, streams: boolean): ResponseReader {
  const decoder = new TextDecoder()
  const take = streams ? streamed(new OpenAiAnswerReader(options)) : whole(new OpenAiAnswerReader(options))
  return {
    push: (bytes) => take(decoder.decode(bytes, { stream: true }), false),
    end: () => take(decoder.decode(), true),
  }
}

type AnswerSink = (text: string, last: boolean) => BackendEvent[]

function streamed(answer: OpenAiAnswerReader): AnswerSink {
  const events: BackendEvent[] = []
  let readable = true
  const parser = createParser({
    onEvent: ({ data }) => events.push(...(data === '[DONE]' ? answer.end() : answer.take(data))),
    onError({ type }) {
      // The parser stops after this error; for every other error it skips one line.
      if (type !== 'max-buffer-size-exceeded') return
      readable = false
      events.push(...answer.fail('an event is too long'))
    },
    maxBufferSize: textMax,
  })
  return (text, last) => {
    // The last event may lack its blank line; it counts if it can be read.
    if (readable) parser.feed(last ? `${text}\n\n` : text)
    if (last) events.push(...answer.end())
    return events.splice(0)
  }
}

function whole(answer: OpenAiAnswerReader): AnswerSink {
  let held = ''
  return (text, last) => {
    held += text
    if (held.length > textMax) return answer.fail('the answer is too long')
    return last ? [...answer.take(held), ...answer.end()] : []
  }
}

interface OpenCall {
  id: string
  index: number
  name: string
  arguments: string
}

class OpenAiAnswerReader {
  readonly #idSeed: string
  readonly #clientNames: ReadonlyMap<string, string>
  readonly #split: ReturnType<typeof createThinkSplit> | undefined
  readonly #calls: OpenCall[] = []
  #finishReason: string | undefined
  #closed = false

  constructor({ idSeed, clientNames = noClientNames, inlineThinking }: AnswerOptions) {
    this.#idSeed = idSeed
    this.#clientNames = clientNames
    this.#split = inlineThinking && createThinkSplit(...inlineThinking)
  }

  take(data: string): BackendEvent[] {
    if (this.#closed) return []
    const chunk = readAnswer(data)
    if (typeof chunk === 'string') return this.fail(chunk)
    const choice = chunk.choices[0]
    const said = choice?.message ?? choice?.delta
    const calls = said?.tool_calls ?? []
    for (const call of calls) this.#takeCall(call)
    this.#finishReason ??= choice?.finish_reason ?? undefined
    const usage = usageOf(chunk)
    return [
      ...(said ? this.#texts(said) : []),
      ...calls.map((): BackendEvent => ({ kind: 'piece' })),
      ...(usage ? [{ kind: 'usage', usage } as const] : []),
    ]
  }

  end(): BackendEvent[] {
    if (this.#closed) return []
    const reason = finishReasonOf(this.#finishReason)
    if (!reason) return this.fail(`finish_reason is ${this.#finishReason ?? 'missing'}`)
    this.#closed = true
    const rest = this.#split?.flush() ?? []
    const { calls, broken } = this.#wholeCalls(reason === 'length')
    const shown = broken.flatMap((call) => text('content', call.name + call.arguments))
    const finishReason = calls.length > 0 && reason !== 'length' ? 'tool_calls' : reason
    return [
      ...rest,
      ...shown,
      ...calls.map((call): BackendEvent => ({ kind: 'call', call })),
      // Some engines report `stop` after a forced call, or `tool_calls` without a call.
      { kind: 'end', finishReason: finishReason === 'tool_calls' && calls.length === 0 ? 'stop' : finishReason },
    ]
  }

  fail(reason: string): BackendEvent[] {
    if (this.#closed) return []
    this.#closed = true
    return [{ kind: 'failed', message: `the engine broke off its answer: ${reason}` }]
  }

  #texts(said: z.infer<typeof Said>): BackendEvent[] {
    const reasoning = text('reasoning', said.reasoning_content ?? said.reasoning ?? '')
    const parts = typeof said.content === 'string' ? [{ type: 'text', text: said.content }] : (said.content ?? [])
    return [...reasoning, ...parts.flatMap((part) => this.#part(part))]
  }

  #part(part: z.infer<typeof ContentPart>): BackendEvent[] {
    const { thinking } = part
    const thought = typeof thinking === 'string' ? thinking : (thinking ?? []).map(({ text }) => text ?? '').join('')
    const content = part.text ?? ''
    return [...text('reasoning', thought), ...(this.#split ? this.#split.push(content) : text('content', content))]
  }

  /** A piece continues the open call if it has the same id, or no id and no name. */
  #takeCall(call: z.infer<typeof Call>): void {
    const id = call.id && call.id !== 'null' ? call.id : ''
    const index = call.index ?? 0
    const name = call.function.name ?? ''
    const args = call.function.arguments ?? ''
    const piece = typeof args === 'string' ? args : JSON.stringify(args)
    const open = this.#calls.findLast((each) => each.index === index)
    if (open && (id === '' ? name === '' : id === open.id)) open.arguments += piece
    else this.#calls.push({ id, index, name, arguments: piece })
  }

  /** A call without valid JSON is shown as text, but the last one of an answer that a limit `cut` off is still a call. */
  #wholeCalls(cut: boolean): { calls: WireCall[]; broken: OpenCall[] } {
    const named = this.#calls.map((call, index) => ({
      ...call,
      id: call.id || `${this.#idSeed}.${index}`,
      name: this.#clientNames.get(call.name) ?? call.name,
      arguments: call.arguments.trim() === '' && !cut ? '{}' : call.arguments,
    }))
    const isGood = (call: OpenCall) => parseJson(call.arguments) !== undefined || (cut && call === named.at(-1))
    const good = named.filter((call) => call.name !== '' && isGood(call))
    const ids = nineCharacterIds(good.map((call) => call.id))
    return {
      calls: good.map(({ id, name, arguments: args }) => ({ id: ids.get(id) ?? id, name, arguments: args })),
      broken: named.filter((call) => !good.includes(call)),
    }
  }
}

const unreadable = 'an event is not a chat completion'

/** The chunk, or why it cannot be read. */
function readAnswer(data: string): OpenAiAnswer | string {
  const value = parseJson(data)
  if (typeof value !== 'object' || value === null) return unreadable
  // A mid-stream error is an object without choices.
  if (!('choices' in value)) return 'error' in value ? 'it reported an error' : unreadable
  return OpenAiAnswer.safeParse(value).data ?? unreadable
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function text(channel: 'content' | 'reasoning', text: string): BackendEvent[] {
  return text === '' ? [] : [{ kind: 'text', channel, text }]
}

function usageOf({ usage, timings }: OpenAiAnswer): BackendUsage | undefined {
  if (usage) {
    const cached =
      usage.num_cached_tokens ?? usage.prompt_tokens_details?.cached_tokens ?? usage.prompt_token_details?.cached_tokens
    const reasoning = usage.completion_tokens_details?.reasoning_tokens ?? usage.reasoning_tokens
    const outputTokens = usage.completion_tokens ?? 0
    return {
      promptTokens: usage.prompt_tokens,
      cachedTokens: cached == null ? null : Math.min(usage.prompt_tokens, cached),
      outputTokens,
      reasoningTokens: reasoning == null ? null : Math.min(outputTokens, reasoning),
    }
  }
  if (!timings) return undefined
  const cachedTokens = timings.cache_n ?? 0
  return {
    promptTokens: timings.prompt_n + cachedTokens,
    cachedTokens,
    outputTokens: timings.predicted_n,
    reasoningTokens: null,
  }
}

function finishReasonOf(word: string | undefined): FinishReason | undefined {
  switch (word) {
    case 'stop':
    case 'length':
    case 'tool_calls':
      return word
    case 'model_length':
      return 'length'
    default:
      return undefined
  }
}
