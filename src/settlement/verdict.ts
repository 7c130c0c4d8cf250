/**
 * Whether the edge believes a receipt whose seal is good. Pure, so that the simulation judges by the same rule: well
 * formed, proven by the dispatch, and possible under its terms, in this order. The first fault is the reason.
 */
import { Receipt, receiptFault } from '../../backends/protocol/receipt.ts'
import type { Secret } from '../auth/secret.ts'
import { isProven } from './proof.ts'

export type Verdict = { ok: true; receipt: Receipt } | { ok: false; reason: string }

/** @param claims as sealed by the worker that they name */
export function judgeReceipt(claims: unknown, fleet: Secret): Verdict {
  const parsed = Receipt.safeParse(claims)
  if (!parsed.success) {
    const issue = parsed.error.issues[0]
    return refused(`${issue?.path.join('.') || 'receipt'}: ${issue?.message ?? 'is malformed'}`)
  }
  if (!isProven(fleet, parsed.data)) return refused('proof: the gateway made no such dispatch to this worker')
  const fault = receiptFault(parsed.data)
  return fault === undefined ? { ok: true, receipt: parsed.data } : refused(fault)
}

function refused(reason: string): Verdict {
  return { ok: false, reason }
}
