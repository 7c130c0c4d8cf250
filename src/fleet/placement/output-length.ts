/**
 * Expected output length, learnt per model and effort: the recent mean in tokens. The prior is 300 tokens without
 * reasoning and thirteen times as many with it: in the Artificial Analysis index, Small 4 wrote 13 times more at `high`
 * than at `none` (about 52 against 4 million tokens).
 *
 * Receipts alone mislead for minutes after a start or a change of load, because short answers end first. So unfinished
 * answers count too. The ratio of all written tokens to the tokens of ended answers corrects the mean (for memoryless
 * lengths this is the maximum likelihood estimate of censored observations). Under steady load the ratio is one.
 */

import type { EffortWord } from '../../../backends/model/effort.ts'
import type { PoolName } from '../../../backends/wire/dispatch.ts'
import { preferredPoolOf } from './latency-targets.ts'
import { lengthMemory, lengthPriorWeight, lengthsKeptMax, priorTokens } from './tuning.ts'

interface Mean {
  tokens: number
  seen: number
}

interface Sums {
  written: number
  ended: number
}

export interface Lengths {
  /** By effort and model. */
  means: Map<string, Mean>
  /** By preferred pool and model. */
  sums: Map<string, Sums>
}

export function newLengths(): Lengths {
  return { means: new Map(), sums: new Map() }
}

/** Adds tokens that were written, in ended and unfinished answers. */
export function observeWritten(lengths: Lengths, model: string, preferredPool: PoolName, tokens: number): void {
  const sums = sumsOf(lengths, model, preferredPool)
  if (sums) sums.written += tokens
}

export function observeLength(lengths: Lengths, model: string, effort: EffortWord, tokens: number): void {
  const { means } = lengths
  const key = `${effort} ${model}`
  const mean = means.get(key) ?? { tokens: priorOf(effort), seen: lengthPriorWeight }
  if (!means.has(key) && means.size >= lengthsKeptMax) return
  mean.seen = Math.min(lengthMemory, mean.seen + 1)
  mean.tokens += (tokens - mean.tokens) / mean.seen
  means.set(key, mean)
  const sums = sumsOf(lengths, model, preferredPoolOf(effort))
  if (!sums) return
  sums.ended += tokens
  const fade = 1 - 1 / lengthMemory
  sums.written *= fade
  sums.ended *= fade
}

/** @param outputTokensMax the request's own limit */
export function expectedLength(lengths: Lengths, model: string, effort: EffortWord, outputTokensMax: number): number {
  const mean = lengths.means.get(`${effort} ${model}`)?.tokens ?? priorOf(effort)
  const sums = lengths.sums.get(`${preferredPoolOf(effort)} ${model}`)
  const cutOff = sums ? Math.min(4, Math.max(1, sums.written / sums.ended)) : 1
  return Math.max(1, Math.min(outputTokensMax, mean * cutOff))
}

function sumsOf({ sums }: Lengths, model: string, preferredPool: PoolName): Sums | undefined {
  const key = `${preferredPool} ${model}`
  const known = sums.get(key)
  if (known || sums.size >= lengthsKeptMax) return known
  const prior = lengthPriorWeight * (preferredPool === 'latency' ? priorTokens.none : priorTokens.thinking)
  const added = { written: prior, ended: prior }
  sums.set(key, added)
  return added
}

function priorOf(effort: EffortWord): number {
  return effort === 'none' ? priorTokens.none : priorTokens.thinking
}
