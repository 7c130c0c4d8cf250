/**
 * Writes an answer as Anthropic's Messages: blocks that start and stop in order, each delta with its index. Usage is
 * exact only at the end, in `message_delta`; Anthropic's clients let it overwrite the usage of `message_start`.
 */
import { usageExtensions } from '../../../backends/model/chunk.ts'
import type { AnswerEnd } from '../answer-events.ts'
import type { DialectWriter, EncoderContext } from '../dialect.ts'
import { BlockStream, event } from './block-stream.ts'
import { messagesErrors } from './errors.ts'

function messagesId(requestId: string): string {
  return requestId.replace(/^req_/, 'msg_')
}

/** @param thinkingShown false: the client requested thinking in the signature only */
export function messagesWriter(context: EncoderContext, thinkingShown: boolean): DialectWriter {
  const stream = new BlockStream(thinkingShown)
  const message = {
    id: messagesId(context.requestId),
    type: 'message',
    role: 'assistant',
    model: context.model,
  }
  return {
    open: (promptTokens) =>
      event('message_start', {
        message: { ...message, content: [], ...noStop, usage: startUsage(promptTokens ?? context.promptTokens) },
      }),
    part(part) {
      switch (part.kind) {
        case 'beat':
          return event('ping', {})
        case 'text':
          return stream.text(part)
        case 'call':
          return stream.call(part)
      }
    },
    close: (end) =>
      stream.finish() + event('message_delta', { delta: stopOf(end), usage: usageOf(end) }) + event('message_stop', {}),
    whole(end) {
      stream.finish()
      return { ...message, content: stream.blocks, ...stopOf(end), usage: usageOf(end) }
    },
    fail: messagesErrors.event,
  }
}

const noStop = { stop_reason: null, stop_sequence: null }

function stopOf({ finishReason, stop }: AnswerEnd) {
  if (finishReason === 'stop' && stop !== undefined) return { stop_reason: 'stop_sequence', stop_sequence: stop }
  const reasons = { stop: 'end_turn', length: 'max_tokens', tool_calls: 'tool_use' } as const
  return { stop_reason: reasons[finishReason], stop_sequence: null }
}

const startUsage = (promptTokens: number) => ({
  input_tokens: promptTokens,
  cache_creation_input_tokens: 0,
  cache_read_input_tokens: 0,
  output_tokens: 0,
  service_tier: 'standard',
})

/** `input_tokens` excludes cached tokens; the prompt is the sum of both. */
function usageOf(end: AnswerEnd) {
  return {
    ...startUsage(end.promptTokens - end.cachedTokens),
    cache_read_input_tokens: end.cachedTokens,
    output_tokens: end.outputTokens,
    output_tokens_details: { thinking_tokens: end.reasoningTokens },
    ...usageExtensions(end.effort, end.costNano),
  }
}
