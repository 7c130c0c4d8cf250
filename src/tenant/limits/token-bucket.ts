/**
 * A token bucket in integers. `level` counts units times 60,000, so that a refill of `perMinute` units a minute adds
 * exactly `perMinute` for each millisecond and nothing is ever rounded.
 *
 * The level lies between a full bucket and a debt that `rateDebt` milliseconds pay back. So it stays an exact
 * integer for any use, and no use beyond the rate shuts its holder out for longer than that.
 */
import { budgets } from '../../../backends/model/budgets.ts'

export interface TokenBucket {
  level: number
  /** When `level` was true, Unix milliseconds. */
  at: number
}

export type TakeResult = { ok: true; bucket: TokenBucket } | { ok: false; retryAfterMs: number }

const unit = 60_000

export function fullBucket(perMinute: number, now: number): TokenBucket {
  return { level: rateOf(perMinute) * unit, at: now }
}

/** The bucket as it stands at `now`. A clock that went back refills nothing. */
function refill(bucket: TokenBucket, perMinute: number, now: number): TokenBucket {
  const elapsedMs = Math.max(0, now - bucket.at)
  const rate = rateOf(perMinute)
  const level = within(bucket.level, rate) + elapsedMs * rate
  return { level: within(level, rate), at: Math.max(now, bucket.at) }
}

/** Takes `units`, or tells exactly how long until they are there. More than the bucket holds can never be taken. */
export function take(bucket: TokenBucket, perMinute: number, units: number, now: number): TakeResult {
  const full = refill(bucket, perMinute, now)
  const missing = units * unit - full.level
  if (missing <= 0) return { ok: true, bucket: { ...full, level: full.level - units * unit } }
  if (units > rateOf(perMinute)) return { ok: false, retryAfterMs: Number.POSITIVE_INFINITY }
  return { ok: false, retryAfterMs: Math.ceil(missing / rateOf(perMinute)) }
}

/** Returns units that were taken and not used; a negative number takes what was used beyond, below zero if need be. */
export function giveBack(bucket: TokenBucket, perMinute: number, units: number, now: number): TokenBucket {
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
