/** Queries the hourly sums by bucket and dimensions. Column names come from constants, values are bound. */

import { bucketMs, type Dimension, sumNames, type UsageQuery, type UsageRow, usageRowsMax } from '../usage/report.ts'
import { int, type Sql, type SqlValue, text } from './sql.ts'
import { exactSum } from './store.ts'

const columns: Record<Dimension, string> = {
  key: 'key_id',
  model: 'model',
  effort: 'effort',
  pool: 'pool',
  outcome: 'outcome',
}

/** Returns null if the report would exceed `usageRowsMax` rows. */
export function usageRows(sql: Sql, query: UsageQuery): UsageRow[] | null {
  const width = bucketMs[query.bucket]
  const start = width === null ? '0' : `hour - hour % ${width}`
  const groups = query.groupBy.map((dimension) => columns[dimension])
  const where = ['hour >= ?', 'hour < ?']
  const values: SqlValue[] = [query.from, query.to]
  for (const [dimension, wanted] of Object.entries(query.where) as [Dimension, string[]][]) {
    where.push(`${columns[dimension]} IN (${wanted.map(() => '?').join(', ')})`)
    values.push(...wanted)
  }
  const rows = sql.all(
    `SELECT ${[`${start} AS start`, ...groups].join(', ')}, ${exactSum('requests')} AS requests,
      ${exactSum('prompt_tokens')} AS prompt_tokens, ${exactSum('cached_tokens')} AS cached_tokens,
      ${exactSum('output_tokens')} AS output_tokens, ${exactSum('reasoning_tokens')} AS reasoning_tokens,
      ${exactSum("CASE WHEN outcome IN ('aborted', 'failed') THEN output_tokens ELSE 0 END")} AS wasted_tokens,
      ${exactSum('cost_nano')} AS cost_nano, ${exactSum('estimated')} AS estimated_requests
      FROM usage_hours WHERE ${where.join(' AND ')}
      GROUP BY ${['1', ...groups].join(', ')} ORDER BY ${['1', ...groups].join(', ')} LIMIT ?`,
    ...values,
    usageRowsMax + 1,
  )
  if (rows.length > usageRowsMax) return null
  return rows.map((row) => ({
    start: int(row, 'start'),
    ...Object.fromEntries(query.groupBy.map((dimension) => [dimension, text(row, columns[dimension])])),
    ...(Object.fromEntries(sumNames.map((name) => [name, int(row, name)])) as Record<
      (typeof sumNames)[number],
      number
    >),
  }))
}
