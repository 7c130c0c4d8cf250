/**
 * Turns a backend's events into the ledger's counts, during and after the answer, and marks inexact ones as
 * estimated. The adapter's `truth` says which numbers the engine reports. Usage arrives in one of three ways:
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
  contentDeltas: number
  reasoningDeltas: number
  /** Deltas since the engine's last reported total. */
  newDeltas: number
  channel: DeltaChannel
  usage: BackendUsage | undefined
  /** The highest total of output tokens that the engine reported. */
  reported: number
  /** The part of `reported` that is reasoning, by growth. */
  reasoningGrowth: number
  /** Growth before the first delta: the start mark of reasoning has no delta. */
  unassigned: number
  /** One step of several tokens held both reasoning and content, so the split is unknown. */
  mixed: boolean
  ended: boolean
  /** Lengths of the texts from the engine's tokenizer, which replace estimates. */
  corrected: Pick<Counts, 'outputTokens' | 'reasoningTokens'> | undefined
}

/**
 * The channel of the last delta. `leaving`: content follows reasoning, and no total has arrived since.
 *
 *   content ──reasoning──▶ reasoning ──content──▶ leaving ──total──▶ content
 *                              ▲                     │
 *                              ╰──────reasoning──────╯
 */
type DeltaChannel = 'content' | 'reasoning' | 'leaving'

/** The facts about an answer that are known before its first event. */
export interface CounterTerms {
  readonly truth: Truth
  /** The counted prompt length, or its bound. */
  readonly promptTokens: number
  /** Whether the engine counted it. */
  readonly promptCounted: boolean
}

export function newTokenCounter(): TokenCounter {
  return {
    contentDeltas: 0,
    reasoningDeltas: 0,
    newDeltas: 0,
    channel: 'content',
    usage: undefined,
    reported: 0,
    reasoningGrowth: 0,
    unassigned: 0,
    mixed: false,
    ended: false,
    corrected: undefined,
  }
}

/** Changes the record in place: this runs for every token, and a copy takes more than twice as long. */
export function takeEvent(counter: TokenCounter, event: BackendEvent): void {
  if (event.kind === 'text') takeDelta(counter, event.channel)
  else if (event.kind === 'piece') takeDelta(counter, 'content')
  else if (event.kind === 'usage') takeUsage(counter, event.usage)
  else if (event.kind === 'end') counter.ended = true
}

/** Replaces estimates with the lengths of the texts from the engine's tokenizer. */
export function correct(counter: TokenCounter, outputTokens: number, reasoningTokens: number): void {
  counter.corrected = { outputTokens, reasoningTokens: Math.min(reasoningTokens, outputTokens) }
}

/** The counts so far. */
export function countsOf(counter: Readonly<TokenCounter>, terms: CounterTerms): Counts {
  const { usage, ended, corrected, reported, newDeltas } = counter
  const outputTokens = corrected?.outputTokens ?? (ended && usage ? usage.outputTokens : reported + newDeltas)
  return {
    promptTokens: usage?.promptTokens ?? terms.promptTokens,
    cachedTokens: usage?.cachedTokens ?? 0,
    outputTokens,
    reasoningTokens: corrected?.reasoningTokens ?? reasoningOf(counter, terms.truth, outputTokens),
  }
}

/** Whether any count would be inexact if the answer ended now. */
export function isEstimated(counter: Readonly<TokenCounter>, { truth, promptCounted }: CounterTerms): boolean {
  const { usage, ended, corrected, newDeltas, reasoningDeltas, mixed } = counter
  const promptKnown = usage ? truth.prompt === 'reported' || truth.prompt === 'counted' : promptCounted
  if (corrected || !promptKnown) return !promptKnown
  const outputKnown = ended ? usage !== undefined : reportsTotals(truth) && (usage !== undefined || newDeltas === 0)
  const splitKnown = reasoningDeltas === 0 || reportsReasoning(counter) || (truth.reasoning !== 'estimated' && !mixed)
  return !outputKnown || !splitKnown
}

function takeDelta(counter: TokenCounter, channel: 'content' | 'reasoning'): void {
  counter.newDeltas += 1
  if (channel === 'reasoning') {
    counter.reasoningDeltas += 1
    counter.channel = 'reasoning'
  } else {
    counter.contentDeltas += 1
    if (counter.channel === 'reasoning') counter.channel = 'leaving'
  }
}

/** Assigns the growth of the total to the channels of the deltas since the last total. */
function takeUsage(counter: TokenCounter, usage: BackendUsage): void {
  const growth = Math.max(0, usage.outputTokens - counter.reported)
  if (counter.contentDeltas + counter.reasoningDeltas === 0) counter.unassigned += growth
  else {
    if (counter.channel === 'reasoning') counter.reasoningGrowth += growth + counter.unassigned
    if (counter.channel === 'leaving') leaveReasoning(counter, growth - counter.newDeltas)
    counter.unassigned = 0
  }
  counter.reported += growth
  counter.newDeltas = 0
  counter.usage = usage
}

/** @param others tokens of the step that are not content's deltas */
function leaveReasoning(counter: TokenCounter, others: number): void {
  counter.reasoningGrowth += Math.max(0, others)
  counter.mixed ||= others > 1
  counter.channel = 'content'
}

function reasoningOf(counter: Readonly<TokenCounter>, truth: Truth, outputTokens: number): number {
  const { usage, newDeltas, channel, reasoningGrowth, contentDeltas, reasoningDeltas } = counter
  if (usage && reportsReasoning(counter) && newDeltas === 0) return usage.reasoningTokens ?? 0
  if (reportsTotals(truth)) return Math.min(outputTokens, reasoningGrowth + (channel === 'reasoning' ? newDeltas : 0))
  const deltas = contentDeltas + reasoningDeltas
  return deltas === 0 ? 0 : Math.round((outputTokens * reasoningDeltas) / deltas)
}

/** Whether the engine reports its total with every delta. */
function reportsTotals(truth: Truth): boolean {
  return truth.aborted === 'counted' || truth.aborted === 'reported'
}

/** Some engines report 0 when no parser counts: after reasoning, that 0 is not a count. */
function reportsReasoning({ usage, reasoningDeltas }: Readonly<TokenCounter>): boolean {
  return usage?.reasoningTokens != null && (usage.reasoningTokens > 0 || reasoningDeltas === 0)
}
