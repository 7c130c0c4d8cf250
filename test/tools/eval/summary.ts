/** Aggregates entries to rows: one per task and effort, in the order of the jobs. */
import { costNano, type Rates } from '../../../backends/model/money.ts'
import type { Entry } from './journal.ts'
import { mean, quantile, wilson } from './statistics.ts'

export interface Row {
  task: string
  effort: string
  asked: number
  right: number
  accuracy: number
  low: number
  high: number
  /** The mean score, if it says more than right and wrong. */
  score: number | null
  refused: number
  output: { mean: number; p50: number; p95: number } | null
  reasoning: number | null
  visible: number | null
  firstTokenMs: number | null
  tokenMs: number | null
  /** Cost of all its cases, in nano-dollars; null if a count or the rates are unknown. */
  costNano: number | null
}

export function summary(entries: readonly Entry[], rates: Rates | null): Row[] {
  const groups = Map.groupBy(entries, ({ task, effort }) => JSON.stringify([task, effort]))
  return [...groups.values()].map((group) => rowOf(group, rates))
}

function rowOf(entries: readonly Entry[], rates: Rates | null): Row {
  const { task, effort } = entries[0] ?? { task: '', effort: '' }
  const right = entries.filter((entry) => entry.right).length
  const tokens = entries.flatMap((entry) => entry.tokens ?? [])
  const reasoning = tokens.map((each) => each.reasoning)
  const partial = entries.some(({ score }) => score !== 0 && score !== 1)
  const known = reasoning.every((each) => each !== null)
  return {
    task,
    effort,
    asked: entries.length,
    right,
    accuracy: right / entries.length,
    ...wilson(right, entries.length),
    score: partial ? mean(entries.map(({ score }) => score)) : null,
    refused: entries.filter((entry) => entry.refused !== null).length,
    output: spread(tokens.map((each) => each.output)),
    reasoning: known ? mean(reasoning) : null,
    visible: known ? mean(tokens.map((each) => each.output - (each.reasoning ?? 0))) : null,
    firstTokenMs: quantile(
      entries.flatMap((entry) => entry.firstTokenMs ?? []),
      0.5,
    ),
    tokenMs: quantile(
      entries.flatMap((entry) => entry.tokenMs ?? []),
      0.5,
    ),
    costNano: rates && costOf(entries, rates),
  }
}

function spread(values: readonly number[]): Row['output'] {
  const [average, p50, p95] = [mean(values), quantile(values, 0.5), quantile(values, 0.95)]
  return average === null || p50 === null || p95 === null ? null : { mean: average, p50, p95 }
}

/** Input that the server does not report as cached is charged in full. A refused case costs nothing. */
function costOf(entries: readonly Entry[], rates: Rates): number | null {
  if (entries.some((entry) => entry.tokens === null && entry.refused === null)) return null
  return entries
    .flatMap((entry) => entry.tokens ?? [])
    .reduce((sum, { prompt, cached, output }) => {
      const counts = { promptTokens: prompt, cachedTokens: cached ?? 0, outputTokens: output, reasoningTokens: 0 }
      return sum + costNano(counts, rates)
    }, 0)
}
