/**
 * Checks the counts that an engine reports. An engine may have a bug or be a different program than it claims. Counts
 * that contradict the worker's own observations are replaced, and the replacement is marked as estimated.
 */
import type { Counts } from '../../backends/model/money.ts'

/** The worker's own observations. */
export interface Witnessed {
  /** The length of the prompt: counted before the run, or an upper bound. */
  promptTokens: number
  promptCounted: boolean
  /** Deltas with text or a piece of a call: at least one token each. */
  deltas: number
  /** The output bound in the request to the engine. */
  outputTokensMax: number
}

export function plausible(reported: Readonly<Counts>, seen: Witnessed): { counts: Counts; doubtful: boolean } {
  const promptTokens = plausiblePrompt(reported.promptTokens, seen)
  const outputTokens = plausibleOutput(reported.outputTokens, seen)
  const counts = {
    promptTokens,
    cachedTokens: Math.min(reported.cachedTokens, promptTokens),
    outputTokens,
    reasoningTokens: Math.min(reported.reasoningTokens, outputTokens),
  }
  const names = ['promptTokens', 'cachedTokens', 'outputTokens', 'reasoningTokens'] as const
  return { counts, doubtful: names.some((name) => counts[name] !== reported[name]) }
}

/** A counted prompt is exact. Otherwise the reported length is accepted up to the upper bound. */
function plausiblePrompt(reported: number, { promptTokens, promptCounted }: Witnessed): number {
  if (promptCounted) return promptTokens
  return reported >= 1 && reported <= promptTokens ? reported : promptTokens
}

/** A count outside its bounds is invalid: then the number of deltas is used, at least one token each. */
function plausibleOutput(reported: number, { deltas, outputTokensMax }: Witnessed): number {
  return reported >= deltas && reported <= Math.max(outputTokensMax, deltas) ? reported : deltas
}
