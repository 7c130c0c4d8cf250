/**
 * `from` and `to` of reports and lists. The gateway reads the text; the tenant object resolves it, because a date means
 * a day in the tenant's own time zone.
 */
import { GatewayError } from '../../http/errors.ts'
import { denied, type TenantResult } from '../denial.ts'
import { type Calendar, type CalendarDate, dayMs, dayOf, type Period } from '../limits/calendar.ts'

/** A day in the tenant's time zone, or a moment in Unix milliseconds. */
type TimeBound = { kind: 'date'; date: CalendarDate } | { kind: 'moment'; at: number }

/** Null: not in the query. */
export interface TimeBounds {
  from: TimeBound | null
  to: TimeBound | null
}

const date = '(\\d{4})-(\\d{2})-(\\d{2})'
const clock = '(\\d{2}):(\\d{2})(?::(\\d{2})(?:\\.(\\d{1,3})\\d*)?)?'
const datePattern = new RegExp(`^${date}$`)
// A `+` in a query that was not written as %2B arrives as a space.
const momentPattern = new RegExp(`^${date}T${clock}(Z|([+ -])(\\d{2}):(\\d{2}))?$`, 'i')
const earliest = Date.UTC(2000, 0, 1)
const latest = Date.UTC(2200, 0, 1)

/** Reads `from` and `to`. Throws the error for the client if one of them means no time. */
export function readTimeBounds(params: URLSearchParams): TimeBounds {
  const read = (name: 'from' | 'to') => {
    const text = params.get(name)
    return text === null ? null : readTimeBound(name, text)
  }
  return { from: read('from'), to: read('to') }
}

/**
 * The period from `from` to before `to`. Two equal dates mean that day.
 *
 * @param spanMs the length of the period if `from` is not in the query
 */
export function resolveBounds(
  { from, to }: TimeBounds,
  calendar: Calendar,
  now: number,
  spanMs: number,
): TenantResult<Period> {
  const end = to === null ? now : startOf(to, calendar)
  const start = from === null ? end - spanMs : startOf(from, calendar)
  if (start < end) return { ok: true, value: { from: start, to: end } }
  if (from?.kind === 'date' && to?.kind === 'date' && start === end)
    return { ok: true, value: dayOf(to.date, calendar) }
  const last = to === null ? 'now, because "to" is missing' : '"to"'
  return denied(
    'invalid_value',
    `from: must be before ${last}. Exchange them, or send the same date twice for one day.`,
    'from',
  )
}

function startOf(bound: TimeBound, calendar: Calendar): number {
  return bound.kind === 'date' ? dayOf(bound.date, calendar).from : bound.at
}

function readTimeBound(name: string, text: string): TimeBound {
  if (/^-?\d+$/.test(text)) return { kind: 'moment', at: readMilliseconds(name, text) }
  const day = datePattern.exec(text)
  if (day) return { kind: 'date', date: readDate(name, text, day) }
  const moment = momentPattern.exec(text)
  if (moment) return { kind: 'moment', at: readMoment(name, text, moment) }
  throw invalid(name, 'must be a date such as 2026-11-24, a date-time with its time zone, or Unix milliseconds.')
}

function readMilliseconds(name: string, text: string): number {
  const at = Number(text)
  if (at >= earliest && at < latest) return at
  const scales: [number, string][] = [
    [1_000, 'seconds'],
    [0.001, 'microseconds'],
    [0.000001, 'nanoseconds'],
  ]
  const meant = scales.find(([factor]) => at * factor >= earliest && at * factor < latest)
  if (meant) throw invalid(name, `looks like Unix ${meant[1]}. Send Unix milliseconds: ${Math.round(at * meant[0])}.`)
  throw invalid(name, 'must be between the years 2000 and 2199, in Unix milliseconds.')
}

function readDate(name: string, text: string, [, year, month, day]: RegExpExecArray): CalendarDate {
  const read = { year: Number(year), month: Number(month), day: Number(day) }
  const days = new Date(Date.UTC(read.year, read.month, 0)).getUTCDate()
  if (read.year < 2000 || read.year > 2199) throw invalid(name, 'must be between the years 2000 and 2199.')
  if (read.month < 1 || read.month > 12 || read.day < 1 || read.day > days)
    throw invalid(name, `there is no day ${text.slice(0, 10)}. Send a date that exists.`)
  return read
}

function readMoment(name: string, text: string, match: RegExpExecArray): number {
  const [, , , , hour, minute, second = '0', fraction = '0', zone, sign, zoneHour = '0', zoneMinute = '0'] = match
  const { year, month, day } = readDate(name, text, match)
  if (zone === undefined)
    throw invalid(name, 'a date-time needs its time zone: add Z for UTC, or an offset such as %2B01:00.')
  const inside = Number(hour) < 24 && Number(minute) < 60 && Number(second) < 60
  const offset = Number(zoneHour) * 60 + Number(zoneMinute)
  if (!inside || offset > 15 * 60 || Number(zoneMinute) > 59)
    throw invalid(name, 'has a time of day or a time zone that does not exist. Use 00:00:00 to 23:59:59.')
  const local = Date.UTC(
    year,
    month - 1,
    day,
    Number(hour),
    Number(minute),
    Number(second),
    Number(fraction.padEnd(3, '0')),
  )
  return local - (sign === '-' ? -offset : offset) * 60_000
}

export function invalid(param: string, message: string): GatewayError {
  return new GatewayError('invalid_value', `${param}: ${message}`, { param })
}

/** Longest period, with an hour to spare for summer time. */
export function spanFault({ from, to }: Period, daysMax: number, advice: string): string | undefined {
  const fits = to - from <= daysMax * dayMs + 3_600_000
  return fits ? undefined : `from: at most ${daysMax.toLocaleString('en-US')} days. ${advice}`
}
