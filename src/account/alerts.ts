/** `/v1/alerts`: a tenant’s alerts, the endpoints that receive them, and the thresholds that raise them. */

import {
  AlertId,
  answerOf,
  checkUrl,
  EndpointId,
  newEndpointId,
  RotateEndpoint,
  ThresholdsBody,
  tenantEndpoint,
} from '../admin/alert-bodies.ts'
import {
  AlertAnswer,
  AlertThresholdsAnswer,
  DeliveryAnswer,
  EndpointAnswer,
  NewEndpointAnswer,
  OwnAlertList,
  OwnDeliveryList,
  OwnEndpointList,
  RemovedEndpoint,
} from '../admin/answers/alerts.ts'
import { type AdminContext, note } from '../admin/context.ts'
import { onePage, PageBefore, wholeList } from '../http/page.ts'
import type { Route } from '../http/route.ts'
import type { AlertCall } from '../tenant/alerts/alert-calls.ts'
import { accept, tenantStub } from '../tenant/stub.ts'
import { ownRoute } from './own-route.ts'

function call<Call extends AlertCall>(context: AdminContext, made: Call) {
  const { tenantId, by } = context.get('caller')
  return answerOf<Call['kind']>(tenantStub(context.env, tenantId).alerts(by, made), made.kind)
}

const endpoint = '/v1/alerts/endpoints/{endpointId}'

function list<Page extends object>(page: Page): object {
  return { object: 'list', ...page }
}

export const ownAlerts: readonly Route[] = [
  ownRoute(
    {
      method: 'get',
      path: '/v1/alerts',
      id: 'listOwnAlerts',
      summary: 'List alerts, newest first',
      query: PageBefore,
      answer: OwnAlertList,
    },
    async (context, { query: { before, limit } }) => {
      const { answer } = await call(context, { kind: 'alerts', before, limit })
      return list(onePage(answer, limit, ({ seq }) => seq))
    },
  ),
  ownRoute(
    {
      method: 'get',
      path: '/v1/alerts/endpoints',
      id: 'listOwnAlertEndpoints',
      summary: 'List the endpoints that receive alerts',
      answer: OwnEndpointList,
    },
    async (context) => list(wholeList((await call(context, { kind: 'endpoints' })).answer)),
  ),
  ownRoute(
    {
      method: 'post',
      path: '/v1/alerts/endpoints',
      id: 'createOwnAlertEndpoint',
      summary: 'Create an endpoint',
      description: 'It receives alerts that are raised from now on. The secret is shown only once.',
      body: tenantEndpoint.create,
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
  ownRoute(
    {
      method: 'patch',
      path: endpoint,
      params: { endpointId: EndpointId },
      id: 'updateOwnAlertEndpoint',
      summary: 'Change an endpoint',
      description: 'An endpoint that was disabled receives again.',
      body: tenantEndpoint.update,
      answer: EndpointAnswer,
    },
    async (context, { params: { endpointId }, body }) => {
      await checkUrl(context.env, body.url)
      const { answer } = await call(context, { kind: 'update', endpointId, ...body })
      note(context, { target: endpointId, ...answer })
      return answer.after
    },
  ),
  ownRoute(
    {
      method: 'delete',
      path: endpoint,
      params: { endpointId: EndpointId },
      id: 'removeOwnAlertEndpoint',
      summary: 'Remove an endpoint',
      answer: RemovedEndpoint,
    },
    async (context, { params: { endpointId } }) => {
      const { answer } = await call(context, { kind: 'remove', endpointId })
      note(context, { target: endpointId, before: answer })
      return { ...answer, removed: true }
    },
  ),
  ownRoute(
    {
      method: 'post',
      path: `${endpoint}/rotate`,
      params: { endpointId: EndpointId },
      id: 'rotateOwnAlertSecret',
      summary: 'Rotate the secret of an endpoint',
      description: 'Until the overlap ends, each alert has a signature of the old secret too.',
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
  ownRoute(
    {
      method: 'post',
      path: `${endpoint}/test`,
      params: { endpointId: EndpointId },
      id: 'testOwnAlertEndpoint',
      summary: 'Send a test alert to an endpoint',
      status: 202,
      answer: AlertAnswer,
    },
    async (context, { params: { endpointId } }) => {
      const { answer } = await call(context, { kind: 'test', endpointId })
      note(context, { target: endpointId, after: answer })
      return answer
    },
  ),
  ownRoute(
    {
      method: 'get',
      path: `${endpoint}/deliveries`,
      params: { endpointId: EndpointId },
      id: 'listOwnAlertDeliveries',
      summary: 'List the deliveries to an endpoint, newest first',
      query: PageBefore,
      answer: OwnDeliveryList,
    },
    async (context, { params: { endpointId }, query: { before, limit } }) => {
      const { answer } = await call(context, { kind: 'deliveries', endpointId, before, limit })
      return list(onePage(answer, limit, ({ seq }) => seq))
    },
  ),
  ownRoute(
    {
      method: 'post',
      path: `${endpoint}/deliveries/{alertId}`,
      params: { endpointId: EndpointId, alertId: AlertId },
      id: 'redeliverOwnAlert',
      summary: 'Deliver an alert again',
      description: 'With the same id and body.',
      status: 202,
      answer: DeliveryAnswer,
    },
    async (context, { params: { endpointId, alertId } }) => {
      const { answer } = await call(context, { kind: 'redeliver', endpointId, alertId })
      note(context, { target: alertId, after: answer })
      return answer
    },
  ),
  ownRoute(
    {
      method: 'get',
      path: '/v1/alerts/thresholds',
      id: 'retrieveOwnAlertThresholds',
      summary: 'Retrieve the thresholds that raise alerts',
      answer: AlertThresholdsAnswer,
    },
    async (context) => {
      const { tenantId, by } = context.get('caller')
      const thresholds = accept(await tenantStub(context.env, tenantId).alertThresholds(by))
      return thresholds
    },
  ),
  ownRoute(
    {
      method: 'patch',
      path: '/v1/alerts/thresholds',
      id: 'updateOwnAlertThresholds',
      summary: 'Change the thresholds that raise alerts',
      description: 'Fields that are left out keep their value.',
      body: ThresholdsBody,
      answer: AlertThresholdsAnswer,
    },
    async (context, { body }) => {
      const { tenantId, by } = context.get('caller')
      const thresholds = accept(await tenantStub(context.env, tenantId).alertThresholds(by, body))
      note(context, { target: 'alert thresholds', after: thresholds })
      return thresholds
    },
  ),
]
