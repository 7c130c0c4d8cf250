/**
 * Images: their format and size, read from their bytes, and their length in tokens of Mistral Small 4.
 *
 * The file name and media type that a client sends are ignored; the first bytes decide. Four formats are accepted:
 * those that every engine decodes or that SDKs send.
 */
import { budgets } from './budgets.ts'

type ImageFormat = 'png' | 'jpeg' | 'gif' | 'webp'

export interface ImageHead {
  format: ImageFormat
  /** In pixels; null if the bytes end before the size. */
  size: { width: number; height: number } | null
}

/** The images that an engine reads and survives. */
export interface ImageLimits {
  formats: readonly ImageFormat[]
  /** The shortest side, in pixels. */
  sideMin: number
  /** The longest side divided by the shortest. */
  aspectMax: number
}

/** For engines that follow mistral-common, which reads an image of any shape. */
export const anyImage: ImageLimits = {
  formats: ['png', 'jpeg', 'gif', 'webp'],
  sideMin: 1,
  aspectMax: budgets.imagePixels.value,
}

/**
 * For llama.cpp, and for engines that may be llama.cpp. Some versions end at an image of less than 2 × 2 pixels
 * (llama.cpp#21800; v0.4.0 does not). A thin image is scaled up: 1 × 65,000 became 16,316 tokens of at most 1,024, and
 * no other request runs while they are encoded.
 */
export const carefulImage: ImageLimits = { ...anyImage, sideMin: 2, aspectMax: 1_000 }

const formatNames: Record<ImageFormat, string> = { png: 'PNG', jpeg: 'JPEG', gif: 'GIF', webp: 'WebP' }

/** Why the image is not for an engine with these limits; undefined if it is, or if its size is not known. */
export function unfitImage({ format, size }: ImageHead, limits: ImageLimits): string | undefined {
  if (!limits.formats.includes(format))
    return `the image is a ${formatNames[format]}, which this engine does not read. Send ${limits.formats.map((each) => formatNames[each]).join(' or ')}`
  if (!size) return undefined
  const [short, long] = size.width < size.height ? [size.width, size.height] : [size.height, size.width]
  const pixels = `${size.width} × ${size.height} pixels`
  if (short < limits.sideMin)
    return `the image has ${pixels}, and this engine takes none below ${limits.sideMin} × ${limits.sideMin}. Scale it up`
  if (long > short * limits.aspectMax)
    return `the image has ${pixels}, and this engine takes none whose longer side is more than ${limits.aspectMax.toLocaleString('en-US')} times the shorter. Cut it into parts`
  return undefined
}

/** The longest side after scaling down, and the side of one token, in pixels (patch 14, merged 2 by 2). */
export const imageSideMax = 1_540
const tokenSide = 28

/** The maximum for any image: 55 rows of 55 tokens, each with one end-of-row token. */
export const imageTokensMax = imageTokens(imageSideMax, imageSideMax)

/**
 * Tokens of an image of this size in pixels, exact: rows of tokens, each with one end-of-row token (mistral-common,
 * tokens/tokenizers/image.py).
 */
export function imageTokens(width: number, height: number): number {
  const scale = Math.max(1, width / imageSideMax, height / imageSideMax)
  const tokensOf = (side: number) => Math.ceil(Math.max(1, halfToEven(side / scale)) / tokenSide)
  return tokensOf(height) * (tokensOf(width) + 1)
}

/** Rounds as Python does: 27.5 to 28, and 28.5 to 28. */
function halfToEven(value: number): number {
  const rounded = Math.round(value)
  return rounded - value === 0.5 && rounded % 2 === 1 ? rounded - 1 : rounded
}

/**
 * Reads the image's format and size; undefined if it has none of the four formats.
 * @param bytes the beginning of the file, or all of it
 */
export function sniffImage(bytes: Uint8Array): ImageHead | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (startsWith(bytes, [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])) return { format: 'png', size: png(view) }
  if (startsWith(bytes, [0xff, 0xd8, 0xff])) return { format: 'jpeg', size: jpeg(view) }
  if (ascii(bytes, 0, 6) === 'GIF87a' || ascii(bytes, 0, 6) === 'GIF89a') return { format: 'gif', size: gif(view) }
  if (ascii(bytes, 0, 4) === 'RIFF' && ascii(bytes, 8, 12) === 'WEBP')
    return { format: 'webp', size: webp(view, bytes) }
  return undefined
}

type Size = ImageHead['size']

function png(view: DataView): Size {
  return view.byteLength < 24 ? null : { width: view.getUint32(16), height: view.getUint32(20) }
}

function gif(view: DataView): Size {
  return view.byteLength < 10 ? null : { width: view.getUint16(6, true), height: view.getUint16(8, true) }
}

/** Skips segments to the frame header: SOF0 to SOF15, except three markers in that range with other meanings. */
function jpeg(view: DataView): Size {
  let at = 2
  while (at + 9 <= view.byteLength) {
    const marker = view.getUint8(at + 1)
    if (view.getUint8(at) !== 0xff) return null
    const isFrame = marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc
    if (isFrame) return { height: view.getUint16(at + 5), width: view.getUint16(at + 7) }
    // A fill byte, or a marker without a body.
    if (marker === 0xff) at += 1
    else if (marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8)) at += 2
    else at += 2 + view.getUint16(at + 2)
  }
  return null
}

/** Three kinds of first chunk: lossy, lossless, extended. */
function webp(view: DataView, bytes: Uint8Array): Size {
  if (view.byteLength < 30) return null
  switch (ascii(bytes, 12, 16)) {
    case 'VP8 ':
      return { width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff }
    case 'VP8L': {
      const bits = view.getUint32(21, true)
      return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 }
    }
    case 'VP8X': {
      const three = (at: number) => view.getUint16(at, true) + (view.getUint8(at + 2) << 16)
      return { width: three(24) + 1, height: three(27) + 1 }
    }
    default:
      return null
  }
}

function startsWith(bytes: Uint8Array, start: readonly number[]): boolean {
  return start.every((byte, index) => bytes[index] === byte)
}

function ascii(bytes: Uint8Array, from: number, to: number): string {
  return String.fromCharCode(...bytes.subarray(from, to))
}
