/**
 * Rate of free slots while requests wait, measured from the grants to waiting requests. Slots that become free while no
 * request waits measure demand, not capacity, so they do not count. The estimates never decide placement or order.
 */
const keptMax = 64
/** Below this many grants in the current wait, the estimate includes the previous measurement. */
const trustedAt = 8
/** Older measurements are ignored. */
const earlierKeptMs = 10 * 60_000

export interface Pace {
  /** Start of the period in which `grants` were counted. */
  since: number
  /** The last grants to waiting requests. */
  grants: number[]
  earlier: { everyMs: number; at: number } | undefined
}

export function newPace(): Pace {
  return { since: 0, grants: [], earlier: undefined }
}

/** Call when the first request begins to wait. */
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

/** Recent mean time between two grants; undefined until it is measured. */
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
