/**
 * Writes an answer as Mistral does: thinking is a chunk in a content list; text is a string, or a chunk after the
 * thinking. Usage is always on the last chunk with choices, because Mistral's clients cannot read a chunk without them.
 */
import { usageExtensions } from '../../../backends/model/chunk.ts'
import type { AnswerEnd, AnswerPart } from '../answer-events.ts'
import type { DialectWriter, EncoderContext } from '../dialect.ts'
import { openaiErrors } from '../openai-chat/errors.ts'

interface MistralCall {
  id: string
  type: 'function'
  function: { name: string; arguments: string }
  index: number
}

const thinkingChunk = (text: string) => ({ type: 'thinking', thinking: [{ type: 'text', text }] })

export function mistralWriter(context: EncoderContext): DialectWriter {
  const answer = { reasoning: '', content: '' }
  const calls: MistralCall[] = []
  const head = {
    id: context.requestId.replace(/^req_/, ''),
    created: Math.floor(context.now() / 1_000),
    model: context.model,
  }

  function chunk(delta: object, end?: { finish_reason: string; usage: object }): string {
    const { finish_reason = null, usage } = end ?? {}
    const choices = [{ index: 0, delta, finish_reason }]
    return `data: ${JSON.stringify({ ...head, object: 'chat.completion.chunk', choices, usage })}\n\n`
  }

  function call({ id, name, arguments: json }: Extract<AnswerPart, { kind: 'call' }>): string {
    const made: MistralCall = { id, type: 'function', function: { name, arguments: json }, index: calls.length }
    calls.push(made)
    return chunk({ content: '', tool_calls: [made] })
  }

  function text({ channel, text }: Extract<AnswerPart, { kind: 'text' }>): string {
    answer[channel] += text
    return chunk({ content: channel === 'content' ? text : [thinkingChunk(text)] })
  }

  return {
    open: () => chunk({ role: 'assistant', content: '' }),
    part(part) {
      switch (part.kind) {
        case 'beat':
          return ': working on the prompt\n\n'
        case 'text':
          return text(part)
        case 'call':
          return call(part)
      }
    },
    close: (end) =>
      `${chunk({ content: '' }, { finish_reason: end.finishReason, usage: usageOf(end) })}data: [DONE]\n\n`,
    whole(end) {
      const { reasoning, content } = answer
      const chunks = [
        { ...thinkingChunk(reasoning), closed: true },
        ...(content ? [{ type: 'text', text: content }] : []),
      ]
      const message = {
        role: 'assistant',
        content: reasoning === '' ? content : chunks,
        ...(calls.length > 0 && { tool_calls: calls }),
        prefix: false,
      }
      const choices = [{ index: 0, message, finish_reason: end.finishReason }]
      return { ...head, object: 'chat.completion', choices, usage: usageOf(end) }
    },
    fail: openaiErrors.event,
  }
}

function usageOf(end: AnswerEnd) {
  return {
    prompt_tokens: end.promptTokens,
    completion_tokens: end.outputTokens,
    total_tokens: end.promptTokens + end.outputTokens,
    num_cached_tokens: end.cachedTokens,
    prompt_tokens_details: { cached_tokens: end.cachedTokens },
    completion_tokens_details: { reasoning_tokens: end.reasoningTokens },
    ...usageExtensions(end.effort, end.costNano),
  }
}
