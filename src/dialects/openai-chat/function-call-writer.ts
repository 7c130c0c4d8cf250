/**
 * Writes an answer to `functions`, the older form of tools: a call is the answer's `function_call`, without an id. Other
 * chat completions pass from the worker unchanged.
 */
import type { AnswerEnd, AnswerPart } from '../answer-events.ts'
import type { DialectWriter, EncoderContext } from '../dialect.ts'
import { openaiErrors } from './errors.ts'
import { usageOf } from './usage.ts'

interface FunctionCall {
  name: string
  arguments: string
}

/** @param includeUsage usage is in a chunk of its own */
export function functionCallWriter(context: EncoderContext, includeUsage: boolean): DialectWriter {
  const answer: { content: string; reasoning: string; call?: FunctionCall } = { content: '', reasoning: '' }
  const head = {
    id: context.requestId.replace(/^req_/, 'chatcmpl-'),
    created: Math.floor(context.now() / 1_000),
    model: context.model,
  }
  const event = (fields: object) =>
    `data: ${JSON.stringify({ ...head, object: 'chat.completion.chunk', ...fields })}\n\n`
  const delta = (delta: object, end: object = {}) =>
    event({ choices: [{ index: 0, delta, finish_reason: null, ...end }] })

  function part(part: AnswerPart): string {
    switch (part.kind) {
      case 'beat':
        return ': working on the prompt\n\n'
      case 'text':
        answer[part.channel] += part.text
        return delta({ [part.channel === 'content' ? 'content' : 'reasoning_content']: part.text })
      case 'call':
        // A second call has no place in this form; the request asks for one.
        if (answer.call) return ''
        answer.call = { name: part.name, arguments: part.arguments }
        return delta({ function_call: answer.call })
    }
  }

  return {
    open: () => delta({ role: 'assistant', content: '' }),
    part,
    close(end) {
      const usage = { usage: usageOf(end) }
      const last = event({ choices: [{ index: 0, delta: {}, ...endOf(end) }], ...(!includeUsage && usage) })
      return `${last}${includeUsage ? event({ choices: [], ...usage }) : ''}data: [DONE]\n\n`
    },
    whole(end) {
      const { content, reasoning, call } = answer
      const message = {
        role: 'assistant',
        content: content === '' && call ? null : content,
        refusal: null,
        ...(reasoning !== '' && { reasoning_content: reasoning }),
        ...(call && { function_call: call }),
      }
      const choices = [{ index: 0, message, logprobs: null, ...endOf(end) }]
      return { ...head, object: 'chat.completion', choices, usage: usageOf(end) }
    },
    fail: openaiErrors.event,
  }
}

function endOf({ finishReason, stop }: AnswerEnd) {
  return {
    finish_reason: finishReason === 'tool_calls' ? 'function_call' : finishReason,
    ...(stop !== undefined && { stop_reason: stop }),
  }
}
