/** `resolveMedia` with the world around it: the network behind its guard, the reader of PDFs, one clock and one shelf. */

import type { Chat } from '../../backends/protocol/chat.ts'
import { digest } from '../../backends/protocol/seal.ts'
import { type FetchPolicy, fetchGuarded, publicPolicy } from './fetch.ts'
import { type MediaFor, type MediaParts, type ResolvedMedia, resolveMedia } from './media.ts'
import { pdfBounds, pdfPicturesMax, pdfTimeoutMs, readPdf } from './pdf.ts'
import { Shelf } from './shelf.ts'

const fetchTimeoutMs = 10_000
/** All of a request's media, in milliseconds. */
const mediaTimeoutMs = 60_000
const shelfBounds = { bytesMax: 64 * 1024 * 1024, ageMaxMs: 5 * 60_000 }

export type Resolver = (chat: Chat, media: MediaFor, signal: AbortSignal) => Promise<ResolvedMedia>

/** @param policy what may be fetched; another one than the public internet is for tests */
export function createResolver(now: () => number, policy: FetchPolicy = publicPolicy): Resolver {
  const parts: MediaParts = {
    fetch: (url, wanted, signal) => fetchGuarded(url, { ...wanted, timeoutMs: fetchTimeoutMs }, signal, policy),
    readPdf: (bytes, pictures, signal) =>
      readPdf({ bytes, ...pdfBounds, picturesMax: pictures ? pdfPicturesMax : 0 }, pdfTimeoutMs, signal),
    toBase64: (bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64'),
    shelf: new Shelf(shelfBounds, (text) => digest(new TextEncoder().encode(text)), now),
  }
  return async (chat, media, signal) => {
    const late = AbortSignal.timeout(mediaTimeoutMs)
    try {
      return await resolveMedia(chat, parts, media, AbortSignal.any([signal, late]))
    } catch (error) {
      if (signal.aborted || !late.aborted) throw error
      const message = `messages: its images and documents took longer than ${mediaTimeoutMs / 1_000} seconds: send fewer`
      return { ok: false, code: 'invalid_value', message, param: 'messages' }
    }
  }
}
