/** All backends by name, one line each. */
import type { Backend, HttpBackend } from '../contract/backend.ts'
import { embedded } from './embedded.ts'
import { fake } from './fake.ts'
import { llamaCpp } from './llama-cpp.ts'
import { lmStudio } from './lm-studio.ts'
import { mistral } from './mistral.ts'
import { ollama } from './ollama.ts'
import { openaiCompatible } from './openai-compatible.ts'
import { sglang } from './sglang.ts'
import { transformers } from './transformers.ts'
import { vllm } from './vllm.ts'

/** In the order in which `recognise` tries them: the generic one is last. */
export const httpBackends: readonly HttpBackend[] = [
  vllm,
  sglang,
  llamaCpp,
  transformers,
  lmStudio,
  ollama,
  mistral,
  fake,
  openaiCompatible,
]

export const backends: readonly Backend[] = [embedded, ...httpBackends]

export function findBackend(name: string): Backend | undefined {
  return backends.find((backend) => backend.name === name)
}
