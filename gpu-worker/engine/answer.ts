/**
 * From token ids to what the client sees. Values in, events out; however the ids are cut into pushes, the events say
 * the same.
 *
 * Channels are told apart by control ids, never by text: [THINK]…[/THINK] is reasoning, [TOOL_CALLS]name[ARGS]json is a
 * call that lasts until the next call or the end, the rest is content. Stop strings are looked for in content only;
 * text that may yet become one is held back. Bytes go through a streaming decoder per stretch of text, so that no half
 * character leaves; a character that the end cuts in half is dropped.
 */
import type { Counts } from '../../backends/model/money.ts'
import type { EngineEvent } from './engine.ts'
import type { EndReason } from './messages.ts'
import { createStopSearch } from './stop.ts'
import type { Vocabulary } from './vocabulary.ts'

export interface AnswerParser {
  /** Takes sampled ids. After a stop string was found they are counted, and nothing comes out. */
  push(tokens: readonly number[]): EngineEvent[]
  /** Takes what ended the run; the last events. `abort`, `failed` and `costly` drop what was held back. */
  end(reason: EndReason): EngineEvent[]
  /** A stop string was found: nothing that follows is part of the answer. */
  readonly stopped: boolean
}

type Channel = 'content' | 'reasoning' | 'name' | 'arguments'

/** @param counts `outputTokens` and `reasoningTokens` are kept up to date in it */
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
        // A call that the length cut off is no call: its arguments are half a text.
        const cut = reason === 'length' && (channel === 'name' || channel === 'arguments')
        if (!cut) leave('content')
        const finishReason = reason === 'length' ? 'length' : called ? 'tool_calls' : 'stop'
        events.push({ kind: 'end', finishReason })
      }
      return drain()
    },
  }
}

/** A byte order mark is a character like any other here. */
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
