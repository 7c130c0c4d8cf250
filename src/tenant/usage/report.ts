/**
 * Usage reports: query parameters become one SQL query over the sums of quarter hours, and its rows become JSON, JSONL
 * or CSV. A request counts in the quarter hour in which it settled, and in the tenant's time zone.
 */
import { dollars, safeInteger } from '../../../backends/model/money.ts'
import { withDollars } from '../../http/dollars.ts'
import { type Denial, denied, type TenantResult } from '../denial.ts'
import { type Calendar, dayMs, hourEnd, type Period, periodAt } from '../limits/calendar.ts'
import { csvLine } from './csv.ts'
import { type LabelKind, labelKinds } from './labels.ts'
import { invalid, readTimeBounds, resolveBounds, spanFault, type TimeBounds } from './time-bounds.ts'

export const dimensions = ['key', 'model', 'effort', 'pool', 'outcome', ...labelKinds] as const
export type Dimension = (typeof dimensions)[number]

export const usageBuckets = ['day', 'hour', 'week', 'month', 'all'] as const
type UsageBucket = (typeof usageBuckets)[number]
export type ReportFormat = 'json' | 'jsonl' | 'csv'

/** As the client wrote it. */
export interface UsageQuery extends TimeBounds {
  bucket: UsageBucket
  groupBy: Dimension[]
  where: Partial<Record<Dimension, string[]>>
}

/** In Unix milliseconds at whole quarter hours. */
export interface ResolvedUsageQuery extends Period, Pick<UsageQuery, 'groupBy' | 'where'> {
  /** Of the rows, in order. The first and the last may reach beyond `from` and `to`. */
  buckets: Period[]
  /** The label by which the report groups or filters; null if by none. */
  label: LabelKind | null
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

export type UsageRow = { start: number; end: number } & Partial<Record<Dimension, string>> & UsageSums

export interface UsageReportRows extends Period {
  timeZone: string
  rows: UsageRow[]
}

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

/** The offset of every time zone is a whole number of quarter hours. */
export const quarterMs = 900_000
const spanDaysMax: Record<UsageBucket, number> = { hour: 62, day: 800, week: 4_000, month: 4_000, all: 4_000 }
/** Maximum rows of a report. A longer report is refused, never truncated. */
export const usageRowsMax = 20_000
export const filterValuesMax = 50
const parameters = ['from', 'to', 'bucket', 'group_by', 'format', ...dimensions]

/** Reads `?from=&to=&bucket=&group_by=&format=` and a filter per dimension. Throws errors with messages for clients. */
export function readUsageQuery(params: URLSearchParams): { query: UsageQuery; format: ReportFormat } {
  const unknown = [...params.keys()].find((name) => !parameters.includes(name))
  if (unknown !== undefined)
    throw invalid(unknown.slice(0, 64), `unknown parameter. Use one of ${parameters.join(', ')}.`)
  const bucket = oneOf(params, 'bucket', usageBuckets)
  const format = oneOf(params, 'format', ['json', 'jsonl', 'csv'] as const)
  const where = Object.fromEntries(
    dimensions.flatMap((dimension) => {
      const values = isLabel(dimension) ? params.getAll(dimension) : list(params, dimension)
      if (values.length > filterValuesMax)
        throw invalid(dimension, `at most ${filterValuesMax} values per report. Remove some.`)
      return values.length > 0 ? [[dimension, values]] : []
    }),
  )
  return { query: { ...readTimeBounds(params), bucket, groupBy: readGroups(params), where }, format }
}

/** The period and the buckets of a report, in the calendar of its tenant. */
export function resolveUsageQuery(
  query: UsageQuery,
  calendar: Calendar,
  now: number,
): TenantResult<ResolvedUsageQuery> {
  const bounds = resolveBounds(query, calendar, now, 7 * dayMs)
  if (!bounds.ok) return bounds
  const { bucket, groupBy, where } = query
  const labels = labelKinds.filter((kind) => groupBy.includes(kind) || where[kind] !== undefined)
  const label = labels[0] ?? null
  const refused = refusedLabels(labels, bucket)
  if (refused) return refused
  const { from, to } = label === null ? wholeQuarters(bounds.value) : wholeDays(bounds.value, calendar)
  const fault = spanFault(
    { from, to },
    spanDaysMax[bucket],
    `Choose a shorter period than with bucket "${bucket}", or a larger bucket.`,
  )
  if (fault !== undefined) return denied('invalid_value', fault, 'from')
  return { ok: true, value: { from, to, buckets: bucketsOf(bucket, { from, to }, calendar), groupBy, where, label } }
}

function isLabel(dimension: Dimension): dimension is LabelKind {
  return labelKinds.some((kind) => kind === dimension)
}

function wholeQuarters({ from, to }: Period): Period {
  return { from: Math.floor(from / quarterMs) * quarterMs, to: Math.ceil(to / quarterMs) * quarterMs }
}

function wholeDays({ from, to }: Period, calendar: Calendar): Period {
  return { from: periodAt('day', { at: from, calendar }).from, to: periodAt('day', { at: to - 1, calendar }).to }
}

function refusedLabels(labels: readonly LabelKind[], bucket: UsageBucket): Denial | undefined {
  if (labels.length > 1)
    return denied('invalid_value', 'group_by: user and tag are counted apart. Use one of them in a report.', 'group_by')
  if (labels.length === 0 || bucket !== 'hour') return undefined
  return denied(
    'invalid_value',
    `bucket: usage by ${labels[0]} is counted by day. Use day, week, month or all.`,
    'bucket',
  )
}

function bucketsOf(bucket: UsageBucket, { from, to }: Period, calendar: Calendar): Period[] {
  if (bucket === 'all') return [{ from, to }]
  const unit = bucket === 'hour' ? 'day' : bucket
  const buckets: Period[] = []
  let start = periodAt(unit, { at: from, calendar }).from
  while (start < to) {
    const end = bucket === 'hour' ? hourEnd({ at: start, calendar }) : periodAt(unit, { at: start, calendar }).to
    if (end > from) buckets.push({ from: start, to: end })
    start = end
  }
  return buckets
}

function usageTotals(rows: readonly UsageRow[]): UsageSums {
  const totals = Object.fromEntries(sumNames.map((name) => [name, 0])) as unknown as UsageSums
  for (const row of rows) for (const name of sumNames) totals[name] = safeInteger(totals[name] + row[name])
  return totals
}

/** The report's body and its content type. */
export function writeUsage(
  query: Pick<UsageQuery, 'bucket' | 'groupBy'>,
  { from, to, timeZone, rows }: UsageReportRows,
  format: ReportFormat,
): { type: string; body: string } {
  const lines = rows.map(describe)
  switch (format) {
    case 'csv': {
      const columns = ['start', 'end', ...query.groupBy, ...sumNames, 'cost_usd']
      const body = [columns, ...lines.map((line) => columns.map((column) => line[column]))].map(csvLine).join('')
      return { type: 'text/csv; charset=utf-8', body }
    }
    case 'jsonl':
      return {
        type: 'application/jsonl; charset=utf-8',
        body: lines.map((line) => `${JSON.stringify(line)}\n`).join(''),
      }
    case 'json': {
      const { bucket, groupBy } = query
      const head = { object: 'usage', from: iso(from), to: iso(to), time_zone: timeZone, bucket, group_by: groupBy }
      return {
        type: 'application/json',
        body: JSON.stringify(withDollars({ ...head, data: lines, totals: usageTotals(rows) })),
      }
    }
  }
}

function describe({ start, end, ...rest }: UsageRow): Record<string, string | number | undefined> {
  return { start: iso(start), end: iso(end), ...rest, cost_usd: dollars(rest.cost_nano) }
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
