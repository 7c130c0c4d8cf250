/**
 * From a backend's events to the ledger's counts, live and at the end, with the word `estimated` where a number is not
 * exact. How much of it the engine tells is the adapter's `truth`; this makes the most of what comes:
 *
 * - usage on every delta: the output is exact at every moment, and what it grew by belongs to the channel of that
 *   delta; where the channel changes, only the new delta's own token belongs to the new one, since the mark that ends
 *   thinking comes without a delta;
 * - usage once, at the end: exact when it comes, and until then one token a delta, which is a lower bound;
 * - never: one token a delta, and the shell may put a text's length in tokens in its place (`correct`).
 *
 * Nothing unknown is stored as zero: where there was thinking and nobody counted it, it gets its share of the deltas.
 */

import type { Counts } from '../model/money.ts'
import type { BackendEvent, BackendUsage, Truth } from './backend.ts'

export interface TokenCounter {
  take(event: BackendEvent): void
  /** What is known now. */
  readonly counts: Readonly<Counts>
  /** Whether one of the counts is not exact, if the answer ended here. */
  readonly estimated: boolean
  /** Puts the lengths of the texts, as the engine's tokenizer gives them, in the place of what was estimated. */
  correct(outputTokens: number, reasoningTokens: number): void
}

/**
 * @param promptTokens as counted before, or as bounded
 * @param promptCounted whether it was counted
 */
export function createMeter(truth: Truth, promptTokens: number, promptCounted: boolean): TokenCounter {
  const deltas = { content: 0, reasoning: 0 }
  let thinking = false
  /** Growth before the first delta: the mark that begins thinking comes without one. */
  let unassigned = 0
  let usage: BackendUsage | undefined
  /** Output tokens that the engine told, and how many of them were thinking, by growth. */
  let reported = 0
  let grown = 0
  /** Deltas since the engine last told its total. */
  let since = 0
  let channelChanged = false
  let ended = false
  /** Thinking and content came in one step of several tokens: whose they were is not known. */
  let mixed = false
  let corrected: { outputTokens: number; reasoningTokens: number } | undefined

  function delta(channel: 'content' | 'reasoning'): void {
    deltas[channel]++
    since++
    if (thinking && channel === 'content') channelChanged = true
    thinking = channel === 'reasoning'
  }

  function tell(next: BackendUsage): void {
    const growth = Math.max(0, next.outputTokens - reported)
    const first = deltas.content + deltas.reasoning === 0
    if (first) unassigned += growth
    else if (thinking) grown += growth + unassigned
    else if (channelChanged) {
      grown += Math.max(0, growth - since)
      mixed ||= growth - since > 1
    }
    if (!first) unassigned = 0
    channelChanged = false
    since = 0
    reported = Math.max(reported, next.outputTokens)
    usage = next
  }

  const runs = () => truth.aborted === 'counted' || truth.aborted === 'told'

  /** Some engines say 0 where no parser counts: after thinking, that is no number. */
  const reasoningTold = () => usage?.reasoningTokens != null && (usage.reasoningTokens > 0 || deltas.reasoning === 0)

  function reasoning(outputTokens: number): number {
    if (usage && reasoningTold() && since === 0) return usage.reasoningTokens ?? 0
    if (runs()) return Math.min(outputTokens, grown + (thinking ? since : 0))
    const all = deltas.content + deltas.reasoning
    return all === 0 ? 0 : Math.round((outputTokens * deltas.reasoning) / all)
  }

  return {
    take(event) {
      if (event.kind === 'text') delta(event.channel)
      else if (event.kind === 'piece') delta('content')
      else if (event.kind === 'usage') tell(event.usage)
      else if (event.kind === 'end') ended = true
    },
    get counts() {
      const outputTokens = corrected?.outputTokens ?? (ended && usage ? usage.outputTokens : reported + since)
      return {
        promptTokens: usage?.promptTokens ?? promptTokens,
        cachedTokens: usage?.cachedTokens ?? 0,
        outputTokens,
        reasoningTokens: corrected?.reasoningTokens ?? reasoning(outputTokens),
      }
    },
    get estimated() {
      const promptKnown = usage ? truth.prompt === 'told' || truth.prompt === 'counted' : promptCounted
      const outputKnown = ended ? usage !== undefined : runs() && (usage !== undefined || since === 0)
      const reasoningKnown =
        deltas.reasoning === 0 || reasoningTold() || (truth.reasoning !== 'estimated' && !mixed) || !!corrected
      return !promptKnown || !(outputKnown || corrected) || !reasoningKnown
    },
    correct(outputTokens, reasoningTokens) {
      corrected = { outputTokens, reasoningTokens: Math.min(reasoningTokens, outputTokens) }
    },
  }
}
