/**
 * The running hash over a tenant's entries: each entry's hash covers the one before it, so that an entry that was
 * changed, removed or put in between breaks every hash after it.
 */
import type { LedgerEntry } from './ledger.ts'
import { sha256 } from './sha256.ts'

/** What the first entry stands on. */
export const chainStart = '0'.repeat(64)

/** Every field of the ledger's own, in one order for good. */
export function chainHash(previous: string, seq: number, entry: LedgerEntry): string {
  const { requestId, dispatchId, kind, costNano, creditNano, shortNano, counts, estimated, at } = entry
  const tokens = counts && [counts.promptTokens, counts.cachedTokens, counts.outputTokens, counts.reasoningTokens]
  const text = JSON.stringify([
    seq,
    requestId,
    dispatchId,
    kind,
    costNano,
    creditNano,
    shortNano,
    tokens,
    estimated,
    at,
  ])
  return sha256(previous + text)
}
