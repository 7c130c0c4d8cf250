/**
 * A pool's profile, as settings of its engine: the one table. `latency` keeps batches small, so that each token comes
 * soon and a new prompt is let in often; `throughput` keeps many sequences in the batch and lets prompts run in larger
 * pieces. An adapter's `launch` (backends/) turns a row into the engine's own flags; `--print-launch` shows them.
 *
 * - slots: requests at once (vLLM --max-num-seqs, SGLang --max-running-requests, llama-server --parallel).
 * - batch: most tokens in one step (vLLM --max-num-batched-tokens, llama-server --batch-size).
 * - chunk: most tokens of one prompt in one step, so the longest that another's next token waits for a prompt.
 * - speculation: tokens that a draft proposes a step; 0 is off.
 *
 * embedded: for a small host. Speculation is 0 because it does not work here: the library has predictors (draft model,
 *   prompt lookup), but they live in its own evaluation loop, which our scheduler goes beneath to batch exactly what its
 *   plan says. Nothing is lost at large batches; a latency pool that wants speculation takes vLLM or SGLang.
 * vllm: Mistral's recipe has 128 sequences and 16,384 tokens as one setting for all; 16–64 with 2k–8k is the latency end
 *   of that knob, 128–1,024 with 16k–32k the other. EAGLE pays on prose at small batches (accept rates 0.81–0.88, about
 *   2.5 times as fast, one user's machine) and loses on JSON and tool calls: 3 tokens for latency, none for throughput.
 * sglang: the same reasoning; its recipe for EAGLE is 3 steps, top-k 1, 4 draft tokens.
 * llama-cpp: its cache is cut into equal slots when it starts, so slots cost memory whether used or not. A step takes
 *   prompts up to the batch, so batch and chunk are one bound. No draft of Small 4 is published in its format.
 *
 * Where a figure is not from the engine's own recipe for this model it is our choice and not measured on a GPU.
 * TRAMONTANE_SLOTS, TRAMONTANE_CONTEXT, TRAMONTANE_DRAFT_MODEL and TRAMONTANE_ENGINE_ARGS go before it.
 */
import type { PoolName } from '../backends/wire/dispatch.ts'

export interface Profile {
  slotsMax: number
  batchTokens: number
  prefillChunkTokens: number
  speculationTokens: number
  /** Tokens of one request unless TRAMONTANE_CONTEXT says else: less where each slot's share is set aside at the start. */
  contextTokensMax: number
}

type ProfileRow = [slotsMax: number, batchTokens: number, prefillChunkTokens: number, speculationTokens: number]

/** Pages of the cache are given out as they are used: a long context costs nothing until it is there. */
const paged = 262_144
const setAside = 32_768

// biome-ignore format: a table
const table: Record<string, { contextTokensMax: number } & Record<PoolName, ProfileRow>> = {
  //                                                  slots   batch   chunk  speculation
  embedded:    { contextTokensMax: setAside, latency: [   8,    256,    128,  0], throughput: [ 32,    512,    256, 0] },
  vllm:        { contextTokensMax: paged,    latency: [  32,  8_192,  2_048,  3], throughput: [256, 16_384, 16_384, 0] },
  sglang:      { contextTokensMax: paged,    latency: [  32,  8_192,  2_048,  3], throughput: [256, 16_384,  8_192, 0] },
  'llama-cpp': { contextTokensMax: setAside, latency: [   4,    512,    512,  0], throughput: [ 16,  2_048,  2_048, 0] },
  // Engines that are only attached to, and those without knobs of this kind: what the worker lets in.
  other:       { contextTokensMax: setAside, latency: [   4,  2_048,    512,  0], throughput: [ 16,  4_096,  1_024, 0] },
}

/** @param engine the name of its backend */
export function profileOf(engine: string, pool: PoolName): Profile {
  const { contextTokensMax, [pool]: row } = (table[engine] ?? table.other) as NonNullable<typeof table.other>
  const [slotsMax, batchTokens, prefillChunkTokens, speculationTokens] = row
  return { slotsMax, batchTokens, prefillChunkTokens, speculationTokens, contextTokensMax }
}
