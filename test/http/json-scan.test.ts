/** The scan that counts a body's structure before it is parsed. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type JsonFault, type JsonLimits, JsonScan, parseMemory, parseScanned } from '../../src/http/json-scan.ts'

const none: JsonLimits = { valuesMax: 1_000_000, depthMax: 1_000, longStringBytes: 1_000_000 }
const encoder = new TextEncoder()

function scan(text: string, limits: Partial<JsonLimits> = {}, cut = 1_000_000): { scan: JsonScan; fault?: JsonFault } {
  const bytes = encoder.encode(text)
  const scan = new JsonScan({ ...none, ...limits })
  for (let at = 0; at < bytes.length; at += cut) {
    const fault = scan.push(bytes.subarray(at, at + cut))
    if (fault) return { scan, fault }
  }
  return { scan }
}

const json = fc.jsonValue({ maxDepth: 5, stringUnit: 'binary' })
/** Strings longer than a limit of twelve bytes, with every character that changes how they are decoded. */
const strings = fc.string({
  unit: fc.constantFrom('a', '"', '\\', '\n', 'é', '中', '😀', '\u0001', '/'),
  maxLength: 40,
})
const named = fc.dictionary(fc.constantFrom('a', 'b', '__proto__', 'constructor', '1'), strings, {
  noNullPrototype: true,
})

describe('the scan of a body', () => {
  it('[BODY1] values and depth are counted as in the JSON value, however the bytes are split', () => {
    fc.assert(
      fc.property(
        fc.oneof(json, fc.array(strings)),
        fc.boolean(),
        fc.integer({ min: 1, max: 9 }),
        (value, spaced, cut) => {
          const text = JSON.stringify(value, null, spaced ? 1 : undefined)
          const { scan: counted } = scan(text, {}, cut)
          expect(counted.values).toBeGreaterThanOrEqual(valuesOf(value))
          expect(counted.values).toBeLessThanOrEqual(valuesOf(value) + containersOf(value))
          expect(counted.depth).toBe(0)
          expect(scan(text, { depthMax: depthOf(value) }, cut).fault).toBeUndefined()
          if (depthOf(value) > 0) expect(scan(text, { depthMax: depthOf(value) - 1 }, cut).fault).toBe('depth')
        },
      ),
    )
  })

  it('[BODY2] a body with long strings is read as by JSON.parse, however the bytes are split', () => {
    const bodies = fc.oneof(json, fc.array(fc.oneof(strings, named, fc.array(strings))))
    fc.assert(
      fc.property(bodies, fc.integer({ min: 1, max: 9 }), (value, cut) => {
        const text = JSON.stringify(value)
        const { scan: counted, fault } = scan(text, { longStringBytes: 12 }, cut)
        fc.pre(fault === undefined)
        expect(parseScanned(encoder.encode(text), counted, 'mark.')).toEqual(JSON.parse(text))
      }),
      { numRuns: 500 },
    )
    const own = parseScanned(
      ...scanned('{"__proto__":"aaaaaaaaaaaa","b":{"__proto__":{"c":"bbbbbbbbbbbb"}}}'),
    ) as object
    expect(JSON.stringify(own)).toBe('{"__proto__":"aaaaaaaaaaaa","b":{"__proto__":{"c":"bbbbbbbbbbbb"}}}')
    expect(parseScanned(...scanned('{"a":"first long one","a":"second long one"}'))).toEqual({ a: 'second long one' })
    expect(parseScanned(...scanned('"a long root string"'))).toBe('a long root string')
  })

  it('[BODY3] an exceeded limit is reported at the byte that exceeds it, before the rest arrives', () => {
    expect(scan('[1,2,3]', { valuesMax: 4 }).fault).toBeUndefined()
    expect(scan('[1,2,3]', { valuesMax: 3 }).fault).toBe('values')
    expect(scan(`[${'[],'.repeat(1_000_000)}[]]`, { valuesMax: 1_000 }).scan.length).toBe(0)
    expect(scan('"[[[[[[[[,,,,,,,,"', { valuesMax: 1, depthMax: 0 }).fault).toBeUndefined()
    expect(scan('"\\"[[[[,,,,"', { valuesMax: 1, depthMax: 0 }, 1).fault).toBeUndefined()
    expect(scan(`${'['.repeat(129)}`, { depthMax: 128 }).fault).toBe('depth')
    expect(scan(`{"${'k'.repeat(100)}":1}`, { longStringBytes: 100 }).fault).toBe('key')
    expect(scan(`{"${'k'.repeat(99)}":1}`, { longStringBytes: 100 }).fault).toBeUndefined()
    expect(scan(`["${'k'.repeat(100)}"]`, { longStringBytes: 100 }).fault).toBeUndefined()
  })

  it('[BODY4] text that is not JSON or not UTF-8 throws and is never read as another value', () => {
    const bad = [
      '{"a":"a long\u0001string"}',
      '["a long string", ]',
      '"a long \\q string"',
      '["a long string"',
      '"a long \\u12 g"',
    ]
    for (const text of bad) expect(() => parseScanned(...scanned(text)), text).toThrow(SyntaxError)
    for (const broken of [0xff, 0xe2, 0xf0]) {
      const bytes = encoder.encode('["a long string of text", "b"]')
      for (const at of [5, 27]) {
        const copy = bytes.slice()
        copy[at] = broken
        const counted = new JsonScan({ ...none, longStringBytes: 12 })
        counted.push(copy)
        expect(() => parseScanned(copy, counted, 'mark.')).toThrow()
      }
    }
  })

  it('[BODY5] the memory estimate counts two bytes per character only for text that needs them', () => {
    const million = 'a'.repeat(1_000_000)
    const limits = { longStringBytes: 16 * 1024 }
    const of = (text: string) => parseMemory(scan(text, limits).scan, 0) / 1_000_000
    expect(of(`["${million}"]`)).toBeCloseTo(2, 2)
    // One wide character outside of a long string does not double the string; one inside does.
    expect(of(`["😀","${million}"]`)).toBeCloseTo(2, 2)
    expect(of(`["😀${million}"]`)).toBeCloseTo(5, 2)
    // An escaped string exists as text and as value.
    expect(of(`["\\n${million}"]`)).toBeCloseTo(3, 2)
    expect(of(`["\\u4e2d${million}"]`)).toBeCloseTo(4, 2)
    expect(parseMemory(scan('[1,2,3]').scan, 1_000)).toBe(4 * 1_000 + 3 * 7)
  })
})

function scanned(text: string): [Uint8Array, JsonScan, string] {
  return [encoder.encode(text), scan(text, { longStringBytes: 12 }).scan, 'mark.']
}

/** One for the value and one for each element or member, as the scan counts commas and brackets. */
function valuesOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 1
  return Object.values(value).reduce((sum: number, each) => sum + valuesOf(each), 1)
}

function containersOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  return Object.values(value).reduce((sum: number, each) => sum + containersOf(each), 1)
}

function depthOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  return 1 + Object.values(value).reduce((max: number, each) => Math.max(max, depthOf(each)), 0)
}
