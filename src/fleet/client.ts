/** The stub of the one object that owns the slots and queues of both pools; see fleet.ts. */
import type { Env } from '../env.ts'
import type { FleetObject } from './fleet-object.ts'

export function fleetOf(env: Env): DurableObjectStub<FleetObject> {
  return env.FLEET.getByName('fleet')
}
