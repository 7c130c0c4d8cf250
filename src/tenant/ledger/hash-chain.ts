/**
 * The hash chain over a tenant's entries. Each entry's hash covers the previous hash, so a changed, removed or inserted
 * entry breaks every later hash.
 */
import type { LedgerEntry } from './ledger.ts'
import { sha256 } from './sha256.ts'

/** The hash before the first entry. */
export const chainStart = '0'.repeat(64)

/** Covers every field of the entry. The order of the fields must never change. */
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
