/**
 * Counts values, depth and long strings of a JSON text while its bytes arrive, before anything is parsed. A body of ten
 * million empty arrays is refused after one pass, without creating an object.
 *
 * The scan does not validate; `JSON.parse` does. Only a text that is not JSON can be misread, and then only its counts.
 */

export interface JsonLimits {
  /** Total number of values: each opening bracket and each comma outside of strings counts as one. */
  valuesMax: number
  depthMax: number
  /** A string of at least this many bytes is long: it is decoded separately, and must not be a field's name. */
  longStringBytes: number
}

/** A string value; its bytes, without the quotes, run from `start` (inclusive) to `end` (exclusive). */
export interface LongString {
  start: number
  end: number
  /** Contains a backslash or a control character, so only a JSON parser can decode the string. */
  escaped: boolean
  /** Contains non-ASCII characters, so each code unit of the text takes two bytes. */
  wide: boolean
  /** Contains a `\\u`, so each code unit of the value may take two bytes. */
  unicode: boolean
  /** UTF-16 code units before escapes are decoded. */
  units: number
}

export type JsonFault = 'values' | 'depth' | 'key'

const quote = 0x22
const backslash = 0x5c
const letterU = 0x75
/** Classes of bytes, inside and outside of strings. */
const plain = 0
const ends = 1
const escapes = 2
const wideByte = 3
const insideOf = Uint8Array.from({ length: 256 }, (_, byte) => {
  if (byte === quote) return ends
  if (byte === backslash || byte < 0x20) return escapes
  return byte >= 0x80 ? wideByte : plain
})
const opens = 2
const closes = 3
const comma = 4
const colon = 5
const outsideOf = new Uint8Array(256)
for (const [text, kind] of [
  ['"', ends],
  ['[{', opens],
  [']}', closes],
  [',', comma],
  [':', colon],
] as const)
  for (const character of text) outsideOf[character.charCodeAt(0)] = kind

export class JsonScan {
  readonly #limits: JsonLimits
  /** Length of the text so far, in bytes. */
  length = 0
  values = 1
  depth = 0
  readonly long: LongString[] = []
  /** Whether text outside of long strings is not ASCII, or contains a `\\u`. */
  restWide = false
  restUnicode = false
  #inString = false
  #afterBackslash = false
  #start = 0
  #escaped = false
  #wide = false
  #unicode = false
  #continuations = 0
  #astral = 0
  #longEnded = false

  constructor(limits: JsonLimits) {
    this.#limits = limits
  }

  /** Scans the next bytes. Returns the limit that is exceeded; push nothing after that. */
  push(bytes: Uint8Array): JsonFault | undefined {
    const end = bytes.length
    const { valuesMax, depthMax } = this.#limits
    for (let at = 0; at < end; ) {
      if (this.#inString) {
        at = this.#string(bytes, at)
        continue
      }
      const byte = bytes[at++] as number
      switch (outsideOf[byte]) {
        case plain:
          if (byte >= 0x80) this.restWide = true
          break
        case ends:
          this.#inString = true
          this.#start = this.length + at
          this.#escaped = this.#wide = this.#unicode = false
          this.#continuations = this.#astral = 0
          break
        case opens:
          if (++this.depth > depthMax) return 'depth'
          if (++this.values > valuesMax) return 'values'
          break
        case closes:
          this.depth -= 1
          break
        case comma:
          if (++this.values > valuesMax) return 'values'
          break
        case colon:
          if (this.#longEnded) return 'key'
          break
      }
    }
    this.length += end
    return undefined
  }

  /** Continues inside a string; returns the position at which it stopped. */
  #string(bytes: Uint8Array, from: number): number {
    const end = bytes.length
    let at = from
    if (this.#afterBackslash) {
      this.#afterBackslash = false
      this.#unicode ||= bytes[at] === letterU
      at += 1
    }
    while (at < end) {
      while (at < end && insideOf[bytes[at] as number] === plain) at++
      if (at >= end) break
      const byte = bytes[at++] as number
      if (byte === quote) {
        this.#close(this.length + at - 1)
        return at
      }
      if (byte === backslash) {
        this.#escaped = true
        if (at >= end) this.#afterBackslash = true
        else if (bytes[at++] === letterU) this.#unicode = true
      } else if (byte < 0x20) this.#escaped = true
      else {
        this.#wide = true
        if (byte < 0xc0) this.#continuations += 1
        else if (byte >= 0xf0) this.#astral += 1
      }
    }
    return at
  }

  #close(end: number): void {
    this.#inString = false
    const length = end - this.#start
    this.#longEnded = length >= this.#limits.longStringBytes
    if (this.#longEnded) {
      const units = length - this.#continuations + this.#astral
      const [escaped, wide, unicode] = [this.#escaped, this.#wide, this.#unicode]
      this.long.push({ start: this.#start, end, escaped, wide, unicode, units })
      return
    }
    this.restWide ||= this.#wide
    this.restUnicode ||= this.#unicode
  }
}

/**
 * Peak memory while a scanned text is parsed, in bytes, including the text itself: the decoded rest and its strings,
 * the long strings, and the cost of each value.
 */
export function parseMemory(scan: JsonScan, bytesPerValue: number): number {
  const { length, long, restWide, values } = scan
  const rest = length - long.reduce((sum, { start, end }) => sum + end - start, 0)
  const strings = valueBytes(scan)
  // An escaped string, or one decoded in slices, exists as text and as value for a moment.
  const passing = long.reduce(
    (max, { escaped, units, wide }) => Math.max(max, escaped || wide ? units * width(wide) : 0),
    0,
  )
  // Text decoded in slices exists twice while the slices are joined.
  return length + rest * width(restWide) ** 2 + passing + strings + values * bytesPerValue
}

/** Upper bound on the memory of the parsed strings, in bytes. */
export function valueBytes({ length, long, restWide, restUnicode }: JsonScan): number {
  const rest = length - long.reduce((sum, { start, end }) => sum + end - start, 0)
  const strings = long.reduce((sum, { units, wide, unicode }) => sum + units * width(wide || unicode), 0)
  return strings + rest * width(restWide || restUnicode)
}

const width = (wide: boolean) => (wide ? 2 : 1)

/**
 * Parses a scanned text. Long strings are cut out before and put back after, so that one non-ASCII character does not
 * double the memory of all other text.
 * @param mark placeholder for a long string; random, so that no client can send it
 */
export function parseScanned(bytes: Uint8Array, scan: JsonScan, mark: string): unknown {
  const { long, restWide } = scan
  if (long.length === 0) return JSON.parse(decode(bytes, restWide, body))
  let text = ''
  let from = 0
  for (const [index, { start, end }] of long.entries()) {
    text += decode(bytes.subarray(from, start), restWide, from === 0 ? body : inner) + mark + index
    from = end
  }
  text += decode(bytes.subarray(from), restWide, inner)
  return restored(JSON.parse(text), (cut) => {
    if (!cut.startsWith(mark)) return undefined
    const found = long[Number(cut.slice(mark.length))]
    return found && longText(bytes, found)
  })
}

/** Only a byte order mark at the start of the body is dropped. */
const body = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false })
const inner = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function longText(bytes: Uint8Array, { start, end, escaped, wide }: LongString): string {
  // A string with its quotes is itself a JSON text.
  return escaped
    ? String(JSON.parse(decode(bytes.subarray(start - 1, end + 1), wide, inner)))
    : decode(bytes.subarray(start, end), wide, inner)
}

const sliceBytes = 256 * 1024

/** Decodes long non-ASCII text in slices: at once, workerd takes 16 bytes for each byte of such a text. */
function decode(bytes: Uint8Array, wide: boolean, decoder: TextDecoder): string {
  if (!wide || bytes.length <= sliceBytes) return decoder.decode(bytes)
  // A separate decoder: after an error, a shared one would start in the middle of a character.
  const own = new TextDecoder('utf-8', { fatal: true, ignoreBOM: decoder.ignoreBOM })
  let text = ''
  for (let at = 0; at < bytes.length; at += sliceBytes)
    text += own.decode(bytes.subarray(at, at + sliceBytes), { stream: true })
  return text + own.decode()
}

/** Replaces each string for which `find` returns another. The scan has bounded the depth. */
function restored(value: unknown, find: (text: string) => string | undefined): unknown {
  if (typeof value === 'string') return find(value) ?? value
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) value[index] = restored(value[index], find)
    return value
  }
  const object = value as Record<string, unknown>
  for (const name of Object.keys(object)) {
    const old = object[name]
    const now = restored(old, find)
    // Defined instead of assigned, because a field may be named `__proto__`.
    if (now !== old)
      Object.defineProperty(object, name, { value: now, enumerable: true, configurable: true, writable: true })
  }
  return object
}
