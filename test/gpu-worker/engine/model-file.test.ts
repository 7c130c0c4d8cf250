import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { readModelFile } from '../../../gpu-worker/engine/model-file.ts'

const tiny = fileURLToPath(new URL('../../../gpu-worker/model/tiny.gguf', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'tramontane-test-'))
afterAll(() => rmSync(folder, { recursive: true }))

function file(name: string, bytes: Uint8Array): string {
  const path = join(folder, name)
  writeFileSync(path, bytes)
  return path
}

describe('model file', () => {
  it('[ENG14] the architecture and control tokens of the tiny model are read', () => {
    const model = readModelFile(tiny)
    expect(model.architecture).toBe('mistral4')
    const { control, controlIds, bytes } = model.vocabulary
    expect(new Set(Object.values(control)).size).toBe(16)
    expect(controlIds).toEqual(expect.arrayContaining(Object.values(control)))
    expect(bytes(control['[INST]'])).toHaveLength(0)
  })

  it('[ENG14] a file that cannot be served is refused in one sentence with its path', () => {
    const whole = readFileSync(tiny)
    const other = Buffer.from(whole)
    const at = other.indexOf('mistral4')
    other.write('llama123', at)
    const many = Buffer.from(whole)
    many.writeBigUInt64LE(2n ** 60n, 16)
    const cases: [path: string, reason: RegExp][] = [
      [join(folder, 'absent.gguf'), /the file does not exist/],
      [folder, /it is a directory/],
      [file('empty.gguf', Buffer.alloc(0)), /truncated/],
      [file('text.gguf', Buffer.from('this is not a model at all')), /not a GGUF file/],
      [file('header.gguf', whole.subarray(0, 5_000)), /truncated/],
      [file('half.gguf', whole.subarray(0, whole.length / 2)), /truncated/],
      [file('byte.gguf', whole.subarray(0, whole.length - 1)), /truncated/],
      [file('many.gguf', many), /inconsistent: key count/],
      [file('llama.gguf', other), /architecture is llama123\. Use a model with mistral4 or deepseek2/],
    ]
    for (const [path, reason] of cases) {
      const read = () => readModelFile(path)
      expect(read).toThrow(reason)
      expect(read).toThrow(`The model file ${path} cannot be served: `)
    }
  })

  it('[ENG14] a file with any broken header is refused quickly', () => {
    const whole = readFileSync(tiny).subarray(0, 200_000)
    for (let round = 0; round < 150; round++) {
      const broken = Buffer.from(whole)
      for (let byte = 0; byte < 8; byte++) broken[(round * 7_919 + byte * 104_729) % 20_000] = (round * 31 + byte) % 256
      const path = file('broken.gguf', broken)
      expect(() => readModelFile(path)).toThrow(/^The model file .* cannot be served: .*\.$/s)
    }
  })
})
