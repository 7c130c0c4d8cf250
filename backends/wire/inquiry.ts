/**
 * An inquiry is the edge's signed question to a worker about requests whose receipts are overdue: which of them still
 * run, and for which is a receipt owed. A worker that is asked also delivers at once what it owes.
 */
import { z } from 'zod'
import { ProvenDispatch } from './dispatch.ts'

export const inquiryPath = '/inquiry'
export const inquiredMax = 500

/** A request has two dispatches at a time, at most. */
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
 * Dispatches of these requests that this worker has; it knows nothing of all others. The edge believes those with a good
 * proof only: a worker could otherwise keep reservations open of requests that it was never given.
 */
export const InquiryAnswer = z.object({ running: Claims, owed: Claims })
export type InquiryAnswer = z.infer<typeof InquiryAnswer>
