/**
 * Whether any worker is up, for a route that takes no key: what the one fleet object said is kept for a moment, and while
 * it is asked again the last word is good for everybody else.
 */
import { budgets } from '../../backends/model/budgets.ts'
import { poolNames } from '../../backends/wire/dispatch.ts'
import type { Env } from '../env.ts'
import { fleetOf } from './client.ts'

const staleMsMax = 10 * budgets.healthKnownMs.value
let known: { ready: boolean; at: number } | undefined
let askingSince = 0

export async function isReady(env: Env): Promise<boolean> {
  const now = Date.now()
  const age = known ? now - known.at : Number.POSITIVE_INFINITY
  // A promise of another request cannot be awaited in workerd, its result can be used.
  const another = now - askingSince < budgets.healthKnownMs.value
  if (known && (age < budgets.healthKnownMs.value || (another && age < staleMsMax))) return known.ready
  askingSince = now
  const views = await fleetOf(env).views()
  const ready = poolNames.some((pool) => views[pool].workers.some((worker) => worker.state === 'ready'))
  known = { ready, at: now }
  return ready
}
