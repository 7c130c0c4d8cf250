/**
 * Q8_0: blocks of 32 values as one half-precision scale and 32 signed bytes. The largest value of a block becomes ±127
 * exactly, so quantising dequantised values gives the same bytes, and a file can be rebuilt from itself.
 */
const BLOCK = 32
const BLOCK_BYTES = 2 + BLOCK

export function quantised(values: Float32Array): Uint8Array {
  if (values.length % BLOCK) throw new Error(`${values.length} values do not fill blocks of ${BLOCK}`)
  const out = new Uint8Array((values.length / BLOCK) * BLOCK_BYTES)
  const view = new DataView(out.buffer)
  for (let block = 0; block < values.length / BLOCK; block++) {
    const part = values.subarray(block * BLOCK, (block + 1) * BLOCK)
    const scale = part.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127
    view.setUint16(block * BLOCK_BYTES, halfBits(scale), true)
    for (const [at, value] of part.entries()) {
      const byte = scale ? Math.round(value / scale) : 0
      view.setInt8(block * BLOCK_BYTES + 2 + at, Math.max(-127, Math.min(127, byte)))
    }
  }
  return out
}

export function dequantised(bytes: Uint8Array): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const out = new Float32Array((bytes.length / BLOCK_BYTES) * BLOCK)
  for (let at = 0; at < out.length; at++) {
    const start = Math.floor(at / BLOCK) * BLOCK_BYTES
    out[at] = halfValue(view.getUint16(start, true)) * view.getInt8(start + 2 + (at % BLOCK))
  }
  return out
}

const single = new Float32Array(1)
const singleBits = new Uint32Array(single.buffer)

/** A non-negative float as IEEE half precision, rounded to nearest; small values become subnormal, then zero. */
function halfBits(value: number): number {
  single[0] = value
  const bits = singleBits[0] ?? 0
  const exponent = (bits >>> 23) - 112
  const mantissa = bits & 0x7fffff
  if (exponent >= 31) throw new Error(`${value} is too large for half precision`)
  if (exponent > 0) return (exponent << 10) + ((mantissa + 0x1000) >>> 13)
  if (exponent < -10) return 0
  return (((mantissa | 0x800000) >>> (1 - exponent)) + 0x1000) >>> 13
}

function halfValue(bits: number): number {
  const exponent = bits >>> 10
  const mantissa = bits & 0x3ff
  return exponent === 0 ? mantissa * 2 ** -24 : (1 + mantissa / 1024) * 2 ** (exponent - 15)
}
