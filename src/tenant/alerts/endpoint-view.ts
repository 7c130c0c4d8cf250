/** Alerts, endpoints and deliveries as their owner sees them. */
import type { AlertDelivery, AlertEndpoint, StoredAlert } from '../store/alert-rows.ts'
import type { Alert, AlertType } from './alert.ts'

export interface EndpointView {
  endpointId: string
  url: string
  types: AlertType[] | null
  createdAt: number
  /** Until when the secret before the last rotation also signs. */
  previousSecretUntil: number | null
  disabledAt: number | null
  failures: number
  nextAt: number | null
  lastFault: string | null
}

export interface DeliveryView {
  seq: number
  alertId: string
  type: AlertType
  at: number
  state: AlertDelivery['state']
  attempts: number
  nextAt: number | null
  endedAt: number | null
  lastFault: string | null
}

export function viewAlert({ seq: _, ...alert }: StoredAlert): Alert {
  return alert
}

export function viewEndpoint(endpoint: AlertEndpoint, now: number): EndpointView {
  const { secretVersion: _, previous, nextAt, ...shown } = endpoint
  return {
    ...shown,
    previousSecretUntil: previous && previous.until > now ? previous.until : null,
    nextAt: nextAt > now ? nextAt : null,
  }
}

export function viewDelivery(delivery: AlertDelivery, { id, type, at }: StoredAlert): DeliveryView {
  const { endpointId: _, nextAt, ...shown } = delivery
  return { ...shown, alertId: id, type, at, nextAt: delivery.state === 'due' ? nextAt : null }
}
