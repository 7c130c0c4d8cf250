/**
 * The billing calendar of a tenant: its days, weeks and months, in its time zone. A month begins on the anchor day.
 *
 * A day begins with the first moment whose local date is that day or a later one. So a day of a change to or from
 * summer time has 23 or 25 hours, a day whose midnight was skipped begins later, and every moment is in one day.
 */
export interface Calendar {
  /** IANA name, such as `Europe/Berlin`. */
  timeZone: string
  /** First day of a month, 1 to 28. */
  anchorDay: number
}

export const utcMonths: Calendar = { timeZone: 'UTC', anchorDay: 1 }

/** A moment in Unix milliseconds, and the calendar in which it counts. */
export interface ZonedTime {
  at: number
  calendar: Calendar
}

export type CalendarUnit = 'day' | 'week' | 'month'
export type WindowKind = 'total' | 'day' | 'month'

export const windowKinds: readonly WindowKind[] = ['total', 'day', 'month']

/** A year, a month from 1 to 12 and a day from 1 to 31. */
export interface CalendarDate {
  year: number
  month: number
  day: number
}

/** `to` is exclusive. Both are Unix milliseconds. */
export interface Period {
  from: number
  to: number
}

const hourMs = 3_600_000
export const dayMs = 24 * hourMs

/** Start of the budget window that contains the time, in Unix milliseconds. It identifies the window. */
export function windowStart(kind: WindowKind, time: ZonedTime): number {
  return kind === 'total' ? 0 : periodAt(kind, time).from
}

/** End of the budget window that contains the time; infinite for the total. */
export function windowEnd(kind: WindowKind, time: ZonedTime): number {
  return kind === 'total' ? Number.POSITIVE_INFINITY : periodAt(kind, time).to
}

/** The day, week (from Monday) or month that contains the time. */
export function periodAt(unit: CalendarUnit, { at, calendar }: ZonedTime): Period {
  const last = lastPeriods(calendar)
  const known = last[unit]
  if (known && at >= known.from && at < known.to) return known
  const period = findPeriod(unit, at, calendar)
  last[unit] = period
  return period
}

/** The month that begins on the anchor day of this calendar month. */
export function monthOf(year: number, month: number, calendar: Calendar): Period {
  return {
    from: dayStart(dayNumber({ year, month, day: calendar.anchorDay }), calendar.timeZone),
    to: dayStart(dayNumber({ year, month: month + 1, day: calendar.anchorDay }), calendar.timeZone),
  }
}

export function dayOf(date: CalendarDate, { timeZone }: Calendar): Period {
  const day = dayNumber(date)
  return { from: dayStart(day, timeZone), to: dayStart(day + 1, timeZone) }
}

/** The local date of a time. */
export function dateAt({ at, calendar }: ZonedTime): CalendarDate {
  return dateOf(dayAt(at, calendar.timeZone))
}

/** The end of the hour of the local clock that contains the time. A change of the clock ends an hour early. */
export function hourEnd({ at, calendar }: ZonedTime): number {
  const local = at + offsetAt(at, calendar.timeZone)
  return at + hourMs - (((local % hourMs) + hourMs) % hourMs)
}

/** Whether the platform has this IANA time zone. An offset such as `+01:00` is no time zone: it has no summer time. */
export function isTimeZone(name: string): boolean {
  if (!/^[A-Za-z][\w+-]*(\/[\w+-]+){0,2}$/.test(name)) return false
  try {
    return formatOf(name) !== undefined
  } catch {
    return false
  }
}

function findPeriod(unit: CalendarUnit, at: number, calendar: Calendar): Period {
  const { timeZone, anchorDay } = calendar
  const day = dayAt(at, timeZone)
  if (unit === 'day') return { from: dayStart(day, timeZone), to: dayStart(day + 1, timeZone) }
  if (unit === 'week') {
    // Day 0 was a Thursday.
    const monday = day - ((((day + 3) % 7) + 7) % 7)
    return { from: dayStart(monday, timeZone), to: dayStart(monday + 7, timeZone) }
  }
  const { year, month, day: ofMonth } = dateOf(day)
  return monthOf(year, ofMonth >= anchorDay ? month : month - 1, calendar)
}

/** Days since 1970-01-01 of the day that contains a time. */
function dayAt(at: number, timeZone: string): number {
  const day = Math.floor((at + offsetAt(at, timeZone)) / dayMs)
  // A clock that is set back over midnight repeats the end of a day that is over.
  return timeZone !== 'UTC' && dayStart(day + 1, timeZone) <= at ? day + 1 : day
}

/** The first moment whose local date is day number `day` or later. */
function dayStart(day: number, timeZone: string): number {
  const midnight = day * dayMs
  if (timeZone === 'UTC') return midnight
  const before = offsetAt(midnight - dayMs, timeZone)
  const after = offsetAt(midnight + dayMs, timeZone)
  const candidates = [midnight - before, midnight - after].sort((one, other) => one - other)
  const start = candidates.find((at) => at + offsetAt(at, timeZone) === midnight)
  return start ?? firstChange(midnight - dayMs, midnight + dayMs, timeZone)
}

/** The moment between two times at which the offset changes; midnight was skipped there. */
function firstChange(from: number, to: number, timeZone: string): number {
  const before = offsetAt(from, timeZone)
  let [low, high] = [from, to]
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2)
    if (offsetAt(middle, timeZone) === before) low = middle
    else high = middle
  }
  return high
}

function dayNumber({ year, month, day }: CalendarDate): number {
  return Date.UTC(year, month - 1, day) / dayMs
}

function dateOf(day: number): CalendarDate {
  const date = new Date(day * dayMs)
  return { year: date.getUTCFullYear(), month: date.getUTCMonth() + 1, day: date.getUTCDate() }
}

/** Milliseconds between the local clock and UTC. */
function offsetAt(at: number, timeZone: string): number {
  if (timeZone === 'UTC') return 0
  const second = Math.floor(at / 1_000) * 1_000
  const parts = formatOf(timeZone).formatToParts(second)
  const of = (type: string) => Number(parts.find((part) => part.type === type)?.value)
  return Date.UTC(of('year'), of('month') - 1, of('day'), of('hour'), of('minute'), of('second')) - second
}

/** An isolate may run the objects of several tenants. */
const cachedMax = 64
const formats = new Map<string, Intl.DateTimeFormat>()
/** Every admission needs its periods several times, and the functions for time zones are slow. */
const periods = new Map<string, Partial<Record<CalendarUnit, Period>>>()

function formatOf(timeZone: string): Intl.DateTimeFormat {
  return cached(formats, timeZone, () => {
    const numeric = { year: 'numeric', month: 'numeric', day: 'numeric' } as const
    const clock = { hour: 'numeric', minute: 'numeric', second: 'numeric', hourCycle: 'h23' } as const
    return new Intl.DateTimeFormat('en-US', { timeZone, calendar: 'gregory', ...numeric, ...clock })
  })
}

function lastPeriods({ timeZone, anchorDay }: Calendar): Partial<Record<CalendarUnit, Period>> {
  return cached(periods, `${timeZone} ${anchorDay}`, () => ({}))
}

function cached<Value>(map: Map<string, Value>, name: string, make: () => Value): Value {
  const known = map.get(name)
  if (known !== undefined) return known
  const value = make()
  map.set(name, value)
  for (const oldest of map.keys()) {
    if (map.size <= cachedMax) break
    map.delete(oldest)
  }
  return value
}
