/**
 * A receipt is a worker's signed word on what one dispatch really used. It is the ledger's truth: written to the
 * worker's disk before the last byte goes out, and delivered until the edge has acknowledged it, so the edge may see it
 * many times and in any order.
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
   * finished: the client has the whole answer. aborted: the client left, it is billed for what was generated.
   * failed: the engine or the worker died; counted, not billed.
   */
  outcome: z.enum(['finished', 'aborted', 'failed']),
  finishReason: z.enum(['stop', 'length', 'tool_calls', 'abort', 'error']),
  counts: Counts,
  /** In nano-dollars, at the dispatch's rates, never above its bound. */
  costNano: z.int().min(0),
  /** True where an engine did not tell and the counts are a guess. */
  estimated: z.boolean(),
  /** Unix milliseconds of the worker's clock. */
  startedAt: z.int(),
  endedAt: z.int(),
  firstTokenMs: z.int().min(0).nullable(),
  engine: z.string().max(engineCharactersMax),
  /** What the dispatch allowed, as it said. */
  terms: Terms,
  /** The dispatch's own. The edge believes nothing of a receipt whose proof does not cover its names and terms. */
  proof: z.string().max(64),
})
export type Receipt = z.infer<typeof Receipt>

/** What the edge reads first: whose receipt it is. The rest is checked after the seal, so that one fault has one reason. */
export const ReceiptNames = z.looseObject({ dispatchId: z.string().max(64), workerId: z.string().max(64) })
export type ReceiptNames = z.infer<typeof ReceiptNames>

/** How a run ended, as its worker saw it. */
export interface RunEnd extends Pick<Receipt, 'startedAt' | 'endedAt' | 'firstTokenMs' | 'engine'> {
  finishReason: Receipt['finishReason']
  /** Its own rules ended it after tokens were generated: it is billed, and no fault of the worker. */
  refused?: boolean
  counts: Readonly<Counts>
  estimated: boolean
}

/**
 * The receipt of one dispatch. Counts that its terms make impossible, such as one token more that an engine counts, are
 * brought within them and marked estimated: the edge would refuse them.
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
    // A clock that was set back makes no negative time.
    ...{ startedAt, endedAt: Math.max(startedAt, end.endedAt) },
    firstTokenMs: end.firstTokenMs === null ? null : Math.max(0, end.firstTokenMs),
    engine: cleanText(end.engine, engineCharactersMax),
    terms: { costNanoMax, promptTokensMax, outputTokensMax, rates, issuedAt },
    proof,
  }
}

/** Why a receipt cannot be true under its own terms, as `field: what is wrong`; undefined when it can. */
export function receiptFault(receipt: Receipt): string | undefined {
  const { requestId, dispatchId, counts, outcome, terms } = receipt
  if (!isDispatchOf(requestId, dispatchId)) return 'dispatchId: is no dispatch of this request'
  const fault = countsFault(counts, terms)
  if (fault !== undefined) return fault
  const cost = outcome === 'failed' ? 0 : Math.min(costNano(counts, terms.rates), terms.costNanoMax)
  return receipt.costNano === cost
    ? undefined
    : `costNano: is ${receipt.costNano}, its counts and terms make it ${cost}`
}

export const receiptsPath = '/internal/receipts'
export const receiptsPerCall = 64

export const ReceiptsCall = z.object({ receipts: z.array(z.string().max(8_192)).min(1).max(receiptsPerCall) })

/** `done`: settled, now or before; forget them. `refused`: never acceptable; keep them for the operator, stop sending. */
export const ReceiptsAnswer = z.object({
  done: z.array(z.string()),
  refused: z.array(z.object({ dispatchId: z.string(), reason: z.string() })),
})
export type ReceiptsAnswer = z.infer<typeof ReceiptsAnswer>

/** What a tenant's books post: a worker's receipt, or the edge's own word on a hosted API, which signs none. */
export type Settlement = Omit<Receipt, 'pool' | 'terms' | 'proof'> & { pool: PoolName | 'hosted' }
