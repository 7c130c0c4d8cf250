/**
 * Writes an answer as Anthropic's Messages: blocks that start and stop in order, each delta with its index. Usage is
 * exact only at the end, in `message_delta`; Anthropic's clients let it overwrite the usage of `message_start`.
 */
import type { AnswerEnd, AnswerPart } from '../answer-events.ts'
import { openMark, sealThinking } from '../carried-thinking.ts'
import type { DialectWriter, EncoderContext } from '../dialect.ts'
import { messagesErrors } from './errors.ts'

type OpenBlock =
  | { type: 'thinking'; thinking: string; signature: string }
  | { type: 'text'; text: string }
  | { type: 'tool_use'; id: string; name: string; input: unknown }

function messagesId(requestId: string): string {
  return requestId.replace(/^req_/, 'msg_')
}

/** @param thinkingShown false: the client requested thinking in the signature only */
export function messagesWriter(context: EncoderContext, thinkingShown: boolean): DialectWriter {
  const blocks: OpenBlock[] = []
  /** The thinking of the last block, shown or not. */
  let thinking = ''
  let open = false

  const message = {
    id: messagesId(context.requestId),
    type: 'message',
    role: 'assistant',
    model: context.model,
  }

  function begin(block: OpenBlock): string {
    const ended = finish()
    blocks.push(block)
    open = true
    // A block starts empty and its deltas fill it. The copy in `blocks` is for a non-streaming answer.
    const empty = block.type === 'tool_use' ? { ...block, input: {} } : block
    return ended + event('content_block_start', { index: blocks.length - 1, content_block: empty })
  }

  function finish(): string {
    if (!open) return ''
    open = false
    const index = blocks.length - 1
    const block = blocks[index]
    const stop = event('content_block_stop', { index })
    if (block?.type !== 'thinking') return stop
    block.signature = thinkingShown ? openMark : sealThinking(thinking)
    return (
      event('content_block_delta', { index, delta: { type: 'signature_delta', signature: block.signature } }) + stop
    )
  }

  function text({ channel, text }: Extract<AnswerPart, { kind: 'text' }>): string {
    const type = channel === 'reasoning' ? 'thinking' : 'text'
    let last = blocks.at(-1)
    let out = ''
    if (!open || last?.type !== type) {
      out = begin(type === 'text' ? { type, text: '' } : { type, thinking: '', signature: '' })
      last = blocks.at(-1)
      thinking = ''
    }
    const index = blocks.length - 1
    if (last?.type === 'text') {
      last.text += text
      return out + event('content_block_delta', { index, delta: { type: 'text_delta', text } })
    }
    thinking += text
    // A comment instead: a failed write shows that the client has left.
    if (!thinkingShown) return `${out}: thinking\n\n`
    if (last?.type === 'thinking') last.thinking += text
    return out + event('content_block_delta', { index, delta: { type: 'thinking_delta', thinking: text } })
  }

  function call({ id, name, arguments: json }: Extract<AnswerPart, { kind: 'call' }>): string {
    const started = begin({ type: 'tool_use', id: `toolu_${id}`, name, input: JSON.parse(json) })
    const delta = { type: 'input_json_delta', partial_json: json }
    return started + event('content_block_delta', { index: blocks.length - 1, delta })
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
          return text(part)
        case 'call':
          return call(part)
      }
    },
    close: (end) =>
      finish() + event('message_delta', { delta: stopOf(end), usage: usageOf(end) }) + event('message_stop', {}),
    whole(end) {
      finish()
      return { ...message, content: blocks, ...stopOf(end), usage: usageOf(end) }
    },
    fail: messagesErrors.event,
  }
}

function event(type: string, fields: object): string {
  return `event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`
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
    reasoning_effort: end.effort.effective,
    reasoning_effort_asked: end.effort.asked ?? null,
  }
}
