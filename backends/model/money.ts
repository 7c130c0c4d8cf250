/**
 * Money is integer nano-dollars, a token count is an integer, and a price is nano-dollars per token:
 * $0.15 per million tokens is 150. Both programs use these few lines, so that the bound the edge reserves and the
 * bound the worker enforces are the same arithmetic.
 */
import { z } from 'zod'
import { budgets } from './budgets.ts'

/** Nano-dollars and tokens stay below 2^53, so plain numbers are exact: $9 million is 9·10^15 nano-dollars. */
export const nanoMax = Number.MAX_SAFE_INTEGER

const Count = z.int().min(0).max(budgets.requestTokens.value)
const Price = z.int().min(0).max(budgets.priceNano.value)

/** Price of one token, in nano-dollars. */
export const Rates = z.object({ inputNano: Price, cachedNano: Price, outputNano: Price })
export type Rates = z.infer<typeof Rates>

/** Tokens of one request. `cached` is part of `prompt`; `reasoning` is part of `output`. */
export const Counts = z.object({
  promptTokens: Count,
  cachedTokens: Count,
  outputTokens: Count,
  reasoningTokens: Count,
})
export type Counts = z.infer<typeof Counts>

/** At most `nanoMax`: the dearest prices times the most tokens pass what a number holds exactly. */
export function costNano(counts: Counts, rates: Rates): number {
  const fresh = counts.promptTokens - counts.cachedTokens
  return Math.min(
    nanoMax,
    fresh * rates.inputNano + counts.cachedTokens * rates.cachedNano + counts.outputTokens * rates.outputNano,
  )
}

/** An upper bound: nothing cached, every output token written. At most `nanoMax`. */
export function boundNano(promptTokens: number, outputTokens: number, rates: Rates): number {
  return Math.min(nanoMax, promptTokens * rates.inputNano + outputTokens * rates.outputNano)
}

/** The nearest integer that a number holds exactly; what is no number is 0. */
export function safeInteger(value: number): number {
  if (Number.isNaN(value)) return 0
  return Math.trunc(Math.min(nanoMax, Math.max(-nanoMax, value)))
}

/**
 * How many tokens may be generated so that the cost cannot pass `costNanoMax`, the whole prompt counted at full price.
 * Negative when the prompt alone costs more.
 */
export function outputTokensWithin(costNanoMax: number, promptTokens: number, rates: Rates): number {
  const left = costNanoMax - promptTokens * rates.inputNano
  if (left < 0) return -1
  return rates.outputNano === 0 ? Number.MAX_SAFE_INTEGER : Math.floor(left / rates.outputNano)
}
