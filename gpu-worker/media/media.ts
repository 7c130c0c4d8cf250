/**
 * What a request points at becomes what an engine can take: images in data URLs whose type is what their bytes say,
 * and documents as text, with pictures of their pages where the engine sees.
 *
 * The edge has counted and bounded what it could see; here everything is checked again by what it really is. A prompt
 * whose exact count is above its reservation comes back within a second, and a conversation's next turn brings the same
 * document again, so what was read is kept for a while: for the same tenant only, and in bounded memory.
 */
import type { Chat, Message, Part } from '../../backends/protocol/chat.ts'
import { sniffImage } from '../../backends/protocol/image.ts'
import {
  dataBytes,
  documentBytesMax,
  documentTooLarge,
  documentUnknown,
  imageBytesMax,
  imageHeadTokens,
  imageTooLarge,
  imageUnknown,
  isData,
  isPdf,
} from '../../backends/protocol/media.ts'
import type { EngineRefusal } from '../engine/engine.ts'
import type { ReadPdf } from './pdf.ts'
import type { Shelf } from './shelf.ts'

export interface MediaParts {
  fetch: (
    url: string,
    wanted: { bytesMax: number; accept: string },
    signal: AbortSignal,
  ) => Promise<{ ok: true; bytes: Uint8Array<ArrayBuffer> } | { ok: false; message: string }>
  readPdf: (bytes: Uint8Array<ArrayBuffer>, pictures: boolean, signal: AbortSignal) => Promise<ReadPdf>
  toBase64: (bytes: Uint8Array) => string
  shelf: Shelf
}

export interface MediaFor {
  /** Whether the engine sees. Where it does not, images are left to its own refusal and documents become text. */
  vision: boolean
  /** Nobody else gets what was read for this one. */
  owner: string
}

export type ResolvedMedia = { ok: true; chat: Chat } | EngineRefusal

type Resolved = { ok: true; parts: Part[] } | { ok: false; message: string }

/** A few at once. Rejects only when `signal` aborts. */
export async function resolveMedia(
  chat: Chat,
  parts: MediaParts,
  media: MediaFor,
  signal: AbortSignal,
): Promise<ResolvedMedia> {
  const places = chat.messages.flatMap(({ content }, index) =>
    content.flatMap((part, at) => (isWanted(part, media) ? [{ index, at, part }] : [])),
  )
  if (places.length === 0) return { ok: true, chat }
  const results = await mapFew(places, atOnceMax, ({ part }) => resolvePart(part, parts, media, signal))
  const resolved = new Map<Part, Part[]>()
  for (const [place, result] of results.entries()) {
    const { index = 0, at = 0, part } = places[place] ?? {}
    if (!result.ok) return refuse(`messages[${index}].content[${at}]`, result.message)
    if (part) resolved.set(part, result.parts)
  }
  const messages = chat.messages.map(
    (message): Message => ({ ...message, content: message.content.flatMap((part) => resolved.get(part) ?? [part]) }),
  )
  return { ok: true, chat: { ...chat, messages } }
}

const atOnceMax = 4

function isWanted(part: Part, { vision }: MediaFor): boolean {
  return part.kind === 'document' || (part.kind === 'image' && vision)
}

async function mapFew<Item, Result>(
  items: readonly Item[],
  atOnce: number,
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = []
  const left = items.entries()
  const lane = async () => {
    for (const [index, item] of left) results[index] = await work(item)
  }
  await Promise.all(Array.from({ length: atOnce }, lane))
  return results
}

function keep(part: Part): Resolved {
  return { ok: true, parts: [part] }
}

async function resolvePart(part: Part, parts: MediaParts, media: MediaFor, signal: AbortSignal): Promise<Resolved> {
  if (part.kind === 'text') return keep(part)
  const key = `${media.owner} ${media.vision} ${part.kind === 'document' ? part.name : ''} ${part.url}`
  const kept = await parts.shelf.get(key)
  if (kept) return { ok: true, parts: kept }
  const bytes = await bytesOf(part, parts, signal)
  if (!bytes.ok) return bytes
  const resolved =
    part.kind === 'image' ? image(bytes.bytes, parts) : await document(part.name, bytes.bytes, parts, media, signal)
  // An image that came with the request is not worth its memory.
  if (resolved.ok && !(part.kind === 'image' && isData(part.url))) await parts.shelf.put(key, resolved.parts)
  return resolved
}

const accepted = { image: 'image/png, image/jpeg, image/webp, image/gif', document: 'application/pdf' }
const bytesMax = { image: imageBytesMax, document: documentBytesMax }

async function bytesOf(part: Exclude<Part, { kind: 'text' }>, parts: MediaParts, signal: AbortSignal) {
  const { kind, url } = part
  if (isData(url)) {
    const bytes = dataBytes(url)
    return bytes ? { ok: true as const, bytes } : { ok: false as const, message: 'must be base64 in its data URL' }
  }
  const fetched = await parts.fetch(url, { bytesMax: bytesMax[kind], accept: accepted[kind] }, signal)
  return fetched.ok ? fetched : { ok: false as const, message: `the ${kind} was not fetched: ${fetched.message}` }
}

function image(bytes: Uint8Array<ArrayBuffer>, { toBase64 }: MediaParts): Resolved {
  if (bytes.length > imageBytesMax) return { ok: false, message: imageTooLarge }
  const head = sniffImage(bytes)
  if (!head) return { ok: false, message: imageUnknown }
  if (!head.size) return { ok: false, message: 'the image is cut off: send all of it' }
  const tokens = imageHeadTokens(head)
  if (typeof tokens === 'string') return { ok: false, message: tokens }
  return { ok: true, parts: [{ kind: 'image', url: `data:image/${head.format};base64,${toBase64(bytes)}` }] }
}

async function document(
  name: string,
  bytes: Uint8Array<ArrayBuffer>,
  { readPdf, toBase64 }: MediaParts,
  { vision }: MediaFor,
  signal: AbortSignal,
): Promise<Resolved> {
  if (bytes.length > documentBytesMax) return { ok: false, message: documentTooLarge }
  if (!isPdf(bytes)) return { ok: false, message: documentUnknown }
  const read = await readPdf(bytes, vision, signal)
  if (!read.ok) return { ok: false, message: unread(read) }
  if (!vision && read.pages.every(({ text }) => text === ''))
    return { ok: false, message: 'the document has no text, only pictures, and this engine has no vision' }
  return { ok: true, parts: pagesOf(name, read.pages, toBase64) }
}

function unread(read: Extract<ReadPdf, { ok: false }>): string {
  switch (read.reason) {
    case 'locked':
      return 'the document is encrypted: send it without a password'
    case 'broken':
      return 'the document cannot be read, it is damaged or too large to be opened: save it anew'
    case 'pages':
      return `the document has ${read.pages} pages, more than are read at once: send fewer pages`
    case 'text':
      return 'the document has too much text: send fewer pages'
    case 'time':
      return 'the document took too long to be read: send fewer or simpler pages'
  }
}

/** Each page's text under its number, and its picture after it. */
function pagesOf(
  name: string,
  pages: readonly { text: string; picture: Uint8Array | null }[],
  toBase64: MediaParts['toBase64'],
): Part[] {
  const title = `[Document${name === '' ? '' : ` "${name.replaceAll(/["\n]/g, ' ')}"`}, pages: ${pages.length}]`
  return pages.flatMap(({ text, picture }, index): Part[] => {
    const heading = `${index === 0 ? `${title}\n\n` : ''}[Page ${index + 1}]\n`
    const url = picture && `data:image/png;base64,${toBase64(picture)}`
    return [{ kind: 'text', text: `${heading}${text}\n\n` }, ...(url ? [{ kind: 'image' as const, url }] : [])]
  })
}

function refuse(param: string, message: string): EngineRefusal {
  return { ok: false, code: 'invalid_value', message: `${param}: ${message}`, param }
}
