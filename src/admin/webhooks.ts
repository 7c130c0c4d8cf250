/** `/admin/tenants/:tenantId/meter`: a tenant's webhook. The signing secret is shown only when it is new. */

import { z } from 'zod'
import { settings } from '../config.ts'
import { GatewayError } from '../http/errors.ts'
import type { Route } from '../http/route.ts'
import { noSuchTenant, tenantStub } from '../tenant/stub.ts'
import { meterUrlFault } from '../tenant/webhooks/event.ts'
import { note } from './context.ts'
import { operatorRoute } from './operator-route.ts'

const SetMeter = z.strictObject({
  url: z.string().min(1).max(512),
  eventName: z
    .string()
    .regex(/^[\w.-]{1,100}$/, 'must be 1 to 100 letters, digits or . _ -')
    .default('tramontane.usage'),
  /** The receiver's name for this tenant. Default: the tenant id. */
  customerId: z.string().min(1).max(200).nullable().default(null),
  newSecret: z.boolean().default(false),
})

export const meter: readonly Route[] = [
  operatorRoute(
    {
      method: 'get',
      path: '/admin/tenants/{tenantId}/meter',
      id: 'retrieveWebhook',
      tag: 'Tenants',
      summary: 'Retrieve a tenant’s webhook',
      scope: 'tenants:read',
    },
    async (context, { params }) => {
      const view = await tenantStub(context.env, params.tenantId).meter()
      if (!view) throw new GatewayError('not_found', 'The tenant has no webhook. Set one with PUT.')
      return context.json(view)
    },
  ),
  operatorRoute(
    {
      method: 'put',
      path: '/admin/tenants/{tenantId}/meter',
      id: 'setWebhook',
      tag: 'Tenants',
      summary: 'Set a tenant’s webhook',
      description: 'From now on, every billed entry is sent to the address.',
      scope: 'tenants:write',
      body: SetMeter,
    },
    async (context, { params, body }) => {
      const { tenantId } = params
      const { meterLoopback } = await settings(context.env)
      const fault = meterUrlFault(body.url, meterLoopback)
      if (fault) throw new GatewayError('invalid_value', `url: ${fault}`, { param: 'url' })
      const stub = tenantStub(context.env, tenantId)
      const before = await stub.meter()
      const set = await stub.setMeter({ ...body, customerId: body.customerId ?? tenantId })
      if (!set) throw noSuchTenant()
      note(context, { target: body.url, before, after: set.meter })
      return context.json({ ...set.meter, ...(set.secret !== null && { secret: set.secret }) })
    },
  ),
  operatorRoute(
    {
      method: 'delete',
      path: '/admin/tenants/{tenantId}/meter',
      id: 'removeWebhook',
      tag: 'Tenants',
      summary: 'Remove a tenant’s webhook',
      scope: 'tenants:write',
    },
    async (context, { params }) => {
      const stub = tenantStub(context.env, params.tenantId)
      note(context, { before: await stub.meter() })
      if (!(await stub.dropMeter()))
        throw new GatewayError('not_found', 'The tenant has no webhook. There is nothing to remove.')
      return context.json({ removed: true })
    },
  ),
]
