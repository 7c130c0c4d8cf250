/**
 * Writes Chat Completions answers, streamed or not. The worker serialises each chunk once; the edge passes the bytes
 * on.
 *
 * Three rules keep real clients working. `content` is a string, and reasoning goes to `reasoning_content`. A tool call
 * is one complete delta. Usage is on the chunk with the `finish_reason`; a client that requests usage gets it in a
 * separate chunk without choices.
 */
import type { Effort } from './effort.ts'
import { type Counts, costNano, type Rates } from './money.ts'

export interface Head {
  id: string
  /** Unix seconds. */
  created: number
  model: string
  effort: Effort
  /** The prices of the request. */
  rates: Rates
}

export type FinishReason = 'stop' | 'length' | 'tool_calls'

export interface WireCall {
  id: string
  name: string
  arguments: string
}

export interface Usage {
  prompt_tokens: number
  completion_tokens: number
  total_tokens: number
  prompt_tokens_details: { cached_tokens: number }
  completion_tokens_details: { reasoning_tokens: number }
  /** The served effort, and the requested one. */
  reasoning_effort: string
  reasoning_effort_asked: string | null
  /** Dollars, as OpenRouter prints it, and nano-dollars. Absent if a worker of an older version answers. */
  cost?: number
  cost_nano?: number
}

/** The fields of `usage` that no vendor has. Every dialect writes them. */
export function usageExtensions(effort: Effort, nano: number | undefined) {
  return {
    reasoning_effort: effort.effective,
    reasoning_effort_asked: effort.asked ?? null,
    // The nearest double prints as the exact decimal: a cost has at most 16 digits.
    ...(nano !== undefined && { cost: nano / 1e9, cost_nano: nano }),
  }
}

function usageOf(counts: Counts, { effort, rates }: Head): Usage {
  return {
    prompt_tokens: counts.promptTokens,
    completion_tokens: counts.outputTokens,
    total_tokens: counts.promptTokens + counts.outputTokens,
    prompt_tokens_details: { cached_tokens: counts.cachedTokens },
    completion_tokens_details: { reasoning_tokens: counts.reasoningTokens },
    ...usageExtensions(effort, costNano(counts, rates)),
  }
}

/** Writes the chunks of one answer. Constant parts are serialised once. */
export function chunkWriter(head: Head, includeUsage: boolean) {
  const start = `data: {"id":${JSON.stringify(head.id)},"object":"chat.completion.chunk","created":${head.created},"model":${JSON.stringify(head.model)},"choices":`
  const delta = (json: string) => `${start}[{"index":0,"delta":${json},"finish_reason":null}]}\n\n`
  let calls = 0
  return {
    role: () => delta('{"role":"assistant","content":""}'),
    text: (channel: 'content' | 'reasoning', text: string) =>
      delta(`{"${channel === 'content' ? 'content' : 'reasoning_content'}":${JSON.stringify(text)}}`),
    call: (call: WireCall) => delta(JSON.stringify({ tool_calls: [{ index: calls++, ...wireCall(call) }] })),
    /** @param stop the stop string that ended the answer, if any; sent as `stop_reason`, as vLLM does */
    end(finishReason: FinishReason, counts: Counts, stop?: string) {
      const usage = JSON.stringify(usageOf(counts, head))
      const reason = `"${finishReason}"${stop === undefined ? '' : `,"stop_reason":${JSON.stringify(stop)}`}`
      const last = `${start}[{"index":0,"delta":{},"finish_reason":${reason}}]`
      return includeUsage
        ? `${last}}\n\n${start}[],"usage":${usage}}\n\ndata: [DONE]\n\n`
        : `${last},"usage":${usage}}\n\ndata: [DONE]\n\n`
    },
  }
}

/** The complete answer of a request that does not stream. */
export function completion(
  head: Head,
  answer: {
    content: string
    reasoning: string
    calls: WireCall[]
    finishReason: FinishReason
    stop?: string | undefined
    counts: Counts
  },
): string {
  const message = {
    role: 'assistant',
    content: answer.content === '' && answer.calls.length > 0 ? null : answer.content,
    refusal: null,
    ...(answer.reasoning !== '' && { reasoning_content: answer.reasoning }),
    ...(answer.calls.length > 0 && { tool_calls: answer.calls.map(wireCall) }),
  }
  return JSON.stringify({
    id: head.id,
    object: 'chat.completion',
    created: head.created,
    model: head.model,
    choices: [
      {
        index: 0,
        message,
        logprobs: null,
        finish_reason: answer.finishReason,
        ...(answer.stop !== undefined && { stop_reason: answer.stop }),
      },
    ],
    usage: usageOf(answer.counts, head),
  })
}

function wireCall(call: WireCall) {
  return { id: call.id, type: 'function', function: { name: call.name, arguments: call.arguments } }
}
