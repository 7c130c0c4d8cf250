/**
 * Reads PDFs as text, and as page images for an engine with vision. Each PDF is read in a thread that is killed at its
 * limits. A page image costs as much CPU time as many tokens, so the threads run at a lower priority than the engine.
 */
import { Worker } from 'node:worker_threads'
import { budgets } from '../../backends/model/budgets.ts'
import { imageSideMax } from '../../backends/model/image.ts'
import type { PictureBounds } from './picture-side.ts'

export interface PdfRequest {
  bytes: Uint8Array<ArrayBuffer>
  pagesMax: number
  charactersMax: number
  /** Render this many of the first pages. */
  picturesMax: number
  pictures: PictureBounds
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
  pagesMax: budgets.pdfPages.value,
  charactersMax: budgets.pdfCharacters.value,
  // 12 pages of A4 have the model's own resolution, at 2,200 tokens each; 20 have 1,372 tokens each.
  pictures: { tokensMax: budgets.pdfPictureTokens.value, sideMin: 1_024, sideMax: imageSideMax },
  memoryBytesMax: budgets.pdfMemoryBytes.value,
}
export const pdfPicturesMax = budgets.pdfPictures.value
/** Heap limit for JavaScript, in addition to the sandbox's memory. */
const heapMb = 128

/** The caller limits the number of concurrent threads. Rejects only when `signal` aborts. */
export function readPdf(request: PdfRequest, timeoutMs: number, signal: AbortSignal): Promise<ReadPdf> {
  if (signal.aborted) return Promise.reject(signal.reason)
  return readInThread(request, timeoutMs, signal)
}

function readInThread(request: PdfRequest, timeoutMs: number, signal: AbortSignal): Promise<ReadPdf> {
  return new Promise((resolve, reject) => {
    const thread = new Worker(new URL('./pdf-thread.ts', import.meta.url), {
      workerData: request,
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
    // The sandbox trapped, or its memory ran out.
    thread.once('error', () => end({ ok: false, reason: 'broken' }))
    thread.once('exit', () => end({ ok: false, reason: 'broken' }))
  })
}
