/** llama.cpp with a vocabulary alone: a model file without tensors. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { getLlama, LlamaLogLevel, type LlamaModel } from 'node-llama-cpp'
import type { TokenizerData } from '../../../gpu-worker/engine/tekken/encoder.ts'
import { type Value, writeGguf } from '../toy-model/gguf.ts'

export async function vocabularyModel(data: TokenizerData, folder: string): Promise<LlamaModel> {
  const path = join(folder, 'vocabulary.gguf')
  writeFileSync(path, writeGguf({ metadata: metadata(data), tensors: [] }))
  const llama = await getLlama({ build: 'never', gpu: false, logLevel: LlamaLogLevel.disabled, progressLogs: false })
  return await llama.loadModel({ modelPath: path, vocabOnly: true })
}

function metadata({ tokens, types, merges }: TokenizerData): Map<string, Value> {
  const sizes = ['context_length', 'embedding_length', 'block_count', 'feed_forward_length', 'attention.head_count']
  return new Map<string, Value>([
    ['general.architecture', { kind: 'string', value: 'llama' }],
    ...sizes.map((name): [string, Value] => [`llama.${name}`, { kind: 'u32', value: 64 }]),
    ['llama.attention.layer_norm_rms_epsilon', { kind: 'f32', value: 1e-5 }],
    ['tokenizer.ggml.model', { kind: 'string', value: 'gpt2' }],
    ['tokenizer.ggml.pre', { kind: 'string', value: 'tekken' }],
    ['tokenizer.ggml.tokens', { kind: 'strings', value: tokens }],
    ['tokenizer.ggml.token_type', { kind: 'i32s', value: types }],
    ['tokenizer.ggml.merges', { kind: 'strings', value: merges }],
    ['tokenizer.ggml.add_bos_token', { kind: 'bool', value: false }],
    ['tokenizer.ggml.add_eos_token', { kind: 'bool', value: false }],
  ])
}
