/**
 * A fence keeps out a worker's old keys. A key's epoch says how new it is: rotation raises the epoch below which nothing
 * is heard, at once or after an overlap; revocation shuts out all keys up to the one that was in use.
 *
 * What a fence refuses are heartbeats, and so new work. Receipts are money: those of a rotated key are taken for good,
 * only those of a revoked one are not, because its bearer is no longer believed.
 */
export interface KeyFence {
  workerId: string
  /** Heartbeats of an older epoch are refused. */
  epochMin: number
  /** From `nextAt` on, this one is the oldest. */
  nextMin: number
  /** Unix milliseconds. */
  nextAt: number
  /** Keys up to this epoch are revoked; 0 when none is. */
  epochRevoked: number
}

export function heartbeatAllowed(fence: KeyFence | undefined, epoch: number, now: number): boolean {
  if (!fence) return true
  return epoch >= fence.epochMin && epoch > fence.epochRevoked && (epoch >= fence.nextMin || now < fence.nextAt)
}

export function receiptAllowed(fence: KeyFence | undefined, epoch: number): boolean {
  return !fence || epoch > fence.epochRevoked
}

/** Both together. Orders may arrive twice or out of turn; a fence is never lowered. */
export function joinFences(known: KeyFence | undefined, added: KeyFence): KeyFence {
  if (!known) return added
  const newer = added.nextMin > known.nextMin || (added.nextMin === known.nextMin && added.nextAt <= known.nextAt)
  const { nextMin, nextAt } = newer ? added : known
  return {
    workerId: known.workerId,
    epochMin: Math.max(known.epochMin, added.epochMin),
    nextMin,
    nextAt,
    epochRevoked: Math.max(known.epochRevoked, added.epochRevoked),
  }
}
