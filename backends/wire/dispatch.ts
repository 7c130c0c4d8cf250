/**
 * A dispatch is the edge's signed order to one worker: run this body, for this tenant, within this bound, once. It is
 * in the `authorization` header. The body is the client's request, bound by digest.
 */
import { z } from 'zod'
import { budgets } from '../model/budgets.ts'
import { EffortWord } from '../model/effort.ts'
import { Rates } from '../model/money.ts'

export const poolNames = ['latency', 'throughput'] as const
export const PoolName = z.enum(poolNames)
export type PoolName = z.infer<typeof PoolName>

const Id = z.string().min(1).max(64)

/** The limits of a dispatch. The receipt repeats them, and the proof covers them. */
export const Terms = z.object({
  /** The reserved cost. The worker counts the prompt exactly and limits generation to stay within it. */
  costNanoMax: z.int().min(0),
  /** The worker refuses a longer prompt with its exact count; the edge may raise the reservation once. */
  promptTokensMax: z.int().min(1),
  outputTokensMax: z.int().min(1),
  rates: Rates,
  /** Unix milliseconds of the edge's clock. */
  issuedAt: z.int(),
})
export type Terms = z.infer<typeof Terms>

export const Dispatch = z.object({
  /** Used once: a worker refuses a repeated id. Each attempt has its own dispatch. */
  dispatchId: Id,
  requestId: Id,
  workerId: Id,
  tenantId: Id,
  keyId: Id,
  model: Id,
  pool: PoolName,
  effortAsked: EffortWord.optional(),
  effort: EffortWord,
  /** Smaller runs first at the engine. Comes from the tenant's plan, never from the client. */
  priority: z.int().min(0).max(9),
  /** SHA-256 of the body, base64url. */
  bodyDigest: z.string().length(43),
  ...Terms.shape,
  /**
   * The edge's MAC over this dispatch's names and terms. Only the edge can create or check it. The receipt repeats it.
   */
  proof: z.string().length(43),
  /**
   * Hold the last chunk until the receipt is settled. Set when a limit is so tight that the client's next request could
   * be refused because of this request's reservation.
   */
  settleFirst: z.boolean(),
  /**
   * The request waited in a queue, where the edge cannot see a client that does not stream leave. The worker writes to
   * it before the engine starts, to detect that.
   */
  waited: z.boolean().optional(),
  /** Unix milliseconds of the edge's clock. */
  expiresAt: z.int(),
})
export type Dispatch = z.infer<typeof Dispatch>

/** The proof of a dispatch and the fields that it covers. A worker sends them to refer to the dispatch. */
export const ProvenDispatch = Dispatch.pick({
  ...{ requestId: true, dispatchId: true, workerId: true, tenantId: true, keyId: true, model: true, pool: true },
  ...{ effort: true, rates: true, costNanoMax: true, promptTokensMax: true, outputTokensMax: true, issuedAt: true },
  proof: true,
})
export type ProvenDispatch = z.infer<typeof ProvenDispatch>

/** The number of the dispatch to a hosted API; numbers for workers start at 1. */
export const hostedDispatch = 0

/** Whether `dispatchId` is `<requestId>.<n>` with n from 0 to the maximum number of dispatches. */
export function isDispatchOf(requestId: string, dispatchId: string): boolean {
  if (!dispatchId.startsWith(`${requestId}.`)) return false
  const number = dispatchId.slice(requestId.length + 1)
  return /^(0|[1-9]\d{0,3})$/.test(number) && Number(number) <= budgets.dispatchesPerRequest.value
}

/** Validity of a dispatch, and tolerated difference between two clocks, in milliseconds. */
export const dispatchTtlMs = 30_000
export const clockSkewMs = 5_000

export const dispatchPath = '/dispatch'
/** On a worker's answer: warnings for the client about fields that the engine does not support. */
export const warningsHeader = 'x-tramontane-warnings'

/** A worker's answer instead of a stream. `promptTokens` is the exact count, if known. */
export const Refusal = z.object({
  code: z.string(),
  message: z.string(),
  param: z.string().nullish(),
  promptTokens: z.int().min(0).optional(),
  /** The engine lacks a capability, which another worker's engine may have. */
  unsupported: z.boolean().optional(),
})
export type Refusal = z.infer<typeof Refusal>
