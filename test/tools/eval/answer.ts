/**
 * A streamed answer, assembled chunk by chunk. Servers put reasoning in different places: `reasoning_content`,
 * `reasoning`, lists of `thinking` and `text` pieces (Mistral), or marks inside the content. All four are separated
 * here.
 */
import { z } from 'zod'
import type { Answer, Call } from './case.ts'

const Piece = z.object({
  type: z.string(),
  text: z.string().optional(),
  thinking: z.union([z.string(), z.array(z.object({ text: z.string().optional() }))]).optional(),
})

const ToolCall = z.object({
  index: z.int().optional(),
  function: z.object({ name: z.string().nullish(), arguments: z.string().nullish() }).optional(),
})

const Usage = z.object({
  prompt_tokens: z.int(),
  completion_tokens: z.int(),
  prompt_tokens_details: z.object({ cached_tokens: z.int().nullish() }).nullish(),
  completion_tokens_details: z.object({ reasoning_tokens: z.int().nullish() }).nullish(),
  reasoning_effort: z.string().nullish(),
})

export const Chunk = z.object({
  choices: z
    .array(
      z.object({
        delta: z
          .object({
            content: z.union([z.string(), z.array(Piece)]).nullish(),
            reasoning_content: z.string().nullish(),
            reasoning: z.string().nullish(),
            tool_calls: z.array(ToolCall).nullish(),
          })
          .optional(),
        finish_reason: z.string().nullish(),
      }),
    )
    .default([]),
  usage: Usage.nullish(),
  error: z.unknown().optional(),
})
export type Chunk = z.infer<typeof Chunk>

interface Tokens {
  prompt: number
  cached: number | null
  output: number
  /** Null if the server does not separate reasoning from text: unknown is not zero. */
  reasoning: number | null
}

export interface Assembly extends Answer {
  tokens: Tokens | null
  effortServed: string | null
}

export const nothingYet: Assembly = {
  content: '',
  reasoning: '',
  calls: [],
  finish: null,
  tokens: null,
  effortServed: null,
}

/** True if the chunk contains model output. */
export function writes({ choices }: Chunk): boolean {
  return choices.some(({ delta }) =>
    [delta?.content, delta?.reasoning_content, delta?.reasoning, delta?.tool_calls].some((part) => part?.length),
  )
}

export function withChunk(before: Assembly, chunk: Chunk): Assembly {
  const choice = chunk.choices[0]
  const { text, thinking } = split(choice?.delta?.content)
  return {
    content: before.content + text,
    reasoning: before.reasoning + thinking + (choice?.delta?.reasoning_content ?? choice?.delta?.reasoning ?? ''),
    calls: (choice?.delta?.tool_calls ?? []).reduce(withCall, before.calls),
    finish: choice?.finish_reason ?? before.finish,
    tokens: chunk.usage ? tokensOf(chunk.usage) : before.tokens,
    effortServed: chunk.usage?.reasoning_effort ?? before.effortServed,
  }
}

/** Moves reasoning that a server left inside the content to its own field. */
export function finished(assembly: Assembly): Assembly {
  const marked = /^\s*(?:\[THINK\]([\s\S]*?)\[\/THINK\]|<think>([\s\S]*?)<\/think>)/.exec(assembly.content)
  if (!marked) return assembly
  const thought = marked[1] ?? marked[2] ?? ''
  return { ...assembly, reasoning: assembly.reasoning + thought, content: assembly.content.slice(marked[0].length) }
}

function split(content: string | z.infer<typeof Piece>[] | null | undefined): { text: string; thinking: string } {
  if (typeof content === 'string') return { text: content, thinking: '' }
  const pieces = content ?? []
  return {
    text: pieces.map((piece) => piece.text ?? '').join(''),
    thinking: pieces
      .map(({ thinking }) =>
        typeof thinking === 'string' ? thinking : (thinking ?? []).map((each) => each.text ?? '').join(''),
      )
      .join(''),
  }
}

/** A call arrives whole, or its arguments arrive in pieces under one index. */
function withCall(calls: Call[], delta: z.infer<typeof ToolCall>): Call[] {
  const at = delta.index ?? calls.length
  const known = calls[at] ?? { name: '', arguments: '' }
  const grown = {
    name: known.name + (delta.function?.name ?? ''),
    arguments: known.arguments + (delta.function?.arguments ?? ''),
  }
  return calls.toSpliced(Math.min(at, calls.length), 1, grown)
}

function tokensOf(usage: z.infer<typeof Usage>): Tokens {
  return {
    prompt: usage.prompt_tokens,
    cached: usage.prompt_tokens_details?.cached_tokens ?? null,
    output: usage.completion_tokens,
    reasoning: usage.completion_tokens_details?.reasoning_tokens ?? null,
  }
}
