/** Concurrent requests get the same answers as sequential ones. */
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { createEmbeddedEngine } from '../../../gpu-worker/engine/embedded.ts'
import { chatOf } from './prompt.ts'

const modelPath = fileURLToPath(new URL('../../../gpu-worker/model/tiny.gguf', import.meta.url))
const sums = Array.from(
  { length: 48 },
  (_, index) => `What is ${100 + ((index * 379) % 900)} + ${100 + ((index * 617) % 900)}?`,
)

/** Answers to all sums, `slots` at a time, with a shared prefix cache. */
async function answers(slots: number): Promise<string[]> {
  const engine = createEmbeddedEngine({
    ...{
      modelPath,
      slotsMax: slots,
      contextTokens: 512,
      batchTokens: 256,
      prefillChunkTokens: 128,
      threads: 1,
      gpu: false,
    },
    log: () => undefined,
  })
  await engine.start()
  const texts: string[] = []
  let next = 0
  const serve = async () => {
    for (let index = next++; index < sums.length; index = next++) {
      const chat = chatOf({ messages: [{ role: 'user', content: sums[index] }], temperature: 0 })
      const prepared = await engine.prepare(chat, 'high')
      if (!prepared.ok) throw new Error(prepared.message)
      const options = { requestId: `r${index}`, outputTokensMax: 200, priority: 0, owner: 'a' }
      let text = ''
      for await (const event of engine.run(prepared, options, new AbortController().signal).events) {
        if (event.kind === 'text') text += event.text
      }
      texts[index] = text
    }
  }
  await Promise.all(Array.from({ length: slots }, serve))
  await engine.close()
  return texts
}

it('[ENG22] six concurrent requests with reused prefixes get the same answers as sequential ones', async () => {
  const alone = await answers(1)
  for (let round = 0; round < 2; round++) expect(await answers(6)).toEqual(alone)
}, 60_000)
