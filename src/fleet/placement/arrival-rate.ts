/** How many requests a second came of late: each counts most when it comes and fades over half a minute. */
const fadeMs = 30_000

export interface Arrivals {
  /** Faded count. */
  count: number
  at: number
  /** The first that was counted: before `fadeMs` have passed, the count is over less. */
  since: number
}

export function newArrivals(now: number): Arrivals {
  return { count: 0, at: now, since: now }
}

/** @param counts as so much of a request, at most 1 */
export function arrived(arrivals: Arrivals, counts: number, now: number): void {
  arrivals.count = faded(arrivals, now) + counts
  arrivals.at = now
}

export function perSecond(arrivals: Arrivals, now: number): number {
  const seconds = (fadeMs * (1 - Math.exp(-Math.max(1_000, now - arrivals.since) / fadeMs))) / 1_000
  return faded(arrivals, now) / seconds
}

function faded({ count, at }: Arrivals, now: number): number {
  return count * Math.exp(-Math.max(0, now - at) / fadeMs)
}
