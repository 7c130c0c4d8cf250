/**
 * A token bucket in integers. `level` counts units times 60,000, so a refill of `perMinute` units a minute adds exactly
 * `perMinute` per millisecond, without rounding.
 *
 * The level lies between a full bucket and a debt that refills in `rateDebt` milliseconds. So it is always an exact
 * integer, and overuse blocks a key or tenant for at most that time.
 */
import { budgets } from '../../../backends/model/budgets.ts'

export interface TokenBucket {
  level: number
  /** Time of `level`, in Unix milliseconds. */
  at: number
}

export type TakeResult = { ok: true; bucket: TokenBucket } | { ok: false; retryAfterMs: number }

const unit = 60_000

export function fullBucket(perMinute: number, now: number): TokenBucket {
  return { level: rateOf(perMinute) * unit, at: now }
}

/** The bucket at `now`. A clock that went backwards refills nothing. */
function refill(bucket: TokenBucket, perMinute: number, now: number): TokenBucket {
  const elapsedMs = Math.max(0, now - bucket.at)
  const rate = rateOf(perMinute)
  const level = within(bucket.level, rate) + elapsedMs * rate
  return { level: within(level, rate), at: Math.max(now, bucket.at) }
}

/** Takes `units`, or returns the exact wait until they are available; infinite for more units than the capacity. */
export function take(bucket: TokenBucket, perMinute: number, units: number, now: number): TakeResult {
  const full = refill(bucket, perMinute, now)
  const missing = units * unit - full.level
  if (missing <= 0) return { ok: true, bucket: { ...full, level: full.level - units * unit } }
  if (units > rateOf(perMinute)) return { ok: false, retryAfterMs: Number.POSITIVE_INFINITY }
  return { ok: false, retryAfterMs: Math.ceil(missing / rateOf(perMinute)) }
}

/** Returns unused units to the bucket. A negative number takes units that were used in excess, even below zero. */
export function refund(bucket: TokenBucket, perMinute: number, units: number, now: number): TokenBucket {
  const full = refill(bucket, perMinute, now)
  return { ...full, level: within(full.level + units * unit, rateOf(perMinute)) }
}

/** Whole units left at `now`. */
export function unitsLeft(bucket: TokenBucket, perMinute: number, now: number): number {
  return Math.max(0, Math.floor(refill(bucket, perMinute, now).level / unit))
}

function rateOf(perMinute: number): number {
  return Math.min(Math.max(0, perMinute), budgets.ratePerMinute.value)
}

function within(level: number, rate: number): number {
  return Math.max(-rate * budgets.rateDebt.value, Math.min(rate * unit, level))
}
