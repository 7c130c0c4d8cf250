/**
 * Mistral's hosted API, from its OpenAPI description and guides. It refuses unknown fields with 422 and an unsupported
 * effort with 400 and code "3051". Reasoning is sent as parts of the content, then content as strings. Calls are
 * complete, usage is on the last chunk, errors are flat.
 */
import { z } from 'zod'
import type { HttpCall } from '../../../../backends/contract/backend.ts'
import { Body, type DocumentedAnswer, done, event, jsonAnswer, promptTokens, say, streamAnswer } from './model.ts'

export const how = 'from its documentation: a hosted API'
export const version = ''

const contextTokens = 4_096
const known = new Set(
  'model messages tools tool_choice parallel_tool_calls response_format max_tokens stream reasoning_effort temperature top_p random_seed frequency_penalty presence_penalty stop safe_prompt prediction prompt_cache_key'.split(
    ' ',
  ),
)

const error = (status: number, message: unknown, type: string, code: string | null) =>
  jsonAnswer({ object: 'error', message, type, param: null, code, raw_status_code: status }, status)

export function documented(): (call: HttpCall) => DocumentedAnswer {
  return ({ path, body }) => {
    if (path === '/v1/models')
      return jsonAnswer({
        object: 'list',
        data: [
          {
            id: 'mistral-small-2603',
            object: 'model',
            created: 1_773_619_200,
            owned_by: 'mistralai',
            capabilities: { completion_chat: true, function_calling: true, vision: true, reasoning: true },
            aliases: ['mistral-small-latest'],
            max_context_length: contextTokens,
          },
        ],
      })
    if (path !== '/v1/chat/completions') return jsonAnswer({ message: 'no Route matched with those values' }, 404)
    const value: unknown = JSON.parse(body ?? 'null')
    const fields = z.record(z.string(), z.unknown()).parse(value)
    const extra = Object.keys(fields).find((name) => !known.has(name))
    if (extra)
      return error(
        422,
        { detail: [{ type: 'extra_forbidden', loc: ['body', extra], msg: 'Extra inputs are not permitted' }] },
        'invalid_request_error',
        null,
      )
    const request = Body.parse(value)
    if (promptTokens(request) > contextTokens)
      return error(
        400,
        `Prompt contains ${promptTokens(request)} tokens, too large for model with ${contextTokens} maximum context length`,
        'invalid_request_invalid_args',
        '3051',
      )
    return streamAnswer(chunks(request))
  }
}

function chunks(body: Body): string[] {
  const said = say(body)
  const chunk = (delta: unknown, finish: string | null = null, more: Record<string, unknown> = {}) =>
    event({
      id: 'cmpl-0a1b2c',
      object: 'chat.completion.chunk',
      created: 1_795_521_600,
      model: 'mistral-small-2603',
      choices: [{ index: 0, delta, finish_reason: finish }],
      ...more,
    })
  const thinking = (text: string) => ({ type: 'thinking', thinking: [{ type: 'text', text }] })
  const usage = {
    prompt_tokens: said.promptTokens,
    total_tokens: said.promptTokens + said.outputTokens,
    completion_tokens: said.outputTokens,
    prompt_tokens_details: { cached_tokens: 0 },
  }
  return [
    chunk({ role: 'assistant', content: '' }),
    ...said.thinking.map((text) => chunk({ content: [thinking(text)] })),
    ...said.content.map((text) => chunk({ content: text })),
    ...(said.calls.length > 0
      ? [
          chunk({
            content: '',
            tool_calls: said.calls.map(({ name, arguments: args }, index) => ({
              id: `D681PevK${index}`,
              index,
              function: { name, arguments: args },
            })),
          }),
        ]
      : []),
    chunk({ content: '' }, said.finishReason, { usage }),
    done,
  ]
}
