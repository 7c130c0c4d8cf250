/**
 * Limits sampling values to those that an engine can compute with. Engines use 32-bit floats and divide the logits by
 * the temperature. Below `largest logit / 3.4e38` (1e-36 for a logit of 340) the quotient is infinite, every
 * probability becomes NaN, and no token can be chosen.
 */

export interface SamplingValues {
  temperature?: number | undefined
  topP?: number | undefined
  frequencyPenalty?: number | undefined
  presencePenalty?: number | undefined
}

/**
 * Below this temperature the most likely token is always chosen. At 0.001 two logits that differ by 0.1 are 10^43 to 1
 * in probability, so no client can see the difference, and the largest quotient stays 30 orders of magnitude below the
 * 32-bit limit.
 */
export const temperatureMin = 1e-3
/**
 * The most likely token always has a higher probability. Smaller values keep the same token and underflow in 32 bits.
 */
const topPMin = 1e-6
const penaltyMax = 2

/** The request with values that every engine can compute with. Absent values stay absent. */
export function computable<Values extends SamplingValues>(values: Values): Values {
  const { temperature, topP, frequencyPenalty, presencePenalty } = values
  return {
    ...values,
    ...(temperature !== undefined && { temperature: temperatureOf(temperature) }),
    ...(topP !== undefined && { topP: topPOf(topP) }),
    ...(frequencyPenalty !== undefined && { frequencyPenalty: penaltyOf(frequencyPenalty) }),
    ...(presencePenalty !== undefined && { presencePenalty: penaltyOf(presencePenalty) }),
  }
}

function temperatureOf(value: number): number {
  if (Number.isNaN(value) || value < temperatureMin) return 0
  return Math.min(value, 100)
}

function topPOf(value: number): number {
  return Number.isNaN(value) ? 1 : Math.min(1, Math.max(topPMin, value))
}

/** A penalty below the resolution of a 32-bit logit becomes 0. */
function penaltyOf(value: number): number {
  if (Number.isNaN(value) || Math.abs(value) < 1e-6) return 0
  return Math.min(penaltyMax, Math.max(-penaltyMax, value))
}
