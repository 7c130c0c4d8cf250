/**
 * A dispatch is the edge's signed order to one worker: run this body, for this tenant, within this bound, now, once.
 * It travels in the `authorization` header; the body is the client's request, which it binds by digest.
 */
import { z } from 'zod'
import { budgets } from '../model/budgets.ts'
import { EffortWord } from '../model/effort.ts'
import { Rates } from '../model/money.ts'

export const poolNames = ['latency', 'throughput'] as const
export const PoolName = z.enum(poolNames)
export type PoolName = z.infer<typeof PoolName>

const Id = z.string().min(1).max(64)

/** What a dispatch allows its worker. The worker's receipt repeats it, and the dispatch's proof covers it. */
export const Terms = z.object({
  /** What was reserved. The worker counts the prompt exactly and clamps generation so that the cost stays within. */
  costNanoMax: z.int().min(0),
  /** A longer prompt is refused with its exact count, and the edge may raise the reservation once. */
  promptTokensMax: z.int().min(1),
  outputTokensMax: z.int().min(1),
  rates: Rates,
  /** Unix milliseconds of the edge's clock. */
  issuedAt: z.int(),
})
export type Terms = z.infer<typeof Terms>

export const Dispatch = z.object({
  /** Used once: a worker refuses an id that it has seen. One per attempt, so a retry is another dispatch. */
  dispatchId: Id,
  requestId: Id,
  workerId: Id,
  tenantId: Id,
  keyId: Id,
  model: Id,
  pool: PoolName,
  effortAsked: EffortWord.optional(),
  effort: EffortWord,
  /** Smaller runs first at the engine; set from the tenant's plan, never by the client. */
  priority: z.int().min(0).max(9),
  /** SHA-256 of the body, base64url. */
  bodyDigest: z.string().length(43),
  ...Terms.shape,
  /** The edge's MAC over this dispatch's names and terms. Only the edge can make or check it; the receipt returns it. */
  proof: z.string().length(43),
  /**
   * The answer's last chunk waits until its receipt is settled: some limit is so tight that a client which sends its
   * next request at once would meet what this one still holds.
   */
  settleFirst: z.boolean(),
  /**
   * The request stood in a queue, where a client that does not stream leaves unseen: it is written to before the engine
   * begins.
   */
  waited: z.boolean().optional(),
  /**
   * A stream's first byte is its first token's, for half a minute: nothing is sent before, so that an edge that hedges can
   * tell who answers. It watches over the client itself meanwhile.
   */
  quiet: z.boolean().optional(),
  /** Unix milliseconds of the edge's clock. */
  expiresAt: z.int(),
})
export type Dispatch = z.infer<typeof Dispatch>

/** What a dispatch's proof covers, and the proof: what its worker shows to speak of it. */
export const ProvenDispatch = Dispatch.pick({
  ...{ requestId: true, dispatchId: true, workerId: true, tenantId: true, keyId: true, model: true, pool: true },
  ...{ effort: true, rates: true, costNanoMax: true, promptTokensMax: true, outputTokensMax: true, issuedAt: true },
  proof: true,
})
export type ProvenDispatch = z.infer<typeof ProvenDispatch>

/** The number of the dispatch that the edge makes to a hosted API; those to workers begin at 1. */
export const hostedDispatch = 0

/** Whether `dispatchId` is `<requestId>.<n>` with n from 0 to the most dispatches that a request may have. */
export function isDispatchOf(requestId: string, dispatchId: string): boolean {
  if (!dispatchId.startsWith(`${requestId}.`)) return false
  const number = dispatchId.slice(requestId.length + 1)
  return /^(0|[1-9]\d{0,3})$/.test(number) && Number(number) <= budgets.dispatchesPerRequest.value
}

/** How long a dispatch may be presented, and how far two clocks may differ, in milliseconds. */
export const dispatchTtlMs = 30_000
export const clockSkewMs = 5_000

export const dispatchPath = '/dispatch'
/** On a worker's answer: what was understood and is not honoured by its engine, for the client to be told. */
export const warningsHeader = 'x-tramontane-warnings'

/** What a worker answers instead of a stream. `promptTokens` is the exact count where it was reached. */
export const Refusal = z.object({
  code: z.string(),
  message: z.string(),
  param: z.string().nullish(),
  promptTokens: z.int().min(0).optional(),
})
export type Refusal = z.infer<typeof Refusal>
