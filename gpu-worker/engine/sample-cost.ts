/**
 * Measures the cost of a run's grammar per token, and decides when it is too high.
 *
 * Runs are sampled in parallel, so their times cannot be measured separately. If the runs with a grammar exceed the
 * budget per token on average, all of them become suspects, and each is sampled alone for some tokens. Fast runs are
 * cleared, slow runs continue to be sampled alone, and a run that is far too slow ends with an error.
 */
import { budgets } from '../../backends/model/budgets.ts'

export interface SampleCost {
  /** Tokens that remain to be sampled alone; 0 if the run is not a suspect. */
  alone: number
  /** Measured so far in this round. */
  tokens: number
  ms: number
  /** The longest time for a token, and the mean of the last complete round. */
  longestMs: number
  meanMs: number
}

export const noCost: SampleCost = { alone: 0, tokens: 0, ms: 0, longestMs: 0, meanMs: 0 }

/** Tokens of one round. */
const measuredTokens = 8

export function isSuspect({ alone }: SampleCost): boolean {
  return alone > 0
}

/** Call after a step in which the runs with a grammar took `workMs` together. */
export function suspectsIn(cost: SampleCost, workMs: number, boundRuns: number): SampleCost {
  if (isSuspect(cost) || workMs <= budgets.grammarSharedTokenMs.value * boundRuns) return cost
  return { ...cost, alone: measuredTokens, tokens: 0, ms: 0 }
}

/** Call after a token that was sampled alone. The first run of each step is sampled alone, so its own time decides. */
export function measured(cost: SampleCost, tokenMs: number): SampleCost {
  const longestMs = Math.max(cost.longestMs, tokenMs)
  if (!isSuspect(cost) && tokenMs <= budgets.grammarSharedTokenMs.value) return { ...cost, longestMs }
  const alone = (isSuspect(cost) ? cost.alone : measuredTokens) - 1
  const round = { ...cost, longestMs, alone, tokens: cost.tokens + 1, ms: cost.ms + tokenMs }
  if (alone > 0) return round
  const meanMs = round.ms / round.tokens
  const cleared = meanMs <= budgets.grammarSharedTokenMs.value
  return { alone: cleared ? 0 : measuredTokens, tokens: 0, ms: 0, longestMs, meanMs }
}

export function isCostly({ meanMs, longestMs }: SampleCost): boolean {
  return longestMs > budgets.grammarTokenMs.value || meanMs > budgets.grammarMeanTokenMs.value
}
