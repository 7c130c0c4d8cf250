/**
 * What the owner of alerts may read and change: a tenant its own, operators those of the whole gateway. One union of
 * calls, so that both objects have one method for them. Synchronous; the caller runs a change in a transaction.
 */
import { budgets } from '../../../backends/model/budgets.ts'
import { denied, type TenantResult } from '../permissions.ts'
import { type AlertEndpoint, type AlertRows, newDelivery } from '../store/alert-rows.ts'
import { type Alert, type AlertType, alertId } from './alert.ts'
import { type DeliveryView, type EndpointView, viewAlert, viewDelivery, viewEndpoint } from './endpoint-view.ts'

export type AlertCall =
  | { kind: 'alerts'; before: number; limit: number }
  | { kind: 'endpoints' }
  | { kind: 'create'; endpointId: string; url: string; types: AlertType[] | null }
  | { kind: 'update'; endpointId: string; url?: string | undefined; types?: AlertType[] | null | undefined }
  | { kind: 'remove'; endpointId: string }
  | { kind: 'rotate'; endpointId: string; overlapMs: number }
  | { kind: 'test'; endpointId: string }
  | { kind: 'deliveries'; endpointId: string; before: number; limit: number }
  | { kind: 'redeliver'; endpointId: string; alertId: string }

export interface AlertAnswers {
  /** One more than the page has, if there is one. */
  alerts: (Alert & { seq: number })[]
  endpoints: EndpointView[]
  /** The version of the secret that the endpoint now has. */
  create: { endpoint: EndpointView; secretVersion: number }
  update: { before: EndpointView; after: EndpointView }
  remove: EndpointView
  rotate: { endpoint: EndpointView; secretVersion: number }
  test: Alert
  deliveries: DeliveryView[]
  redeliver: DeliveryView
}

type CallAnswer = AlertAnswers[AlertCall['kind']]

export function alertCall(rows: AlertRows, call: AlertCall, now: number): TenantResult<CallAnswer> {
  switch (call.kind) {
    case 'alerts':
      return good(rows.page(call.before, call.limit + 1).map((alert) => ({ ...viewAlert(alert), seq: alert.seq })))
    case 'endpoints':
      return good(rows.endpoints().map((endpoint) => viewEndpoint(endpoint, now)))
    case 'create':
      return create(rows, call, now)
    default:
      return withEndpoint(rows, call, now)
  }
}

type EndpointCall = Exclude<AlertCall, { kind: 'alerts' | 'endpoints' | 'create' }>

function withEndpoint(rows: AlertRows, call: EndpointCall, now: number): TenantResult<CallAnswer> {
  const endpoint = rows.endpoint(call.endpointId)
  if (!endpoint) return denied('not_found', 'Endpoint not found. List the endpoints to get their ids.')
  switch (call.kind) {
    case 'update':
      return update(rows, endpoint, call, now)
    case 'remove':
      rows.dropEndpoint(endpoint.endpointId)
      return good(viewEndpoint(endpoint, now))
    case 'rotate':
      return rotate(rows, endpoint, call.overlapMs, now)
    case 'test':
      return test(rows, endpoint, now)
    case 'deliveries':
      return good(
        rows
          .deliveries(endpoint.endpointId, call.before, call.limit + 1)
          .map(({ delivery, alert }) => viewDelivery(delivery, alert)),
      )
    case 'redeliver':
      return redeliver(rows, endpoint, call.alertId, now)
  }
}

function create(rows: AlertRows, call: AlertCall & { kind: 'create' }, now: number): TenantResult<CallAnswer> {
  const { endpointId, url, types } = call
  const known = rows.endpoints()
  if (known.some((endpoint) => endpoint.url === url))
    return denied('conflict', 'url: another endpoint has this address. Change that endpoint.', 'url')
  const most = budgets.alertEndpoints.value
  if (known.length >= most) return denied('conflict', `There are already ${most} endpoints, the maximum. Remove one.`)
  const refused = undeliverable(rows, types)
  if (refused) return refused
  const endpoint: AlertEndpoint = {
    ...{ endpointId, url, types, createdAt: now, secretVersion: now, previous: null },
    ...{ disabledAt: null, failures: 0, nextAt: 0, lastFault: null },
  }
  rows.putEndpoint(endpoint)
  return good({ endpoint: viewEndpoint(endpoint, now), secretVersion: endpoint.secretVersion })
}

/** A change makes a disabled endpoint receive again. */
function update(
  rows: AlertRows,
  endpoint: AlertEndpoint,
  { url = endpoint.url, types = endpoint.types }: AlertCall & { kind: 'update' },
  now: number,
): TenantResult<CallAnswer> {
  if (rows.endpoints().some((other) => other.url === url && other.endpointId !== endpoint.endpointId))
    return denied('conflict', 'url: another endpoint has this address. Change that endpoint.', 'url')
  const refused = undeliverable(rows, types)
  if (refused) return refused
  const after = { ...endpoint, url, types, disabledAt: null, failures: 0, nextAt: 0, lastFault: null }
  rows.putEndpoint(after)
  return good({ before: viewEndpoint(endpoint, now), after: viewEndpoint(after, now) })
}

function undeliverable(rows: AlertRows, types: AlertType[] | null) {
  const unknown = types?.find((type) => !rows.deliverable.includes(type))
  if (unknown === undefined) return undefined
  return denied('invalid_value', `types: ${unknown} is for operators. Use ${rows.deliverable.join(', ')}.`, 'types')
}

function rotate(rows: AlertRows, endpoint: AlertEndpoint, overlapMs: number, now: number): TenantResult<CallAnswer> {
  const { secretVersion } = endpoint
  const previous = overlapMs > 0 ? { version: secretVersion, until: now + overlapMs } : null
  const after = { ...endpoint, secretVersion: Math.max(now, secretVersion + 1), previous }
  rows.putEndpoint(after)
  return good({ endpoint: viewEndpoint(after, now), secretVersion: after.secretVersion })
}

/** One test at a time, so that no caller makes the gateway send many requests to an address. */
function test(rows: AlertRows, endpoint: AlertEndpoint, now: number): TenantResult<CallAnswer> {
  const { endpointId, disabledAt } = endpoint
  if (disabledAt !== null) return denied('conflict', 'The endpoint is disabled. Change it, then test it.')
  const due = rows.dueTest(endpointId)
  if (due) return denied('conflict', `The test ${due} is not delivered yet. Wait until it is, or remove the endpoint.`)
  const id = alertId('test', endpointId, now)
  const alert: Alert = { id, type: 'alert.test', at: now, data: { endpointId } }
  rows.add(alert, endpointId)
  return good(alert)
}

/** Delivers one alert again, with its own id. */
function redeliver(rows: AlertRows, endpoint: AlertEndpoint, id: string, now: number): TenantResult<CallAnswer> {
  const { endpointId, disabledAt } = endpoint
  const alert = rows.find(id)
  if (!alert || !rows.deliverable.includes(alert.type))
    return denied('not_found', 'Alert not found. List the alerts to get their ids.')
  if (disabledAt !== null) return denied('conflict', 'The endpoint is disabled. Change it first.')
  const delivery = newDelivery(endpointId, alert.seq, now)
  rows.putDelivery(delivery)
  return good(viewDelivery(delivery, alert))
}

function good<Value>(value: Value): { ok: true; value: Value } {
  return { ok: true, value }
}
