/**
 * A receipt is a worker's signed word on what one dispatch really used. It is the ledger's truth: written to the
 * worker's disk before the last byte goes out, and delivered until the edge has acknowledged it, so the edge may see it
 * many times and in any order.
 */
import { z } from 'zod'
import { PoolName } from './dispatch.ts'
import { EffortWord } from './effort.ts'
import { Counts } from './money.ts'

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
  engine: z.string().max(64),
})
export type Receipt = z.infer<typeof Receipt>

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
export type Settlement = Omit<Receipt, 'pool'> & { pool: PoolName | 'hosted' }
