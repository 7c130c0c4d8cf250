/**
 * The worker's request body, as bytes, for a client of another dialect. Long strings are encoded in slices, directly
 * into the result, so that an image of 20 MiB is never in memory a second time as text. Pure.
 */
import type { Chat } from '../../backends/model/chat.ts'
import { chatBody, chatValue, hasTexts, schemaTexts } from '../../backends/model/chat-body.ts'

const encoder = new TextEncoder()
const longCharacters = 16 * 1024
const sliceCharacters = 256 * 1024
const stepBytes = 64 * 1024

/**
 * @param bytesMax the only reason to return undefined: the body would be longer
 * @param mark placeholder for a long string; random, so that no client can send it
 * @param large whether the client's body was large; a small one is encoded in one step
 */
export function chatBytes(
  chat: Chat,
  bytesMax: number,
  mark: string,
  large: boolean,
): Uint8Array<ArrayBuffer> | undefined {
  if (!large) {
    // `encode` always returns a new buffer.
    const bytes = encoder.encode(chatBody(chat)) as Uint8Array<ArrayBuffer>
    return bytes.byteLength <= bytesMax ? bytes : undefined
  }
  const long: string[] = []
  const { tools: _tools, response_format: _format, ...rest } = chatValue(chat)
  const apart = hasTexts(chat)
  const value = apart ? rest : chatValue(chat)
  const text = JSON.stringify(value, (_, value: unknown) => {
    if (typeof value !== 'string' || value.length < longCharacters) return value
    long.push(value)
    return mark + (long.length - 1)
  })
  const out = new GrowingBytes(text.length + long.reduce((sum, { length }) => sum + length, 0), bytesMax)
  let from = 0
  // Texts of schemas are not in any value.
  if (apart) {
    from = 1
    const members = Object.entries(schemaTexts(chat)).map(([key, text]) => `"${key}":${text},`)
    if (!out.add(`{${members.join('')}`)) return undefined
  }
  for (const [index, value] of long.entries()) {
    const place = `"${mark}${index}"`
    const at = text.indexOf(place, from)
    if (!out.add(text.slice(from, at + 1)) || !addString(out, value)) return undefined
    from = at + place.length - 1
  }
  return out.add(text.slice(from)) ? out.bytes() : undefined
}

/** Adds the content of a JSON string, without its quotes. */
function addString(out: GrowingBytes, value: string): boolean {
  for (let at = 0; at < value.length; ) {
    let end = Math.min(value.length, at + sliceCharacters)
    // `JSON.stringify` would escape half of a surrogate pair.
    if (end < value.length && isHighSurrogate(value.charCodeAt(end - 1))) end -= 1
    if (!out.add(JSON.stringify(value.slice(at, end)).slice(1, -1))) return false
    at = end
  }
  return true
}

const isHighSurrogate = (code: number) => code >= 0xd800 && code <= 0xdbff

class GrowingBytes {
  #buffer: ArrayBuffer
  #length = 0
  readonly #bytesMax: number

  constructor(bytesExpected: number, bytesMax: number) {
    this.#buffer = new ArrayBuffer(Math.min(bytesMax, bytesExpected))
    this.#bytesMax = bytesMax
  }

  /** Returns false when the text does not fit. */
  add(text: string): boolean {
    for (let at = 0; at < text.length; ) {
      const rest = at === 0 ? text : text.slice(at)
      const { read, written } = encoder.encodeInto(rest, new Uint8Array(this.#buffer, this.#length))
      at += read
      this.#length += written
      if (at < text.length && !this.#grow(text.length - at)) return false
    }
    return true
  }

  bytes(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#buffer, 0, this.#length)
  }

  #grow(units: number): boolean {
    const size = this.#buffer.byteLength
    if (size >= this.#bytesMax) return false
    const next = Math.max(Math.ceil(size * 1.25), this.#length + units + stepBytes)
    this.#buffer = this.#buffer.transfer(Math.min(this.#bytesMax, next))
    return true
  }
}
