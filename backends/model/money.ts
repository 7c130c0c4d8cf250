/**
 * Money is in integer nano-dollars, token counts are integers, and prices are nano-dollars per token: $0.15 per million
 * tokens is 150. The edge and the worker share this arithmetic, so the reserved bound equals the enforced bound.
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

/** At most `nanoMax`: the highest prices times the most tokens exceed the exact range of a number. */
export function costNano(counts: Counts, rates: Rates): number {
  const fresh = counts.promptTokens - counts.cachedTokens
  return Math.min(
    nanoMax,
    fresh * rates.inputNano + counts.cachedTokens * rates.cachedNano + counts.outputTokens * rates.outputNano,
  )
}

/** Exact, without an exponent: 150 is `0.00000015`, 2,000,000,000 is `2`. */
export function dollars(nano: number): string {
  const digits = String(Math.abs(nano)).padStart(10, '0')
  const fraction = digits.slice(-9).replace(/0+$/, '')
  return `${nano < 0 ? '-' : ''}${digits.slice(0, -9)}${fraction === '' ? '' : `.${fraction}`}`
}

/** The upper bound of a cost: nothing is cached and every output token is generated. At most `nanoMax`. */
export function boundNano(promptTokens: number, outputTokens: number, rates: Rates): number {
  return Math.min(nanoMax, promptTokens * rates.inputNano + outputTokens * rates.outputNano)
}

/** The nearest safe integer; 0 for NaN. */
export function safeInteger(value: number): number {
  if (Number.isNaN(value)) return 0
  return Math.trunc(Math.min(nanoMax, Math.max(-nanoMax, value)))
}

/**
 * Output tokens that fit into `costNanoMax` with the whole prompt at full price. Negative if the prompt alone costs
 * more.
 */
export function outputTokensWithin(costNanoMax: number, promptTokens: number, rates: Rates): number {
  const left = costNanoMax - promptTokens * rates.inputNano
  if (left < 0) return -1
  return rates.outputNano === 0 ? Number.MAX_SAFE_INTEGER : Math.floor(left / rates.outputNano)
}
