/** Recent requests per second: an exponentially fading count with a time constant of half a minute. */
import { arrivalFadeMs } from './tuning.ts'

export interface Arrivals {
  /** Faded count. */
  count: number
  at: number
  /** Start of counting: until `fadeMs` have passed, the count covers a shorter period. */
  since: number
}

export function newArrivals(now: number): Arrivals {
  return { count: 0, at: now, since: now }
}

/** @param counts weight of the request in the demand, at most 1 */
export function arrived(arrivals: Arrivals, counts: number, now: number): void {
  arrivals.count = faded(arrivals, now) + counts
  arrivals.at = now
}

export function perSecond(arrivals: Arrivals, now: number): number {
  const seconds = (arrivalFadeMs * (1 - Math.exp(-Math.max(1_000, now - arrivals.since) / arrivalFadeMs))) / 1_000
  return faded(arrivals, now) / seconds
}

function faded({ count, at }: Arrivals, now: number): number {
  return count * Math.exp(-Math.max(0, now - at) / arrivalFadeMs)
}
