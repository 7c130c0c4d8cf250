/**
 * A media question asks a worker to read a request's documents and images before the request holds a lease or a slot.
 * The edge signs it. The body is the Chat Completions body of the later dispatch, bound by digest. The worker keeps the
 * media for the dispatch and answers with a prelude: `prepared`, or `refused` with the reason.
 */
import { z } from 'zod'
import { budgets } from '../model/budgets.ts'

export const mediaPath = '/media'

const Id = z.string().min(1).max(64)

export const MediaQuestion = z.object({
  /** Used once, like a dispatch id. */
  questionId: Id,
  requestId: Id,
  workerId: Id,
  tenantId: Id,
  /** SHA-256 of the body, base64url. */
  bodyDigest: z.string().length(43),
  /** Unix milliseconds of the edge's clock. */
  issuedAt: z.int(),
  expiresAt: z.int(),
})
export type MediaQuestion = z.infer<typeof MediaQuestion>

/** How long the edge waits for the answer: the longest wait for a turn, the longest reading, and the transfer. */
export const mediaAnswerMs = budgets.mediaWaitMs.value + budgets.mediaMs.value + budgets.workerRequestMs.value

/** Refusal codes that only a media question uses. */
export const mediaBusy = { tenant: 'media_tenant_busy', worker: 'media_busy' } as const
