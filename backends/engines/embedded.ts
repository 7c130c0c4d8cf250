/**
 * llama.cpp inside the worker (gpu-worker/engine), without network calls. The worker renders the prompt and holds the
 * token ids, so every count is exact, up to the last token of an aborted answer.
 */
import { capabilities, type InProcessBackend } from '../contract/backend.ts'

export const embedded: InProcessBackend = {
  transport: 'in-process',
  name: 'embedded',
  title: 'Embedded llama.cpp',
  capabilities: capabilities({
    efforts: ['none', 'high'],
    reasoning: true,
    reasoningHistory: true,
    tools: true,
    parallelTools: true,
    forcedTool: true,
    jsonObject: true,
    jsonSchema: true,
    seed: true,
    penalties: true,
    stopsMax: 16,
    prefix: true,
    priority: true,
    cacheSalt: true,
  }),
  truth: {
    promptBefore: 'counted',
    prompt: 'counted',
    cached: 'counted',
    output: 'counted',
    reasoning: 'counted',
    aborted: 'counted',
  },
  remedies: { vision: 'serve the model with llama-server, vLLM or SGLang: the embedded engine has no vision' },
}
