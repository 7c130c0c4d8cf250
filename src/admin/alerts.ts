/** `/admin/alerts`: alerts of the whole gateway for its operators, and the endpoints that receive them. */
import { alertsOf } from '../alerts/stub.ts'
import { onePage, PageBefore, wholeList } from '../http/page.ts'
import type { Route } from '../http/route.ts'
import type { AlertCall } from '../tenant/alerts/alert-calls.ts'
import {
  AlertId,
  answerOf,
  checkUrl,
  EndpointId,
  newEndpointId,
  operatorEndpoint,
  RotateEndpoint,
} from './alert-bodies.ts'
import {
  AlertAnswer,
  AlertList,
  DeliveryAnswer,
  DeliveryList,
  EndpointAnswer,
  EndpointList,
  NewEndpointAnswer,
  RemovedEndpoint,
} from './answers/alerts.ts'
import { type AdminContext, note } from './context.ts'
import { operatorRoute } from './operator-route.ts'

function call<Call extends AlertCall>(context: AdminContext, made: Call) {
  return answerOf<Call['kind']>(alertsOf(context.env).call(made), made.kind)
}

const endpoint = '/admin/alerts/endpoints/{endpointId}'

export const alerts: readonly Route[] = [
  operatorRoute(
    {
      method: 'get',
      path: '/admin/alerts',
      id: 'listAlerts',
      tag: 'Alerts',
      summary: 'List alerts, newest first',
      description: 'With those of all tenants.',
      scope: 'alerts:read',
      query: PageBefore,
      answer: AlertList,
    },
    async (context, { query: { before, limit } }) => {
      const { answer } = await call(context, { kind: 'alerts', before, limit })
      return onePage(answer, limit, ({ seq }) => seq)
    },
  ),
  operatorRoute(
    {
      method: 'get',
      path: '/admin/alerts/endpoints',
      id: 'listAlertEndpoints',
      tag: 'Alerts',
      summary: 'List the endpoints that receive alerts',
      scope: 'alerts:read',
      answer: EndpointList,
    },
    async (context) => wholeList((await call(context, { kind: 'endpoints' })).answer),
  ),
  operatorRoute(
    {
      method: 'post',
      path: '/admin/alerts/endpoints',
      id: 'createAlertEndpoint',
      tag: 'Alerts',
      summary: 'Create an endpoint',
      description: 'It receives alerts that are raised from now on. The secret is shown only once.',
      scope: 'alerts:write',
      body: operatorEndpoint.create,
      status: 201,
      answer: NewEndpointAnswer,
    },
    async (context, { body }) => {
      await checkUrl(context.env, body.url)
      const { answer, secret } = await call(context, { kind: 'create', endpointId: newEndpointId(), ...body })
      note(context, { target: answer.endpoint.endpointId, after: answer.endpoint })
      return { ...answer.endpoint, secret }
    },
  ),
  operatorRoute(
    {
      method: 'patch',
      path: endpoint,
      params: { endpointId: EndpointId },
      id: 'updateAlertEndpoint',
      tag: 'Alerts',
      summary: 'Change an endpoint',
      description: 'An endpoint that was disabled receives again.',
      scope: 'alerts:write',
      body: operatorEndpoint.update,
      answer: EndpointAnswer,
    },
    async (context, { params: { endpointId }, body }) => {
      await checkUrl(context.env, body.url)
      const { answer } = await call(context, { kind: 'update', endpointId, ...body })
      note(context, { target: endpointId, ...answer })
      return answer.after
    },
  ),
  operatorRoute(
    {
      method: 'delete',
      path: endpoint,
      params: { endpointId: EndpointId },
      id: 'removeAlertEndpoint',
      tag: 'Alerts',
      summary: 'Remove an endpoint',
      scope: 'alerts:write',
      answer: RemovedEndpoint,
    },
    async (context, { params: { endpointId } }) => {
      const { answer } = await call(context, { kind: 'remove', endpointId })
      note(context, { target: endpointId, before: answer })
      return { ...answer, removed: true }
    },
  ),
  operatorRoute(
    {
      method: 'post',
      path: `${endpoint}/rotate`,
      params: { endpointId: EndpointId },
      id: 'rotateAlertSecret',
      tag: 'Alerts',
      summary: 'Rotate the secret of an endpoint',
      description: 'Until the overlap ends, each alert has a signature of the old secret too.',
      scope: 'alerts:write',
      body: RotateEndpoint,
      status: 201,
      answer: NewEndpointAnswer,
    },
    async (context, { params: { endpointId }, body: { overlapSeconds } }) => {
      const made = { kind: 'rotate', endpointId, overlapMs: overlapSeconds * 1_000 } as const
      const { answer, secret } = await call(context, made)
      note(context, { target: endpointId, after: answer.endpoint })
      return { ...answer.endpoint, secret }
    },
  ),
  operatorRoute(
    {
      method: 'post',
      path: `${endpoint}/test`,
      params: { endpointId: EndpointId },
      id: 'testAlertEndpoint',
      tag: 'Alerts',
      summary: 'Send a test alert to an endpoint',
      scope: 'alerts:write',
      status: 202,
      answer: AlertAnswer,
    },
    async (context, { params: { endpointId } }) => {
      const { answer } = await call(context, { kind: 'test', endpointId })
      note(context, { target: endpointId, after: answer })
      return answer
    },
  ),
  operatorRoute(
    {
      method: 'get',
      path: `${endpoint}/deliveries`,
      params: { endpointId: EndpointId },
      id: 'listAlertDeliveries',
      tag: 'Alerts',
      summary: 'List the deliveries to an endpoint, newest first',
      scope: 'alerts:read',
      query: PageBefore,
      answer: DeliveryList,
    },
    async (context, { params: { endpointId }, query: { before, limit } }) => {
      const { answer } = await call(context, { kind: 'deliveries', endpointId, before, limit })
      return onePage(answer, limit, ({ seq }) => seq)
    },
  ),
  operatorRoute(
    {
      method: 'post',
      path: `${endpoint}/deliveries/{alertId}`,
      params: { endpointId: EndpointId, alertId: AlertId },
      id: 'redeliverAlert',
      tag: 'Alerts',
      summary: 'Deliver an alert again',
      description: 'With the same id and body.',
      scope: 'alerts:write',
      status: 202,
      answer: DeliveryAnswer,
    },
    async (context, { params: { endpointId, alertId } }) => {
      const { answer } = await call(context, { kind: 'redeliver', endpointId, alertId })
      note(context, { target: alertId, after: answer })
      return answer
    },
  ),
]
