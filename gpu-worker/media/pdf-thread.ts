/**
 * Reads one PDF in its own thread, with PDFium (Chrome's PDF reader) compiled to WebAssembly. The sandbox, the memory
 * limit below and the time limit of the thread bound what a file can do.
 */
import { setPriority } from 'node:os'
import { parentPort, workerData } from 'node:worker_threads'
import { crc32, deflateSync } from 'node:zlib'
import type { PdfPage, PdfRequest, ReadPdf } from './pdf.ts'
import { pictureSide } from './picture-side.ts'

const job = workerData as PdfRequest
const wasmPageBytes = 65_536
/** Below the priority of the engine, because clients wait for its tokens. */
const niceness = 10

// On Linux this sets the priority of this thread only. On other systems it would apply to the whole worker.
if (process.platform === 'linux') setPriority(0, niceness)

// Emscripten requests more memory by this call, and treats an exception as a refusal.
const { grow } = WebAssembly.Memory.prototype
WebAssembly.Memory.prototype.grow = function (this: WebAssembly.Memory, pages: number): number {
  if (this.buffer.byteLength + pages * wasmPageBytes > job.memoryBytesMax) throw new RangeError('no more memory')
  return grow.call(this, pages)
}

const { PDFiumLibrary } = await import('@hyzyla/pdfium')

async function read(): Promise<ReadPdf> {
  const library = await PDFiumLibrary.init()
  let document: Awaited<ReturnType<typeof library.loadDocument>>
  try {
    document = await library.loadDocument(job.bytes)
  } catch (error) {
    return {
      ok: false,
      reason: error instanceof Error && /password|security/i.test(error.message) ? 'locked' : 'broken',
    }
  }
  const count = document.getPageCount()
  if (count < 1) return { ok: false, reason: 'broken' }
  if (count > job.pagesMax) return { ok: false, reason: 'pages', pages: count }
  const pages: PdfPage[] = []
  const side = pictureSide(picturedSizes(document), job.pictures)
  let characters = 0
  for (const page of document.pages()) {
    const text = cleaned(page.getText())
    characters += text.length
    if (characters > job.charactersMax) return { ok: false, reason: 'text' }
    const picture = page.number < job.picturesMax ? await pictureOf(page, side) : null
    pages.push({ text, picture })
  }
  return { ok: true, pages }
}

type PdfiumDocument = Awaited<ReturnType<InstanceType<typeof PDFiumLibrary>['loadDocument']>>
type PdfiumPage = ReturnType<PdfiumDocument['getPage']>

function picturedSizes(document: PdfiumDocument): { width: number; height: number }[] {
  return Array.from({ length: Math.min(document.getPageCount(), job.picturesMax) }, (_, index) => {
    const { originalWidth, originalHeight } = document.getPage(index).getOriginalSize()
    return { width: originalWidth, height: originalHeight }
  })
}

/** @param side the longest side of the picture, in pixels */
async function pictureOf(page: PdfiumPage, side: number): Promise<Uint8Array<ArrayBuffer>> {
  const { originalWidth, originalHeight } = page.getOriginalSize()
  const scale = side / Math.max(1, originalWidth, originalHeight)
  const { data } = await page.render({
    scale: Math.min(scale, 4),
    colorSpace: 'Gray',
    render: async ({ data, width, height }) => png(data, width, height),
  })
  return new Uint8Array(data)
}

/** Encodes a PNG: greyscale, eight bits, no filter. */
function png(pixels: Uint8Array, width: number, height: number): Uint8Array {
  const rows = Buffer.alloc((width + 1) * height)
  for (let row = 0; row < height; row++)
    rows.set(pixels.subarray(row * width, (row + 1) * width), row * (width + 1) + 1)
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header.set([8, 0, 0, 0, 0], 8)
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])
  const data = deflateSync(rows, { level: 6 })
  return Buffer.concat([signature, chunk('IHDR', header), chunk('IDAT', data), chunk('IEND', Buffer.alloc(0))])
}

function chunk(name: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(name, 'latin1'), data])
  const ends = Buffer.alloc(8)
  ends.writeUInt32BE(data.length, 0)
  ends.writeUInt32BE(crc32(body), 4)
  return Buffer.concat([ends.subarray(0, 4), body, ends.subarray(4)])
}

/** Joins words that PDFium marks as split (U+0002 or U+FFFE), and removes characters that no tokenizer accepts. */
function cleaned(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: PDFium writes it
  const splitWord = /[\u0002\ufffe]\r?\n?/g
  return text.replace(splitWord, '').replaceAll('\r\n', '\n').replaceAll('\0', '').toWellFormed().trim()
}

parentPort?.postMessage(await read())
