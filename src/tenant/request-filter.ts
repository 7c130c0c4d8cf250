/** Filters of a list of requests, in the order of the reader: query parameters, then the calendar, then each request. */

import type { TenantResult } from './denial.ts'
import { type Calendar, dayOf } from './limits/calendar.ts'
import { invalid, readTimeBounds, resolveBounds, type TimeBounds } from './usage/time-bounds.ts'

const requestOutcomes = ['running', 'finished', 'aborted', 'failed', 'voided', 'expired'] as const
/** Undefined or empty: no filter. */
export interface RequestFilter {
  /** Unix milliseconds of the admission; `to` is exclusive. */
  from?: number | undefined
  to?: number | undefined
  key?: readonly string[] | undefined
  model?: readonly string[] | undefined
  effort?: readonly string[] | undefined
  pool?: readonly string[] | undefined
  outcome?: readonly string[] | undefined
  costNanoMin?: number | undefined
  costNanoMax?: number | undefined
  user?: string | undefined
  tag?: string | undefined
}

/** One request. Null: not known, or not yet. */
export interface RequestView {
  requestId: string
  createdAt: number
  settledAt: number | null
  outcome: string | null
  keyId: string
  model: string | null
  effort: string | null
  pool: string | null
  user: string | null
  tags: readonly string[]
  promptTokens: number | null
  cachedTokens: number | null
  outputTokens: number | null
  reasoningTokens: number | null
  estimated: boolean | null
  costNano: number | null
  /** The most that the request may cost. */
  boundNano: number
}

/** As the client wrote it: a date means a day in the time zone of the tenant. */
export interface RequestListQuery extends TimeBounds {
  before: string
  limit: number
  filter: Omit<RequestFilter, 'from' | 'to'>
}

const lists = ['key', 'model', 'effort', 'pool', 'outcome'] as const
const parameters = ['limit', 'before', 'from', 'to', ...lists, 'cost_nano_min', 'cost_nano_max', 'user', 'tag'] as const
const valuesMax = 50

/** Throws the error for the client. @param more names of further parameters, which the caller reads */
export function readRequestQuery(params: URLSearchParams, more: readonly string[] = []): RequestListQuery {
  const names: readonly string[] = [...parameters, ...more]
  const unknown = [...params.keys()].find((name) => !names.includes(name))
  if (unknown !== undefined) throw invalid(unknown.slice(0, 64), `unknown parameter. Use one of ${names.join(', ')}.`)
  const repeated = [...parameters, ...more].find((name) => params.getAll(name).length > 1)
  if (repeated !== undefined) throw invalid(repeated, 'may be sent once. Separate values by commas.')
  const values = Object.fromEntries(lists.map((name) => [name, readList(params, name)]))
  const outcome = values.outcome?.find((value) => !requestOutcomes.some((each) => each === value))
  if (outcome !== undefined) throw invalid('outcome', `must be one of ${requestOutcomes.join(', ')}.`)
  const whole = (name: string) => readWhole(params, name)
  return {
    before: params.get('before')?.slice(0, 64) ?? '',
    limit: readLimit(params),
    ...readTimeBounds(params),
    filter: {
      ...values,
      costNanoMin: whole('cost_nano_min'),
      costNanoMax: whole('cost_nano_max'),
      user: params.get('user') ?? undefined,
      tag: params.get('tag') ?? undefined,
    },
  }
}

/** The filter with its period in Unix milliseconds. */
export function resolveRequestQuery(
  query: RequestListQuery,
  calendar: Calendar,
  now: number,
): TenantResult<RequestFilter> {
  const { from, to, filter } = query
  if (from && to) {
    const period = resolveBounds({ from, to }, calendar, now, 0)
    return period.ok ? { ok: true, value: { ...filter, ...period.value } } : period
  }
  const startOf = (bound: typeof from) =>
    bound?.kind === 'date' ? dayOf(bound.date, calendar).from : (bound?.at ?? undefined)
  return { ok: true, value: { ...filter, from: startOf(from), to: startOf(to) } }
}

/** Whether a request passes every condition but its time. A value that is not known passes none. */
export function isWanted(view: RequestView, filter: RequestFilter): boolean {
  const among = (wanted: readonly string[] | undefined, value: string | null) =>
    wanted === undefined || wanted.length === 0 || (value !== null && wanted.includes(value))
  const { costNano } = view
  return (
    among(filter.key, view.keyId) &&
    among(filter.model, view.model) &&
    among(filter.effort, view.effort) &&
    among(filter.pool, view.pool) &&
    among(filter.outcome, view.outcome) &&
    (filter.costNanoMin === undefined || (costNano !== null && costNano >= filter.costNanoMin)) &&
    (filter.costNanoMax === undefined || (costNano !== null && costNano <= filter.costNanoMax)) &&
    (filter.user === undefined || filter.user === view.user) &&
    (filter.tag === undefined || view.tags.includes(filter.tag))
  )
}

function readList(params: URLSearchParams, name: string): string[] {
  const values = (params.get(name) ?? '').split(',').filter((value) => value !== '')
  if (values.length > valuesMax) throw invalid(name, `at most ${valuesMax} values. Remove some.`)
  return values
}

function readLimit(params: URLSearchParams): number {
  const limit = readWhole(params, 'limit') ?? 100
  if (limit >= 1 && limit <= 1_000) return limit
  throw invalid('limit', 'must be a whole number from 1 to 1,000.')
}

function readWhole(params: URLSearchParams, name: string): number | undefined {
  const text = params.get(name)
  if (text === null) return undefined
  if (/^-?\d{1,16}$/.test(text) && Number.isSafeInteger(Number(text))) return Number(text)
  throw invalid(name, 'must be a whole number.')
}
