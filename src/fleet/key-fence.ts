/**
 * A key fence refuses a worker's old keys. Each key has an epoch. Rotation raises the oldest accepted epoch, at once or
 * after an overlap; revocation refuses every epoch up to the one in use.
 *
 * A fence refuses heartbeats, and so new work. Receipts are money: those of a rotated key are accepted without a time
 * limit; those of a revoked key are refused, because its bearer is no longer trusted.
 */
export interface KeyFence {
  workerId: string
  /** Heartbeats of an older epoch are refused. */
  epochMin: number
  /** Replaces `epochMin` from `nextAt` on. */
  nextMin: number
  /** Unix milliseconds. */
  nextAt: number
  /** Keys up to this epoch are revoked; 0 if none is. */
  epochRevoked: number
}

export function heartbeatAllowed(fence: KeyFence | undefined, epoch: number, now: number): boolean {
  if (!fence) return true
  return epoch >= fence.epochMin && epoch > fence.epochRevoked && (epoch >= fence.nextMin || now < fence.nextAt)
}

export function receiptAllowed(fence: KeyFence | undefined, epoch: number): boolean {
  return !fence || epoch > fence.epochRevoked
}

/** Combines two fences. Updates may arrive twice or out of order; a fence never moves down. */
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
