/**
 * Images through a real engine: the whole product with llama.cpp's own server, the tiny model and its generated
 * projector. TRAMONTANE_TEST_LLAMA_SERVER names the program (`test/tools/conformance/build-llama-server.sh` builds
 * it); without it these tests are skipped.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { imageTokens } from '../../backends/model/image.ts'
import { dataUrl, png } from '../support/images.ts'
import { pdf } from '../support/pdf.ts'
import { eventually, isZero, type Product, startProduct, zero } from '../support/product.ts'
import { eyes } from '../tools/toy-model/eyes.ts'

const program = process.env.TRAMONTANE_TEST_LLAMA_SERVER
const modelPath = fileURLToPath(new URL('../../gpu-worker/model/tiny.gguf', import.meta.url))

interface RequestRecord {
  reservation: string
  entries: { kind: string; estimated: number | null; promptTokens: number | null }[]
}

type Part = OpenAI.ChatCompletionContentPart

describe.skipIf(!program)('llama-server with a projector', () => {
  let product: Product
  let folder: string
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'tramontane-eyes-'))
    const projector = join(folder, 'eyes.gguf')
    writeFileSync(projector, eyes(new Uint8Array(readFileSync(modelPath))))
    product = await startProduct({
      env: {
        // The gateway knows the toy as a model without vision.
        TRAMONTANE_MODEL_ID: 'mistral-small-4',
        TRAMONTANE_MODEL: modelPath,
        TRAMONTANE_BACKEND: 'llama-cpp',
        TRAMONTANE_ENGINE_PROGRAM: program ?? '',
        TRAMONTANE_ENGINE_ARGS: `--mmproj "${projector}"`,
        TRAMONTANE_SLOTS: '2',
        TRAMONTANE_THREADS: '1',
      },
    })
  })
  afterAll(async () => {
    await product?.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  const image = (width: number, height: number): Part => ({
    type: 'image_url',
    image_url: { url: dataUrl(png(width, height)) },
  })

  /** Sends one message, and returns its prompt tokens: those of the answer, which must be those of the ledger. */
  async function promptTokens(...content: Part[]): Promise<number> {
    const { data, response } = await product
      .client()
      .chat.completions.create({
        ...{ model: product.demo().model, max_tokens: 4, temperature: 0 },
        messages: [{ role: 'user', content: [{ type: 'text', text: 'See' }, ...content] }],
      })
      .withResponse()
    const requestId = response.headers.get('x-request-id')
    const { entries } = await eventually(
      () => product.admin<RequestRecord>('GET', `/admin/tenants/demo/requests/${requestId}`),
      ({ reservation }) => reservation === 'posted',
    )
    const tokens = data.usage?.prompt_tokens ?? 0
    expect(entries.find(({ kind }) => kind === 'post')).toMatchObject({ promptTokens: tokens, estimated: 0 })
    return tokens
  }

  it('[LLS5] the tokens of an image are those of the engine in the answer and in the ledger, and those of the reference for everyday sizes', async () => {
    const without = await promptTokens()
    const sizes = [
      [224, 224],
      [1_024, 724],
      [1_540, 1_089],
    ] as const
    for (const [width, height] of sizes)
      expect((await promptTokens(image(width, height))) - without, `${width} × ${height}`).toBe(
        imageTokens(width, height),
      )
    // llama.cpp enlarges small images, and its limit is an area: more tokens than the reference, and billed as such.
    expect((await promptTokens(image(28, 28))) - without).toBe(12)
    expect((await promptTokens(image(2_000, 1_500))) - without).toBe(3_120)
    expect(await eventually(product.counters, isZero)).toEqual(zero)
  }, 240_000)

  it('[LLS6] a page of a PDF reaches the engine as text and as a picture of 1,088 × 1,540 pixels', async () => {
    const page = dataUrl(pdf([[]]), 'application/pdf')
    const tokens = await promptTokens({ type: 'file', file: { filename: 'a.pdf', file_data: page } })
    const heading = '[Document "a.pdf", pages: 1]\n\n[Page 1]\n\n\n'
    const text = await promptTokens({ type: 'text', text: heading })
    expect(Math.abs(tokens - text - imageTokens(1_088, 1_540))).toBeLessThanOrEqual(2)
  }, 120_000)

  it('[LLS7] an image that cannot be decoded is a refusal for its sender alone', async () => {
    const broken = dataUrl(png(64, 64).subarray(0, 60))
    const error = await promptTokens({ type: 'image_url', image_url: { url: broken } }).catch((cause: unknown) => cause)
    expect(error).toMatchObject({ status: 400, code: 'invalid_value' })
    expect(await promptTokens(image(56, 56))).toBeGreaterThan(12)
    expect(await eventually(product.counters, isZero)).toEqual(zero)
  }, 60_000)
})
