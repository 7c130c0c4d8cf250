/** Images and documents that are small to send and slow to read. */
import { encryptedPdf, endlessPdf, pdf } from '../../../support/pdf.ts'
import { type Attack, times, wait } from '../attack.ts'
import type { Answer, World } from '../world.ts'

const data = (bytes: Buffer, type = 'application/pdf') => `data:${type};base64,${bytes.toString('base64')}`
const file = (bytes: Buffer) => ({ type: 'file', file: { filename: 'a.pdf', file_data: data(bytes) } })
const documents = (parts: unknown[]) => ({
  messages: [{ role: 'user', content: [...parts, { type: 'text', text: 'Sum up.' }] }],
})

const slowPdf = (() => {
  let made: Buffer | undefined
  return () => (made ??= endlessPdf(12))
})()

function storm(world: World, count: number, leaveMs?: number): Promise<Answer[]> {
  return times(count, () =>
    world.chat(
      { ...documents(Array.from({ length: 8 }, () => file(slowPdf()))), stream: true },
      leaveMs === undefined ? {} : { leaveMs },
    ),
  )
}

/** A PNG whose header declares 60,000 by 60,000 pixels. */
function hugePng(): Buffer {
  const head = Buffer.from('89504e470d0a1a0a0000000d49484452', 'hex')
  const size = Buffer.alloc(8)
  size.writeUInt32BE(60_000, 0)
  size.writeUInt32BE(60_000, 4)
  return Buffer.concat([head, size, Buffer.from('08060000000000000000', 'hex'), Buffer.alloc(100)])
}

export const mediaAttacks: readonly Attack[] = [
  { name: 'pdf-storm', run: (world) => storm(world, 44) },
  { name: 'pdf-few', run: (world) => storm(world, 10) },
  {
    name: 'pdf-storm-and-leave',
    run: async (world) => [...(await storm(world, 30, 1_000)), ...(await storm(world, 10, 300))],
  },
  {
    name: 'pdf-encrypted',
    run: (world) => times(8, () => world.chat(documents([file(encryptedPdf())]))),
    expect: [400, 429],
  },
  {
    name: 'pdf-of-many-pages',
    run: (world) =>
      times(4, () =>
        world.chat(
          documents([file(pdf(Array.from({ length: 90 }, () => Array.from({ length: 100 }, () => 'a line of text'))))]),
        ),
      ),
  },
  {
    name: 'pdf-cut-off',
    run: (world) => times(8, () => world.chat(documents([file(pdf([['hello']]).subarray(0, 200))]))),
    expect: [400, 429],
  },
  {
    name: 'image-of-pixels',
    run: (world) =>
      times(4, () => world.chat(documents([{ type: 'image_url', image_url: { url: data(hugePng(), 'image/png') } }]))),
    expect: [400, 429],
  },
  {
    name: 'image-addresses',
    run: (world) =>
      times(4, (index) =>
        world.chat(
          documents([
            {
              type: 'image_url',
              image_url: {
                url: [
                  'https://169.254.169.254/latest/meta-data',
                  'https://168.63.129.16/',
                  'https://[::ffff:127.0.0.1]/',
                  'https://localhost:443/',
                ][index],
              },
            },
          ]),
        ),
      ),
    expect: [400, 429],
  },
  {
    name: 'document-addresses',
    run: async (world) => {
      const all = times(20, (index) =>
        world.chat({
          messages: [
            {
              role: 'user',
              content: [{ type: 'file', file: { filename: 'a', file_data: `https://10.255.255.${index}/a.pdf` } }],
            },
          ],
        }),
      )
      await wait(1)
      return all
    },
  },
  {
    name: 'text-document-with-nul',
    run: (world) =>
      world
        .send('/v1/responses', {
          model: world.model,
          max_output_tokens: 4,
          input: [
            {
              role: 'user',
              content: [
                { type: 'input_file', filename: 'a.txt', file_data: 'data:text/plain;base64,YQBi' },
                { type: 'input_text', text: 'hi' },
              ],
            },
          ],
        })
        .then((answer) => [answer]),
  },
]
