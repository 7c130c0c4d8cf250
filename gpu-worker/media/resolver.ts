/** Connects the reading of media with guarded fetches, a limited number of PDF readers, a timer and the cache. */
import { budgets } from '../../backends/model/budgets.ts'
import type { Chat } from '../../backends/model/chat.ts'
import type { Refusal } from '../../backends/wire/dispatch.ts'
import { mediaBusy } from '../../backends/wire/media-question.ts'
import { digest } from '../../backends/wire/seal.ts'
import { FairGate } from './fair-gate.ts'
import { type FetchPolicy, fetchGuarded, publicPolicy } from './fetch.ts'
import {
  cachedMedia,
  type MediaFor,
  type MediaMissing,
  type MediaParts,
  type ResolvedMedia,
  readMedia,
} from './media.ts'
import { MediaCache } from './media-cache.ts'
import { pdfBounds, pdfPicturesMax, type ReadPdf, readPdf } from './pdf.ts'
import { WorkTimer } from './work-timer.ts'

const fetchTimeoutMs = budgets.mediaFetchMs.value
const mediaCacheAgeMs = 5 * 60_000
const mediaMs = budgets.mediaMs.value

export interface MediaReader {
  /** Reads documents and fetches URLs, and caches the results. Rejects only when `signal` aborts. */
  read(chat: Chat, media: MediaFor, signal: AbortSignal): Promise<ResolvedMedia | ({ ok: false } & Refusal)>
  /** Resolves the media of a dispatch from the cache and from its own data URLs. */
  kept(chat: Chat, media: MediaFor): Promise<ResolvedMedia | MediaMissing>
}

/** @param policy which addresses may be fetched; tests set one other than the public internet */
export function createResolver(now: () => number, policy: FetchPolicy = publicPolicy): MediaReader {
  const encoder = new TextEncoder()
  const digestOf = (text: string) => digest(encoder.encode(text))
  const { shelfBytes: mediaCacheBytes, shelfBytesPerTenant: mediaCacheBytesPerTenant } = budgets
  const mediaCache = new MediaCache(
    { bytesMax: mediaCacheBytes.value, bytesPerOwnerMax: mediaCacheBytesPerTenant.value, ageMaxMs: mediaCacheAgeMs },
    digestOf,
    now,
  )
  const readers = new FairGate({
    atOnce: budgets.pdfReaders.value,
    perOwner: budgets.pdfReadersPerTenant.value,
    // Every document that the media gate admits may wait here.
    waiting: budgets.mediaReadingPerWorker.value * budgets.mediaAtOnce.value,
    waitingPerOwner: budgets.mediaReadingPerTenant.value * budgets.mediaAtOnce.value,
  })
  const partsFor = (owner: string, timer: WorkTimer): MediaParts => ({
    fetch: (url, wanted, signal) => fetchGuarded(url, { ...wanted, timeoutMs: fetchTimeoutMs }, signal, policy),
    readPdf: (bytes, pictures, signal) => {
      const request = { bytes, ...pdfBounds, picturesMax: pictures ? pdfPicturesMax : 0 }
      return inTurn(readers, owner, timer, signal, () => readPdf(request, mediaMs, signal))
    },
    toBase64: (bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64'),
    mediaCache,
  })
  return {
    kept: (chat, media) => cachedMedia(chat, partsFor(media.owner, new WorkTimer(mediaMs, now)), media),
    async read(chat, media, signal) {
      const timer = new WorkTimer(mediaMs, now)
      const late = AbortSignal.timeout(mediaMs + budgets.mediaWaitMs.value)
      const stop = AbortSignal.any([signal, timer.signal, late])
      try {
        return await readMedia(chat, timed(partsFor(media.owner, timer), timer), media, stop)
      } catch (error) {
        if (signal.aborted) throw error
        if (timer.signal.aborted) return tooSlow
        if (late.aborted) return readersBusy
        throw error
      }
    },
  }
}

/** Counts the time of fetches and PDF reads, but not the time that they wait for other tenants' PDFs. */
function timed(parts: MediaParts, timer: WorkTimer): MediaParts {
  const during = async <Value>(work: () => Promise<Value>) => {
    timer.begin()
    return work().finally(() => timer.end())
  }
  return {
    ...parts,
    fetch: (...args) => during(() => parts.fetch(...args)),
    readPdf: (...args) => during(() => parts.readPdf(...args)),
  }
}

async function inTurn(
  readers: FairGate,
  owner: string,
  timer: WorkTimer,
  signal: AbortSignal,
  read: () => Promise<ReadPdf>,
): Promise<ReadPdf> {
  timer.end()
  const entered = await readers.enter(owner, signal).finally(() => timer.begin())
  if (!entered.ok) return { ok: false, reason: 'time' }
  try {
    return await read()
  } finally {
    entered.leave()
  }
}

const tooSlow: ResolvedMedia = {
  ok: false,
  code: 'invalid_value',
  message: `messages: reading the images and documents took longer than ${mediaMs / 1_000} seconds. Send fewer or simpler ones`,
  param: 'messages',
}
const readersBusy = {
  ok: false as const,
  code: mediaBusy.worker,
  message: 'documents: every reader is busy with other requests. Retry in a moment',
}
