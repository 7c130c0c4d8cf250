/**
 * An inquiry is the edge's signed question to a worker about overdue receipts: which requests still run, and which have
 * a receipt that is not delivered yet. A worker that receives an inquiry also delivers its outstanding receipts at
 * once.
 */
import { z } from 'zod'
import { ProvenDispatch } from './dispatch.ts'

export const inquiryPath = '/inquiry'
export const inquiredMax = 500

/** A request has at most two dispatches at a time. */
export const claimedMax = 2 * inquiredMax

const Claims = z.array(ProvenDispatch).max(claimedMax)
const Ids = z.array(z.string().min(1).max(64)).max(inquiredMax)

export const Inquiry = z.object({
  workerId: z.string().min(1).max(64),
  requestIds: Ids,
  /** Unix milliseconds of the edge's clock. */
  expiresAt: z.int(),
})
export type Inquiry = z.infer<typeof Inquiry>

/**
 * The worker's dispatches of these requests; it has none of the others. The edge accepts only entries with a valid
 * proof. Otherwise a worker could keep reservations open for requests that it never received.
 */
export const InquiryAnswer = z.object({ running: Claims, owed: Claims })
export type InquiryAnswer = z.infer<typeof InquiryAnswer>
