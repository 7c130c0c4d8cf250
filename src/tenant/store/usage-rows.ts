/** The table `usage_hours`: settled requests by hour and label. Column names come from constants, values are bound. */
import { nanoMax } from '../../../backends/model/money.ts'
import type { LedgerEntry } from '../ledger/ledger.ts'
import { bucketMs, type Dimension, sumNames, type UsageQuery, type UsageRow, usageRowsMax } from '../usage/report.ts'
import type { EntryLabels } from './entry-rows.ts'
import { exactSum, int, type Sql, type SqlRow, type SqlValue, text } from './sql.ts'

const columns: Record<Dimension, string> = {
  key: 'key_id',
  model: 'model',
  effort: 'effort',
  pool: 'pool',
  outcome: 'outcome',
}

const hourMs = 3_600_000

/** A sum stops at the largest exact integer. */
const addedSums = ['prompt_tokens', 'cached_tokens', 'output_tokens', 'reasoning_tokens', 'cost_nano']
  .map((column) => `${column} = min(${nanoMax}, ${column} + excluded.${column})`)
  .join(', ')

const reportedSums = `${exactSum('requests')} AS requests,
  ${exactSum('prompt_tokens')} AS prompt_tokens, ${exactSum('cached_tokens')} AS cached_tokens,
  ${exactSum('output_tokens')} AS output_tokens, ${exactSum('reasoning_tokens')} AS reasoning_tokens,
  ${exactSum("CASE WHEN outcome IN ('aborted', 'failed') THEN output_tokens ELSE 0 END")} AS wasted_tokens,
  ${exactSum('cost_nano')} AS cost_nano, ${exactSum('estimated')} AS estimated_requests`

export class UsageRows {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  /** Adds an entry to its hour: a settled dispatch, or a correction, which counts as no request. */
  add({ keyId, model, pool, effort, outcome }: EntryLabels, entry: LedgerEntry): void {
    const { counts, costNano, estimated, at } = entry
    this.#sql.run(
      `INSERT INTO usage_hours VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, ${addedSums},
          estimated = estimated + excluded.estimated`,
      ...[Math.floor(at / hourMs) * hourMs, keyId ?? '', model ?? '', pool ?? '', effort ?? '', outcome ?? ''],
      entry.kind === 'correction' ? 0 : 1,
      ...[counts?.promptTokens ?? 0, counts?.cachedTokens ?? 0],
      ...[counts?.outputTokens ?? 0, counts?.reasoningTokens ?? 0, costNano, estimated ? 1 : 0],
    )
  }

  /** The sums by bucket and dimensions; null if the report would exceed `usageRowsMax` rows. */
  report(query: UsageQuery): UsageRow[] | null {
    const width = bucketMs[query.bucket]
    const start = width === null ? '0' : `hour - hour % ${width}`
    const names = query.groupBy.map((dimension) => columns[dimension])
    const groups = ['1', ...names].join(', ')
    const { where, values } = filterOf(query)
    const rows = this.#sql.all(
      `SELECT ${[`${start} AS start`, ...names, reportedSums].join(', ')} FROM usage_hours WHERE ${where}
        GROUP BY ${groups} ORDER BY ${groups} LIMIT ?`,
      ...[...values, usageRowsMax + 1],
    )
    return rows.length > usageRowsMax ? null : rows.map((row) => readUsage(row, query.groupBy))
  }
}

function filterOf(query: UsageQuery): { where: string; values: SqlValue[] } {
  const filters = Object.entries(query.where) as [Dimension, string[]][]
  const within = filters.map(([dimension, wanted]) => `${columns[dimension]} IN (${wanted.map(() => '?').join(', ')})`)
  return {
    where: ['hour >= ?', 'hour < ?', ...within].join(' AND '),
    values: [query.from, query.to, ...filters.flatMap(([, wanted]) => wanted)],
  }
}

function readUsage(row: SqlRow, groupBy: readonly Dimension[]): UsageRow {
  const sums = Object.fromEntries(sumNames.map((name) => [name, int(row, name)]))
  return {
    start: int(row, 'start'),
    ...Object.fromEntries(groupBy.map((dimension) => [dimension, text(row, columns[dimension])])),
    ...(sums as Record<(typeof sumNames)[number], number>),
  }
}
