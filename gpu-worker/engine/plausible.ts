/**
 * Whether an engine's own counts can be true. An engine may have a bug, or be another program than it says; the ledger
 * takes nothing from it that contradicts what the worker saw itself, and marks what it put in its place as estimated.
 */
import type { Counts } from '../../backends/model/money.ts'

/** What the worker knows without believing anybody. */
export interface Witnessed {
  /** The prompt's length as counted before, or as bounded. */
  promptTokens: number
  promptCounted: boolean
  /** Deltas that had text or a piece of a call: at least a token each. */
  deltas: number
  /** What the engine was told to stop at. */
  outputTokensMax: number
}

export function plausible(told: Readonly<Counts>, seen: Witnessed): { counts: Counts; doubtful: boolean } {
  const promptTokens = plausiblePrompt(told.promptTokens, seen)
  const outputTokens = plausibleOutput(told.outputTokens, seen)
  const counts = {
    promptTokens,
    cachedTokens: Math.min(told.cachedTokens, promptTokens),
    outputTokens,
    reasoningTokens: Math.min(told.reasoningTokens, outputTokens),
  }
  const names = ['promptTokens', 'cachedTokens', 'outputTokens', 'reasoningTokens'] as const
  return { counts, doubtful: names.some((name) => counts[name] !== told[name]) }
}

/** A count is exact, so what differs from it is wrong; a bound is passed by nothing that is true. */
function plausiblePrompt(told: number, { promptTokens, promptCounted }: Witnessed): number {
  if (promptCounted) return promptTokens
  return told >= 1 && told <= promptTokens ? told : promptTokens
}

/** What passes its bound was made up: then the deltas are all that is known, and a token each is the least they are. */
function plausibleOutput(told: number, { deltas, outputTokensMax }: Witnessed): number {
  return told >= deltas && told <= Math.max(outputTokensMax, deltas) ? told : deltas
}
