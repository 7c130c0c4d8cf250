import { getLlama, type LlamaContextSequence, LlamaLogLevel, type LlamaModel, type Token } from 'node-llama-cpp'

const OUTPUT_MAX = 600
const CONTEXT = 1200

/** A model that decodes greedily, one prompt at a time on one thread, so that every run gives the same tokens. */
export type Greedy = {
  answer: (prompt: string) => Promise<{ ids: number[]; text: string }>
  dispose: () => Promise<void>
}

export async function greedy(modelPath: string): Promise<Greedy> {
  const llama = await getLlama({ gpu: false, build: 'never', logLevel: LlamaLogLevel.error, maxThreads: 1 })
  const model = await llama.loadModel({ modelPath })
  const context = await model.createContext({ contextSize: CONTEXT, sequences: 1, threads: 1 })
  const sequence = context.getSequence()
  return {
    answer: (prompt) => answer(model, sequence, prompt),
    dispose: () => llama.dispose(),
  }
}

async function answer(
  model: LlamaModel,
  sequence: LlamaContextSequence,
  prompt: string,
): Promise<{ ids: number[]; text: string }> {
  await sequence.clearHistory()
  const ids: Token[] = []
  for await (const token of sequence.evaluate(model.tokenize(prompt, true), { temperature: 0, yieldEogToken: true })) {
    ids.push(token)
    if (token === model.tokens.eos || ids.length >= OUTPUT_MAX) break
  }
  return { ids, text: model.detokenize(ids, true) }
}
