/**
 * Ollama, from the source of its OpenAI route (openai/openai.go): reasoning in `reasoning`, complete calls in one
 * delta, usage once on request. It silently cuts a prompt that is too long, and answers 400 to an unsupported effort.
 */
import type { HttpCall } from '../../../../backends/contract/backend.ts'
import { Body, type DocumentedAnswer, done, event, jsonAnswer, say, streamAnswer } from './model.ts'

export const how = 'from its source: no package available here'
export const version = '0.40.12'

const contextTokens = 4_096
const model = {
  name: 'mistral-small-4:latest',
  model: 'mistral-small-4:latest',
  details: { family: 'mistral4', families: ['mistral4', 'clip'] },
}

export function documented(): (call: HttpCall) => DocumentedAnswer {
  return ({ path, body }) => {
    if (path === '/api/version') return jsonAnswer({ version })
    if (path === '/api/tags') return jsonAnswer({ models: [model] })
    if (path === '/api/ps') return jsonAnswer({ models: [{ ...model, context_length: contextTokens }] })
    if (path === '/v1/models')
      return jsonAnswer({
        object: 'list',
        data: [{ id: model.name, object: 'model', created: 1, owned_by: 'library' }],
      })
    if (path !== '/v1/chat/completions') return { status: 404, headers: {}, parts: ['404 page not found'] }
    const read = Body.safeParse(JSON.parse(body ?? 'null'))
    if (!read.success)
      return jsonAnswer(
        { error: { message: "[] is too short - 'messages'", type: 'invalid_request_error', param: null, code: null } },
        400,
      )
    return streamAnswer(chunks(read.data))
  }
}

function chunks(body: Body): string[] {
  // A reasoning model reasons unless the request turns it off.
  const said = say({ ...body, reasoning_effort: body.reasoning_effort ?? 'high' })
  const head = {
    id: 'chatcmpl-814',
    object: 'chat.completion.chunk',
    created: 1_795_521_600,
    model: model.name,
    system_fingerprint: 'fp_ollama',
  }
  const chunk = (delta: Record<string, unknown>, finish: string | null = null) =>
    event({
      ...head,
      choices: [{ index: 0, delta: { role: 'assistant', content: '', ...delta }, finish_reason: finish }],
    })
  const prompt = Math.min(said.promptTokens, contextTokens)
  return [
    ...said.thinking.map((text) => chunk({ reasoning: text })),
    ...said.content.map((text) => chunk({ content: text })),
    ...(said.calls.length > 0
      ? [
          chunk({
            tool_calls: said.calls.map(({ name, arguments: args }, index) => ({
              id: `call_z${index}x9c8v7`,
              index,
              type: 'function',
              function: { name, arguments: args },
            })),
          }),
        ]
      : []),
    chunk({}, said.finishReason),
    event({
      ...head,
      choices: [],
      usage: { prompt_tokens: prompt, completion_tokens: said.outputTokens, total_tokens: prompt + said.outputTokens },
    }),
    done,
  ]
}
