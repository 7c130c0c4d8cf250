/**
 * What a run's grammar costs per token, in processor time, and when that is too much.
 *
 * Runs are sampled side by side, where their times cannot be told apart. When the bound runs of a step took more than a
 * token's budget each on average, all of them are suspects: each is sampled alone for some tokens. The innocent are
 * cleared, and the one whose grammar costs too much ends with its own error.
 */
import { budgets } from '../../backends/protocol/budgets.ts'

export interface SampleCost {
  /** Tokens that are still to be sampled alone; 0 where the run is no suspect. */
  alone: number
  /** What was measured since the run became a suspect. */
  tokens: number
  ms: number
  longestMs: number
}

export const noCost: SampleCost = { alone: 0, tokens: 0, ms: 0, longestMs: 0 }

/** Tokens that a suspect is measured for. */
export const measuredTokens = 8

export function isSuspect(cost: SampleCost): boolean {
  return cost.alone > 0
}

/** After a step whose bound runs took `workMs` together. */
export function suspectsIn(cost: SampleCost, workMs: number, boundRuns: number): SampleCost {
  if (workMs <= budgets.grammarMeanTokenMs.value * boundRuns) return cost
  return { ...noCost, alone: measuredTokens, longestMs: cost.longestMs }
}

/** After a token that was sampled alone. */
export function measured(cost: SampleCost, ms: number): SampleCost {
  const longestMs = Math.max(cost.longestMs, ms)
  // The first run of a step is always sampled alone; it becomes a suspect by its own time.
  if (!isSuspect(cost)) {
    if (ms <= budgets.grammarMeanTokenMs.value) return { ...cost, longestMs }
    return { alone: measuredTokens - 1, tokens: 1, ms, longestMs }
  }
  const next = { alone: cost.alone - 1, tokens: cost.tokens + 1, ms: cost.ms + ms, longestMs }
  const cleared = next.alone === 0 && next.ms <= budgets.grammarMeanTokenMs.value * next.tokens
  return cleared ? { ...noCost, longestMs } : next
}

export function isCostly({ alone, tokens, ms, longestMs }: SampleCost): boolean {
  if (longestMs > budgets.grammarTokenMs.value) return true
  return tokens > 0 && alone === 0 && ms > budgets.grammarMeanTokenMs.value * tokens
}
