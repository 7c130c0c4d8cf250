/**
 * The tiny model's golden answers, token by token, through our renderer, scheduler and engine: detects any change in
 * them, in the library or in the weights. `test/tools/toy-model/golden.ts` writes the file with the library alone, so
 * the two paths check each other.
 */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { EffortWord } from '../../../backends/model/effort.ts'
import { createEmbeddedEngine } from '../../../gpu-worker/engine/embedded.ts'
import type { Engine } from '../../../gpu-worker/engine/engine.ts'
import { forkChild } from '../../../gpu-worker/engine/fork.ts'
import { renderPrompt } from '../../../gpu-worker/engine/template.ts'
import { build, fromGguf } from '../../tools/toy-model/build.ts'
import { chatOf, textOf } from '../engine/prompt.ts'

interface Golden {
  reasoning_effort: EffortWord
  messages: object[]
  tools?: object[]
  prompt: string
  ids: number[]
}

const modelPath = fileURLToPath(new URL('../../../gpu-worker/model/tiny.gguf', import.meta.url))
const goldenPath = fileURLToPath(new URL('../../tools/toy-model/golden.json', import.meta.url))
const golden: Golden[] = JSON.parse(readFileSync(goldenPath, 'utf8'))

let engine: Engine
let sampled: number[] = []

beforeAll(async () => {
  engine = createEmbeddedEngine({
    modelPath,
    slotsMax: 1,
    contextTokens: 1_024,
    batchTokens: 512,
    prefillChunkTokens: 128,
    threads: 1,
    gpu: false,
    log: () => undefined,
    fork(log) {
      const child = forkChild(log)
      child.onMessage((message) => {
        // The list has pairs of run id and token; only one run exists at a time.
        if (message.kind === 'step') sampled.push(...message.report.sampled.filter((_, index) => index % 2 === 1))
      })
      return child
    },
  })
  await engine.start()
})

afterAll(() => engine.close())

describe('golden answers', () => {
  it.each(golden)(
    '[MOD1] $messages.0.content, effort $reasoning_effort: the prompt and every token are as recorded',
    async (each) => {
      const chat = chatOf({ messages: each.messages, temperature: 0, ...(each.tools && { tools: each.tools }) })
      const rendered = renderPrompt(chat, each.reasoning_effort)
      expect(rendered.ok && textOf(rendered.segments)).toBe(each.prompt)
      const prepared = await engine.prepare(chat, each.reasoning_effort)
      if (!prepared.ok) throw new Error(prepared.message)
      sampled = []
      const options = { requestId: 'r', outputTokensMax: 600, priority: 0, owner: 'golden' }
      const run = engine.run(prepared, options, new AbortController().signal)
      const kinds = []
      for await (const event of run.events) kinds.push(event.kind)
      expect(sampled).toEqual(each.ids)
      expect(run.counts.outputTokens).toBe(each.ids.length)
      expect(kinds.at(-1)).toBe('end')
    },
  )
})

it('[MOD2] the committed file equals the build from its weights, tokenizer, template and shape, byte for byte', () => {
  const committed = new Uint8Array(readFileSync(modelPath))
  expect(committed.length).toBeLessThan(20_000_000)
  expect(Buffer.compare(build(fromGguf(committed)), committed)).toBe(0)
})
