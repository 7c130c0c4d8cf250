/** The usage of an answer as Chat Completions has it. */
import { usageExtensions } from '../../../backends/model/chunk.ts'
import type { AnswerEnd } from '../answer-events.ts'

export function usageOf(end: AnswerEnd) {
  return {
    prompt_tokens: end.promptTokens,
    completion_tokens: end.outputTokens,
    total_tokens: end.promptTokens + end.outputTokens,
    prompt_tokens_details: { cached_tokens: end.cachedTokens },
    completion_tokens_details: { reasoning_tokens: end.reasoningTokens },
    ...usageExtensions(end.effort, end.costNano),
  }
}
