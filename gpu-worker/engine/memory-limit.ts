/**
 * How much memory the engine process may hold, from what it has to hold: the model, the cache for every slot, the logits
 * of a batch, and a share for each slot. A process above it is ended before the host runs out.
 */

export interface MemoryNeeds {
  fileBytes: number
  /** Bytes of one token in the cache, all layers together. */
  cacheBytesPerToken: number
  vocabulary: number
  slotsMax: number
  contextTokens: number
  batchTokens: number
}

const mebibyte = 1024 * 1024
/** Node and the library at rest take 120 MB; the rest is for text and tokens on their way. */
const baseBytes = 768 * mebibyte
/** A sampler's candidates (3 MB for 131,072 words), and a grammar's rules and open ways. */
const slotBytes = 32 * mebibyte

export function engineMemoryMax(needs: MemoryNeeds): number {
  const { fileBytes, cacheBytesPerToken, vocabulary, slotsMax, contextTokens, batchTokens } = needs
  // Some weights are copied into the order that the processor likes.
  const weights = fileBytes * 1.25
  const cache = slotsMax * contextTokens * cacheBytesPerToken * 1.1
  const logits = Math.max(batchTokens, slotsMax) * vocabulary * 4 * 2
  return Math.ceil(weights + cache + logits + slotsMax * slotBytes + baseBytes)
}
