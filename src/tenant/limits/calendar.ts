/** Budget windows are calendar days and months in UTC, identified by their start in Unix milliseconds. */
export type WindowKind = 'total' | 'day' | 'month'

export const windowKinds: readonly WindowKind[] = ['total', 'day', 'month']

const dayMs = 86_400_000
/** Cache of the last month: every admission needs it several times, and calendar functions are slow. */
let month = { from: 0, to: 0 }

export function windowStart(kind: WindowKind, now: number): number {
  if (kind === 'total') return 0
  if (kind === 'day') return now - (now % dayMs)
  if (now < month.from || now >= month.to) month = monthOf(now)
  return month.from
}

/** End of the window that contains `now`; infinite for the total. */
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
