/**
 * Checks whether token counts are possible. The worker clamps its counts to the possible range before it signs them;
 * the edge refuses impossible counts. Both use the same rule. Pure.
 */
import { budgets } from './budgets.ts'
import type { Counts } from './money.ts'

export interface CountBounds {
  promptTokensMax: number
  outputTokensMax: number
}

/** The bounds of any request, used when no narrower bounds are known. */
export const widestBounds: CountBounds = {
  promptTokensMax: budgets.requestTokens.value,
  outputTokensMax: budgets.requestTokens.value,
}

/** Describes the first impossible count as `field: what is wrong`; undefined if all counts are possible. */
export function countsFault(counts: Counts, bounds: CountBounds): string | undefined {
  const { promptTokens, cachedTokens, outputTokens, reasoningTokens } = counts
  return (
    countFault('promptTokens', promptTokens, bounds.promptTokensMax, 'promptTokensMax of the dispatch') ??
    countFault('cachedTokens', cachedTokens, promptTokens, 'promptTokens') ??
    countFault('outputTokens', outputTokens, bounds.outputTokensMax, 'outputTokensMax of the dispatch') ??
    countFault('reasoningTokens', reasoningTokens, outputTokens, 'outputTokens')
  )
}

function countFault(name: keyof Counts, count: number, max: number, maxName: string): string | undefined {
  if (!Number.isSafeInteger(count) || count < 0) return `counts.${name}: must be a whole number of at least 0`
  const limit = Math.min(max, budgets.requestTokens.value)
  return count > limit ? `counts.${name}: is ${count}, must be at most ${limit} (${maxName})` : undefined
}

/** The nearest possible counts, and whether any count changed. */
export function possibleCounts(counts: Readonly<Counts>, bounds: CountBounds): { counts: Counts; changed: boolean } {
  const promptTokens = within(counts.promptTokens, bounds.promptTokensMax)
  const outputTokens = within(counts.outputTokens, bounds.outputTokensMax)
  const possible: Counts = {
    promptTokens,
    cachedTokens: within(counts.cachedTokens, promptTokens),
    outputTokens,
    reasoningTokens: within(counts.reasoningTokens, outputTokens),
  }
  const names = Object.keys(possible) as (keyof Counts)[]
  return { counts: possible, changed: names.some((name) => possible[name] !== counts[name]) }
}

function within(count: number, max: number): number {
  if (Number.isNaN(count)) return 0
  return Math.trunc(Math.min(max, budgets.requestTokens.value, Math.max(0, count)))
}
