/** The toy model's vision projector. `test/e2e/eyes.test.ts` loads it into llama.cpp. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { fromGguf } from '../../tools/toy-model/build.ts'
import { eyes } from '../../tools/toy-model/eyes.ts'
import { readGguf } from '../../tools/toy-model/gguf.ts'
import { CONTROL } from '../../tools/toy-model/tokenizer.ts'

const modelPath = fileURLToPath(new URL('../../../gpu-worker/model/tiny.gguf', import.meta.url))

describe('the vision projector', () => {
  it('[MOD4] the generator writes the same bytes again, in the form of Mistral Small 4’s, and fits the model', () => {
    const model = new Uint8Array(readFileSync(modelPath))
    const bytes = eyes(model)
    expect(Buffer.compare(bytes, eyes(model))).toBe(0)
    const { metadata, tensors } = readGguf(bytes)
    const value = (key: string) => metadata.get(`clip.${key}`)?.value
    expect(value('projector_type')).toBe('pixtral')
    expect([value('vision.patch_size'), value('vision.spatial_merge_size'), value('vision.image_size')]).toEqual([
      14, 2, 1_540,
    ])
    expect(value('vision.image_mean')).toHaveLength(3)
    const width = Number(readGguf(model).metadata.get('mistral4.embedding_length')?.value)
    expect(tensors.find(({ name }) => name === 'mm.2.weight')?.dims).toEqual([width, width])
    const rowEnd = CONTROL.indexOf('[IMG_BREAK]')
    expect(fromGguf(bytes)('v.token_embd.img_break')).toEqual(
      fromGguf(model)('token_embd.weight').slice(rowEnd * width, (rowEnd + 1) * width),
    )
  })
})
