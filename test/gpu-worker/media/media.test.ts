import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { beforeEach, describe, expect, it } from 'vitest'
import { llamaCpp } from '../../../backends/engines/llama-cpp.ts'
import { budgets } from '../../../backends/model/budgets.ts'
import type { Chat, Part } from '../../../backends/model/chat.ts'
import { anyImage, carefulImage, sniffImage } from '../../../backends/model/image.ts'
import { dataBytes } from '../../../backends/model/media.ts'
import { publicPolicy } from '../../../gpu-worker/media/fetch.ts'
import { cachedMedia, type MediaFor, type MediaParts, readMedia } from '../../../gpu-worker/media/media.ts'
import { MediaCache } from '../../../gpu-worker/media/media-cache.ts'
import { type PdfRequest, pdfBounds, readPdf } from '../../../gpu-worker/media/pdf.ts'
import { createResolver, type MediaReader } from '../../../gpu-worker/media/resolver.ts'
import { dataUrl, jpegHead, png, webpHead } from '../../support/images.ts'
import { encryptedPdf, endlessPdf, pdf } from '../../support/pdf.ts'
import { chatOf } from '../engine/prompt.ts'

const never = new AbortController().signal
/** Reads the media, then resolves the dispatch from the cache. */
const through = (reader: MediaReader) => async (chat: Chat, media: MediaFor, signal: AbortSignal) => {
  const read = await reader.read(chat, media, signal)
  return read.ok ? reader.kept(chat, media) : read
}
const resolveMedia = (chat: Chat, parts: MediaParts, media: MediaFor, signal: AbortSignal) =>
  through({
    read: (chat, media, signal) => readMedia(chat, parts, media, signal),
    kept: (chat, media) => cachedMedia(chat, parts, media),
  })(chat, media, signal)
const resolve = through(createResolver(() => 0))
const blind: MediaFor = { vision: false, images: anyImage, owner: 'a' }
const seeing: MediaFor = { vision: true, images: anyImage, owner: 'a' }
const pdfUrl = (bytes: Uint8Array) => dataUrl(bytes, 'application/pdf')
const file = (bytes: Uint8Array, filename = 'a.pdf') => ({ type: 'file', file: { filename, file_data: pdfUrl(bytes) } })
const image = (url: string) => ({ type: 'image_url', image_url: url })
const chat = (...content: unknown[]) => chatOf({ messages: [{ role: 'user', content }] })
const text = (text: string) => ({ type: 'text', text })

async function partsOf(resolved: ReturnType<typeof resolve>): Promise<Part[]> {
  const each = await resolved
  if (!each.ok) throw new Error(each.message)
  const [message] = each.chat.messages
  return message?.role === 'user' ? message.content : []
}

describe('documents', () => {
  const invoice = pdf([['The invoice total is 4,711 euros.', 'Due in March.'], ['Second page (of two).']])

  it('[MED30] a PDF becomes its text, page by page with page numbers, in its place among the parts', async () => {
    const parts = await partsOf(
      resolve(chat(text('before'), file(invoice, 'rep"ort.pdf'), text('after')), blind, never),
    )
    expect(parts).toEqual([
      { kind: 'text', text: 'before' },
      {
        kind: 'text',
        text: '[Document "rep ort.pdf", pages: 2]\n\n[Page 1]\nThe invoice total is 4,711 euros.\nDue in March.\n\n',
      },
      { kind: 'text', text: '[Page 2]\nSecond page (of two).\n\n' },
      { kind: 'text', text: 'after' },
    ])
  })

  it('[MED30] an engine with vision gets each page’s image after its text', async () => {
    const parts = await partsOf(resolve(chat(file(invoice)), seeing, never))
    expect(parts.map(({ kind }) => kind)).toEqual(['text', 'image', 'text', 'image'])
    const picture = parts[1]?.kind === 'image' ? dataBytes(parts[1].url) : undefined
    expect(picture && sniffImage(picture)).toEqual({ format: 'png', size: { width: 1_088, height: 1_540 } })
  })

  it('[MED39] the pictures of a document with many pages are smaller', async () => {
    const parts = await partsOf(resolve(chat(file(pdf(Array(20).fill(['page'])))), seeing, never))
    const pictures = parts.flatMap((part) => (part.kind === 'image' ? dataBytes(part.url) : undefined) ?? [])
    expect(pictures).toHaveLength(20)
    for (const picture of pictures) expect(sniffImage(picture)?.size?.height).toBe(1_204)
  })

  const refused: [string, Buffer, RegExp][] = [
    ['encrypted', encryptedPdf(), /encrypted\. Send it without a password/],
    ['damaged', Buffer.from(`%PDF-1.7\n${'x'.repeat(500)}`), /cannot be read/],
    ['too long', pdf(Array(101).fill(['page'])), /101 pages, more than 100\. Send fewer pages/],
    ['only pictures', pdf([[]]), /only pictures and no text/],
  ]
  it.each(refused)('[MED31] %s: the document is refused with the path of its part', async (_, bytes, message) => {
    expect(await resolve(chat(text('see'), file(bytes)), blind, never)).toEqual({
      ok: false,
      code: 'invalid_value',
      param: 'messages[0].content[1]',
      message: expect.stringMatching(message),
    })
  })

  const pdfRequest = (bytes: Buffer, change: Partial<PdfRequest>): PdfRequest => ({
    bytes: new Uint8Array(bytes),
    ...pdfBounds,
    picturesMax: 1,
    ...change,
  })

  it('[MED32] a PDF that exceeds its time or memory ends only its own thread', async () => {
    // Without the time limit, this PDF would exceed its memory later.
    const endless = await readPdf(pdfRequest(endlessPdf(24), {}), 200, never)
    expect(endless).toEqual({ ok: false, reason: 'time' })
    const padded = Buffer.concat([invoice, Buffer.alloc(22_000_000, 0x20)])
    const tight = await readPdf(pdfRequest(padded, { memoryBytesMax: 20 * 1024 * 1024 }), 10_000, never)
    expect(tight).toEqual({ ok: false, reason: 'broken' })
    const words = await readPdf(pdfRequest(invoice, { charactersMax: 10 }), 10_000, never)
    expect(words).toEqual({ ok: false, reason: 'text' })
    expect((await readPdf(pdfRequest(invoice, {}), 10_000, never)).ok).toBe(true)
  })

  it('[MED32] a client that disconnects ends the reading', async () => {
    const left = new AbortController()
    const reading = readPdf(pdfRequest(endlessPdf(24), {}), 60_000, left.signal)
    setTimeout(() => left.abort(new Error('left')), 100)
    await expect(reading).rejects.toThrow('left')
  })
})

describe('images', () => {
  it('[MED33] an image reaches the engine as a data URL with the type that its bytes have', async () => {
    const bytes = png(30, 30)
    expect(await partsOf(resolve(chat(image(dataUrl(bytes, 'image/jpeg'))), seeing, never))).toEqual([
      { kind: 'image', url: dataUrl(bytes) },
    ])
  })

  it('[MED33] an image or a document at a URL is fetched', async () => {
    const bodies: Record<string, Buffer> = { '/a': png(30, 30), '/b': pdf([['from elsewhere']]) }
    const server = createServer(({ url = '' }, response) => void response.end(bodies[url] ?? ''))
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    const { port } = server.address() as AddressInfo
    const policy = { ...publicPolicy, ports: { 'http:': 'any' as const }, allowed: (at: string) => at === '127.0.0.1' }
    const request = chat(text('see'))
    const at = (path: string) => `http://127.0.0.1:${port}${path}`
    const [message] = request.messages
    if (message?.role !== 'user') throw new Error('not a user message')
    message.content.push({ kind: 'image', url: at('/a') }, { kind: 'document', url: at('/b'), name: '' })
    const parts = await partsOf(through(createResolver(() => 0, policy))(request, seeing, never))
    expect(parts.slice(0, 3)).toEqual([
      { kind: 'text', text: 'see' },
      { kind: 'image', url: dataUrl(png(30, 30)) },
      { kind: 'text', text: '[Document, pages: 1]\n\n[Page 1]\nfrom elsewhere\n\n' },
    ])
    const near = await resolve(request, seeing, never)
    expect(near).toMatchObject({ ok: false, message: expect.stringContaining('the image cannot be fetched') })
    server.close()
  })

  it('[MED33] an image for an engine without vision stays as it is, for the engine to refuse', async () => {
    const request = chat(image(dataUrl(png(30, 30))))
    expect(await resolve(request, blind, never)).toEqual({ ok: true, chat: request })
  })

  it('[MED37] an image that would end the engine is refused for it by the path of its part, and not for others', async () => {
    const fragile = { ...seeing, images: carefulImage }
    const sizes: [width: number, height: number, message: RegExp | undefined][] = [
      [1, 1, /1 × 1 pixels, and this engine takes none below 2 × 2\. Scale it up/],
      [1, 3_000, /1 × 3000 pixels, .* below 2 × 2/],
      [3_000, 1, /below 2 × 2/],
      [2, 2, undefined],
      [2, 2_000, undefined],
      [2, 2_001, /2 × 2001 pixels, .* more than 1,000 times the shorter\. Cut it into parts/],
      [2_001, 2, /more than 1,000 times/],
    ]
    for (const [width, height, message] of sizes) {
      const request = chat(text('see'), image(dataUrl(png(width, height))))
      const resolved = await resolve(request, fragile, never)
      if (!message) expect(resolved.ok, `${width} × ${height}`).toBe(true)
      else
        expect(resolved).toEqual({
          ok: false,
          code: 'invalid_value',
          param: 'messages[0].content[1]',
          message: expect.stringMatching(message),
          unsupported: true,
        })
      expect((await resolve(request, seeing, never)).ok).toBe(true)
    }
  })

  it('[MED37] an image of a format that the engine does not read is refused with those that it reads', async () => {
    const media = { ...seeing, images: llamaCpp.capabilities.images }
    expect(await resolve(chat(image(dataUrl(webpHead('VP8 ', 30, 30)))), media, never)).toEqual({
      ok: false,
      code: 'invalid_value',
      param: 'messages[0].content[0]',
      message: 'messages[0].content[0]: the image is a WebP, which this engine does not read. Send PNG or JPEG or GIF',
      unsupported: true,
    })
    expect((await resolve(chat(image(dataUrl(webpHead('VP8 ', 30, 30)))), seeing, never)).ok).toBe(true)
    expect((await resolve(chat(image(dataUrl(png(30, 30)))), media, never)).ok).toBe(true)
  })

  it('[MED37] a page of a document that is as thin as such an image is refused too', async () => {
    const thin = pdf([['thin']], '', { width: 3, height: 12_000 })
    const fragile = { ...seeing, images: carefulImage }
    expect(await resolve(chat(file(thin)), fragile, never)).toMatchObject({
      ok: false,
      param: 'messages[0].content[0]',
      message: expect.stringMatching(/page 1 of the document: the image has \d × 1540 pixels/),
      unsupported: true,
    })
    expect((await resolve(chat(file(thin)), { ...fragile, vision: false }, never)).ok).toBe(true)
  })

  it('[MED38] images of more pixels than an engine decodes at once are refused, by the path of the first too many', async () => {
    // 7,500 × 8,000 pixels: two fit, three do not.
    const large = () => image(dataUrl(png(7_500, 8_000, true)))
    const inRequest = (count: number) => chat(...Array.from({ length: count }, large))
    expect((await resolve(inRequest(2), seeing, never)).ok).toBe(true)
    expect(await resolve(inRequest(3), seeing, never)).toEqual({
      ok: false,
      code: 'invalid_value',
      param: 'messages[0].content[2]',
      message: expect.stringContaining('more than 178000000 pixels in all. Send fewer, or scale them down.'),
    })
    expect((await resolve(inRequest(3), blind, never)).ok).toBe(true)
    // The gateway sees no size of an image at an address: the worker counts it too.
    const fetched = chat(text('see'), ...[1, 2, 3].map((each) => image(`https://a.example/${each}`)))
    const parts: MediaParts = {
      fetch: async () => ({ ok: true, bytes: new Uint8Array(png(7_500, 8_000, true)) }),
      readPdf: async () => ({ ok: false, reason: 'broken' }),
      toBase64: (bytes) => Buffer.from(bytes).toString('base64'),
      mediaCache: new MediaCache(
        { bytesMax: 1_000_000, bytesPerOwnerMax: 1_000_000, ageMaxMs: 1_000 },
        async (key) => key,
        () => 0,
      ),
    }
    expect(await resolveMedia(fetched, parts, seeing, never)).toMatchObject({
      ok: false,
      code: 'invalid_value',
      message: expect.stringMatching(/^messages\[0\]\.content\[[123]\]: the images have more than/),
    })
  })

  it('[MED31] an incomplete image is refused with the path of its part', async () => {
    const half = jpegHead(640, 480, 60_000).subarray(0, 1_000)
    const answer = await resolve(chat(image(dataUrl(half))), seeing, never)
    expect(answer).toMatchObject({
      ok: false,
      param: 'messages[0].content[0]',
      message: expect.stringContaining('incomplete'),
    })
  })
})

describe('the media cache', () => {
  let fetches = 0
  let now = 0
  let cache: MediaCache
  let parts: MediaParts
  beforeEach(() => {
    fetches = 0
    now = 0
    cache = new MediaCache(
      { bytesMax: 61_000, bytesPerOwnerMax: 61_000, ageMaxMs: 1_000 },
      async (key) => key,
      () => now,
    )
    parts = {
      fetch: async () => {
        fetches += 1
        return { ok: true, bytes: new Uint8Array(png(20 + fetches, 20)) }
      },
      readPdf: async () => ({ ok: false, reason: 'broken' }),
      toBase64: (bytes) => Buffer.from(bytes).toString('base64'),
      mediaCache: cache,
    }
  })
  const request = chat(image('https://example.com/a.png'))

  it('[MED34] media are cached for the same tenant only, and for a limited time', async () => {
    const first = await partsOf(resolveMedia(request, parts, seeing, never))
    expect(await partsOf(resolveMedia(request, parts, seeing, never))).toEqual(first)
    expect(fetches).toBe(1)
    expect(await partsOf(resolveMedia(request, parts, { ...seeing, owner: 'b' }, never))).not.toEqual(first)
    expect(fetches).toBe(2)
    now = 1_001
    await resolveMedia(request, parts, seeing, never)
    expect(fetches).toBe(3)
  })

  it('[MED34] memory is limited, and the least recently used media are dropped first', async () => {
    const part = (length: number): Part[] => [{ kind: 'text', text: 'x'.repeat(length) }]
    await cache.put('a', 'huge', part(40_000))
    expect(cache.bytes).toBe(0)
    for (const key of ['a', 'b', 'c']) await cache.put('a', key, part(10_000))
    await cache.get('a', 'a')
    await cache.put('a', 'd', part(10_000))
    expect(cache.bytes).toBe(60_768)
    expect(await cache.get('a', 'b')).toBeUndefined()
    for (const key of ['a', 'c', 'd']) expect(await cache.get('a', key)).toEqual(part(10_000))
  })

  it('[MRD6] a tenant has a share of the cache, and over the total the largest tenant loses its oldest', async () => {
    const part = (length: number): Part[] => [{ kind: 'image', url: 'x'.repeat(length - 256) }]
    const shared = new MediaCache(
      { bytesMax: 100_000, bytesPerOwnerMax: 60_000, ageMaxMs: 1_000 },
      async (key) => key,
      () => now,
    )
    await shared.put('small', 'kept', part(5_000))
    for (let index = 0; index < 200; index++) {
      await shared.put(`storm-${index % 4}`, `${index}`, part(10_000))
      expect(shared.bytes).toBeLessThanOrEqual(100_000)
    }
    expect(await shared.get('small', 'kept')).toEqual(part(5_000))
    const alone = new MediaCache(
      { bytesMax: 100_000, bytesPerOwnerMax: 60_000, ageMaxMs: 1_000 },
      async (key) => key,
      () => now,
    )
    for (let index = 0; index < 20; index++) await alone.put('a', `${index}`, part(10_000))
    expect(alone.bytes).toBe(60_000)
    expect(await alone.put('a', 'large', part(60_001))).toBe(false)
  })

  it('[MRD7] the total size of one request’s media is limited, and media beyond it are not read', async () => {
    const size = budgets.mediaBytes.value / 4
    let read = 0
    const wide: MediaParts = {
      ...parts,
      fetch: async () => {
        read += 1
        return { ok: true, bytes: new Uint8Array(png(20, 20)) }
      },
      toBase64: () => 'A'.repeat(size),
      mediaCache: new MediaCache(
        { bytesMax: 1e9, bytesPerOwnerMax: 1e9, ageMaxMs: 1_000 },
        async (key) => key,
        () => now,
      ),
    }
    const images = Array.from({ length: 40 }, (_, index) => image(`https://example.com/${index}.png`))
    expect(await resolveMedia(chat(...images), wide, seeing, never)).toMatchObject({
      ...{ ok: false, code: 'invalid_value', message: expect.stringContaining(`${budgets.mediaBytes.value} bytes`) },
    })
    expect(read).toBeLessThan(10)
  })

  it('[MED31] an image that cannot be fetched is refused with the path of its part', async () => {
    parts.fetch = async () => ({ ok: false, message: 'its host returned status 404' })
    expect(await resolveMedia(chat(text('see'), image('https://example.com/a.png')), parts, seeing, never)).toEqual({
      ok: false,
      code: 'invalid_value',
      param: 'messages[0].content[1]',
      message: 'messages[0].content[1]: the image cannot be fetched: its host returned status 404',
    })
  })
})
