/**
 * SGLang 0.5.23, from its source (srt/entrypoints/openai): reasoning in `reasoning_content`, calls in pieces, usage on
 * every chunk, cached tokens on the last one with `--enable-cache-report`, reasoning tokens at the top level of usage,
 * flat errors.
 */
import type { HttpCall } from '../../../../backends/contract/backend.ts'
import { Body, type DocumentedAnswer, done, event, jsonAnswer, promptTokens, say, streamAnswer } from './model.ts'

export const how = 'from the source of SGLang 0.5.23: no GPU here'
export const version = '0.5.23'

const contextTokens = 4_096
const info = {
  model_path: 'mistralai/Mistral-Small-4-119B-2603',
  served_model_name: 'mistral-small-4',
  context_length: contextTokens,
  max_running_requests: 128,
  reasoning_parser: 'mistral',
  tool_call_parser: 'mistral',
  enable_cache_report: true,
  enable_metrics: true,
  enable_priority_scheduling: true,
  schedule_low_priority_values_first: false,
  version,
}
const error = (status: number, message: string, type: string) =>
  jsonAnswer({ object: 'error', message, type, param: null, code: status }, status)

export function documented(): (call: HttpCall) => DocumentedAnswer {
  const cached = new Set<string>()
  return ({ path, body }) => {
    if (path === '/server_info') return jsonAnswer(info)
    if (path === '/v1/models')
      return jsonAnswer({
        object: 'list',
        data: [{ id: 'mistral-small-4', object: 'model', owned_by: 'sglang', max_model_len: contextTokens }],
      })
    if (path === '/health') return { status: 200, headers: {}, parts: [''] }
    if (path === '/metrics') return { status: 200, headers: { 'content-type': 'text/plain' }, parts: [metrics] }
    const read = Body.safeParse(JSON.parse(body ?? 'null'))
    if (path === '/tokenize') {
      const { prompt } = JSON.parse(body ?? '{}')
      const count =
        typeof prompt === 'string' ? prompt.trim().split(/ +/).length : read.success ? promptTokens(read.data) : 0
      return jsonAnswer({ tokens: Array.from({ length: count }, () => 1), count, max_model_len: contextTokens })
    }
    if (path !== '/v1/chat/completions') return jsonAnswer({ detail: 'Not Found' }, 404)
    if (!read.success) return error(400, 'Invalid request', 'BadRequestError')
    if (promptTokens(read.data) > contextTokens)
      return error(
        400,
        `The input (${promptTokens(read.data)} tokens) is longer than the model's context length (${contextTokens} tokens).`,
        'BadRequestError',
      )
    return streamAnswer(chunks(read.data, cached))
  }
}

function chunks(body: Body, cached: Set<string>): string[] {
  const said = say(body)
  const key = `${String(body.cache_salt ?? '')} ${JSON.stringify(body.messages)}`
  const cachedTokens = cached.has(key) ? said.promptTokens - 1 : 0
  cached.add(key)
  let output = 0
  const chunk = (delta: unknown, finish: string | null = null) =>
    event({
      id: body.rid ?? '5f2c',
      object: 'chat.completion.chunk',
      created: 1_795_521_600,
      model: 'mistral-small-4',
      choices: [{ index: 0, delta, logprobs: null, finish_reason: finish, matched_stop: finish === 'stop' ? 2 : null }],
      usage: usage(said.promptTokens, output, Math.min(output, said.thinking.length), cachedTokens),
    })
  const deltas = [
    chunk({ role: 'assistant', content: '', reasoning_content: null, tool_calls: null }),
    ...said.thinking.map((text) => {
      output++
      return chunk({ role: null, content: null, reasoning_content: text, tool_calls: null })
    }),
    ...said.content.map((text) => {
      output++
      return chunk({ role: null, content: text, reasoning_content: null, tool_calls: null })
    }),
    ...said.calls.flatMap((call, index) =>
      pieces(call, index).map((piece) => {
        output += 3
        return chunk({ role: null, content: null, reasoning_content: null, tool_calls: [piece] })
      }),
    ),
  ]
  output = said.outputTokens
  const last = { ...usage(said.promptTokens, output, said.thinking.length, cachedTokens) }
  return [
    ...deltas,
    chunk({ role: null, content: null, reasoning_content: null, tool_calls: null }, said.finishReason),
    event({
      id: '5f2c',
      object: 'chat.completion.chunk',
      created: 1,
      model: 'mistral-small-4',
      choices: [],
      usage: last,
    }),
    done,
  ]
}

const usage = (prompt: number, output: number, reasoning: number, cached: number) => ({
  prompt_tokens: prompt,
  total_tokens: prompt + output,
  completion_tokens: output,
  prompt_tokens_details: { cached_tokens: cached },
  reasoning_tokens: reasoning,
})

/** The name first, then the arguments, as SGLang's parser streams them. */
function pieces(call: { name: string; arguments: string }, index: number) {
  return [
    { id: `call_${index}f0e1d2c3b4a5`, index, type: 'function', function: { name: call.name, arguments: '' } },
    { id: null, index, type: 'function', function: { name: null, arguments: call.arguments } },
  ]
}

const metrics = `# HELP sglang:num_running_reqs The number of running requests.
# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{model_name="mistral-small-4",engine_type="unified"} 1.0
sglang:num_queue_reqs{model_name="mistral-small-4",engine_type="unified"} 0.0
sglang:token_usage{model_name="mistral-small-4",engine_type="unified"} 0.28
sglang:prompt_tokens_total{model_name="mistral-small-4",is_streaming="True"} 8128902.0
sglang:generation_tokens_total{model_name="mistral-small-4",is_streaming="True"} 7557572.0
sglang:cached_tokens_total{model_name="mistral-small-4",cache_source="device"} 1024.0
`
