import { describe, expect, it } from 'vitest'
import { type Part, readChat } from '../../../backends/model/chat.ts'
import { imageTokens, imageTokensMax, sniffImage } from '../../../backends/model/image.ts'
import { dataImage, documentsMax, imagesMax, imageTokensAt } from '../../../backends/model/media.ts'
import { prepare } from '../../../src/chat/prepare.ts'
import { asked } from '../../support/asked.ts'
import { dataUrl, gifHead, jpegHead, png, webpHead } from '../../support/images.ts'

const pdf = (bytes = 4_000) => Buffer.concat([Buffer.from('%PDF-1.7\n'), Buffer.alloc(bytes, 0x20)])
const image = (url: string) => ({ type: 'image_url', image_url: { url } })
const file = (data: string) => ({ type: 'file', file: { filename: 'a.pdf', file_data: data } })
const bodyOf = (content: unknown[]) => ({ model: 'mistral-small-4', messages: [{ role: 'user', content }] })
const shaped = (content: unknown[]) => {
  const body = bodyOf(content)
  return prepare(asked(body), JSON.stringify(body).length, ['mistral-small-4'])
}

function partOf(part: unknown): Part | undefined {
  const read = readChat(bodyOf([part]))
  if (!read.ok) throw new Error(`${read.param}: ${read.message}`)
  const [message] = read.chat.messages
  return message?.role === 'user' ? message.content[0] : undefined
}

describe('images', () => {
  const heads: [string, Buffer, string, number, number][] = [
    ['PNG', png(300, 20), 'png', 300, 20],
    ['JPEG', jpegHead(4000, 3000), 'jpeg', 4000, 3000],
    ['JPEG after long metadata', jpegHead(640, 480, 60_000), 'jpeg', 640, 480],
    ['GIF', gifHead(33, 44), 'gif', 33, 44],
    ['lossy WebP', webpHead('VP8 ', 1000, 700), 'webp', 1000, 700],
    ['lossless WebP', webpHead('VP8L', 16_000, 9_000), 'webp', 16_000, 9_000],
    ['extended WebP', webpHead('VP8X', 70_000, 3), 'webp', 70_000, 3],
  ]
  it.each(heads)('[MED1] %s is recognised by its bytes, with its size', (_, bytes, format, width, height) => {
    expect(sniffImage(bytes)).toEqual({ format, size: { width, height } })
  })

  it('[MED1] a file truncated anywhere causes no error', () => {
    for (const [, bytes] of heads)
      for (let length = 0; length < Math.min(bytes.length, 200); length++) {
        const head = sniffImage(bytes.subarray(0, length))
        if (head?.size) expect(head.size.width).toBeGreaterThan(0)
      }
    expect(sniffImage(Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>'))).toBeUndefined()
    expect(sniffImage(jpegHead(640, 480, 60_000).subarray(0, 1_000))).toEqual({ format: 'jpeg', size: null })
  })

  it.each([
    [1540, 1540, 3080],
    [1024, 1024, 1406],
    [512, 512, 380],
    [1920, 1080, 1736],
    [224, 224, 72],
    [28, 28, 2],
    [1, 1, 2],
    [3080, 1, 56],
    [135, 1848, 275],
    [1848, 135, 224],
    [65_535, 1, 56],
  ])('[MED2] %i × %i pixels are %i tokens', (width, height, tokens) => {
    expect(imageTokens(width, height)).toBe(tokens)
  })

  it('[MED2] no size has more tokens than an image of unknown size reserves', () => {
    for (let width = 1; width < 9_000; width += 131)
      for (let height = 1; height < 9_000; height += 137)
        expect(imageTokens(width, height)).toBeLessThanOrEqual(imageTokensMax)
  })
})

describe('an image by its address', () => {
  it('[MED2] an image counts by its size if that is known, otherwise by the maximum', () => {
    expect(imageTokensAt(dataUrl(png(512, 512)))).toBe(380)
    for (const url of ['https://example.com/a.png', dataUrl(jpegHead(640, 480).subarray(0, 20)), 'data:;base64,AAAA'])
      expect(imageTokensAt(url)).toBe(imageTokensMax)
  })
})

describe('reading images and documents', () => {
  const url = dataUrl(png(56, 56))
  const document = dataUrl(pdf(), 'application/pdf')
  const good: [string, unknown, unknown][] = [
    ['OpenAI’s image', image(url), { kind: 'image', url }],
    ['an image as a string', { type: 'image_url', image_url: url }, { kind: 'image', url }],
    ['an image at an address', image('https://example.com/a.png'), { kind: 'image', url: 'https://example.com/a.png' }],
    ['OpenAI’s file', file(document), { kind: 'document', url: document, name: 'a.pdf' }],
    [
      'base64 alone',
      file('JVBERi0='),
      { kind: 'document', url: 'data:application/pdf;base64,JVBERi0=', name: 'a.pdf' },
    ],
    [
      'Mistral’s document',
      { type: 'document_url', document_url: 'https://example.com/a.pdf', document_name: 'b' },
      { kind: 'document', url: 'https://example.com/a.pdf', name: 'b' },
    ],
    ['JSON', file(dataUrl(Buffer.from('{"a":1}'), 'application/json')), { kind: 'text', text: '{"a":1}' }],
    ['CSV', file(dataUrl(Buffer.from('a,b'), 'application/octet-stream')), { kind: 'text', text: 'a,b' }],
    [
      'a PDF of any media type',
      file('data:application/octet-stream;base64,JVBERi0='),
      { kind: 'document', url: 'data:application/octet-stream;base64,JVBERi0=', name: 'a.pdf' },
    ],
    ['a text file', file(dataUrl(Buffer.from('grün'), 'text/plain')), { kind: 'text', text: 'grün' }],
  ]
  it.each(good)('[MED3] %s is read', (_, part, read) => {
    expect(partOf(part)).toEqual(read)
  })

  const wrong: [string, unknown, string][] = [
    ['plain http', image('http://example.com/a.png'), 'image_url'],
    ['a local file', image('file:///etc/passwd'), 'image_url'],
    ['no address', image('a.png'), 'image_url'],
    ['a password', image('https://a:b@example.com/a.png'), 'image_url'],
    ['a long address', image(`https://example.com/${'a'.repeat(3_000)}`), 'image_url'],
    ['text in a data URL', image('data:image/svg+xml,<svg/>'), 'image_url'],
    ['half of a surrogate pair in a text file', file('data:text/plain;base64,7aCA'), 'file'],
    ['an uploaded file', { type: 'file', file: { file_id: 'file-1' } }, 'file.file_id'],
    ['an uploaded file of Mistral', { type: 'file', file_id: 'f' }, 'file_id'],
    ['a document by plain http', { type: 'document_url', document_url: 'http://example.com/a' }, 'document_url'],
  ]
  it.each(wrong)('[MED3] %s is refused with its path', (_, part, field) => {
    const read = readChat(bodyOf([{ type: 'text', text: 'see' }, part]))
    expect(read).toMatchObject({ ok: false, code: 'invalid_value', param: `messages[0].content[1].${field}` })
  })

  it('[MRD9] a document’s name adds no control character and no half of a surrogate pair to the prompt', () => {
    const name = `a\0b\n${'c'.repeat(251)}🦊`
    const read = partOf({ type: 'file', file: { filename: name, file_data: document } })
    expect(read).toMatchObject({ name: `a b ${'c'.repeat(251)}\ufffd` })
  })

  it('[MRD10] base64 of any content is read in linear time', () => {
    const filler = ['=', ' ', 'A=', '-', '\n=']
    for (const each of filler) {
      const text = each.repeat(200_000)
      const startedAt = performance.now()
      readChat(bodyOf([image(`data:image/png;base64,${text}A`), file(`data:text/plain;base64,${text}A`)]))
      dataImage(`data:image/png;base64,${text}A`)
      try {
        shaped([image(`data:image/png;base64,${text}A`)])
      } catch {}
      expect(performance.now() - startedAt).toBeLessThan(1_000)
    }
    const bytes = png(300, 20)
    for (let length = 1; length < 12; length++) {
      const cut = dataImage(dataUrl(bytes.subarray(0, bytes.length - length)))
      expect(cut?.base64).toBe(bytes.subarray(0, bytes.length - length).toString('base64'))
      expect(cut?.bytes).toBe(bytes.length - length)
    }
    expect(dataImage('data:image/png;base64,!!!!')).toBeUndefined()
  })

  const excessive: [string, unknown[], string][] = [
    ['too many images', Array(imagesMax + 1).fill(image(url)), `messages[0].content[${imagesMax}]`],
    ['too many documents', Array(documentsMax + 1).fill(file(document)), `messages[0].content[${documentsMax}]`],
    ['an image of too many pixels', [image(dataUrl(png(60_000, 60_000, true)))], 'messages[0].content[0]'],
    [
      'images of too many pixels in all',
      Array(3).fill(image(dataUrl(png(7_500, 8_000, true)))),
      'messages[0].content[2]',
    ],
    ['an image with other content', [image(dataUrl(Buffer.from('hello')))], 'messages[0].content[0]'],
    ['an image that is not base64', [image('data:image/png;base64,!!!!')], 'messages[0].content[0]'],
    ['a document that is not a PDF', [file(dataUrl(Buffer.from('PK'), 'application/pdf'))], 'messages[0].content[0]'],
    ['an image that is too large', [image(`data:;base64,${'A'.repeat(28_000_000)}`)], 'messages[0].content[0]'],
  ]
  it.each(excessive)('[MED4] the request is refused with the path of the part: %s', (_, content, param) => {
    expect(() => shaped(content)).toThrow(expect.objectContaining({ code: 'invalid_value', param }))
  })

  it('[MED5] a prompt estimate counts text and image tokens, not the length of the base64 data', () => {
    const text = shaped([{ type: 'text', text: 'hi' }]).promptTokens
    const pictured = shaped([
      { type: 'text', text: 'hi' },
      image(dataUrl(Buffer.concat([png(512, 512), Buffer.alloc(3_000_000)]))),
    ])
    expect(pictured.promptTokens - text).toBeGreaterThanOrEqual(380)
    expect(pictured.promptTokens - text).toBeLessThan(420)
    expect(shaped([image('https://example.com/a.png')]).promptTokens).toBeGreaterThan(imageTokensMax)
    expect(shaped([file(dataUrl(pdf(80_000), 'application/pdf'))]).promptTokens).toBeGreaterThan(10_000)
    // A scan of many megabytes does not reserve the whole context.
    expect(shaped([file(dataUrl(pdf(9_000_000), 'application/pdf'))]).promptTokens).toBeLessThan(33_000)
  })
})
