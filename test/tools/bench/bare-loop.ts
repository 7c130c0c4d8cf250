/**
 * The library's own batched throughput: parallel `sequence.evaluate` and nothing else. It runs in its own process, like
 * the engine child, and answers each `{ prompts, outputTokens }` with its duration in milliseconds.
 */
import { getLlama, LlamaLogLevel, type Token } from 'node-llama-cpp'
import { preferCpuWithoutAmx } from '../../../gpu-worker/engine/cpu.ts'

export interface BareRound {
  prompts: number[][]
  outputTokens: number
}

const [modelPath = '', sequences = '1', contextTokens = '512', batchTokens = '512', threads = '1'] =
  process.argv.slice(2)

preferCpuWithoutAmx(false)
const llama = await getLlama({
  build: 'never',
  gpu: false,
  maxThreads: Number(threads),
  logLevel: LlamaLogLevel.error,
})
const model = await llama.loadModel({ modelPath })
const context = await model.createContext({
  contextSize: Number(contextTokens),
  sequences: Number(sequences),
  batchSize: Number(batchTokens),
  threads: Number(threads),
})
const all = Array.from({ length: Number(sequences) }, () => context.getSequence())

process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'))
process.on('message', async ({ prompts, outputTokens }: BareRound) => {
  const startedAt = performance.now()
  await Promise.all(
    prompts.map(async (prompt, index) => {
      const sequence = all[index]
      if (!sequence) throw new Error('more prompts than sequences')
      await sequence.clearHistory()
      let left = outputTokens
      const options = { temperature: 0.7, seed: index, yieldEogToken: true }
      for await (const _ of sequence.evaluate(prompt as Token[], options)) if (--left === 0) break
    }),
  )
  process.send?.(performance.now() - startedAt)
})
process.send?.('ready')
