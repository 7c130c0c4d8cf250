import { overShareRest, overShareTimes } from '../placement/tuning.ts'

/** Each tenant's share of the running requests, by weight. `isOverShare` defines when a tenant is over its share. */
export interface Shares {
  /** Tenants with running requests. */
  of: Map<string, { running: number; weight: number }>
  running: number
  weights: number
}

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
 * Whether a tenant has more than twice its share or, if its share is large, its share plus a third of the rest. (Of
 * two equal tenants, none can have more than twice its half.) False while no other tenant has a running request.
 */
export function isOverShare(shares: Shares, tenantId: string, weight: number): boolean {
  const running = shares.of.get(tenantId)?.running ?? 0
  return shares.of.size >= 2 && running > shares.running * overSharePart(weight / shares.weights)
}

/**
 * The tenants over their share, if this tenant is below its own share; otherwise empty. Counts this tenant's weight
 * even if it has no running request.
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
  return Math.min(overShareTimes * share, share + (1 - share) * overShareRest)
}

/** The tenant's share of the running requests, divided by the number that it runs; infinite if it runs none. */
export function shareOverRunning(shares: Shares, tenantId: string, weight: number): number {
  const running = shares.of.get(tenantId)?.running ?? 0
  return running === 0 ? Number.POSITIVE_INFINITY : (shares.running * weight) / (shares.weights * running)
}
