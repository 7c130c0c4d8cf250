/** Budget windows are calendar days and months in UTC, named by the moment they begin, in Unix milliseconds. */
export type WindowKind = 'total' | 'day' | 'month'

const dayMs = 86_400_000

export function windowStart(kind: WindowKind, now: number): number {
  if (kind === 'total') return 0
  if (kind === 'day') return now - (now % dayMs)
  const date = new Date(now)
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth())
}

/** When the window that holds `now` is over; never, for the total. */
export function windowEnd(kind: WindowKind, now: number): number {
  const date = new Date(now)
  if (kind === 'total') return Number.POSITIVE_INFINITY
  if (kind === 'month') return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1)
  return windowStart('day', now) + dayMs
}
