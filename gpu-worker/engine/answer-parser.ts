/**
 * Parses token ids into the events of an answer. Any split of the ids into pushes gives the same content.
 *
 * Control ids, never text, separate the channels: [THINK]…[/THINK] is reasoning; [TOOL_CALLS]name[ARGS]json is a call
 * that lasts until the next call or the end; all other text is content. Stop strings are searched in content only; text
 * that may become a stop string is held back. Each section of text has a streaming decoder, so that no partial
 * character is sent; a character that the end cuts in half is dropped.
 */
import type { Counts } from '../../backends/model/money.ts'
import type { EngineEvent } from './engine.ts'
import type { EndReason } from './messages.ts'
import { createStopSearch } from './stop.ts'
import type { Vocabulary } from './vocabulary.ts'

export interface AnswerParser {
  /** Takes sampled ids. After a stop string was found, ids are counted and return no events. */
  push(tokens: readonly number[]): EngineEvent[]
  /** Takes the reason of the end; returns the last events. `abort`, `failed` and `costly` drop the text held back. */
  end(reason: EndReason): EngineEvent[]
  /** A stop string was found: later tokens are not part of the answer. */
  readonly stopped: boolean
}

type Channel = 'content' | 'reasoning' | 'name' | 'arguments'

/** @param counts its `outputTokens` and `reasoningTokens` are updated */
export function createAnswer(vocabulary: Vocabulary, stop: readonly string[], counts: Counts): AnswerParser {
  const { control } = vocabulary
  const search = createStopSearch(stop)
  let channel: Channel = 'content'
  let decoder = newDecoder()
  let name = ''
  let json = ''
  let called = false
  let stopped = false
  let thinking = false
  let events: EngineEvent[] = []

  function emit(to: 'reasoning' | 'content', text: string): void {
    if (text === '') return
    const last = events.at(-1)
    if (last?.kind === 'text' && last.channel === to) last.text += text
    else events.push({ kind: 'text', channel: to, text })
  }

  function take(text: string): void {
    if (channel === 'name') name += text
    else if (channel === 'arguments') json += text
    else if (channel === 'reasoning') emit('reasoning', text)
    else {
      emit('content', search.push(text))
      stopped = search.found
    }
  }

  function leave(next: Channel): void {
    if (channel === 'content') emit('content', search.flush())
    if (channel === 'name' || channel === 'arguments') if (next !== 'arguments') finishCall()
    channel = next
    decoder = newDecoder()
  }

  function finishCall(): void {
    const text = json.trim() === '' ? '{}' : json
    if (name !== '' && isJson(text)) {
      events.push({ kind: 'tool', name, arguments: text })
      called = true
    } else emit('content', name + json)
    name = ''
    json = ''
  }

  function takeToken(token: number): void {
    count(token)
    if (stopped) return
    if (token === control['[THINK]']) leave('reasoning')
    else if (token === control['[/THINK]']) leave('content')
    else if (token === control['[TOOL_CALLS]']) leave('name')
    else if (token === control['[ARGS]'] && channel === 'name') leave('arguments')
    else take(decoder.decode(vocabulary.bytes(token), { stream: true }))
  }

  function count(token: number): void {
    counts.outputTokens++
    if (token === control['[THINK]']) thinking = true
    if (thinking) counts.reasoningTokens++
    if (token === control['[/THINK]']) thinking = false
  }

  function drain(): EngineEvent[] {
    const drained = events
    events = []
    return drained
  }

  return {
    get stopped() {
      return stopped
    },
    push(tokens) {
      for (const token of tokens) takeToken(token)
      return drain()
    },
    end(reason) {
      if (stopped) {
        const stop = search.which
        const finishReason = called ? 'tool_calls' : 'stop'
        events.push({ kind: 'end', finishReason, ...(stop !== undefined && { stop }) })
      } else if (reason === 'abort' || reason === 'failed' || reason === 'costly')
        events.push({ kind: 'end', finishReason: 'abort' })
      else {
        // A call that the length limit cut off is dropped: its arguments are incomplete.
        const cut = reason === 'length' && (channel === 'name' || channel === 'arguments')
        if (!cut) leave('content')
        const finishReason = reason === 'length' ? 'length' : called ? 'tool_calls' : 'stop'
        events.push({ kind: 'end', finishReason })
      }
      return drain()
    },
  }
}

/** Keeps a byte order mark as an ordinary character. */
function newDecoder(): TextDecoder {
  return new TextDecoder('utf-8', { ignoreBOM: true })
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
