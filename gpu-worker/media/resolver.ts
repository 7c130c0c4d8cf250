/** Reading media with the world around it: the network behind its guard, the readers of PDFs, one clock and one shelf. */
import { budgets } from '../../backends/model/budgets.ts'
import type { Chat } from '../../backends/model/chat.ts'
import type { Refusal } from '../../backends/wire/dispatch.ts'
import { mediaBusy } from '../../backends/wire/media-question.ts'
import { digest } from '../../backends/wire/seal.ts'
import { FairGate } from '../fair-gate.ts'
import { type FetchPolicy, fetchGuarded, publicPolicy } from './fetch.ts'
import {
  cachedMedia,
  type MediaFor,
  type MediaMissing,
  type MediaParts,
  type ResolvedMedia,
  readMedia,
} from './media.ts'
import { pdfBounds, pdfPicturesMax, type ReadPdf, readPdf } from './pdf.ts'
import { MediaCache } from './shelf.ts'
import { WorkTimer } from './work-timer.ts'

const fetchTimeoutMs = budgets.mediaFetchMs.value
const mediaCacheAgeMs = 5 * 60_000
const mediaMs = budgets.mediaMs.value

export interface MediaReader {
  /** Reads what must be read, and keeps it. Rejects only when `signal` aborts. */
  read(chat: Chat, media: MediaFor, signal: AbortSignal): Promise<ResolvedMedia | ({ ok: false } & Refusal)>
  /** What a dispatch takes: from the shelf, and from its own data URLs. */
  kept(chat: Chat, media: MediaFor): Promise<ResolvedMedia | MediaMissing>
}

/** @param policy what may be fetched; another one than the public internet is for tests */
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
    // Every document that may be read at all may wait.
    waiting: budgets.mediaReadingPerWorker.value * budgets.mediaAtOnce.value,
    waitingPerOwner: budgets.mediaReadingPerTenant.value * budgets.mediaAtOnce.value,
  })
  const partsFor = (owner: string, timer: WorkTimer): MediaParts => ({
    fetch: (url, wanted, signal) => fetchGuarded(url, { ...wanted, timeoutMs: fetchTimeoutMs }, signal, policy),
    readPdf: (bytes, pictures, signal) => {
      const order = { bytes, ...pdfBounds, picturesMax: pictures ? pdfPicturesMax : 0 }
      return inTurn(readers, owner, timer, signal, () => readPdf(order, mediaMs, signal))
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

/** The time that a fetch or a PDF takes passes; the time that it waits for other tenants' PDFs does not. */
function timed(parts: MediaParts, timer: WorkTimer): MediaParts {
  const during = async <Value>(work: () => Promise<Value>) => {
    timer.begin()
    return work().finally(() => timer.end())
  }
  return {
    ...parts,
    fetch: (...asked) => during(() => parts.fetch(...asked)),
    readPdf: (...asked) => during(() => parts.readPdf(...asked)),
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
  message: `messages: its images and documents took longer than ${mediaMs / 1_000} seconds. Send fewer or simpler ones`,
  param: 'messages',
}
const readersBusy = {
  ok: false as const,
  code: mediaBusy.worker,
  message: 'documents: every reader was busy with other requests. Try again soon',
}
