/**
 * Answers the edge's question how long a prompt is. Only this worker's edge may ask, few at once, and few for one tenant.
 * The engine stops counting when the edge's connection closes, or when the question's time is over.
 */
import { budgets } from '../backends/model/budgets.ts'
import { type CountAnswer, type CountQuestion, countsMax } from '../backends/wire/count.ts'
import type { Refusal } from '../backends/wire/dispatch.ts'
import type { Engine } from './engine/engine.ts'
import { FairGate } from './fair-gate.ts'
import { readBody } from './run-dispatch.ts'

/** Nothing waits here: the edge asks another worker, or estimates. */
export function newCountGate(): FairGate {
  const perOwner = budgets.countsPerTenant.value
  return new FairGate({ atOnce: countsMax, perOwner, waiting: 0, waitingPerOwner: 0 })
}

export const countBusy: Refusal = {
  code: 'busy',
  message: `a worker counts ${countsMax} prompts at a time, and ${budgets.countsPerTenant.value} of one tenant. Try again soon`,
}

/** Aborts when the asking connection closes, or when the question has expired. The caller ends it. */
export function countSignal(question: CountQuestion, left: AbortSignal, now: number): AbortSignal {
  return AbortSignal.any([left, AbortSignal.timeout(Math.max(0, question.expiresAt - now))])
}

/** What it answers, or why not. Rejects with EngineFailure when the engine is down, and when `signal` aborts. */
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
  // A prompt that is too long has been counted all the same.
  const { promptTokens } = prepared
  return promptTokens === undefined ? prepared : { ok: true, promptTokens, estimated: false }
}
