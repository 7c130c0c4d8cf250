/**
 * A pool's profile, as engine settings: the one table. `latency` keeps batches small, so that each token comes soon and
 * a new prompt is let in often; `throughput` keeps many sequences in the batch and lets prefill run in larger pieces.
 *
 *                     slots   batch tokens   prefill chunk    why
 *   latency               8            256             128    few neighbours per step, others' tokens wait 128 at most
 *   throughput           32            512             256    more tokens per step, coarser sharing
 *
 * Numbers are for the embedded engine on a small host; TRAMONTANE_SLOTS and TRAMONTANE_CONTEXT override them.
 */
import type { PoolName } from '../backends/protocol/dispatch.ts'

export interface Profile {
  slotsMax: number
  batchTokens: number
  prefillChunkTokens: number
}

export const profiles: Record<PoolName, Profile> = {
  latency: { slotsMax: 8, batchTokens: 256, prefillChunkTokens: 128 },
  throughput: { slotsMax: 32, batchTokens: 512, prefillChunkTokens: 256 },
}
