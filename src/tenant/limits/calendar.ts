/** Budget windows are calendar days and months in UTC, named by the moment they begin, in Unix milliseconds. */
export type WindowKind = 'total' | 'day' | 'month'

export const windowKinds: readonly WindowKind[] = ['total', 'day', 'month']

const dayMs = 86_400_000
/** The month that was asked for last: every admission asks several times, and the calendar costs. */
let month = { from: 0, to: 0 }

export function windowStart(kind: WindowKind, now: number): number {
  if (kind === 'total') return 0
  if (kind === 'day') return now - (now % dayMs)
  if (now < month.from || now >= month.to) month = monthOf(now)
  return month.from
}

/** When the window that holds `now` is over; never, for the total. */
export function windowEnd(kind: WindowKind, now: number): number {
  if (kind === 'total') return Number.POSITIVE_INFINITY
  if (kind === 'month') return monthOf(now).to
  return windowStart('day', now) + dayMs
}

function monthOf(now: number): { from: number; to: number } {
  const date = new Date(now)
  const [year, index] = [date.getUTCFullYear(), date.getUTCMonth()]
  return { from: Date.UTC(year, index), to: Date.UTC(year, index + 1) }
}
