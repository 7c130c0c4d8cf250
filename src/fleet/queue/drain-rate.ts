/**
 * How fast slots come free while somebody waits for one, measured by the grants to those who waited. What comes free
 * while nobody waits says how much was asked for, not how much could be served, so it does not count. Estimates only:
 * nothing is decided by them.
 */
const keptMax = 64
/** Until so many grants were seen in this wait, what was measured before has its part in the estimate. */
const trustedAt = 8
/** What was measured before that is of another day. */
const earlierKeptMs = 10 * 60_000

export interface Pace {
  /** When the grants that are kept began to be counted. */
  since: number
  /** The last grants to waiting requests. */
  grants: number[]
  earlier: { everyMs: number; at: number } | undefined
}

export function newPace(): Pace {
  return { since: 0, grants: [], earlier: undefined }
}

/** The first request begins to wait. */
export function waitBegins(pace: Pace, now: number): void {
  const at = pace.grants.at(-1)
  const everyMs = at === undefined ? undefined : grantEveryMs(pace, at)
  if (at !== undefined && everyMs !== undefined) pace.earlier = { everyMs, at }
  pace.since = now
  pace.grants = []
}

export function granted(pace: Pace, now: number): void {
  pace.grants.push(now)
  if (pace.grants.length > keptMax) pace.since = pace.grants.shift() ?? now
}

/** The mean time between two grants lately, or undefined when nothing is known of it. */
export function grantEveryMs(pace: Pace, now: number): number | undefined {
  const { earlier } = pace
  const count = pace.grants.length
  const passed = Math.max(0, now - pace.since)
  const before = earlier && now - earlier.at <= earlierKeptMs ? earlier.everyMs : undefined
  if (count === 0) return before && Math.max(before, passed)
  const measured = passed / count
  if (before === undefined || count >= trustedAt) return measured
  return (measured * count + before * (trustedAt - count)) / trustedAt
}
