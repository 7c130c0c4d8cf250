/** The table `usage_quarters`: settled requests by quarter hour and label. Column names come from constants, values are bound. */
import { nanoMax } from '../../../backends/model/money.ts'
import type { LedgerEntry } from '../ledger/ledger.ts'
import type { Period } from '../limits/calendar.ts'
import {
  type Dimension,
  quarterMs,
  type ResolvedUsageQuery,
  sumNames,
  type UsageRow,
  usageRowsMax,
} from '../usage/report.ts'
import type { EntryLabels } from './entry-rows.ts'
import { exactSum, int, maybeInt, type Sql, type SqlRow, type SqlValue, text } from './sql.ts'

const columns: Record<Dimension, string> = {
  user: 'value',
  tag: 'value',
  key: 'key_id',
  model: 'model',
  effort: 'effort',
  pool: 'pool',
  outcome: 'outcome',
}

/** A sum stops at the largest exact integer. */
export const addedSums = ['prompt_tokens', 'cached_tokens', 'output_tokens', 'reasoning_tokens', 'cost_nano']
  .map((column) => `${column} = min(${nanoMax}, ${column} + excluded.${column})`)
  .concat(['requests', 'estimated'].map((column) => `${column} = ${column} + excluded.${column}`))
  .join(', ')

/** The sums of one entry, in the order of the columns. A correction counts as no request. */
export function sumsOf({ kind, counts, costNano, estimated }: LedgerEntry): number[] {
  return [
    kind === 'correction' ? 0 : 1,
    ...[counts?.promptTokens ?? 0, counts?.cachedTokens ?? 0],
    ...[counts?.outputTokens ?? 0, counts?.reasoningTokens ?? 0, costNano, estimated ? 1 : 0],
  ]
}

const reportedSums = `${exactSum('requests')} AS requests,
  ${exactSum('prompt_tokens')} AS prompt_tokens, ${exactSum('cached_tokens')} AS cached_tokens,
  ${exactSum('output_tokens')} AS output_tokens, ${exactSum('reasoning_tokens')} AS reasoning_tokens,
  ${exactSum("CASE WHEN outcome IN ('aborted', 'failed') THEN output_tokens ELSE 0 END")} AS wasted_tokens,
  ${exactSum('cost_nano')} AS cost_nano, ${exactSum('estimated')} AS estimated_requests`

export interface UsageDay {
  /** Start of the day in UTC. */
  day: number
  model: string
  pool: string
  effort: string
  outcome: string
  requests: number
  prompt_tokens: number
  cached_tokens: number
  output_tokens: number
  reasoning_tokens: number
  cost_nano: number
  estimated: number
}

interface UsageCopied {
  /** The last entry that is copied. */
  seq: number
  /** Time of the last copy. */
  at: number
  /** The day with which the next copy begins. */
  day: number
}

export class UsageRows {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  /** Adds an entry to its quarter hour: a settled dispatch, or a correction, which counts as no request. */
  add({ keyId, model, pool, effort, outcome }: EntryLabels, entry: LedgerEntry): void {
    this.#sql.run(
      `INSERT INTO usage_quarters VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET ${addedSums}`,
      ...[Math.floor(entry.at / quarterMs) * quarterMs, keyId ?? '', model ?? '', pool ?? '', effort ?? ''],
      ...[outcome ?? '', ...sumsOf(entry)],
    )
  }

  /** The sums by bucket and dimensions; null if the report would exceed `usageRowsMax` rows. */
  report({ from, to, buckets, groupBy, where, label }: ResolvedUsageQuery): UsageRow[] | null {
    const [source, start] =
      label === null ? ['usage_quarters', 'quarter'] : [`usage_labels ON label = '${label}'`, 'day']
    const names = groupBy.map((dimension) => columns[dimension])
    const groups = ['bucket', ...names].join(', ')
    const filter = filterOf(where)
    const clipped = buckets.map((bucket) => [Math.max(from, bucket.from), Math.min(to, bucket.to)])
    // CROSS JOIN: one range of the primary key for each bucket.
    const rows = this.#sql.all(
      `SELECT ${['bucket', ...names, reportedSums].join(', ')}
        FROM (SELECT key AS bucket, value ->> 0 AS begins, value ->> 1 AS ends FROM json_each(?)) CROSS JOIN ${source}
        WHERE ${start} >= begins AND ${start} < ends ${filter.and}
        GROUP BY ${groups} ORDER BY ${groups} LIMIT ?`,
      ...[JSON.stringify(clipped), ...filter.values, usageRowsMax + 1],
    )
    return rows.length > usageRowsMax ? null : rows.map((row) => readUsage(row, buckets, groupBy))
  }

  /** Usage of requests by model and effort: corrections are not in it. `period` has whole quarter hours. */
  byModel({ from, to }: Period): UsageRow[] {
    const rows = this.#sql.all(
      `SELECT 0 AS bucket, model, effort, ${reportedSums} FROM usage_quarters
        WHERE quarter >= ? AND quarter < ? AND outcome <> 'correction' GROUP BY model, effort ORDER BY model, effort`,
      ...[from, to],
    )
    return rows.map((row) => readUsage(row, [{ from, to }], ['model', 'effort']))
  }

  /** Cost of requests, without corrections. `period` has whole quarter hours. */
  costOf({ from, to }: Period): number {
    const query = `SELECT ${exactSum('cost_nano')} AS cost FROM usage_quarters
      WHERE quarter >= ? AND quarter < ? AND outcome <> 'correction'`
    return int(this.#sql.all(query, from, to)[0] ?? { cost: 0 }, 'cost')
  }

  /** Usage by day in UTC from `from` on, in order: at most `limit` rows. */
  days(from: number, limit: number): UsageDay[] {
    const rows = this.#sql.all(
      `SELECT quarter - quarter % 86400000 AS day, model, pool, effort, outcome, ${reportedSums} FROM usage_quarters
        WHERE quarter >= ? GROUP BY day, model, pool, effort, outcome ORDER BY day, model, pool, effort, outcome LIMIT ?`,
      ...[from, limit],
    )
    return rows.map((row) => ({
      day: int(row, 'day'),
      ...{ model: text(row, 'model'), pool: text(row, 'pool'), effort: text(row, 'effort') },
      ...{ outcome: text(row, 'outcome'), requests: int(row, 'requests'), prompt_tokens: int(row, 'prompt_tokens') },
      ...{ cached_tokens: int(row, 'cached_tokens'), output_tokens: int(row, 'output_tokens') },
      ...{ reasoning_tokens: int(row, 'reasoning_tokens'), cost_nano: int(row, 'cost_nano') },
      estimated: int(row, 'estimated_requests'),
    }))
  }

  /** The progress of `copyUsage`. */
  copied(): UsageCopied {
    const row = this.#sql.all('SELECT * FROM usage_copied WHERE id = 1')[0]
    return row ? { seq: int(row, 'seq'), at: int(row, 'at'), day: int(row, 'day') } : { seq: 0, at: 0, day: 0 }
  }

  putCopied({ seq, at, day }: UsageCopied): void {
    this.#sql.run('INSERT OR REPLACE INTO usage_copied VALUES (1, ?, ?, ?)', seq, at, day)
  }

  /** The first quarter hour with usage. */
  firstAt(): number | undefined {
    return maybeInt(this.#sql.all('SELECT min(quarter) AS first FROM usage_quarters')[0] ?? {}, 'first') ?? undefined
  }

  /** Costs by key since the start of a quarter hour, without refunds. */
  spentSince(from: number): Map<string, number> {
    const query = `SELECT key_id, ${exactSum('max(0, cost_nano)')} AS spent FROM usage_quarters WHERE quarter >= ? GROUP BY key_id`
    return new Map(this.#sql.all(query, from).map((row) => [text(row, 'key_id'), int(row, 'spent')]))
  }
}

function filterOf(where: ResolvedUsageQuery['where']): { and: string; values: SqlValue[] } {
  const filters = Object.entries(where) as [Dimension, string[]][]
  const and = filters.map(([dimension, wanted]) => `AND ${columns[dimension]} IN (${wanted.map(() => '?').join(', ')})`)
  return { and: and.join(' '), values: filters.flatMap(([, wanted]) => wanted) }
}

function readUsage(row: SqlRow, buckets: readonly Period[], groupBy: readonly Dimension[]): UsageRow {
  const sums = Object.fromEntries(sumNames.map((name) => [name, int(row, name)]))
  const bucket = buckets[int(row, 'bucket')]
  if (!bucket) throw new Error('a row without its bucket')
  return {
    start: bucket.from,
    end: bucket.to,
    ...Object.fromEntries(groupBy.map((dimension) => [dimension, text(row, columns[dimension])])),
    ...(sums as Record<(typeof sumNames)[number], number>),
  }
}
