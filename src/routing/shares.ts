/** Who has how much of what runs, by weight: a tenant that has more than twice its share is greedy. */
export interface Shares {
  /** Tenants that have something running. */
  of: Map<string, { running: number; weight: number }>
  running: number
  weights: number
}

const greedyTimes = 2

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

/** Never while nobody else has anything running. */
export function isGreedy(shares: Shares, tenantId: string, weight: number): boolean {
  const share = shares.of.get(tenantId)
  if (!share || shares.of.size < 2) return false
  return share.running * shares.weights > greedyTimes * shares.running * weight
}
