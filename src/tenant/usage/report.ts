/**
 * Usage reports: query parameters become one SQL query over the hourly sums, and its rows become JSON, JSONL or CSV. A
 * request counts in the UTC hour in which it settled.
 */
import { safeInteger } from '../../../backends/model/money.ts'
import { GatewayError } from '../../http/errors.ts'

export const dimensions = ['key', 'model', 'effort', 'pool', 'outcome'] as const
export type Dimension = (typeof dimensions)[number]

export type UsageBucket = 'hour' | 'day' | 'all'
export type ReportFormat = 'json' | 'jsonl' | 'csv'

export interface UsageQuery {
  /** Unix milliseconds at whole hours; `to` is exclusive. */
  from: number
  to: number
  bucket: UsageBucket
  groupBy: Dimension[]
  where: Partial<Record<Dimension, string[]>>
}

export interface UsageSums {
  requests: number
  prompt_tokens: number
  cached_tokens: number
  output_tokens: number
  reasoning_tokens: number
  /** Output tokens of incomplete answers, aborted or failed. Part of `output_tokens`. */
  wasted_tokens: number
  cost_nano: number
  /** Requests with estimated counts. */
  estimated_requests: number
}

export type UsageRow = { start: number } & Partial<Record<Dimension, string>> & UsageSums

export const sumNames = [
  'requests',
  'prompt_tokens',
  'cached_tokens',
  'output_tokens',
  'reasoning_tokens',
  'wasted_tokens',
  'cost_nano',
  'estimated_requests',
] as const satisfies readonly (keyof UsageSums)[]

const hourMs = 3_600_000
const dayMs = 24 * hourMs
export const bucketMs: Record<UsageBucket, number | null> = { hour: hourMs, day: dayMs, all: null }
const spanMaxMs: Record<UsageBucket, number> = { hour: 62 * dayMs, day: 800 * dayMs, all: 4_000 * dayMs }
/** Maximum rows of a report. A longer report is refused, never truncated. */
export const usageRowsMax = 20_000
export const filterValuesMax = 50
const parameters = ['from', 'to', 'bucket', 'group_by', 'format', ...dimensions]

/** Reads `?from=&to=&bucket=&group_by=&format=` and a filter per dimension. Throws errors with messages for clients. */
export function readUsageQuery(params: URLSearchParams, now: number): { query: UsageQuery; format: ReportFormat } {
  const unknown = [...params.keys()].find((name) => !parameters.includes(name))
  if (unknown !== undefined)
    throw invalid(unknown.slice(0, 64), `unknown parameter. Use one of ${parameters.join(', ')}.`)
  const bucket = oneOf(params, 'bucket', ['day', 'hour', 'all'] as const)
  const format = oneOf(params, 'format', ['json', 'jsonl', 'csv'] as const)
  const to = Math.ceil(readTime(params, 'to', now) / hourMs) * hourMs
  const from = Math.floor(readTime(params, 'from', to - 7 * dayMs) / hourMs) * hourMs
  if (from >= to) throw invalid('from', 'must be before "to".')
  if (to - from > spanMaxMs[bucket]) {
    throw invalid(
      'from',
      `at most ${spanMaxMs[bucket] / dayMs} days per report with bucket "${bucket}". Choose a shorter period or a larger bucket.`,
    )
  }
  const where = Object.fromEntries(
    dimensions.flatMap((dimension) => {
      const values = list(params, dimension)
      if (values.length > filterValuesMax)
        throw invalid(dimension, `at most ${filterValuesMax} values per report. Remove some.`)
      return values.length > 0 ? [[dimension, values]] : []
    }),
  )
  return { query: { from, to, bucket, groupBy: readGroups(params), where }, format }
}

function usageTotals(rows: readonly UsageRow[]): UsageSums {
  const totals = Object.fromEntries(sumNames.map((name) => [name, 0])) as unknown as UsageSums
  for (const row of rows) for (const name of sumNames) totals[name] = safeInteger(totals[name] + row[name])
  return totals
}

/** The report's body and its content type. */
export function writeUsage(
  query: UsageQuery,
  rows: readonly UsageRow[],
  format: ReportFormat,
): { type: string; body: string } {
  const lines = rows.map((row) => describe(query, row))
  switch (format) {
    case 'csv': {
      const columns = ['start', 'end', ...query.groupBy, ...sumNames]
      const table = [columns, ...lines.map((line) => columns.map((column) => line[column]))]
      const body = table.map((cells) => `${cells.map(csvCell).join(',')}\r\n`).join('')
      return { type: 'text/csv; charset=utf-8', body }
    }
    case 'jsonl':
      return {
        type: 'application/jsonl; charset=utf-8',
        body: lines.map((line) => `${JSON.stringify(line)}\n`).join(''),
      }
    case 'json': {
      const { bucket, groupBy } = query
      const head = { object: 'usage', from: iso(query.from), to: iso(query.to), bucket, group_by: groupBy }
      return { type: 'application/json', body: JSON.stringify({ ...head, data: lines, totals: usageTotals(rows) }) }
    }
  }
}

function describe(query: UsageQuery, row: UsageRow): Record<string, string | number | undefined> {
  const { start, ...rest } = row
  const width = bucketMs[query.bucket]
  const begin = width === null ? query.from : start
  return { start: iso(begin), end: iso(width === null ? query.to : start + width), ...rest }
}

function csvCell(value: string | number | undefined): string {
  const text = String(value ?? '')
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

function iso(time: number): string {
  return new Date(time).toISOString()
}

function readGroups(params: URLSearchParams): Dimension[] {
  const names = list(params, 'group_by')
  const groups = dimensions.filter((dimension) => names.includes(dimension))
  const unknown = names.find((name) => !dimensions.some((dimension) => dimension === name))
  if (unknown !== undefined)
    throw invalid('group_by', `unknown dimension "${unknown.slice(0, 64)}". Use ${dimensions.join(', ')}.`)
  return groups
}

/** Values of a parameter that may be repeated or contain several values separated by commas. */
function list(params: URLSearchParams, name: string): string[] {
  return params
    .getAll(name)
    .flatMap((text) => text.split(','))
    .filter((text) => text !== '')
}

function oneOf<Value extends string>(
  params: URLSearchParams,
  name: string,
  values: readonly [Value, ...Value[]],
): Value {
  const text = params.get(name)
  if (text === null) return values[0]
  const value = values.find((each) => each === text)
  if (value === undefined) throw invalid(name, `must be one of ${values.join(', ')}.`)
  return value
}

/** An ISO 8601 date or date-time, or Unix milliseconds. */
function readTime(params: URLSearchParams, name: string, fallback: number): number {
  const text = params.get(name)
  if (text === null) return fallback
  const time = /^\d{1,15}$/.test(text) ? Number(text) : /^\d{4}-\d{2}-\d{2}/.test(text) ? Date.parse(text) : Number.NaN
  if (!Number.isFinite(time))
    throw invalid(name, 'must be a date such as 2026-11-24, a date-time, or Unix milliseconds.')
  return time
}

function invalid(param: string, message: string): GatewayError {
  return new GatewayError('invalid_value', `${param}: ${message}`, { param })
}
