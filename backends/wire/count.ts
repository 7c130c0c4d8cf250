/**
 * A count question asks a worker how many tokens a prompt has. The edge signs it. Nothing is generated or billed. The
 * body is a Chat Completions body, which the question binds by digest.
 */
import { z } from 'zod'
import { budgets } from '../model/budgets.ts'
import { EffortWord } from '../model/effort.ts'

export const countPath = '/count'
/** Concurrent counts on one worker: counting takes time from generation. */
export const countsMax = budgets.countsPerWorker.value

export const CountQuestion = z.object({
  workerId: z.string().min(1).max(64),
  /** Counts of one tenant have their own limit. */
  tenantId: z.string().min(1).max(64),
  effort: EffortWord,
  /** SHA-256 of the body, base64url. */
  bodyDigest: z.string().length(43),
  /** Unix milliseconds of the edge's clock. */
  expiresAt: z.int(),
})
export type CountQuestion = z.infer<typeof CountQuestion>

export const CountAnswer = z.object({
  promptTokens: z.int().min(0),
  /** The engine cannot count; `promptTokens` is an upper bound. */
  estimated: z.boolean(),
})
export type CountAnswer = z.infer<typeof CountAnswer>
