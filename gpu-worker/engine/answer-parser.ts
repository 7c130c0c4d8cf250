/**
 * Parses token ids into the events of an answer. Any split of the ids into pushes gives the same content.
 *
 * Control ids, never text, separate the sections:
 *
 *   content ──[THINK]──▶ reasoning ──[/THINK]──▶ content          from any section: [THINK], [/THINK], [TOOL_CALLS]
 *   content ──[TOOL_CALLS]──▶ callName ──[ARGS]──▶ callArguments  a call ends with the next section, or the answer
 *
 * Stop strings are searched in content only; text that may become a stop string is held back. Each section of text has
 * a streaming decoder, so that no partial character is sent; a character that the end cuts in half is dropped.
 */
import type { Counts } from '../../backends/model/money.ts'
import type { EngineEvent } from './engine.ts'
import type { EndReason } from './messages.ts'
import { createStopSearch, type StopSearch } from './stop.ts'
import type { Vocabulary } from './vocabulary.ts'

type AnswerSection =
  | { kind: 'content' }
  | { kind: 'reasoning' }
  | { kind: 'callName'; name: string }
  | { kind: 'callArguments'; name: string; json: string }

export interface AnswerTerms {
  vocabulary: Vocabulary
  stop: readonly string[]
  /** Names of the tools that the answer may call. */
  tools: readonly string[]
  /** The client's name of each tool that has another name in the prompt. */
  clientNames: ReadonlyMap<string, string>
  /** Whether the prompt ends within thinking, so that the answer begins in `reasoning`. */
  inThinking: boolean
}

export class AnswerParser {
  readonly #vocabulary: Vocabulary
  readonly #search: StopSearch
  readonly #tools: readonly string[]
  readonly #clientNames: ReadonlyMap<string, string>
  readonly #counts: Counts
  #section: AnswerSection
  #decoder = newDecoder()
  /** Whether ids count as reasoning. It differs from the section after a stop string, and in a call while thinking. */
  #thinking: boolean
  #called = false
  #events: EngineEvent[] = []

  /** @param counts its `outputTokens` and `reasoningTokens` are updated */
  constructor({ vocabulary, stop, tools, clientNames, inThinking }: AnswerTerms, counts: Counts) {
    this.#vocabulary = vocabulary
    this.#tools = tools
    this.#clientNames = clientNames
    this.#search = createStopSearch(stop)
    this.#section = { kind: inThinking ? 'reasoning' : 'content' }
    this.#thinking = inThinking
    this.#counts = counts
  }

  /** A stop string was found: later tokens are not part of the answer. */
  get stopped(): boolean {
    return this.#search.found
  }

  /** Takes sampled ids. After a stop string was found, ids are counted and return no events. */
  push(tokens: readonly number[]): EngineEvent[] {
    for (const token of tokens) {
      this.#count(token)
      if (!this.stopped) this.#take(token)
    }
    return this.#drain()
  }

  /** Takes the reason of the end; returns the last events. `abort`, `failed` and `costly` drop the text held back. */
  end(reason: EndReason): EngineEvent[] {
    if (this.stopped) {
      const stop = this.#search.which
      this.#events.push({ kind: 'end', finishReason: this.#whole(), ...(stop !== undefined && { stop }) })
    } else if (reason === 'abort' || reason === 'failed' || reason === 'costly') {
      this.#events.push({ kind: 'end', finishReason: 'abort' })
    } else if (reason === 'length') {
      this.#cut()
      this.#events.push({ kind: 'end', finishReason: 'length' })
    } else {
      this.#enter({ kind: 'content' })
      this.#events.push({ kind: 'end', finishReason: this.#whole() })
    }
    return this.#drain()
  }

  #whole(): 'tool_calls' | 'stop' {
    return this.#called ? 'tool_calls' : 'stop'
  }

  #count(token: number): void {
    const { control } = this.#vocabulary
    this.#counts.outputTokens++
    if (token === control['[THINK]']) this.#thinking = true
    if (this.#thinking) this.#counts.reasoningTokens++
    if (token === control['[/THINK]']) this.#thinking = false
  }

  #take(token: number): void {
    const { control } = this.#vocabulary
    const section = this.#section
    if (token === control['[THINK]']) this.#enter({ kind: 'reasoning' })
    else if (token === control['[/THINK]']) this.#enter({ kind: 'content' })
    else if (token === control['[TOOL_CALLS]']) this.#enter({ kind: 'callName', name: '' })
    else if (token === control['[ARGS]'] && section.kind === 'callName')
      this.#enter({ kind: 'callArguments', name: section.name, json: '' })
    else this.#takeText(this.#decoder.decode(this.#vocabulary.bytes(token), { stream: true }))
  }

  #takeText(text: string): void {
    const section = this.#section
    if (section.kind === 'content') this.#emit('content', this.#search.push(text))
    else if (section.kind === 'reasoning') this.#emit('reasoning', text)
    else if (section.kind === 'callName') section.name += text
    else section.json += text
  }

  /** Ends the current section. */
  #enter(next: AnswerSection): void {
    const last = this.#section
    if (last.kind === 'content') this.#emit('content', this.#search.flush())
    else if (last.kind === 'callName' && next.kind !== 'callArguments') this.#finishCall(last.name, '')
    else if (last.kind === 'callArguments') this.#finishCall(last.name, last.json)
    this.#section = next
    this.#decoder = newDecoder()
  }

  /** A call that the length limit cut off is sent as far as it got, once its name is certain. */
  #cut(): void {
    const section = this.#section
    if (section.kind === 'content' || section.kind === 'reasoning') {
      this.#enter({ kind: 'content' })
      return
    }
    const { name: begun } = section
    const [name, ...others] =
      section.kind === 'callArguments' ? [begun] : this.#tools.filter((tool) => tool.startsWith(begun))
    if (name === undefined || name === '' || others.length > 0) return
    this.#call(name, section.kind === 'callArguments' ? section.json : '')
  }

  #finishCall(name: string, json: string): void {
    const text = json.trim() === '' ? '{}' : json
    if (name !== '' && isJson(text)) {
      this.#call(name, text)
      this.#called = true
    } else this.#emit('content', name + json)
  }

  #call(name: string, json: string): void {
    this.#events.push({ kind: 'tool', name: this.#clientNames.get(name) ?? name, arguments: json })
  }

  #emit(channel: 'reasoning' | 'content', text: string): void {
    if (text === '') return
    const last = this.#events.at(-1)
    if (last?.kind === 'text' && last.channel === channel) last.text += text
    else this.#events.push({ kind: 'text', channel, text })
  }

  #drain(): EngineEvent[] {
    const events = this.#events
    this.#events = []
    return events
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
