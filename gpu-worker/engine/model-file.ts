/**
 * Checks a GGUF file before the native library loads it: the file is complete and has a supported architecture. Also
 * reads its token list. The library aborts the process on some invalid files; reading the header costs milliseconds.
 *
 * Layout (version 2 and 3, little-endian): magic, version, tensor count, key count; the keys; the tensor table
 * (name, dimensions, type, offset); then, aligned, the tensor data.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { basename } from 'node:path'
import type { TokenizerData } from './tekken/encoder.ts'
import { createVocabulary, type Vocabulary } from './vocabulary.ts'

/** Mistral Small 4 is `mistral4`; one converter writes the same graph under the name of its base, `deepseek2`. */
const architectures = ['mistral4', 'deepseek2'] as const

export interface ModelFile {
  /** The model's name in the file. */
  name: string
  architecture: string
  /** Maximum context according to the file; 0 if the file does not have it. */
  contextTokens: number
  vocabulary: Vocabulary
  /** Name of the split before merging: `tokenizer.ggml.pre`. */
  tokenizerFamily: string
  fileBytes: number
  vocabularySize: number
  /** KV cache bytes of one token, all layers together; an upper bound if the file lacks details. */
  cacheBytesPerToken: number
}

/** @throws an Error with one sentence: the file's path and what is wrong */
export function readModelFile(path: string): ModelFile {
  return orRefused(path, () => read(path, (keys, size) => describe(keys, path, size)))
}

/** The tokenizer of a file. It takes tens of megabytes, so only the process that tokenises reads it. */
export function readTokenizer(path: string): TokenizerData & { family: string } {
  return orRefused(path, () =>
    read(path, (keys) => {
      const merges = keys.get('tokenizer.ggml.merges')
      return { ...tokenList(keys), merges: Array.isArray(merges) ? merges.map(String) : [], family: family(keys) }
    }),
  )
}

function orRefused<Result>(path: string, read: () => Result): Result {
  try {
    return read()
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const reason = code === 'ENOENT' ? 'the file does not exist' : code === 'EISDIR' ? 'it is a directory' : message
    throw new Error(`The model file ${path} cannot be served: ${reason}.`, { cause: error })
  }
}

type Value = number | bigint | boolean | string | Value[]

function read<Result>(path: string, result: (keys: Map<string, Value>, fileBytes: number) => Result): Result {
  const file = openSync(path, 'r')
  try {
    const size = fstatSync(file).size
    const reader = createReader(file, size)
    if (reader.take(4).toString('latin1') !== 'GGUF') throw new Error('it is not a GGUF file')
    const version = reader.u32()
    if (version !== 2 && version !== 3) throw new Error(`its GGUF version ${version} is not 2 or 3`)
    const tensorCount = reader.count('tensor count')
    const keys = readKeys(reader, reader.count('key count'))
    checkTensors(reader, tensorCount, Number(keys.get('general.alignment') ?? 32), size)
    return result(keys, size)
  } finally {
    closeSync(file)
  }
}

function describe(keys: Map<string, Value>, path: string, fileBytes: number): ModelFile {
  const architecture = String(keys.get('general.architecture') ?? '')
  if (!architectures.some((accepted) => accepted === architecture))
    throw new Error(
      `its architecture is ${architecture || 'not named'}. Use a model with ${architectures.join(' or ')}`,
    )
  const { tokens, types } = tokenList(keys)
  return {
    name: String(keys.get('general.name') ?? basename(path)),
    architecture,
    contextTokens: Number(keys.get(`${architecture}.context_length`) ?? 0),
    vocabulary: createVocabulary(tokens, types),
    tokenizerFamily: family(keys),
    fileBytes,
    vocabularySize: tokens.length,
    cacheBytesPerToken: cacheBytesPerToken((name) => keys.get(`${architecture}.${name}`)),
  }
}

function tokenList(keys: Map<string, Value>): { tokens: string[]; types: number[] } {
  const tokens = keys.get('tokenizer.ggml.tokens')
  const types = keys.get('tokenizer.ggml.token_type')
  if (!Array.isArray(tokens) || !Array.isArray(types) || tokens.length !== types.length)
    throw new Error('its token list is missing or incomplete')
  return { tokens: tokens.map(String), types: types.map(Number) }
}

function family(keys: Map<string, Value>): string {
  return String(keys.get('tokenizer.ggml.pre') ?? '')
}

/** Bytes of the keys and values of all layers, as 16-bit numbers. */
function cacheBytesPerToken(key: (name: string) => Value | undefined): number {
  const number = (name: string, otherwise: number) => {
    const value = key(name)
    return Array.isArray(value) ? Math.max(0, ...value.map(Number)) : Number(value ?? otherwise)
  }
  const heads = number('attention.head_count', 1)
  const keyValueHeads = number('attention.head_count_kv', heads)
  const length = number('embedding_length', 0) / Math.max(1, heads)
  const perLayer = keyValueHeads * (number('attention.key_length', length) + number('attention.value_length', length))
  return number('block_count', 0) * perLayer * 2
}

function readKeys(reader: ByteReader, count: number): Map<string, Value> {
  const keys = new Map<string, Value>()
  for (let index = 0; index < count; index++) {
    const key = reader.string()
    keys.set(key, readValue(reader, reader.u32(), key))
  }
  return keys
}

function readValue(reader: ByteReader, type: number, key: string): Value {
  switch (type) {
    case 0:
      return reader.take(1).readUInt8()
    case 1:
      return reader.take(1).readInt8()
    case 2:
      return reader.take(2).readUInt16LE()
    case 3:
      return reader.take(2).readInt16LE()
    case 4:
      return reader.u32()
    case 5:
      return reader.take(4).readInt32LE()
    case 6:
      return reader.take(4).readFloatLE()
    case 7:
      return reader.take(1).readUInt8() !== 0
    case 8:
      return reader.string()
    case 9: {
      const itemType = reader.u32()
      const count = reader.count(key)
      const items: Value[] = []
      for (let index = 0; index < count; index++) items.push(readValue(reader, itemType, key))
      return items
    }
    case 10:
      return reader.take(8).readBigUInt64LE()
    case 11:
      return reader.take(8).readBigInt64LE()
    case 12:
      return reader.take(8).readDoubleLE()
    default:
      throw new Error(`its key ${key} has the unknown type ${type}`)
  }
}

/** Every tensor must lie within the file: a truncated download ends before its last tensor. */
function checkTensors(reader: ByteReader, count: number, alignment: number, size: number): void {
  let end = 0
  for (let index = 0; index < count; index++) {
    const name = reader.string()
    const dimensions = reader.u32()
    if (dimensions > 4) throw new Error(`its tensor ${name} has ${dimensions} dimensions`)
    let elements = 1
    for (let axis = 0; axis < dimensions; axis++) elements *= Number(reader.take(8).readBigUInt64LE())
    const type = reader.u32()
    const offset = Number(reader.take(8).readBigUInt64LE())
    end = Math.max(end, offset + bytesMin(elements, type))
  }
  const start = Math.ceil(reader.position() / alignment) * alignment
  if (start + end > size) throw new Error(`it is truncated: ${size} bytes of ${start + end}`)
}

/** Elements and bytes of one block, by tensor type. For other types only the offset is checked. */
const blocks: Record<number, readonly [number, number]> = {
  0: [1, 4],
  1: [1, 2],
  2: [32, 18],
  3: [32, 20],
  6: [32, 22],
  7: [32, 24],
  8: [32, 34],
  10: [256, 84],
  11: [256, 110],
  12: [256, 144],
  13: [256, 176],
  14: [256, 210],
  30: [1, 2],
}

function bytesMin(elements: number, type: number): number {
  const block = blocks[type]
  return block ? (elements / block[0]) * block[1] : 0
}

interface ByteReader {
  take(bytes: number): Buffer
  u32(): number
  /** A 64-bit count, which cannot exceed the number of remaining bytes. */
  count(name: string): number
  string(): string
  position(): number
}

const windowBytes = 1 << 20

function createReader(file: number, size: number): ByteReader {
  let window: Buffer = Buffer.alloc(0)
  let windowAt = 0
  let at = 0
  function take(bytes: number): Buffer {
    if (at + bytes > size) throw new Error(`it is truncated: its header does not fit ${size} bytes`)
    if (at < windowAt || at + bytes > windowAt + window.length) {
      window = Buffer.alloc(Math.min(Math.max(bytes, windowBytes), size - at))
      windowAt = at
      let filled = 0
      while (filled < window.length) {
        const read = readSync(file, window, filled, window.length - filled, at + filled)
        if (read === 0) throw new Error('it became shorter while it was read')
        filled += read
      }
    }
    at += bytes
    return window.subarray(at - bytes - windowAt, at - windowAt)
  }
  function count(name: string): number {
    const value = Number(take(8).readBigUInt64LE())
    if (value > size - at) throw new Error(`it is inconsistent: ${name} is ${value}, more than its remaining bytes`)
    return value
  }
  return {
    take,
    count,
    u32: () => take(4).readUInt32LE(),
    string: () => take(count('a string length')).toString('utf8'),
    position: () => at,
  }
}
