import { faultText, readFields } from '../../backends/model/field-fault.ts'
import { Receipt, receiptFault } from '../../backends/wire/receipt.ts'
import { isProven } from '../auth/dispatch-proof.ts'
import type { Secret } from '../auth/secret.ts'

export type ReceiptVerdict = { ok: true; receipt: Receipt } | { ok: false; reason: string }

/**
 * @param claims sealed by the worker that they name
 * @param secrets the fleet secrets whose proofs are accepted
 */
export function judgeReceipt(claims: unknown, secrets: readonly Secret[]): ReceiptVerdict {
  const parsed = readFields(Receipt, claims)
  if (!parsed.ok) return refused(faultText(parsed.fault, 'receipt'))
  if (!isProven(secrets, { ...parsed.data, ...parsed.data.terms }))
    return refused('proof: the gateway did not send this dispatch to this worker')
  const fault = receiptFault(parsed.data)
  return fault === undefined ? { ok: true, receipt: parsed.data } : refused(fault)
}

function refused(reason: string): ReceiptVerdict {
  return { ok: false, reason }
}
