/**
 * How long answers are, learnt for each model and effort: the mean of late, in tokens. Before anything is known, 300
 * tokens for an answer without thinking and thirteen times as many with: Small 4 wrote 13 times more at `high` than at
 * `none` over Artificial Analysis' whole index (about 52 against 4 million tokens).
 *
 * Receipts alone would deceive for minutes after a start or a change of load: the first answers to end are the short
 * ones. So what is being written counts too. All that was written over all that was in ended answers says by how much
 * their mean is too short (for lengths without memory this is the maximum likelihood of cut-off observations); once the
 * load is steady it is one.
 */

import type { EffortWord } from '../../../backends/model/effort.ts'
import type { PoolName } from '../../../backends/wire/dispatch.ts'
import { homeOf } from './latency-targets.ts'

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
  /** By home and model. */
  sums: Map<string, Sums>
}

const priorTokens = { none: 300, thinking: 3_900 }
/** So many answers weigh as much as the prior. */
const priorWeight = 20
/** The mean is over about so many of the last answers. */
const memory = 300
const keptMax = 256

export function newLengths(): Lengths {
  return { means: new Map(), sums: new Map() }
}

/** So many tokens were written, in answers that have ended or not. */
export function observeWritten(lengths: Lengths, model: string, preferredPool: PoolName, tokens: number): void {
  const sums = sumsOf(lengths, model, preferredPool)
  if (sums) sums.written += tokens
}

export function observeLength(lengths: Lengths, model: string, effort: EffortWord, tokens: number): void {
  const { means } = lengths
  const key = `${effort} ${model}`
  const mean = means.get(key) ?? { tokens: priorOf(effort), seen: priorWeight }
  if (!means.has(key) && means.size >= keptMax) return
  mean.seen = Math.min(memory, mean.seen + 1)
  mean.tokens += (tokens - mean.tokens) / mean.seen
  means.set(key, mean)
  const sums = sumsOf(lengths, model, homeOf(effort))
  if (!sums) return
  sums.ended += tokens
  const fade = 1 - 1 / memory
  sums.written *= fade
  sums.ended *= fade
}

/** @param most the request's own bound, in tokens */
export function expectedLength(lengths: Lengths, model: string, effort: EffortWord, most: number): number {
  const mean = lengths.means.get(`${effort} ${model}`)?.tokens ?? priorOf(effort)
  const sums = lengths.sums.get(`${homeOf(effort)} ${model}`)
  const cutOff = sums ? Math.min(4, Math.max(1, sums.written / sums.ended)) : 1
  return Math.max(1, Math.min(most, mean * cutOff))
}

function sumsOf({ sums }: Lengths, model: string, preferredPool: PoolName): Sums | undefined {
  const key = `${preferredPool} ${model}`
  const known = sums.get(key)
  if (known || sums.size >= keptMax) return known
  const prior = priorWeight * (preferredPool === 'latency' ? priorTokens.none : priorTokens.thinking)
  const added = { written: prior, ended: prior }
  sums.set(key, added)
  return added
}

function priorOf(effort: EffortWord): number {
  return effort === 'none' ? priorTokens.none : priorTokens.thinking
}
