/**
 * Images and documents inside a request: the forms that every dialect writes them in, and the bounds that can be
 * checked where nothing is fetched or decoded, which is at the edge, before anything is reserved.
 *
 * A part carries its bytes in a data URL, or says where they are with an https address. Addresses are fetched by the
 * worker (see `gpu-worker/media`): only there a name can be resolved and the connection pinned to what it resolved to.
 */
import { budgets } from './budgets.ts'
import { type ImageHead, imageTokens, imageTokensMax, sniffImage } from './image.ts'
import { trimmedEnd } from './trim-end.ts'

export type MediaPart = { kind: 'image'; url: string } | { kind: 'document'; url: string; name: string }

/** Per request, images in tool results included. */
export const imagesMax = budgets.imagesPerRequest.value
export const documentsMax = budgets.documentsPerRequest.value
/** Decoded, each. */
export const imageBytesMax = budgets.imageBytes.value
export const documentBytesMax = budgets.documentBytes.value
/** Decoders hold four bytes for each. */
export const imagePixelsMax = budgets.imagePixels.value
const urlMax = 2_048
const nameMax = 256

export type ReadPart<Kind> = { ok: true; part: Kind } | { ok: false; message: string }

/** An image by its address: `image_url` of Chat Completions, `input_image` of Responses, `source.url` of Messages. */
export function imageByUrl(url: string): ReadPart<MediaPart> {
  if (isData(url))
    return url.includes(';base64,') ? ok({ kind: 'image', url }) : refuse('must be base64 in its data URL')
  const wrong = wrongAddress(url)
  return wrong ? refuse(wrong) : ok({ kind: 'image', url })
}

/** An image by its base64 text, as Messages has it. The media type is not believed: the bytes tell. */
export function imageByData(data: string): MediaPart {
  return { kind: 'image', url: `data:application/octet-stream;base64,${data}` }
}

/**
 * A document by its bytes or address: `file` of Chat Completions (`file_data` is a data URL, or base64 alone),
 * `input_file` of Responses, `document` of Messages, `document_url` of Mistral's dialect. Plain text becomes text.
 */
export function documentBy(source: string, name: string): ReadPart<MediaPart | { kind: 'text'; text: string }> {
  const short = cleanName(name)
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(source)) {
    const wrong = wrongAddress(source)
    return wrong ? refuse(wrong) : ok({ kind: 'document', url: source, name: short })
  }
  if (!isData(source)) return ok({ kind: 'document', url: `data:application/pdf;base64,${source}`, name: short })
  if (!source.includes(';base64,')) return refuse('must be base64 in its data URL')
  if (!source.toLowerCase().startsWith('data:text/')) return ok({ kind: 'document', url: source, name: short })
  const bytes = decodeBase64(base64Of(source))
  const text = bytes && decodeText(bytes)
  if (text === undefined) return refuse('must be UTF-8 text in base64')
  const wrong = wrongText(text)
  return wrong ? refuse(wrong) : ok({ kind: 'text', text })
}

/**
 * Why a tokenizer cannot take it: a C string would end at a NUL, and half of a surrogate pair has no UTF-8 form, so what
 * is counted and what is replayed would differ.
 */
export function wrongText(text: string): string | undefined {
  if (text.includes('\0')) return 'must not contain the NUL character'
  return text.isWellFormed() ? undefined : 'must not contain a lone surrogate: send well-formed Unicode'
}

/** A document's name goes into the prompt: no control characters, and no half of a pair where it is cut. */
function cleanName(name: string): string {
  return name
    .slice(0, nameMax)
    .replace(/\p{Cc}/gu, ' ')
    .toWellFormed()
}

export interface MediaSize {
  images: number
  documents: number
  /** Characters of the request that are media and no text. */
  urlCharacters: number
  /** Tokens of all media, on the high side for images, a guess for documents: the worker counts exactly. */
  tokens: number
}

export type MeasuredMedia =
  | ({ ok: true } & MediaSize)
  | { ok: false; code: 'invalid_value'; message: string; param: string }

interface WithContent {
  content: readonly { kind: string; url?: string }[]
}

/** Counts and bounds every image and document of a conversation; the first that cannot be taken is named by its path. */
export function measureMedia(messages: readonly WithContent[]): MeasuredMedia {
  const size: MediaSize = { images: 0, documents: 0, urlCharacters: 0, tokens: 0 }
  for (const [index, message] of messages.entries()) {
    for (const [at, { kind, url }] of message.content.entries()) {
      if (url === undefined) continue
      const measured = kind === 'image' ? imageSize(url, size) : documentSize(url, size)
      if (typeof measured === 'string') {
        const param = `messages[${index}].content[${at}]`
        return { ok: false, code: 'invalid_value', message: `${param}: ${measured}`, param }
      }
      size.urlCharacters += url.length
      size.tokens += measured
    }
  }
  return { ok: true, ...size }
}

function imageSize(url: string, size: MediaSize): number | string {
  size.images += 1
  if (size.images > imagesMax) return `more than ${imagesMax} images: send fewer in one request`
  if (!isData(url)) return imageTokensMax
  const base64 = base64Of(url)
  if (decodedBytes(base64) > imageBytesMax) return imageTooLarge
  const head = sniffed(base64, headCharacters)
  const complete = head && !head.size ? sniffed(base64, sniffedCharacters) : head
  return complete ? imageHeadTokens(complete) : imageUnknown
}

/** The tokens of an image, exact where its size is told in the data URL, else the most that one can have. */
export function imageTokensAt(url: string): number {
  const measured = imageSize(url, { images: 0, documents: 0, urlCharacters: 0, tokens: 0 })
  return typeof measured === 'number' ? measured : imageTokensMax
}

export const imageTooLarge = `the image is larger than ${imageBytesMax} bytes: scale it down`
export const imageUnknown = 'this is no PNG, JPEG, WebP or GIF image: send one of these, in base64'

/** Its tokens, or why it is not taken. */
export function imageHeadTokens({ size }: ImageHead): number | string {
  if (!size) return imageTokensMax
  if (size.width < 1 || size.height < 1) return 'the image has no pixels'
  if (size.width * size.height > imagePixelsMax)
    return `the image has ${size.width} × ${size.height} pixels, more than ${imagePixelsMax}: scale it down`
  return imageTokens(size.width, size.height)
}

/** A page of text has about 700 tokens, and its file, fonts apart, more than 5,000 bytes. */
const bytesPerDocumentToken = 8
/** Pictures make a file large and its text no longer; a guess that is too low is put right by the worker's count. */
const documentTokensGuessMax = 32_768
/** Until a document that is elsewhere was fetched. */
const documentTokensUnknown = 8_192

function documentSize(url: string, size: MediaSize): number | string {
  size.documents += 1
  if (size.documents > documentsMax) return `more than ${documentsMax} documents: send fewer in one request`
  if (!isData(url)) return documentTokensUnknown
  const base64 = base64Of(url)
  const bytes = decodedBytes(base64)
  if (bytes > documentBytesMax) return documentTooLarge
  const start = decodeBase64(base64.slice(0, 2_048))
  if (!start || !isPdf(start)) return documentUnknown
  return Math.min(documentTokensGuessMax, Math.ceil(bytes / bytesPerDocumentToken))
}

export const documentTooLarge = `the document is larger than ${documentBytesMax} bytes: send fewer pages`
export const documentUnknown = 'this is no PDF: send a PDF in base64, or the text itself'

/** The header may stand within the first 1,024 bytes. */
export function isPdf(bytes: Uint8Array): boolean {
  return new TextDecoder('latin1').decode(bytes.subarray(0, 1_024)).includes('%PDF-')
}

/** Whether a worker must read or fetch it before the request may hold a slot. */
export function needsReading({ kind, url }: { kind: string; url?: string }): boolean {
  return url !== undefined && (kind === 'document' || !isData(url))
}

export function isData(url: string): boolean {
  return /^data:/i.test(url)
}

/** The bytes of a data URL, or undefined where it is not base64. */
export function dataBytes(url: string): Uint8Array<ArrayBuffer> | undefined {
  return decodeBase64(base64Of(url))
}

/** The size stands at the beginning, except in a JPEG, where metadata may come first; most of it is shorter than this. */
const headCharacters = 4 * 1024
const sniffedCharacters = 256 * 1024

function sniffed(base64: string, characters: number): ImageHead | undefined {
  const bytes = decodeBase64(base64.slice(0, characters))
  return bytes && sniffImage(bytes)
}

function base64Of(url: string): string {
  return url.slice(url.indexOf(',') + 1)
}

function decodedBytes(base64: string): number {
  return Math.floor((base64.length * 3) / 4)
}

/**
 * Both alphabets, with white space and with or without padding; a cut is decoded as far as it is whole. Each step is
 * linear: a regular expression for the padding took 48 s for 200,000 characters of it.
 */
function decodeBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  const binary = decodeBinary(standardBase64(text))
  if (binary === undefined) return undefined
  const bytes = new Uint8Array(binary.length)
  // Twenty times as fast as `Uint8Array.from`: 170 ms and not 3.3 s for 20 MiB.
  for (let index = 0; index < binary.length; index++) bytes[index] = binary.charCodeAt(index)
  return bytes
}

function decodeBinary(base64: string): string | undefined {
  try {
    return atob(base64)
  } catch {
    return undefined
  }
}

/** The standard alphabet, without white space and padding, whole. */
function standardBase64(text: string): string {
  const clean = trimmedEnd(text.replace(/\s+/g, '').replaceAll('-', '+').replaceAll('_', '/'), '=')
  return clean.length % 4 === 1 ? clean.slice(0, -1) : clean
}

export interface DataImage {
  bytes: number
  /** As much as an image is known by. */
  start: Uint8Array<ArrayBuffer>
  /** The same image, in the form that every engine takes. */
  base64: string
}

/** An image in a data URL. Its bytes are checked and not unpacked: 20 MiB take 50 ms. Undefined where it is not base64. */
export function dataImage(url: string): DataImage | undefined {
  const clean = standardBase64(base64Of(url))
  const start = decodeBase64(clean.slice(0, sniffedCharacters))
  const binary = decodeBinary(clean)
  if (!start || binary === undefined) return undefined
  // The last characters may carry bits that are no byte's; some decoders refuse them.
  const whole = clean.length - (clean.length % 4)
  const last = binary.slice((whole / 4) * 3)
  return { bytes: binary.length, start, base64: clean.slice(0, whole) + btoa(last) }
}

function decodeText(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: false }).decode(bytes)
  } catch {
    return undefined
  }
}

function wrongAddress(url: string): string | undefined {
  if (url.length > urlMax) return `must be an address of at most ${urlMax} characters, or a data URL`
  if (!URL.canParse(url)) return 'must be an https address or a data URL'
  const { protocol, username, password } = new URL(url)
  if (protocol !== 'https:') return 'must be an https address or a data URL'
  if (username !== '' || password !== '') return 'must be an address without a user name or password'
  return undefined
}

function ok<Kind>(part: Kind): { ok: true; part: Kind } {
  return { ok: true, part }
}

function refuse(message: string): { ok: false; message: string } {
  return { ok: false, message }
}
