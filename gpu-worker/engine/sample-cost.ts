/**
 * What a run's grammar costs per token, and when that is too much.
 *
 * Runs are sampled side by side, where their times cannot be distinguished. When the bound runs of a step took more than a
 * token's budget each on average, all of them are suspects: each is sampled alone for some tokens. The innocent are
 * cleared; a slow one stays alone, and one that is far too slow ends with its own error.
 */
import { budgets } from '../../backends/model/budgets.ts'

export interface SampleCost {
  /** Tokens that are still to be sampled alone; 0 where the run is no suspect. */
  alone: number
  /** What was measured in this round of tokens. */
  tokens: number
  ms: number
  /** The longest token, and the mean of the last full round. */
  longestMs: number
  meanMs: number
}

export const noCost: SampleCost = { alone: 0, tokens: 0, ms: 0, longestMs: 0, meanMs: 0 }

/** Tokens of one round. */
const measuredTokens = 8

export function isSuspect({ alone }: SampleCost): boolean {
  return alone > 0
}

/** After a step whose bound runs took `workMs` together. */
export function suspectsIn(cost: SampleCost, workMs: number, boundRuns: number): SampleCost {
  if (isSuspect(cost) || workMs <= budgets.grammarSharedTokenMs.value * boundRuns) return cost
  return { ...cost, alone: measuredTokens, tokens: 0, ms: 0 }
}

/** After a token that was sampled alone. The first run of a step always is, and becomes a suspect by its own time. */
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
