/** The GGUF container, version 3: typed metadata, then tensor descriptions, then the tensors' bytes, each aligned. */
export type Value =
  | { kind: 'u32' | 'i32' | 'f32'; value: number }
  | { kind: 'bool'; value: boolean }
  | { kind: 'string'; value: string }
  | { kind: 'strings'; value: readonly string[] }
  | { kind: 'i32s'; value: readonly number[] }
  | { kind: 'f32s'; value: readonly number[] }

export type TensorType = 'f32' | 'q8_0'

/** `dims` in ggml's order, the fastest first; `bytes` as in the file. */
export type Tensor = { name: string; dims: readonly number[]; type: TensorType; bytes: Uint8Array }

export type Gguf = { metadata: ReadonlyMap<string, Value>; tensors: readonly Tensor[] }

const ALIGNMENT = 32
const VALUE_IDS = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 } as const
type List = Extract<Value, { kind: 'strings' | 'i32s' | 'f32s' }>
const ITEM_KINDS = { strings: 'string', i32s: 'i32', f32s: 'f32' } as const
const TENSOR_IDS: { readonly [type in TensorType]: number } = { f32: 0, q8_0: 8 }

export function writeGguf({ metadata, tensors }: Gguf): Uint8Array {
  const head = new Writer()
  head.raw(new TextEncoder().encode('GGUF'))
  head.u32(3)
  head.u64(tensors.length)
  head.u64(metadata.size)
  for (const [key, value] of metadata) head.entry(key, value)
  let offset = 0
  for (const tensor of tensors) {
    head.tensor(tensor, offset)
    offset = aligned(offset + tensor.bytes.length)
  }
  head.pad()
  for (const tensor of tensors) {
    head.raw(tensor.bytes)
    head.pad()
  }
  return head.bytes()
}

function aligned(offset: number): number {
  return Math.ceil(offset / ALIGNMENT) * ALIGNMENT
}

/** Collects little-endian pieces and counts their bytes, for the padding. */
class Writer {
  private readonly pieces: Uint8Array[] = []
  private length = 0

  raw(piece: Uint8Array): void {
    this.pieces.push(piece)
    this.length += piece.length
  }

  pad(): void {
    this.raw(new Uint8Array(aligned(this.length) - this.length))
  }

  u32(value: number): void {
    this.view(4, (view) => view.setUint32(0, value, true))
  }

  u64(value: number): void {
    this.view(8, (view) => view.setBigUint64(0, BigInt(value), true))
  }

  string(value: string): void {
    const text = new TextEncoder().encode(value)
    this.u64(text.length)
    this.raw(text)
  }

  entry(key: string, value: Value): void {
    this.string(key)
    if (value.kind === 'strings' || value.kind === 'i32s' || value.kind === 'f32s') this.array(value)
    else {
      this.u32(VALUE_IDS[value.kind])
      this.scalar(value)
    }
  }

  tensor({ name, dims, type }: Tensor, offset: number): void {
    this.string(name)
    this.u32(dims.length)
    for (const dim of dims) this.u64(dim)
    this.u32(TENSOR_IDS[type])
    this.u64(offset)
  }

  bytes(): Uint8Array {
    const all = new Uint8Array(this.length)
    let at = 0
    for (const piece of this.pieces) {
      all.set(piece, at)
      at += piece.length
    }
    return all
  }

  private array(value: List): void {
    const item = ITEM_KINDS[value.kind]
    this.u32(VALUE_IDS.array)
    this.u32(VALUE_IDS[item])
    this.u64(value.value.length)
    if (value.kind === 'strings') for (const text of value.value) this.string(text)
    else for (const number of value.value) this.scalar({ kind: item, value: number } as Exclude<Value, List>)
  }

  private scalar(value: Exclude<Value, List>): void {
    if (value.kind === 'string') this.string(value.value)
    else if (value.kind === 'bool') this.raw(Uint8Array.of(value.value ? 1 : 0))
    else if (value.kind === 'u32') this.u32(value.value)
    else if (value.kind === 'i32') this.view(4, (view) => view.setInt32(0, value.value, true))
    else this.view(4, (view) => view.setFloat32(0, value.value, true))
  }

  private view(size: number, write: (view: DataView) => void): void {
    const piece = new Uint8Array(size)
    write(new DataView(piece.buffer))
    this.raw(piece)
  }
}

/** Reads files that `writeGguf` wrote: only its kinds of values and tensors. */
export function readGguf(bytes: Uint8Array): Gguf {
  const reader = new Reader(bytes)
  reader.expectMagic()
  const tensorCount = reader.u64()
  const entryCount = reader.u64()
  const metadata = new Map<string, Value>()
  for (let entry = 0; entry < entryCount; entry++) metadata.set(reader.string(), reader.value())
  const described = Array.from({ length: tensorCount }, () => reader.tensor())
  const start = aligned(reader.at)
  const tensors = described.map(({ offset, ...tensor }) => {
    const from = start + offset
    return { ...tensor, bytes: bytes.subarray(from, from + byteLength(tensor.dims, tensor.type)) }
  })
  return { metadata, tensors }
}

function byteLength(dims: readonly number[], type: TensorType): number {
  const count = dims.reduce((product, dim) => product * dim, 1)
  return type === 'f32' ? count * 4 : (count / 32) * 34
}

class Reader {
  at = 0
  private readonly view: DataView
  private readonly source: Uint8Array

  constructor(source: Uint8Array) {
    this.source = source
    this.view = new DataView(source.buffer, source.byteOffset, source.byteLength)
  }

  expectMagic(): void {
    if (this.u32() !== 0x46554747 || this.u32() !== 3) throw new Error('not a GGUF file of version 3')
  }

  u32(): number {
    this.at += 4
    return this.view.getUint32(this.at - 4, true)
  }

  u64(): number {
    this.at += 8
    return Number(this.view.getBigUint64(this.at - 8, true))
  }

  string(): string {
    const length = this.u64()
    this.at += length
    return new TextDecoder().decode(this.source.subarray(this.at - length, this.at))
  }

  value(): Value {
    const id = this.u32()
    if (id === VALUE_IDS.string) return { kind: 'string', value: this.string() }
    if (id === VALUE_IDS.bool) return { kind: 'bool', value: this.source[this.at++] === 1 }
    if (id === VALUE_IDS.u32) return { kind: 'u32', value: this.u32() }
    if (id === VALUE_IDS.i32) return { kind: 'i32', value: this.u32() | 0 }
    if (id === VALUE_IDS.f32) return { kind: 'f32', value: this.f32() }
    if (id === VALUE_IDS.array) return this.array()
    throw new Error(`unknown kind of metadata ${id}`)
  }

  tensor(): { name: string; dims: number[]; type: TensorType; offset: number } {
    const name = this.string()
    const dims = Array.from({ length: this.u32() }, () => this.u64())
    const type = this.u32() === TENSOR_IDS.f32 ? 'f32' : 'q8_0'
    return { name, dims, type, offset: this.u64() }
  }

  private f32(): number {
    this.at += 4
    return this.view.getFloat32(this.at - 4, true)
  }

  private array(): Value {
    const item = this.u32()
    const length = this.u64()
    if (item === VALUE_IDS.string) return { kind: 'strings', value: Array.from({ length }, () => this.string()) }
    if (item === VALUE_IDS.f32) return { kind: 'f32s', value: Array.from({ length }, () => this.f32()) }
    return { kind: 'i32s', value: Array.from({ length }, () => this.u32() | 0) }
  }
}
