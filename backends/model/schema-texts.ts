/**
 * The schemas of a request as the client wrote them. `JSON.parse` turns 0.0 into 0, rounds 64-bit bounds and moves keys
 * of digits to the front, but the schema of a tool becomes a part of the prompt, where each character counts, and an
 * engine reads the numbers of any schema. So a schema whose parsed value does not print as its text keeps the text, cut
 * out of the body. One pass over the body's bytes.
 */
import { budgets } from './budgets.ts'
import type { Chat, ResponseFormat, Tool } from './chat.ts'
import { minified } from './json-text.ts'

/** The places of schemas in the bodies of a dialect. */
export interface SchemaPlaces {
  /** Each list of tools by its key, with the path of the schema in an element. */
  tools: Readonly<Record<string, readonly string[]>>
  /** Paths from the body to the schema of the answer, of which a body uses one. */
  formats: readonly (readonly string[])[]
}

/** Those of Chat Completions, the format of workers. */
export const chatSchemaPlaces: SchemaPlaces = {
  tools: { tools: ['function', 'parameters'], functions: ['parameters'] },
  formats: [
    ['response_format', 'json_schema', 'schema'],
    ['response_format', 'schema'],
  ],
}

/**
 * Adds the texts of the schemas to the tools and the format of a chat that was read from `body`.
 * @param body valid JSON
 */
export function withSchemaTexts(chat: Chat, body: Uint8Array, places: SchemaPlaces): Chat {
  const walk = new JsonWalk(body)
  return { ...chat, tools: toolsWithTexts(chat.tools, walk, places), format: formatWithText(chat.format, walk, places) }
}

function toolsWithTexts(tools: Tool[], walk: JsonWalk, { tools: lists }: SchemaPlaces): Tool[] {
  if (tools.length === 0) return tools
  const found = Object.entries(lists).flatMap(([key, path]) => {
    const list = walk.member(walk.start(), key)
    return list === undefined ? [] : walk.elements(list).flatMap((element) => walk.object(element, path))
  })
  const texts = walk.texts(found).map(minified)
  const places = new Map<string, number[]>()
  // Last first: the next place is at the end of its list.
  for (let at = texts.length - 1; at >= 0; at--) {
    const printed = reprinted(texts[at] ?? '')
    const same = places.get(printed)
    if (same) same.push(at)
    else places.set(printed, [at])
  }
  return tools.map((tool) => withText(tool, texts, places))
}

/** Tools of one value take its texts in their order: the reader keeps the order of the tools. */
function withText(tool: Tool, texts: readonly string[], places: ReadonlyMap<string, number[]>): Tool {
  const printed = JSON.stringify(tool.parameters)
  const parametersText = texts[places.get(printed)?.pop() ?? -1]
  return parametersText === undefined || parametersText === printed ? tool : { ...tool, parametersText }
}

function formatWithText(format: ResponseFormat, walk: JsonWalk, { formats }: SchemaPlaces): ResponseFormat {
  if (format.kind !== 'json_schema') return format
  const printed = JSON.stringify(format.schema)
  for (const path of formats) {
    const [text] = walk.texts(walk.object(walk.start(), path)).map(minified)
    if (text !== undefined && text !== printed && reprinted(text) === printed) return { ...format, schemaText: text }
  }
  return format
}

const reprinted = (text: string) => JSON.stringify(JSON.parse(text))

const quote = 0x22
const backslash = 0x5c
const comma = 0x2c
// This runs for every byte of a body outside its strings.
const opens = (byte: number | undefined) => byte === 0x7b || byte === 0x5b
const closes = (byte: number | undefined) => byte === 0x7d || byte === 0x5d
const isSpace = (byte: number | undefined) => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09
const decoder = new TextDecoder()

/** Byte positions of a value. */
interface JsonPlace {
  from: number
  to: number
}

/** Moves through valid JSON by byte positions. */
class JsonWalk {
  readonly #bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  start(): number {
    return this.#skipSpace(0)
  }

  /** The object at a path, as a list of at most one. */
  object(at: number, path: readonly string[]): JsonPlace[] {
    let found: number | undefined = at
    for (const key of path) found = found === undefined ? undefined : this.member(found, key)
    return found === undefined || !this.#isObject(found) ? [] : [{ from: found, to: this.end(found) }]
  }

  /** Empty if they are too long for any prompt. */
  texts(places: readonly JsonPlace[]): string[] {
    const bytes = places.reduce((sum, { from, to }) => sum + to - from, 0)
    if (bytes > budgets.toolBytes.value) return []
    return places.map(({ from, to }) => decoder.decode(this.#bytes.subarray(from, to)))
  }

  #isObject(at: number): boolean {
    return this.#bytes[at] === 0x7b
  }

  /** The value of the last member with this key, as for `JSON.parse`. */
  member(at: number, key: string): number | undefined {
    if (!this.#isObject(at)) return undefined
    let found: number | undefined
    for (let next = this.#skipSpace(at + 1); this.#bytes[next] === quote; ) {
      const nameEnd = this.#stringEnd(next)
      const value = this.#skipSpace(this.#skipSpace(nameEnd) + 1)
      if (this.#isKey(next, nameEnd, key)) found = value
      next = this.#skipSpace(this.end(value))
      if (this.#bytes[next] === comma) next = this.#skipSpace(next + 1)
    }
    return found
  }

  elements(at: number): number[] {
    if (this.#bytes[at] !== 0x5b) return []
    const found: number[] = []
    for (let next = this.#skipSpace(at + 1); next < this.#bytes.length && !closes(this.#bytes[next]); ) {
      found.push(next)
      next = this.#skipSpace(this.end(next))
      if (this.#bytes[next] === comma) next = this.#skipSpace(next + 1)
    }
    return found
  }

  /** The position after the value. */
  end(at: number): number {
    if (this.#bytes[at] === quote) return this.#stringEnd(at)
    if (!opens(this.#bytes[at])) return this.#wordEnd(at)
    let depth = 0
    for (let next = at; next < this.#bytes.length; ) {
      const byte = this.#bytes[next]
      if (byte === quote) {
        next = this.#stringEnd(next)
        continue
      }
      if (opens(byte)) depth++
      else if (closes(byte) && --depth === 0) return next + 1
      next++
    }
    return this.#bytes.length
  }

  #isKey(from: number, to: number, key: string): boolean {
    // A key may be written with escapes: six characters for one at most.
    if (to - from > 6 * key.length + 2) return false
    return JSON.parse(decoder.decode(this.#bytes.subarray(from, to))) === key
  }

  #skipSpace(at: number): number {
    let next = at
    while (isSpace(this.#bytes[next])) next++
    return next
  }

  #wordEnd(at: number): number {
    let next = at
    for (; next < this.#bytes.length; next++) {
      const byte = this.#bytes[next]
      if (byte === comma || closes(byte) || isSpace(byte)) break
    }
    return next
  }

  #stringEnd(at: number): number {
    for (let end = at; ; ) {
      end = this.#nextQuote(end + 1)
      if (end < 0) return this.#bytes.length
      let escapes = 0
      while (this.#bytes[end - 1 - escapes] === backslash) escapes++
      if (escapes % 2 === 0) return end + 1
    }
  }

  /** `indexOf` is fast for long strings and slow to call for short ones. */
  #nextQuote(from: number): number {
    const near = Math.min(from + 32, this.#bytes.length)
    for (let at = from; at < near; at++) if (this.#bytes[at] === quote) return at
    return this.#bytes.indexOf(quote, near)
  }
}
