/**
 * Converts a request's media to what the engine accepts: images as data URLs whose type matches their bytes, and
 * documents as text, with page images if the engine has vision.
 *
 *   before the request holds a slot    readMedia: reads documents, fetches URLs, stores the results in the cache
 *   when its dispatch arrives          cachedMedia: takes them from the cache, or refuses the dispatch
 *
 * The edge has checked sizes as far as it could; the worker checks the actual bytes. The next turn of a conversation
 * brings the same document again, so results are cached for a limited time, per tenant and in limited memory.
 */
import { budgets } from '../../backends/model/budgets.ts'
import type { Chat, Message, Part } from '../../backends/model/chat.ts'
import { type ImageHead, type ImageLimits, sniffImage, unfitImage } from '../../backends/model/image.ts'
import {
  dataBytes,
  dataImage,
  documentBytesMax,
  documentTooLarge,
  documentUnknown,
  imageBytesMax,
  imageHeadTokens,
  imageTooLarge,
  imageUnknown,
  isData,
  isPdf,
  type MediaPart,
  needsReading,
  pixelsAt,
  tooManyPixels,
} from '../../backends/model/media.ts'
import type { EngineRefusal } from '../engine/engine.ts'
import { bytesOf, type MediaCache } from './media-cache.ts'
import type { PdfPage, ReadPdf } from './pdf.ts'

export interface MediaParts {
  fetch: (
    url: string,
    wanted: { bytesMax: number; accept: string },
    signal: AbortSignal,
  ) => Promise<{ ok: true; bytes: Uint8Array<ArrayBuffer> } | { ok: false; message: string }>
  readPdf: (bytes: Uint8Array<ArrayBuffer>, pictures: boolean, signal: AbortSignal) => Promise<ReadPdf>
  toBase64: (bytes: Uint8Array) => string
  mediaCache: MediaCache
}

export interface MediaFor {
  /** Whether the engine has vision. Without it, the engine refuses images itself, and documents become text. */
  vision: boolean
  /** Images that the engine survives. */
  images: ImageLimits
  /** The tenant. Cached media are never shared between owners. */
  owner: string
}

/** `media_missing`: at least one part is not in the cache and must be read first. */
export interface MediaMissing {
  ok: false
  code: 'media_missing'
  message: string
}

export type ResolvedMedia = { ok: true; chat: Chat } | EngineRefusal

/** `unsupported`: another engine may take it. */
type Resolved = { ok: true; parts: Part[] } | { ok: false; message: string; unsupported?: true }

/**
 * Reads the media that the request does not carry in a usable form. The first failure stops all other reading for the
 * request. Rejects only when `signal` aborts.
 */
export function readMedia(chat: Chat, parts: MediaParts, media: MediaFor, signal: AbortSignal): Promise<ResolvedMedia> {
  const wanted = (part: Part) => isWanted(part, media) && needsReading(part)
  return resolve(chat, wanted, (part, stop) => readPart(part, parts, media, stop), signal)
}

/** Takes media only from the cache and from the request itself: fetches no URL and reads no document. */
export async function cachedMedia(
  chat: Chat,
  parts: MediaParts,
  media: MediaFor,
): Promise<ResolvedMedia | MediaMissing> {
  let missing = false
  const fromCache = async (part: MediaPart): Promise<Resolved> => {
    if (!needsReading(part)) return imageIn(part.url, media)
    const cached = await parts.mediaCache.get(media.owner, keyOf(part, media))
    missing ||= !cached
    return cached ? { ok: true, parts: cached } : { ok: false, message: 'must be read first' }
  }
  const resolved = await resolve(chat, (part) => isWanted(part, media), fromCache, new AbortController().signal)
  if (!missing) return resolved
  return {
    ok: false,
    code: 'media_missing',
    message: 'messages: the media must be read before the request is dispatched',
  }
}

async function resolve(
  chat: Chat,
  wanted: (part: Part) => boolean,
  work: (part: MediaPart, signal: AbortSignal) => Promise<Resolved>,
  signal: AbortSignal,
): Promise<ResolvedMedia> {
  const places = chat.messages.flatMap((message, index) =>
    // An assistant's turn has no media.
    (message.role === 'assistant' ? [] : message.content).flatMap((part, at) =>
      part.kind !== 'text' && wanted(part) ? [{ index, at, part }] : [],
    ),
  )
  if (places.length === 0) return { ok: true, chat }
  const stop = new AbortController()
  const either = AbortSignal.any([signal, stop.signal])
  const resolved = new Map<Part, Part[]>()
  let failure: EngineRefusal | undefined
  let bytes = 0
  let pixels = 0
  await eachOfFew(places, budgets.mediaAtOnce.value, async ({ index, at, part }) => {
    if (failure) return
    const result = await work(part, either).catch((error: unknown) => {
      if (!failure) throw error
      return undefined
    })
    if (failure || !result) return
    const path = `messages[${index}].content[${at}]`
    if (result.ok) {
      bytes += bytesOf(result.parts)
      pixels += pixelsIn(result.parts)
    }
    if (!result.ok) failure = refuse(path, result.message, result.unsupported)
    else if (bytes > budgets.mediaBytes.value) failure = tooMuch
    else if (pixels > budgets.requestPixels.value) failure = refuse(path, tooManyPixels)
    else return void resolved.set(part, result.parts)
    stop.abort(new Error('other media of the request failed'))
  })
  if (failure) return failure
  const messages = chat.messages.map((message): Message => {
    if (message.role === 'assistant') return message
    return { ...message, content: message.content.flatMap((part) => resolved.get(part) ?? [part]) }
  })
  return { ok: true, chat: { ...chat, messages } }
}

const tooMuch = refuse(
  'messages',
  `the images and documents have more than ${budgets.mediaBytes.value} bytes when read. Send fewer or smaller ones`,
)

function pixelsIn(parts: readonly Part[]): number {
  return parts.reduce((sum, part) => sum + (part.kind === 'image' ? pixelsAt(part.url) : 0), 0)
}

function isWanted(part: Part, { vision }: MediaFor): boolean {
  return part.kind === 'document' || (part.kind === 'image' && vision)
}

async function eachOfFew<Item>(items: readonly Item[], atOnce: number, work: (item: Item) => Promise<void>) {
  const remaining = items.values()
  const lane = async () => {
    for (const item of remaining) await work(item)
  }
  await Promise.all(Array.from({ length: atOnce }, lane))
}

async function readPart(part: MediaPart, parts: MediaParts, media: MediaFor, signal: AbortSignal): Promise<Resolved> {
  const key = keyOf(part, media)
  const cached = await parts.mediaCache.get(media.owner, key)
  if (cached) return { ok: true, parts: cached }
  signal.throwIfAborted()
  const bytes = await fetchBytes(part, parts, signal)
  if (!bytes.ok) return bytes
  const resolved =
    part.kind === 'image'
      ? image(bytes.bytes, parts, media)
      : await document(part.name, bytes.bytes, parts, media, signal)
  if (resolved.ok && !(await parts.mediaCache.put(media.owner, key, resolved.parts)))
    return { ok: false, message: `the ${part.kind} is too large when read. Send a smaller one` }
  return resolved
}

function keyOf(part: MediaPart, { vision }: MediaFor): string {
  return `${vision} ${part.kind} ${part.kind === 'document' ? part.name : ''} ${part.url}`
}

const accepted = { image: 'image/png, image/jpeg, image/webp, image/gif', document: 'application/pdf' }
const bytesMax = { image: imageBytesMax, document: documentBytesMax }

async function fetchBytes(part: MediaPart, parts: MediaParts, signal: AbortSignal) {
  const { kind, url } = part
  if (isData(url)) {
    const bytes = dataBytes(url)
    return bytes ? { ok: true as const, bytes } : { ok: false as const, message: 'must be base64 in its data URL' }
  }
  const fetched = await parts.fetch(url, { bytesMax: bytesMax[kind], accept: accepted[kind] }, signal)
  return fetched.ok ? fetched : { ok: false as const, message: `the ${kind} cannot be fetched: ${fetched.message}` }
}

/** Reads an image that the request carries as a data URL. */
function imageIn(url: string, media: MediaFor): Resolved {
  const data = dataImage(url)
  if (!data) return { ok: false, message: 'must be base64 in its data URL' }
  const head = headOf(data.start, data.bytes)
  return typeof head === 'string' ? { ok: false, message: head } : imageOf(head, media, () => data.base64)
}

function image(bytes: Uint8Array<ArrayBuffer>, { toBase64 }: MediaParts, media: MediaFor): Resolved {
  const head = headOf(bytes, bytes.length)
  return typeof head === 'string' ? { ok: false, message: head } : imageOf(head, media, () => toBase64(bytes))
}

function imageOf(head: ImageHead, { images }: MediaFor, base64: () => string): Resolved {
  const unfit = unfitImage(head, images)
  if (unfit !== undefined) return { ok: false, message: unfit, unsupported: true }
  return { ok: true, parts: [{ kind: 'image', url: `data:image/${head.format};base64,${base64()}` }] }
}

/** Identifies the image by its first bytes, or returns the reason to refuse it. */
function headOf(start: Uint8Array<ArrayBuffer>, bytes: number): ImageHead | string {
  if (bytes > imageBytesMax) return imageTooLarge
  const head = sniffImage(start)
  if (!head) return imageUnknown
  if (!head.size) return 'the image is incomplete. Send the whole file'
  const tokens = imageHeadTokens(head)
  return typeof tokens === 'string' ? tokens : head
}

async function document(
  name: string,
  bytes: Uint8Array<ArrayBuffer>,
  { readPdf, toBase64 }: MediaParts,
  { vision, images }: MediaFor,
  signal: AbortSignal,
): Promise<Resolved> {
  if (bytes.length > documentBytesMax) return { ok: false, message: documentTooLarge }
  if (!isPdf(bytes)) return { ok: false, message: documentUnknown }
  const read = await readPdf(bytes, vision, signal)
  if (!read.ok) return { ok: false, message: unread(read) }
  if (!vision && read.pages.every(({ text }) => text === ''))
    return {
      ok: false,
      message: 'the document has only pictures and no text, and the engine has no vision. Send a document with text',
    }
  const unfit = unfitPage(read.pages, images)
  if (unfit !== undefined) return { ok: false, message: unfit, unsupported: true }
  return { ok: true, parts: pagesOf(name, read.pages, toBase64) }
}

/** A page may be as thin as an image. */
function unfitPage(pages: readonly PdfPage[], images: ImageLimits): string | undefined {
  for (const [index, { picture }] of pages.entries()) {
    const head = picture && sniffImage(picture)
    const unfit = head && unfitImage(head, images)
    if (unfit) return `page ${index + 1} of the document: ${unfit}`
  }
  return undefined
}

function unread(read: Extract<ReadPdf, { ok: false }>): string {
  switch (read.reason) {
    case 'locked':
      return 'the document is encrypted. Send it without a password'
    case 'broken':
      return 'the document cannot be read: it is damaged, or too large to open. Save it again, or send fewer pages'
    case 'pages':
      return `the document has ${read.pages} pages, more than ${budgets.pdfPages.value}. Send fewer pages`
    case 'text':
      return `the document has more than ${budgets.pdfCharacters.value} characters of text. Send fewer pages`
    case 'time':
      return 'the document took too long to read. Send fewer or simpler pages'
  }
}

/** Returns each page's text under its page number, followed by its page image. */
function pagesOf(name: string, pages: readonly PdfPage[], toBase64: MediaParts['toBase64']): Part[] {
  const title = `[Document${name === '' ? '' : ` "${name.replaceAll(/["\n]/g, ' ')}"`}, pages: ${pages.length}]`
  return pages.flatMap(({ text, picture }, index): Part[] => {
    const heading = `${index === 0 ? `${title}\n\n` : ''}[Page ${index + 1}]\n`
    const url = picture && `data:image/png;base64,${toBase64(picture)}`
    return [{ kind: 'text', text: `${heading}${text}\n\n` }, ...(url ? [{ kind: 'image' as const, url }] : [])]
  })
}

function refuse(param: string, message: string, unsupported = false): EngineRefusal {
  return {
    ok: false,
    code: 'invalid_value',
    message: `${param}: ${message}`,
    param,
    ...(unsupported && { unsupported }),
  }
}
