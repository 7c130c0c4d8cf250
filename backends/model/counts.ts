/**
 * Which token counts can be true. The worker makes its counts possible before it signs them, and the edge refuses those
 * that are not: one rule, two uses. Pure.
 */
import { budgets } from './budgets.ts'
import type { Counts } from './money.ts'

export interface CountBounds {
  promptTokensMax: number
  outputTokensMax: number
}

/** The bounds of any request, where nothing narrower is known. */
export const widestBounds: CountBounds = {
  promptTokensMax: budgets.requestTokens.value,
  outputTokensMax: budgets.requestTokens.value,
}

/** What is wrong with the first count that cannot be true, as `field: what is wrong`; undefined when all can. */
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
  const most = Math.min(max, budgets.requestTokens.value)
  return count > most ? `counts.${name}: is ${count}, must be at most ${most} (${maxName})` : undefined
}

/** The nearest counts that can be true, and whether that changed any. */
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
