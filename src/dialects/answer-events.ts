/**
 * Parses a worker's Chat Completions answer, streamed or not, into the events from which every dialect writes its
 * answer. Bytes in, events out, no I/O. The events do not depend on how the bytes are split or how lines end.
 */
import { createParser } from 'eventsource-parser'
import { z } from 'zod'
import { type Effort, EffortWord } from '../../backends/model/effort.ts'

const Usage = z.object({
  prompt_tokens: z.int(),
  completion_tokens: z.int(),
  prompt_tokens_details: z.object({ cached_tokens: z.int() }),
  completion_tokens_details: z.object({ reasoning_tokens: z.int() }),
  reasoning_effort: EffortWord,
  reasoning_effort_asked: EffortWord.nullable(),
  /** Absent from workers of an older version. */
  cost_nano: z.int().min(0).optional(),
})
const Call = z.object({ id: z.string(), function: z.object({ name: z.string(), arguments: z.string() }) })
const Text = z.string().nullish()
const FinishReason = z.enum(['stop', 'length', 'tool_calls'])
const Chunk = z.object({
  choices: z.array(
    z.object({
      delta: z.object({ content: Text, reasoning_content: Text, tool_calls: z.array(Call).nullish() }),
      finish_reason: FinishReason.nullish(),
      stop_reason: Text,
    }),
  ),
  usage: Usage.nullish(),
})
const Completion = z.object({
  choices: z.tuple([
    z.object({
      message: z.object({ content: Text, reasoning_content: Text, tool_calls: z.array(Call).nullish() }),
      finish_reason: FinishReason,
      stop_reason: Text,
    }),
  ]),
  usage: Usage,
})

export type AnswerPart =
  /** A keep-alive: the engine is working, without new output. */
  | { kind: 'beat' }
  /** Never empty. */
  | { kind: 'text'; channel: 'reasoning' | 'content'; text: string }
  /** A tool call; `arguments` is JSON, cut off if it is the last part before an end with `length`. */
  | { kind: 'call'; id: string; name: string; arguments: string }

export interface AnswerEnd {
  kind: 'end'
  finishReason: z.infer<typeof FinishReason>
  /** The stop string that ended the answer, if the engine reports it. */
  stop: string | undefined
  promptTokens: number
  /** Part of `promptTokens`. */
  cachedTokens: number
  outputTokens: number
  /** Part of `outputTokens`. */
  reasoningTokens: number
  /** The served effort; under load it may be lower than the prepared one. */
  effort: Effort
  /** Undefined if a worker of an older version answers. */
  costNano: number | undefined
}

/**
 * `end`, `broken` or `failed` comes once, last. An answer without any of them is incomplete. `failed`: the request
 * itself ended its run, and `error` is the worker's JSON.
 */
export type AnswerEvent =
  | AnswerPart
  | AnswerEnd
  | { kind: 'broken'; reason: string }
  | { kind: 'failed'; error: string }

export interface AnswerReader {
  push(bytes: Uint8Array): AnswerEvent[]
}

/** Reads a streamed answer. Invalid data gives `broken`, after the events before it. */
export function readStream(): AnswerReader {
  const decoder = new TextDecoder()
  let events: AnswerEvent[] = []
  let finish: Pick<AnswerEnd, 'finishReason' | 'stop'> | undefined
  let ended = false
  const parser = createParser({
    onComment: () => {
      if (!ended) events.push({ kind: 'beat' })
    },
    onEvent: ({ data }) => {
      if (data === '[DONE]' || ended) return
      if (data.startsWith(errorStart)) {
        events.push({ kind: 'failed', error: data })
        ended = true
        return
      }
      const chunk = readChunk(data)
      if (!chunk) {
        events.push({ kind: 'broken', reason: `not a chunk of an answer: ${data.slice(0, 200)}` })
        ended = true
        return
      }
      const { choices, usage } = chunk
      const choice = choices[0]
      if (choice) {
        events.push(...parts(choice.delta))
        const { finish_reason: finishReason, stop_reason: stop } = choice
        if (finishReason) finish = { finishReason, stop: stop ?? undefined }
      }
      // Usage is on the chunk with the finish reason, or on a separate chunk after it.
      if (!finish || !usage) return
      events.push(end(finish, usage))
      ended = true
    },
  })
  return {
    push(bytes) {
      parser.feed(decoder.decode(bytes, { stream: true }))
      const read = events
      events = []
      return read
    },
  }
}

/** The start of a worker's error, which replaces the answer. */
export const errorStart = '{"object":"error"'

function readChunk(data: string): z.infer<typeof Chunk> | undefined {
  try {
    return Chunk.safeParse(JSON.parse(data)).data
  } catch {
    return undefined
  }
}

/** The events of a non-streaming answer. Throws for invalid data, which only a faulty worker sends. */
export function readWhole(text: string): [...AnswerPart[], AnswerEnd] {
  const { choices, usage } = Completion.parse(JSON.parse(text))
  const { message, finish_reason: finishReason, stop_reason: stop } = choices[0]
  return [...parts(message), end({ finishReason, stop: stop ?? undefined }, usage)]
}

function parts(delta: z.infer<typeof Completion>['choices'][0]['message']): AnswerPart[] {
  const { content, reasoning_content: reasoning, tool_calls: calls } = delta
  return [
    ...(reasoning ? [{ kind: 'text', channel: 'reasoning', text: reasoning } as const] : []),
    ...(content ? [{ kind: 'text', channel: 'content', text: content } as const] : []),
    ...(calls ?? []).map((call) => ({ kind: 'call', id: call.id, ...call.function }) as const),
  ]
}

function end(finish: Pick<AnswerEnd, 'finishReason' | 'stop'>, usage: z.infer<typeof Usage>): AnswerEnd {
  return {
    kind: 'end',
    ...finish,
    promptTokens: usage.prompt_tokens,
    cachedTokens: usage.prompt_tokens_details.cached_tokens,
    outputTokens: usage.completion_tokens,
    reasoningTokens: usage.completion_tokens_details.reasoning_tokens,
    effort: { asked: usage.reasoning_effort_asked ?? undefined, effective: usage.reasoning_effort },
    costNano: usage.cost_nano,
  }
}
