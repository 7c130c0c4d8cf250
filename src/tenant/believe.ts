/** Keeps the proven part of a worker’s answer to an inquiry. Pure, so that the simulation runs it too. */
import type { ProvenDispatch } from '../../backends/wire/dispatch.ts'
import type { InquiryAnswer } from '../../backends/wire/inquiry.ts'
import { isProven } from '../auth/dispatch-proof.ts'
import type { Secret } from '../auth/secret.ts'

/** One worker's verified answer about overdue requests. */
export interface BelievedAnswer {
  running: string[]
  owed: string[]
}

/** The requests of the answer that were dispatched to this worker. */
export function believe(secrets: readonly Secret[], workerId: string, answer: InquiryAnswer): BelievedAnswer {
  const proven = (claims: ProvenDispatch[]) =>
    claims.filter((claim) => claim.workerId === workerId && isProven(secrets, claim)).map(({ requestId }) => requestId)
  return { running: proven(answer.running), owed: proven(answer.owed) }
}
