/**
 * LM Studio 0.4, from its documentation (developer docs, API changelog): its own model list, and the OpenAI route with
 * reasoning in `reasoning_content`, calls in pieces, usage once on request, and errors as `{error: "text"}` or nested.
 */
import type { HttpCall } from '../../../../backends/contract/backend.ts'
import { Body, type DocumentedAnswer, done, event, jsonAnswer, promptTokens, say, streamAnswer } from './model.ts'

export const how = 'from its documentation: an application without a package'
export const version = '0.4'

const contextTokens = 4_096

export function documented(): (call: HttpCall) => DocumentedAnswer {
  return ({ path, body }) => {
    if (path === '/api/v1/models')
      return jsonAnswer({
        models: [
          {
            type: 'llm',
            publisher: 'mistralai',
            key: 'mistralai/mistral-small-4',
            display_name: 'Mistral Small 4',
            architecture: 'mistral4',
            loaded_instances: [
              { id: 'mistral-small-4', config: { context_length: contextTokens, flash_attention: true } },
            ],
            max_context_length: 1_048_576,
            format: 'gguf',
            capabilities: { vision: true, trained_for_tool_use: true },
          },
        ],
      })
    if (path === '/v1/models')
      return jsonAnswer({
        object: 'list',
        data: [{ id: 'mistral-small-4', object: 'model', owned_by: 'organization_owner' }],
      })
    if (path !== '/v1/chat/completions') return jsonAnswer({ error: `Unexpected endpoint or method. (GET ${path})` })
    const read = Body.safeParse(JSON.parse(body ?? 'null'))
    if (!read.success) return jsonAnswer({ error: "'messages' field is required" }, 400)
    if (typeof read.data.tool_choice === 'object')
      return jsonAnswer(
        { error: "Invalid tool_choice type: 'object'. Supported string values: none, auto, required" },
        400,
      )
    if (read.data.response_format?.type === 'json_object')
      return jsonAnswer({ error: "'response_format.type' must be 'json_schema' or 'text'" }, 400)
    if (promptTokens(read.data) > contextTokens)
      return jsonAnswer(
        {
          error: {
            message: 'The number of tokens to keep from the initial prompt is greater than the context length.',
            type: 'invalid_request_error',
            param: null,
            code: null,
          },
        },
        400,
      )
    return streamAnswer(chunks(read.data))
  }
}

function chunks(body: Body): string[] {
  const said = say(body)
  const chunk = (delta: unknown, finish: string | null = null) =>
    event({
      id: 'chatcmpl-q8x2',
      object: 'chat.completion.chunk',
      created: 1_795_521_600,
      model: 'mistral-small-4',
      system_fingerprint: 'mistral-small-4',
      choices: [{ index: 0, delta, logprobs: null, finish_reason: finish }],
    })
  return [
    ...said.thinking.map((text) => chunk({ role: 'assistant', reasoning_content: text })),
    ...said.content.map((text) => chunk({ role: 'assistant', content: text })),
    ...said.calls.flatMap(({ name, arguments: args }, index) => [
      chunk({ tool_calls: [{ index, id: `3652${index}0712`, type: 'function', function: { name, arguments: '' } }] }),
      chunk({ tool_calls: [{ index, type: 'function', function: { arguments: args.slice(0, 4) } }] }),
      chunk({ tool_calls: [{ index, type: 'function', function: { arguments: args.slice(4) } }] }),
    ]),
    chunk({}, said.finishReason),
    event({
      id: 'chatcmpl-q8x2',
      object: 'chat.completion.chunk',
      created: 1_795_521_600,
      model: 'mistral-small-4',
      choices: [],
      usage: {
        prompt_tokens: said.promptTokens,
        completion_tokens: said.outputTokens,
        total_tokens: said.promptTokens + said.outputTokens,
      },
    }),
    done,
  ]
}
