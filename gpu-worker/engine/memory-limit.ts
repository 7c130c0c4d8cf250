/**
 * The memory limit of the engine process, computed from its needs: the model, the KV cache of every slot, the logits of
 * a batch, and a share per slot. A process above the limit is killed before the host runs out of memory.
 */

export interface MemoryNeeds {
  fileBytes: number
  /** KV cache bytes of one token, all layers together. */
  cacheBytesPerToken: number
  vocabulary: number
  slotsMax: number
  contextTokens: number
  batchTokens: number
}

const mebibyte = 1024 * 1024
/** Node and the idle library take 120 MB; the remainder is for text and tokens in transit. */
const baseBytes = 768 * mebibyte
/** A sampler's candidates (3 MB for 131,072 vocabulary entries), and a grammar's rules and parse stacks. */
const slotBytes = 32 * mebibyte

export function engineMemoryMax(needs: MemoryNeeds): number {
  const { fileBytes, cacheBytesPerToken, vocabulary, slotsMax, contextTokens, batchTokens } = needs
  // Some weights are copied into a layout that suits the processor.
  const weights = fileBytes * 1.25
  const cache = slotsMax * contextTokens * cacheBytesPerToken * 1.1
  const logits = Math.max(batchTokens, slotsMax) * vocabulary * 4 * 2
  return Math.ceil(weights + cache + logits + slotsMax * slotBytes + baseBytes)
}
