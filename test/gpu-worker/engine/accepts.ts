/** Checks a text against a grammar with the library's own grammar reader, without a model. */
import { getLlama, LlamaGrammar, LlamaLogLevel } from 'node-llama-cpp'

const llama = await getLlama({ gpu: false, build: 'never', logLevel: LlamaLogLevel.disabled, progressLogs: false })

export function accepts(grammar: string): (text: string) => boolean {
  const reader = new LlamaGrammar(llama, { grammar }) as unknown as { _testText(text: string): boolean }
  return (text) => reader._testText(text)
}
