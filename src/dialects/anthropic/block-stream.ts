/** The content blocks of one answer, and the events that start, fill and stop them in order. */
import { parsePartial } from '../../../backends/model/partial-json.ts'
import type { AnswerPart } from '../answer-events.ts'
import { openMark, sealThinking } from '../carried-thinking.ts'

type OpenBlock =
  | { type: 'thinking'; thinking: string; signature: string }
  | { type: 'text'; text: string }
  | { type: 'tool_use'; id: string; name: string; input: unknown }
type TextBlock = Exclude<OpenBlock, { type: 'tool_use' }>

export class BlockStream {
  readonly blocks: OpenBlock[] = []
  readonly #thinkingShown: boolean
  /** The open block, which is the last. */
  #open: OpenBlock | undefined
  /** The thinking of the open block, shown or not. */
  #thinking = ''

  /** @param thinkingShown false: the client requested thinking in the signature only */
  constructor(thinkingShown: boolean) {
    this.#thinkingShown = thinkingShown
  }

  text({ channel, text }: Extract<AnswerPart, { kind: 'text' }>): string {
    const type = channel === 'reasoning' ? 'thinking' : 'text'
    const open = this.#open
    if (open?.type === type) return this.#fill(open, text)
    const block: TextBlock = type === 'text' ? { type, text: '' } : { type, thinking: '', signature: '' }
    return this.#begin(block) + this.#fill(block, text)
  }

  call({ id, name, arguments: json }: Extract<AnswerPart, { kind: 'call' }>): string {
    const started = this.#begin({ type: 'tool_use', id: `toolu_${id}`, name, input: parsePartial(json) })
    return started + this.#delta({ type: 'input_json_delta', partial_json: json })
  }

  /** Stops the open block. */
  finish(): string {
    const block = this.#open
    if (!block) return ''
    this.#open = undefined
    const stop = event('content_block_stop', { index: this.blocks.length - 1 })
    if (block.type !== 'thinking') return stop
    block.signature = this.#thinkingShown ? openMark : sealThinking(this.#thinking)
    return this.#delta({ type: 'signature_delta', signature: block.signature }) + stop
  }

  #begin(block: OpenBlock): string {
    const ended = this.finish()
    this.blocks.push(block)
    this.#open = block
    this.#thinking = ''
    // A block starts empty and its deltas fill it. The copy in `blocks` is for a non-streaming answer.
    const empty = block.type === 'tool_use' ? { ...block, input: {} } : block
    return ended + event('content_block_start', { index: this.blocks.length - 1, content_block: empty })
  }

  #fill(block: TextBlock, text: string): string {
    if (block.type === 'text') {
      block.text += text
      return this.#delta({ type: 'text_delta', text })
    }
    this.#thinking += text
    // A comment instead: a failed write shows that the client has left.
    if (!this.#thinkingShown) return ': thinking\n\n'
    block.thinking += text
    return this.#delta({ type: 'thinking_delta', thinking: text })
  }

  #delta(delta: object): string {
    return event('content_block_delta', { index: this.blocks.length - 1, delta })
  }
}

export function event(type: string, fields: object): string {
  return `event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`
}
