/** The stub of the one object that owns the slots and queues of both pools; see fleet.ts. */
import type { FleetObject } from './fleet-object.ts'

export interface FleetBinding {
  FLEET: DurableObjectNamespace<FleetObject>
}

/** A request that may leave while it waits. */
export interface FleetCall {
  env: FleetBinding
  requestId: string
  /** Fires when the client has left. */
  left: AbortSignal
  waitUntil: (work: Promise<unknown>) => void
}

export function fleetOf(env: FleetBinding): DurableObjectStub<FleetObject> {
  return env.FLEET.getByName('fleet')
}
