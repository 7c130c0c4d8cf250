/**
 * An inquiry is the edge's signed question to a worker about requests whose receipts are overdue: which of them still
 * run, and for which is a receipt owed. A worker that is asked also delivers at once what it owes.
 */
import { z } from 'zod'

export const inquiryPath = '/inquiry'
export const inquiredMax = 500

const Ids = z.array(z.string().min(1).max(64)).max(inquiredMax)

export const Inquiry = z.object({
  workerId: z.string().min(1).max(64),
  requestIds: Ids,
  /** Unix milliseconds of the edge's clock. */
  expiresAt: z.int(),
})
export type Inquiry = z.infer<typeof Inquiry>

/** Requests of the inquiry that this worker knows; it knows nothing of all others. */
export const InquiryAnswer = z.object({ running: Ids, owed: Ids })
export type InquiryAnswer = z.infer<typeof InquiryAnswer>
