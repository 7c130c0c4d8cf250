/** The operators' object, as other objects reach it: they raise alerts there. */

export interface RaisedAlert {
  /** Chosen by the cause, so that raising an alert again adds none. */
  id: string
  type: string
  /** Unix milliseconds. */
  at: number
  data: Record<string, unknown>
}

export interface AlertSink {
  raise: (alerts: RaisedAlert[]) => Promise<void>
}

export interface AlertSinkBinding {
  ALERTS: { getByName: (name: string) => AlertSink }
}

export function alertSink(env: AlertSinkBinding): AlertSink {
  return env.ALERTS.getByName('operators')
}
