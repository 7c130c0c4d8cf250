/**
 * Verifies the claims of a worker. Pure, so that the simulation uses the same rule. A receipt must be well formed,
 * proven by its dispatch, and possible under its terms, in this order; the first fault is the reason.
 */
import type { ProvenDispatch } from '../../backends/wire/dispatch.ts'
import type { InquiryAnswer } from '../../backends/wire/inquiry.ts'
import { Receipt, receiptFault } from '../../backends/wire/receipt.ts'
import { isProven } from '../auth/dispatch-proof.ts'
import type { Secret } from '../auth/secret.ts'

export type ReceiptVerdict = { ok: true; receipt: Receipt } | { ok: false; reason: string }

/** @param claims sealed by the worker that they name */
export function judgeReceipt(claims: unknown, fleet: Secret): ReceiptVerdict {
  const parsed = Receipt.safeParse(claims)
  if (!parsed.success) {
    const issue = parsed.error.issues[0]
    return refused(`${issue?.path.join('.') || 'receipt'}: ${issue?.message ?? 'malformed'}`)
  }
  if (!isProven(fleet, { ...parsed.data, ...parsed.data.terms }))
    return refused('proof: the gateway did not send this dispatch to this worker')
  const fault = receiptFault(parsed.data)
  return fault === undefined ? { ok: true, receipt: parsed.data } : refused(fault)
}

/** One worker's verified answer about overdue requests. */
export interface BelievedAnswer {
  running: string[]
  owed: string[]
}

/** The requests of the answer that were dispatched to this worker. */
export function believe(fleet: Secret, workerId: string, answer: InquiryAnswer): BelievedAnswer {
  const proven = (claims: ProvenDispatch[]) =>
    claims.filter((claim) => claim.workerId === workerId && isProven(fleet, claim)).map(({ requestId }) => requestId)
  return { running: proven(answer.running), owed: proven(answer.owed) }
}

function refused(reason: string): ReceiptVerdict {
  return { ok: false, reason }
}
