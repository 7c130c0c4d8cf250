/**
 * Counts the tokens of a prompt for this worker's edge. The number of concurrent counts is limited, in all and per
 * tenant. The engine stops counting when the edge's connection closes or the question expires.
 */
import { budgets } from '../backends/model/budgets.ts'
import { type CountAnswer, type CountQuestion, countsMax } from '../backends/wire/count.ts'
import type { Refusal } from '../backends/wire/dispatch.ts'
import type { Engine } from './engine/engine.ts'
import { FairGate } from './media/fair-gate.ts'
import { readBody } from './run-dispatch.ts'

/** No count waits here: the edge tries another worker, or estimates. */
export function newCountGate(): FairGate {
  const perOwner = budgets.countsPerTenant.value
  return new FairGate({ atOnce: countsMax, perOwner, waiting: 0, waitingPerOwner: 0 })
}

export const countBusy: Refusal = {
  code: 'busy',
  message: `a worker counts at most ${countsMax} prompts at a time, and ${budgets.countsPerTenant.value} per tenant. Retry in a moment`,
}

/** Aborts when the caller's connection closes or the question expires. */
export function countSignal(question: CountQuestion, left: AbortSignal, now: number): AbortSignal {
  return AbortSignal.any([left, AbortSignal.timeout(Math.max(0, question.expiresAt - now))])
}

/** Returns the count, or a refusal. Rejects with EngineFailure when the engine is down, and when `signal` aborts. */
export async function count(
  engine: Engine,
  question: CountQuestion,
  body: Uint8Array,
  signal: AbortSignal,
): Promise<({ ok: true } & CountAnswer) | ({ ok: false } & Refusal)> {
  const read = readBody(body)
  if (!read.ok) return read
  signal.throwIfAborted()
  const prepared = await engine.prepare(read.chat, question.effort, signal)
  signal.throwIfAborted()
  if (prepared.ok)
    return { ok: true, promptTokens: prepared.promptTokens, estimated: prepared.promptEstimated ?? false }
  // A refusal of a prompt that is too long carries its count.
  const { promptTokens } = prepared
  return promptTokens === undefined ? prepared : { ok: true, promptTokens, estimated: false }
}
