/** The one object that owns the slots and the queues of both pools; see pool.ts. */
import type { Env } from '../env.ts'
import type { FleetObject } from './fleet-object.ts'

export function fleetOf(env: Env): DurableObjectStub<FleetObject> {
  return env.FLEET.getByName('fleet')
}
