/**
 * A receipt is a worker's signed statement of what one dispatch used. The ledger bills from it. The worker writes it to
 * disk before it sends the last byte, and delivers it until the edge acknowledges it. So the edge may receive a receipt
 * several times, and receipts in any order.
 */
import { z } from 'zod'
import { cleanText } from '../model/clean-text.ts'
import { countsFault, possibleCounts } from '../model/counts.ts'
import { EffortWord } from '../model/effort.ts'
import { Counts, costNano } from '../model/money.ts'
import { type Dispatch, isDispatchOf, PoolName, Terms } from './dispatch.ts'

const engineCharactersMax = 64

export const Receipt = z.object({
  requestId: z.string().min(1).max(64),
  dispatchId: z.string().min(1).max(64),
  tenantId: z.string().min(1).max(64),
  keyId: z.string().min(1).max(64),
  workerId: z.string().min(1).max(64),
  model: z.string().min(1).max(64),
  pool: PoolName,
  effort: EffortWord,
  /**
   * finished: the client has the complete answer. aborted: the client left and pays for the generated tokens.
   * failed: the engine or the worker failed; counted, not billed.
   */
  outcome: z.enum(['finished', 'aborted', 'failed']),
  finishReason: z.enum(['stop', 'length', 'tool_calls', 'abort', 'error']),
  counts: Counts,
  /** In nano-dollars, at the dispatch's rates, never above its bound. */
  costNano: z.int().min(0),
  /** True if the engine did not report exact counts. */
  estimated: z.boolean(),
  /** Unix milliseconds of the worker's clock. */
  startedAt: z.int(),
  endedAt: z.int(),
  firstTokenMs: z.int().min(0).nullable(),
  engine: z.string().max(engineCharactersMax),
  /** The terms of the dispatch. */
  terms: Terms,
  /** The proof of the dispatch. The edge refuses a receipt whose proof does not cover its names and terms. */
  proof: z.string().max(64),
})
export type Receipt = z.infer<typeof Receipt>

/** Read first, to find the worker's key. The other fields are checked after the seal, so each fault has one reason. */
export const ReceiptNames = z.looseObject({ dispatchId: z.string().max(64), workerId: z.string().max(64) })
export type ReceiptNames = z.infer<typeof ReceiptNames>

/** How a run ended, as seen by its worker. */
export interface RunEnd extends Pick<Receipt, 'startedAt' | 'endedAt' | 'firstTokenMs' | 'engine'> {
  finishReason: Receipt['finishReason']
  /**
   * The request's own limits ended it after tokens were generated. It is billed and does not count as a worker failure.
   */
  refused?: boolean
  counts: Readonly<Counts>
  estimated: boolean
}

/**
 * The receipt of one dispatch. Counts outside the terms, such as an extra token that an engine counts, are clamped and
 * marked estimated, because the edge would refuse them.
 */
export function receiptOf(dispatch: Dispatch, end: RunEnd): Receipt {
  const { requestId, dispatchId, tenantId, keyId, workerId, model, pool, effort, proof } = dispatch
  const { costNanoMax, promptTokensMax, outputTokensMax, rates, issuedAt } = dispatch
  const { counts, changed } = possibleCounts(end.counts, dispatch)
  const { finishReason, startedAt } = end
  const aborted = finishReason === 'abort' || end.refused === true
  const outcome = aborted ? 'aborted' : finishReason === 'error' ? 'failed' : 'finished'
  return {
    ...{ requestId, dispatchId, tenantId, keyId, workerId, model, pool, effort, outcome, finishReason, counts },
    costNano: outcome === 'failed' ? 0 : Math.min(costNano(counts, rates), costNanoMax),
    estimated: end.estimated || changed,
    // The clock may have been set back.
    ...{ startedAt, endedAt: Math.max(startedAt, end.endedAt) },
    firstTokenMs: end.firstTokenMs === null ? null : Math.max(0, end.firstTokenMs),
    engine: cleanText(end.engine, engineCharactersMax),
    terms: { costNanoMax, promptTokensMax, outputTokensMax, rates, issuedAt },
    proof,
  }
}

/** Why a receipt contradicts its own terms, as `field: what is wrong`; undefined if it does not. */
export function receiptFault(receipt: Receipt): string | undefined {
  const { requestId, dispatchId, counts, outcome, terms } = receipt
  if (!isDispatchOf(requestId, dispatchId)) return 'dispatchId: is not a dispatch of this request'
  const fault = countsFault(counts, terms)
  if (fault !== undefined) return fault
  const cost = outcome === 'failed' ? 0 : Math.min(costNano(counts, terms.rates), terms.costNanoMax)
  return receipt.costNano === cost
    ? undefined
    : `costNano: is ${receipt.costNano}, must be ${cost} by its counts and terms`
}

export const receiptsPath = '/internal/receipts'
export const receiptsPerCall = 64

export const ReceiptsCall = z.object({ receipts: z.array(z.string().max(8_192)).min(1).max(receiptsPerCall) })

/** `done`: settled, so the worker deletes them. `refused`: the worker keeps them for the operator and stops sending. */
export const ReceiptsAnswer = z.object({
  done: z.array(z.string()),
  refused: z.array(z.object({ dispatchId: z.string(), reason: z.string() })),
})
export type ReceiptsAnswer = z.infer<typeof ReceiptsAnswer>

/** What a tenant's ledger posts: a worker's receipt, or the edge's own statement for a hosted API, which signs none. */
export type Settlement = Omit<Receipt, 'pool' | 'terms' | 'proof'> & { pool: PoolName | 'hosted' }
