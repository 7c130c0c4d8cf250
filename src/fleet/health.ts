/**
 * Whether any worker is ready, for a route without authentication. The fleet object's answer is cached for a moment.
 * While one request refreshes it, other requests get the previous answer.
 */
import { budgets } from '../../backends/model/budgets.ts'
import { poolNames } from '../../backends/wire/dispatch.ts'
import { type FleetBinding, fleetOf } from './client.ts'

const staleMsMax = 10 * budgets.healthKnownMs.value
let known: { ready: boolean; at: number } | undefined
let askingSince = 0

export async function isReady(env: FleetBinding): Promise<boolean> {
  const now = Date.now()
  const age = known ? now - known.at : Number.POSITIVE_INFINITY
  // In workerd a request cannot await another request's promise, but it can use the result.
  const another = now - askingSince < budgets.healthKnownMs.value
  if (known && (age < budgets.healthKnownMs.value || (another && age < staleMsMax))) return known.ready
  askingSince = now
  const views = await fleetOf(env).views()
  const ready = poolNames.some((pool) => views[pool].workers.some((worker) => worker.state === 'ready'))
  known = { ready, at: now }
  return ready
}
