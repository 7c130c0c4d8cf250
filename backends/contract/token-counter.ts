/**
 * Turns a backend's events into the ledger's counts, during and after the answer, and marks inexact ones as
 * `estimated`. The adapter's `truth` says which numbers the engine reports. Usage arrives in one of three ways:
 *
 * - on every delta: the output is always exact, and its growth belongs to the delta's channel. Where the channel
 *   changes, only the new delta's own token belongs to the new channel, because the end mark of reasoning has no delta;
 * - once, at the end: then exact, before that one token per delta, a lower bound;
 * - never: one token per delta, until the caller replaces it with tokenised lengths (`correct`).
 *
 * Unknown counts are never stored as zero: uncounted reasoning gets its share of the deltas.
 */

import type { Counts } from '../model/money.ts'
import type { BackendEvent, BackendUsage, Truth } from './backend.ts'

export interface TokenCounter {
  take(event: BackendEvent): void
  /** The counts so far. */
  readonly counts: Readonly<Counts>
  /** Whether any count would be inexact if the answer ended now. */
  readonly estimated: boolean
  /** Replaces estimates with the lengths of the texts from the engine's tokenizer. */
  correct(outputTokens: number, reasoningTokens: number): void
}

/**
 * @param promptTokens the counted prompt length, or its bound
 * @param promptCounted whether the engine counted it
 */
export function createMeter(truth: Truth, promptTokens: number, promptCounted: boolean): TokenCounter {
  const deltas = { content: 0, reasoning: 0 }
  let thinking = false
  /** Growth before the first delta: the start mark of reasoning has no delta. */
  let unassigned = 0
  let usage: BackendUsage | undefined
  /** Output tokens that the engine reported, and how many of them were reasoning, by growth. */
  let reported = 0
  let grown = 0
  /** Deltas since the engine's last reported total. */
  let since = 0
  let channelChanged = false
  let ended = false
  /** One step of several tokens held both reasoning and content, so the split is unknown. */
  let mixed = false
  let corrected: { outputTokens: number; reasoningTokens: number } | undefined

  function delta(channel: 'content' | 'reasoning'): void {
    deltas[channel]++
    since++
    if (thinking && channel === 'content') channelChanged = true
    thinking = channel === 'reasoning'
  }

  function report(next: BackendUsage): void {
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

  const runs = () => truth.aborted === 'counted' || truth.aborted === 'reported'

  /** Some engines report 0 when no parser counts: after reasoning, that 0 is not a count. */
  const reasoningReported = () =>
    usage?.reasoningTokens != null && (usage.reasoningTokens > 0 || deltas.reasoning === 0)

  function reasoning(outputTokens: number): number {
    if (usage && reasoningReported() && since === 0) return usage.reasoningTokens ?? 0
    if (runs()) return Math.min(outputTokens, grown + (thinking ? since : 0))
    const all = deltas.content + deltas.reasoning
    return all === 0 ? 0 : Math.round((outputTokens * deltas.reasoning) / all)
  }

  return {
    take(event) {
      if (event.kind === 'text') delta(event.channel)
      else if (event.kind === 'piece') delta('content')
      else if (event.kind === 'usage') report(event.usage)
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
      const promptKnown = usage ? truth.prompt === 'reported' || truth.prompt === 'counted' : promptCounted
      const outputKnown = ended ? usage !== undefined : runs() && (usage !== undefined || since === 0)
      const reasoningKnown =
        deltas.reasoning === 0 || reasoningReported() || (truth.reasoning !== 'estimated' && !mixed) || !!corrected
      return !promptKnown || !(outputKnown || corrected) || !reasoningKnown
    },
    correct(outputTokens, reasoningTokens) {
      corrected = { outputTokens, reasoningTokens: Math.min(reasoningTokens, outputTokens) }
    },
  }
}
