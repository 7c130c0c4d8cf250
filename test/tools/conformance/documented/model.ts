/**
 * A scripted model for the conformance suite, for engines that cannot run here. The script of each engine writes these
 * answers in the engine's documented format. A word is a token. The model follows the fields of the body; a script
 * passes only fields that its engine supports.
 */
import { z } from 'zod'

export const Body = z.looseObject({
  messages: z.array(z.looseObject({ role: z.string(), content: z.unknown() })),
  tools: z.array(z.looseObject({ function: z.looseObject({ name: z.string() }) })).optional(),
  tool_choice: z.unknown().optional(),
  response_format: z.looseObject({ type: z.string() }).optional(),
  max_tokens: z.int().min(1).default(4_096),
  stop: z.array(z.string()).default([]),
  reasoning_effort: z.string().optional(),
  seed: z.int().optional(),
  random_seed: z.int().optional(),
})
export type Body = z.infer<typeof Body>

export interface Said {
  thinking: string[]
  content: string[]
  calls: { name: string; arguments: string }[]
  finishReason: 'stop' | 'length' | 'tool_calls'
  promptTokens: number
  outputTokens: number
}

const words = (text: string) => text.split(/(?<= )/)

export function say(body: Body): Said {
  const prompt = textOf(body.messages.at(-1)?.content)
  const thinking = body.reasoning_effort === 'high' ? words('Ones: 8 + 6 = 14, carry 1. Digits: 8 3 4.') : []
  const calls = callsOf(body, prompt)
  const content = calls.length > 0 ? [] : contentOf(body, prompt)
  const callTokens = calls.length * 6
  const bound = body.max_tokens
  const said = {
    thinking: thinking.slice(0, bound),
    content: content.slice(0, Math.max(0, bound - thinking.length)),
    calls: thinking.length + callTokens <= bound ? calls : [],
  }
  const tokens = said.thinking.length + said.content.length + callTokens
  const cut = thinking.length + content.length + callTokens > bound
  return {
    ...said,
    finishReason: cut ? 'length' : calls.length > 0 ? 'tool_calls' : 'stop',
    promptTokens: promptTokens(body),
    // Includes the end token.
    outputTokens: Math.min(bound, tokens + 1),
  }
}

function contentOf(body: Body, prompt: string): string[] {
  if (body.response_format && body.response_format.type !== 'text') return words('{"answer": 834, "sure": "yes"}')
  const seed = body.seed ?? body.random_seed
  const answer = seed === undefined ? words('478 + 356 = 834') : words(`One morning fox ${seed} went out. ${prompt}`)
  const stop = body.stop[0]
  const at = stop === undefined ? -1 : answer.join('').indexOf(stop)
  return at < 0 ? answer : words(answer.join('').slice(0, at)).filter((word) => word !== '')
}

function callsOf({ tools = [], tool_choice: choice }: Body, prompt: string): Said['calls'] {
  const named = z.object({ function: z.object({ name: z.string() }) }).safeParse(choice).data?.function.name
  const forced = choice === 'required' || choice === 'any' || named !== undefined
  if (tools.length === 0 || choice === 'none') return []
  const cities = [...prompt.matchAll(/\b(Lagos|Oslo|Lima)\b/g)].map((match) => match[1] ?? '')
  const call = (city: string) => ({
    name: named ?? tools[0]?.function.name ?? '',
    arguments: JSON.stringify({ city }),
  })
  if (cities.length > 0) return cities.map(call)
  return forced ? [call('Oslo')] : []
}

export function promptTokens(body: Body): number {
  // A real image counts by its size; this one counts by its bytes.
  const text = JSON.stringify([body.messages, body.tools ?? []])
  const images = [...text.matchAll(/base64,([\w+/=]+)/g)].reduce(
    (sum, [, data]) => sum + Math.ceil((data?.length ?? 0) / 20),
    0,
  )
  return text.split(/[ ,:]+/).length + images
}

export function textOf(content: unknown): string {
  if (typeof content === 'string') return content
  const parts = z.array(z.looseObject({ text: z.string().optional() })).safeParse(content).data ?? []
  return parts.map(({ text }) => text ?? '').join(' ')
}

export const event = (value: unknown) => `data: ${JSON.stringify(value)}\n\n`
export const done = 'data: [DONE]\n\n'

export interface DocumentedAnswer {
  status: number
  headers: Record<string, string>
  parts: string[]
}

export const jsonAnswer = (value: unknown, status = 200): DocumentedAnswer => ({
  status,
  headers: { 'content-type': 'application/json' },
  parts: [JSON.stringify(value)],
})

export const streamAnswer = (parts: string[]): DocumentedAnswer => ({
  status: 200,
  headers: { 'content-type': 'text/event-stream' },
  parts,
})
