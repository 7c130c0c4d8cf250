/** The binding of the operators' object. */
import type { AlertsObject } from './alerts-object.ts'

export interface AlertsBinding {
  ALERTS: DurableObjectNamespace<AlertsObject>
}

export function alertsOf(env: AlertsBinding): DurableObjectStub<AlertsObject> {
  return env.ALERTS.getByName('operators')
}
