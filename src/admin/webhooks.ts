/** `/admin/tenants/:tenantId/meter`: a tenant's webhook. The signing secret is shown only when it is new. */

import { z } from 'zod'
import { settings } from '../config.ts'
import { GatewayError } from '../http/errors.ts'
import type { Route } from '../http/route.ts'
import { noSuchTenant, tenantStub } from '../tenant/stub.ts'
import { webhookUrlFault } from '../tenant/webhooks/event.ts'
import { Removed } from './answers/fields.ts'
import { TestedWebhook, Webhook, WebhookSet } from './answers/tenants.ts'
import { note } from './context.ts'
import { operatorRoute } from './operator-route.ts'
import { TenantId } from './parameters.ts'

const SetWebhook = z
  .strictObject({
    url: z
      .string()
      .min(1)
      .max(512)
      .describe('Address that receives the events: https with a public host name, at most 512 characters.')
      .meta({ format: 'uri', pattern: '^https?://', examples: ['https://billing.example.com/usage'] }),
    eventName: z
      .string()
      .regex(/^[\w.-]{1,100}$/, 'must be 1 to 100 letters, digits or . _ -')
      .default('tramontane.usage')
      .describe('Name of the events: 1 to 100 letters, digits or . _ -')
      .meta({ examples: ['tramontane.usage'] }),
    customerId: z
      .string()
      .min(1)
      .max(200)
      .nullable()
      .default(null)
      .describe('The receiver’s name for this tenant, 1 to 200 characters. Null: the tenant’s id.')
      .meta({ examples: ['cus_4821'] }),
    newSecret: z
      .boolean()
      .default(false)
      .describe('Whether an existing webhook gets a new signing secret.')
      .meta({ examples: [false] }),
  })
  .meta({ id: 'SetWebhook' })

const ReplayWebhook = z
  .strictObject({
    from: z
      .int()
      .min(0)
      .describe('Time of the first entry to send again, in Unix milliseconds.')
      .meta({ examples: [1_795_521_600_000] }),
  })
  .meta({ id: 'ReplayWebhook' })

export const meter: readonly Route[] = [
  operatorRoute(
    {
      method: 'get',
      path: '/admin/tenants/{tenantId}/meter',
      params: { tenantId: TenantId },
      id: 'retrieveWebhook',
      tag: 'Tenants',
      summary: 'Retrieve a tenant’s webhook',
      scope: 'tenants:read',
      answer: Webhook,
    },
    async (context, { params }) => {
      const view = await tenantStub(context.env, params.tenantId).meter()
      if (!view) throw noWebhook()
      return view
    },
  ),
  operatorRoute(
    {
      method: 'put',
      path: '/admin/tenants/{tenantId}/meter',
      params: { tenantId: TenantId },
      id: 'setWebhook',
      tag: 'Tenants',
      summary: 'Set a tenant’s webhook',
      description: 'From now on, every billed entry is sent to the address.',
      scope: 'tenants:write',
      body: SetWebhook,
      answer: WebhookSet,
    },
    async (context, { params, body }) => {
      const { tenantId } = params
      const { meterLoopback } = await settings(context.env)
      const fault = webhookUrlFault(body.url, meterLoopback)
      if (fault) throw new GatewayError('invalid_value', `url: ${fault}.`, { param: 'url' })
      const stub = tenantStub(context.env, tenantId)
      const before = await stub.meter()
      const set = await stub.setMeter({ ...body, customerId: body.customerId ?? tenantId })
      if (!set) throw noSuchTenant()
      note(context, { target: body.url, before, after: set.meter })
      return { ...set.meter, ...(set.secret !== null && { secret: set.secret }) }
    },
  ),
  operatorRoute(
    {
      method: 'post',
      path: '/admin/tenants/{tenantId}/meter/test',
      params: { tenantId: TenantId },
      id: 'testWebhook',
      tag: 'Tenants',
      summary: 'Send a signed message without events to a tenant’s webhook',
      description: 'The answer says whether the endpoint acknowledged it.',
      scope: 'tenants:write',
      answer: TestedWebhook,
    },
    async (context, { params }) => {
      const tested = await tenantStub(context.env, params.tenantId).testMeter()
      if (!tested) throw noWebhook()
      const { fault } = tested
      return { delivered: fault === null, fault: fault?.text ?? null }
    },
  ),
  operatorRoute(
    {
      method: 'post',
      path: '/admin/tenants/{tenantId}/meter/replay',
      params: { tenantId: TenantId },
      id: 'replayWebhook',
      tag: 'Tenants',
      summary: 'Send the events since a time again',
      description: 'Each event keeps its identifier, so a receiver that knows it counts it once.',
      scope: 'tenants:write',
      body: ReplayWebhook,
      answer: Webhook,
    },
    async (context, { params, body }) => {
      const after = await tenantStub(context.env, params.tenantId).replayMeter(body.from)
      if (!after) throw noWebhook()
      note(context, { after: { from: body.from, entriesBehind: after.entriesBehind } })
      return after
    },
  ),
  operatorRoute(
    {
      method: 'delete',
      path: '/admin/tenants/{tenantId}/meter',
      params: { tenantId: TenantId },
      id: 'removeWebhook',
      tag: 'Tenants',
      summary: 'Remove a tenant’s webhook',
      scope: 'tenants:write',
      answer: Removed,
    },
    async (context, { params }) => {
      const stub = tenantStub(context.env, params.tenantId)
      note(context, { before: await stub.meter() })
      if (!(await stub.dropMeter()))
        throw new GatewayError('not_found', 'The tenant has no webhook. There is nothing to remove.')
      return { removed: true }
    },
  ),
]

function noWebhook(): GatewayError {
  return new GatewayError('not_found', 'The tenant has no webhook. Set one with PUT.')
}
