/**
 * Engine settings of each pool. `latency` keeps batches small, so that tokens come fast and new prompts start soon.
 * `throughput` keeps many sequences in the batch and processes prompts in larger chunks. An adapter's `launch`
 * (backends/) turns a row into the engine's own flags; `--print-launch` shows them.
 *
 * - slots: concurrent requests (vLLM --max-num-seqs, SGLang --max-running-requests, llama-server --parallel).
 * - batch: maximum tokens in one step (vLLM --max-num-batched-tokens, llama-server --batch-size).
 * - chunk: maximum tokens of one prompt in one step (vLLM --long-prefill-token-threshold). It bounds how long a prompt
 *   delays other requests' next token.
 * - speculation: tokens that a draft model proposes per step, if the operator sets one; 0 is off.
 *
 * embedded: for a small host. Speculation is 0 because it is not available: the library's predictors (draft model,
 *   prompt lookup) belong to its own evaluation loop, and our scheduler bypasses that loop to control the batches. Large
 *   batches lose nothing by that; a latency pool with speculation needs vLLM or SGLang.
 * vllm: Mistral's recipe has a single setting of 128 sequences and 16,384 tokens. 16–64 sequences with 2k–8k tokens
 *   favour latency, 128–1,024 with 16k–32k throughput. EAGLE pays on prose at small batches (accept rates 0.81–0.88,
 *   about 2.5 times as fast, one user's machine) and loses on JSON and tool calls (0.20–0.40, slower than without), which
 *   is what agents send. So it is off unless the operator sets a draft model, as in the recipe.
 * sglang: the same reasoning; its recipe for EAGLE is 3 steps, top-k 1, 4 draft tokens. A step that reads prompts has
 *   one bound for all of them together, --chunked-prefill-size, so batch and chunk are the same number.
 * llama-cpp: divides its cache into equal slots at the start, so unused slots cost memory too. A step takes prompts up
 *   to the batch, so batch and chunk are one bound. No draft of Small 4 is published in its format.
 *
 * Figures that are not from the engine's own recipe for this model are our choice and not measured on a GPU.
 * TRAMONTANE_SLOTS, TRAMONTANE_CONTEXT, TRAMONTANE_DRAFT_MODEL and TRAMONTANE_ENGINE_ARGS override the table.
 */
import type { PoolName } from '../backends/wire/dispatch.ts'

export interface Profile {
  slotsMax: number
  batchTokens: number
  prefillChunkTokens: number
  speculationTokens: number
  /** Default token limit of one request: lower on engines that reserve each slot's memory at the start. */
  contextTokensMax: number
}

type ProfileRow = [slotsMax: number, batchTokens: number, prefillChunkTokens: number, speculationTokens: number]

/** A paged cache allocates memory as tokens arrive, so a long context limit costs nothing until it is used. */
const paged = 262_144
/** The engine reserves each slot's memory at the start. */
const reserved = 32_768

// biome-ignore format: a table
const table: Record<string, { contextTokensMax: number } & Record<PoolName, ProfileRow>> = {
  //                                                  slots   batch   chunk  speculation
  embedded:    { contextTokensMax: reserved, latency: [   8,    256,    128,  0], throughput: [ 32,    512,    256, 0] },
  vllm:        { contextTokensMax: paged,    latency: [  32,  8_192,  2_048,  3], throughput: [256, 16_384, 16_384, 0] },
  sglang:      { contextTokensMax: paged,    latency: [  32,  2_048,  2_048,  3], throughput: [256,  8_192,  8_192, 0] },
  'llama-cpp': { contextTokensMax: reserved, latency: [   4,    512,    512,  0], throughput: [ 16,  2_048,  2_048, 0] },
  // Engines that the worker only attaches to, or that lack such settings: limits of what the worker admits.
  other:       { contextTokensMax: reserved, latency: [   4,  2_048,    512,  0], throughput: [ 16,  4_096,  1_024, 0] },
}

/** @param engine the name of its backend */
export function profileOf(engine: string, pool: PoolName): Profile {
  const { contextTokensMax, [pool]: row } = (table[engine] ?? table.other) as NonNullable<typeof table.other>
  const [slotsMax, batchTokens, prefillChunkTokens, speculationTokens] = row
  return { slotsMax, batchTokens, prefillChunkTokens, speculationTokens, contextTokensMax }
}
