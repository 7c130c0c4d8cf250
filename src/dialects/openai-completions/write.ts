/** Writes an answer as OpenAI's Completions: pieces of text, without messages. */
import type { AnswerEnd, AnswerPart } from '../answer-events.ts'
import type { DialectWriter, EncoderContext } from '../dialect.ts'
import { openaiErrors } from '../openai-chat/errors.ts'
import { usageOf } from '../openai-chat/usage.ts'

/** @param includeUsage usage is in a chunk of its own */
export function completionsWriter(context: EncoderContext, includeUsage: boolean): DialectWriter {
  const answer = { content: '', reasoning: '' }
  const head = {
    id: context.requestId.replace(/^req_/, 'cmpl-'),
    object: 'text_completion',
    created: Math.floor(context.now() / 1_000),
    model: context.model,
  }
  const choice = (text: string, fields: object) => ({ index: 0, text, logprobs: null, ...fields })
  const event = (choices: object[], usage?: object) => `data: ${JSON.stringify({ ...head, choices, usage })}\n\n`

  function part(part: AnswerPart): string {
    if (part.kind === 'beat') return ': working on the prompt\n\n'
    if (part.kind === 'call') throw new Error('a completion has no tools')
    answer[part.channel] += part.text
    return part.channel === 'content'
      ? event([choice(part.text, { finish_reason: null })])
      : event([choice('', { reasoning_content: part.text, finish_reason: null })])
  }

  return {
    open: () => '',
    part,
    close(end: AnswerEnd) {
      const last = [choice('', { finish_reason: end.finishReason })]
      const usage = usageOf(end)
      return `${includeUsage ? event(last) + event([], usage) : event(last, usage)}data: [DONE]\n\n`
    },
    whole(end: AnswerEnd) {
      const { content, reasoning } = answer
      const thought = reasoning !== '' && { reasoning_content: reasoning }
      return {
        ...head,
        choices: [choice(content, { ...thought, finish_reason: end.finishReason })],
        usage: usageOf(end),
      }
    },
    fail: openaiErrors.event,
  }
}
