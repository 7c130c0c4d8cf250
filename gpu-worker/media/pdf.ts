/**
 * PDFs as text, and as pictures of their pages for an engine that sees, each read in a thread that is killed at its
 * bounds. Few at once: a page's picture costs as much processor as many tokens.
 */
import { Worker } from 'node:worker_threads'

export interface PdfOrder {
  bytes: Uint8Array<ArrayBuffer>
  pagesMax: number
  charactersMax: number
  /** Of so many of the first pages. */
  picturesMax: number
  /** The longest side of a picture, in pixels. */
  pictureSide: number
  memoryBytesMax: number
}

export interface PdfPage {
  text: string
  /** A PNG. */
  picture: Uint8Array<ArrayBuffer> | null
}

export type ReadPdf =
  | { ok: true; pages: PdfPage[] }
  | { ok: false; reason: 'locked' | 'broken' | 'text' | 'time' }
  | { ok: false; reason: 'pages'; pages: number }

export const pdfBounds = {
  pagesMax: 100,
  charactersMax: 4_000_000,
  pictureSide: 1_024,
  memoryBytesMax: 512 * 1024 * 1024,
}
export const pdfPicturesMax = 20
export const pdfTimeoutMs = 20_000

/** For JavaScript beside the sandbox's own memory. */
const heapMb = 128
const readersMax = 2
let readers = 0
const waiting: (() => void)[] = []

/** Rejects only when `signal` aborts. */
export async function readPdf(order: PdfOrder, timeoutMs: number, signal: AbortSignal): Promise<ReadPdf> {
  if (readers === readersMax) await new Promise<void>((resolve) => waiting.push(resolve))
  else readers += 1
  try {
    signal.throwIfAborted()
    return await readInThread(order, timeoutMs, signal)
  } finally {
    const next = waiting.shift()
    if (next) next()
    else readers -= 1
  }
}

function readInThread(order: PdfOrder, timeoutMs: number, signal: AbortSignal): Promise<ReadPdf> {
  return new Promise((resolve, reject) => {
    const thread = new Worker(new URL('./pdf-thread.ts', import.meta.url), {
      workerData: order,
      env: {},
      stdin: false,
      stdout: true,
      stderr: true,
      resourceLimits: { maxOldGenerationSizeMb: heapMb, maxYoungGenerationSizeMb: 16 },
    })
    const timer = setTimeout(() => end({ ok: false, reason: 'time' }), timeoutMs)
    const abort = () => {
      end({ ok: false, reason: 'time' })
      reject(signal.reason)
    }
    const end = (read: ReadPdf) => {
      clearTimeout(timer)
      signal.removeEventListener('abort', abort)
      if (!signal.aborted) resolve(read)
      void thread.terminate()
    }
    signal.addEventListener('abort', abort, { once: true })
    thread.once('message', end)
    // A trap of the sandbox, or its memory's end.
    thread.once('error', () => end({ ok: false, reason: 'broken' }))
    thread.once('exit', () => end({ ok: false, reason: 'broken' }))
  })
}
