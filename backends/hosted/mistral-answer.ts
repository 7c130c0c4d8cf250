/**
 * Reads the answers of Mistral's hosted API, streamed or whole, into events.
 *
 * `content` is a string, or a list of parts in which thinking is apart; usage rides on the last chunk and names the
 * cached tokens in one of three ways; a call's `index` may be 0 for every call and its id the word "null". Two finish
 * reasons are its own: `model_length` is a length, and `error` never reaches a client as an end, since clients take
 * such an end for an order to go on. An answer without a finish reason is a failed one.
 */
import { createParser } from 'eventsource-parser'
import { z } from 'zod'
import { nineCharacterIds } from '../call-ids.ts'
import type { FinishReason, WireCall } from '../protocol/chunk.ts'
import type { HostedEvent, HostedReader, HostedUsage } from './hosted.ts'

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
  tool_calls: z.array(Call).nullish(),
})
const Count = z.int().min(0)
const Details = z.object({ cached_tokens: Count.nullish() }).nullish()
const Usage = z.object({
  prompt_tokens: Count,
  completion_tokens: Count,
  num_cached_tokens: Count.nullish(),
  prompt_tokens_details: Details,
  prompt_token_details: Details,
})
const Answer = z.object({
  choices: z
    .array(z.object({ delta: Said.nullish(), message: Said.nullish(), finish_reason: z.string().nullish() }))
    .default([]),
  // What cannot be read is as if it were not there: the entry is then marked estimated.
  usage: Usage.nullish().catch(null),
})
type Answer = z.infer<typeof Answer>

/** A chunk, and an answer that is held, may be this long; a longer one is a failed one. */
const textMax = 32 * 1024 * 1024

/** @param idSeed names calls that come without an id: the same seed, the same ids */
export function mistralStream(idSeed: string): HostedReader {
  const answer = new AnswerReader(idSeed)
  const events: HostedEvent[] = []
  let readable = true
  const parser = createParser({
    onEvent: ({ data }) => events.push(...(data === '[DONE]' ? answer.end() : answer.take(data))),
    onError({ type }) {
      // The parser takes nothing more after this one; every other error is a line that it left out.
      if (type !== 'max-buffer-size-exceeded') return
      readable = false
      events.push(...answer.fail('it sent an event that is too long'))
    },
    maxBufferSize: textMax,
  })
  const feed = (text: string, last: boolean) => {
    if (readable) parser.feed(text)
    if (last) events.push(...answer.end())
    return events.splice(0)
  }
  // An event whose blank line is missing was still sent whole if it can be read.
  return { push: (text) => feed(text, false), end: () => feed('\n\n', true) }
}

/** An answer that did not stream, read when it is whole. */
export function mistralWhole(idSeed: string): HostedReader {
  const answer = new AnswerReader(idSeed)
  let text = ''
  return {
    push(more) {
      text += more
      return text.length > textMax ? answer.fail('its answer is too long') : []
    },
    end: () => [...answer.take(text), ...answer.end()],
  }
}

interface OpenCall {
  id: string
  index: number
  name: string
  arguments: string
}

class AnswerReader {
  readonly #idSeed: string
  readonly #calls: OpenCall[] = []
  #finishReason: string | undefined
  #closed = false

  constructor(idSeed: string) {
    this.#idSeed = idSeed
  }

  take(data: string): HostedEvent[] {
    if (this.#closed) return []
    const chunk = readAnswer(data)
    if (!chunk) return this.fail('it sent what is no part of an answer')
    const choice = chunk.choices[0]
    const said = choice?.message ?? choice?.delta
    for (const call of said?.tool_calls ?? []) this.#takeCall(call)
    this.#finishReason ??= choice?.finish_reason ?? undefined
    const usage: HostedEvent[] = chunk.usage ? [{ kind: 'usage', usage: usageOf(chunk.usage) }] : []
    return [...texts(said?.content), ...usage]
  }

  end(): HostedEvent[] {
    if (this.#closed) return []
    const finishReason = finishReasonOf(this.#finishReason)
    if (!finishReason) return this.fail(`it ended with finish_reason ${this.#finishReason ?? 'missing'}`)
    this.#closed = true
    return [...this.#wholeCalls().map((call): HostedEvent => ({ kind: 'call', call })), { kind: 'end', finishReason }]
  }

  fail(why: string): HostedEvent[] {
    if (this.#closed) return []
    this.#closed = true
    return [{ kind: 'failed', message: `the hosted API broke off: ${why}` }]
  }

  /** Calls come whole today; pieces of one, told by the same id or by none and no name, are put together. */
  #takeCall(call: z.infer<typeof Call>): void {
    const id = call.id && call.id !== 'null' ? call.id : ''
    const index = call.index ?? 0
    const name = call.function.name ?? ''
    const args = call.function.arguments ?? ''
    const text = typeof args === 'string' ? args : JSON.stringify(args)
    const open = this.#calls.findLast((each) => each.index === index)
    if (open && (id === '' ? name === '' : id === open.id)) open.arguments += text
    else this.#calls.push({ id, index, name, arguments: text })
  }

  #wholeCalls(): WireCall[] {
    const named = this.#calls.map((call, index) => ({ ...call, id: call.id || `${this.#idSeed}.${index}` }))
    const ids = nineCharacterIds(named.map((call) => call.id))
    return named.map(({ id, name, arguments: args }) => ({ id: ids.get(id) ?? id, name, arguments: args || '{}' }))
  }
}

function readAnswer(data: string): Answer | undefined {
  try {
    const value: unknown = JSON.parse(data)
    // An error in mid-stream is an object with a message and no choices.
    const parsed =
      typeof value === 'object' && value !== null && 'choices' in value ? Answer.safeParse(value) : undefined
    return parsed?.data
  } catch {
    return undefined
  }
}

function texts(content: z.infer<typeof Said>['content']): HostedEvent[] {
  const parts = typeof content === 'string' ? [{ type: 'text', text: content }] : (content ?? [])
  return parts.flatMap((part): HostedEvent[] => {
    const thinking = 'thinking' in part ? part.thinking : undefined
    const reasoning = typeof thinking === 'string' ? thinking : (thinking ?? []).map(({ text }) => text ?? '').join('')
    const text = part.text ?? ''
    return [
      ...(reasoning === '' ? [] : [{ kind: 'text', channel: 'reasoning', text: reasoning } as const]),
      ...(text === '' ? [] : [{ kind: 'text', channel: 'content', text } as const]),
    ]
  })
}

function usageOf(usage: z.infer<typeof Usage>): HostedUsage {
  const { prompt_tokens: promptTokens, completion_tokens: outputTokens } = usage
  const cached =
    usage.num_cached_tokens ?? usage.prompt_tokens_details?.cached_tokens ?? usage.prompt_token_details?.cached_tokens
  return { promptTokens, outputTokens, cachedTokens: Math.min(promptTokens, cached ?? 0) }
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
