/** Who has how much of what runs, by weight: a tenant that has more than twice its share is greedy. */
export interface Shares {
  /** Tenants that have something running. */
  of: Map<string, { running: number; weight: number }>
  running: number
  weights: number
}

const overShareTimes = 2

export function newShares(): Shares {
  return { of: new Map(), running: 0, weights: 0 }
}

export function took(shares: Shares, tenantId: string, weight: number): void {
  const known = shares.of.get(tenantId)
  const share = known ?? { running: 0, weight: 0 }
  shares.of.set(tenantId, share)
  shares.weights += weight - share.weight
  shares.running += 1
  share.weight = weight
  share.running += 1
}

export function gave(shares: Shares, tenantId: string): void {
  const share = shares.of.get(tenantId)
  if (!share) return
  shares.running -= 1
  share.running -= 1
  if (share.running > 0) return
  shares.weights -= share.weight
  shares.of.delete(tenantId)
}

/**
 * More than twice its share, or, where its share is large, more than half of what the others would have besides. (Of two
 * equal tenants none can have more than twice its half.) Never while nobody else has anything running.
 */
export function isOverShare(shares: Shares, tenantId: string, weight: number): boolean {
  const running = shares.of.get(tenantId)?.running ?? 0
  return shares.of.size >= 2 && running > shares.running * overSharePart(weight / shares.weights)
}

/**
 * The tenants that have too much, where this one has less than its share because of them; none otherwise. Counted as if
 * this one had something running already.
 */
export function crowdersOf(shares: Shares, tenantId: string, weight: number): string[] {
  const own = shares.of.get(tenantId)
  const weights = shares.weights + (own ? 0 : weight)
  if ((own?.running ?? 0) * weights >= shares.running * weight) return []
  const crowders: string[] = []
  for (const [other, share] of shares.of) {
    if (share.running > shares.running * overSharePart(share.weight / weights)) crowders.push(other)
  }
  return crowders
}

function overSharePart(share: number): number {
  return Math.min(overShareTimes * share, (1 + share) / 2)
}

/** Its share by weight of what runs, over what it has running; infinite while that is nothing. */
export function shareOverRunning(shares: Shares, tenantId: string, weight: number): number {
  const running = shares.of.get(tenantId)?.running ?? 0
  return running === 0 ? Number.POSITIVE_INFINITY : (shares.running * weight) / (shares.weights * running)
}
