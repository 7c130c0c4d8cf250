/** Adapts an engine to the conformance suite, through the interface that the worker uses. */
import type { Load } from '../../../backends/contract/backend.ts'
import { embedded } from '../../../backends/engines/embedded.ts'
import {
  chatOf,
  empty,
  orderOf,
  refused,
  type Subject,
  type SubjectOutcome,
  type SubjectRequest,
} from '../../../gpu-worker/doctor/subject.ts'
import type { Engine, EngineEvent, Prepared, Run } from '../../../gpu-worker/engine/engine.ts'

export function engineSubject(engine: Engine): Subject {
  let requests = 0
  const load = (): Load => {
    const { running, kvTokens, kvTokensMax, ...totals } = engine.load()
    const { promptTokensTotal, cachedTokensTotal, outputTokensTotal } = totals
    return {
      running,
      waiting: null,
      kvUsed: kvTokens / kvTokensMax,
      ...{ promptTokensTotal, cachedTokensTotal, outputTokensTotal },
    }
  }
  return {
    capabilities: embedded.capabilities,
    truth: embedded.truth,
    contextTokens: engine.description.contextTokens,
    load: async () => load(),
    health: async () => (engine.state === 'ready' ? 'ready' : 'down'),
    countText: async () => undefined,
    async count(ask) {
      const prepared = await prepare(engine, ask)
      return prepared.ok ? prepared.promptTokens : prepared.promptTokens
    },
    async ask(ask) {
      const prepared = await prepare(engine, ask)
      if (!prepared.ok) {
        const code = prepared.code === 'context_length_exceeded' ? prepared.code : 'invalid_value'
        return refused({ ...prepared, code, retryAfterMs: null, operator: false })
      }
      return answer(engine, prepared, ask, ++requests)
    },
  }
}

function prepare(engine: Engine, ask: SubjectRequest) {
  return engine.prepare(chatOf(ask), ask.effort ?? 'none')
}

async function answer(
  engine: Engine,
  prepared: Prepared,
  ask: SubjectRequest,
  number: number,
): Promise<SubjectOutcome> {
  const outcome = empty()
  const { requestId, outputTokensMax, priority, cacheSalt } = orderOf(ask, number)
  const left = new AbortController()
  const run: Run = engine.run(
    prepared,
    { requestId, outputTokensMax, priority, owner: cacheSalt || 'examined' },
    left.signal,
  )
  const after = ask.breakOff?.after ?? Number.POSITIVE_INFINITY
  try {
    for await (const event of run.events) {
      take(outcome, event)
      await ask.onDelta?.()
      // There is no connection to lose: only the caller can break off.
      if (outcome.deltas >= after) left.abort()
    }
  } catch (error) {
    outcome.failed = (error as Error).message
  }
  return { ...outcome, counts: { ...run.counts } }
}

function take(outcome: SubjectOutcome, event: EngineEvent): void {
  if (event.kind === 'text') {
    outcome[event.channel] += event.text
    outcome.deltas++
  }
  if (event.kind === 'tool') {
    const id = `call${String(outcome.calls.length).padStart(5, '0')}`
    outcome.calls.push({ id, name: event.name, arguments: event.arguments })
  }
  if (event.kind !== 'end') return
  if (event.finishReason === 'abort') outcome.failed = 'aborted'
  else outcome.finishReason = event.finishReason
}
