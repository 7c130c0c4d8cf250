/** `/admin/tenants/:tenantId/meter`: a tenant's webhook. The signing secret is shown only when it is new. */
import { Hono } from 'hono'
import { z } from 'zod'
import { settings } from '../config.ts'
import { GatewayError } from '../http/errors.ts'
import { read } from '../http/parse.ts'
import { noSuchTenant, tenantStub } from '../tenant/stub.ts'
import { meterUrlFault } from '../tenant/webhooks/event.ts'
import { type AdminEnv, note } from './context.ts'
import { needs } from './guard.ts'

export const SetMeter = z.strictObject({
  url: z.string().min(1).max(512),
  eventName: z
    .string()
    .regex(/^[\w.-]{1,100}$/, 'must be 1 to 100 letters, digits or . _ -')
    .default('tramontane.usage'),
  /** The receiver's name for this tenant. Default: the tenant id. */
  customerId: z.string().min(1).max(200).nullable().default(null),
  newSecret: z.boolean().default(false),
})

export const meter = new Hono<AdminEnv>()

meter.get('/', needs('tenants:read'), async (context) => {
  const view = await tenantStub(context.env, context.req.param('tenantId') ?? '').meter()
  if (!view) throw new GatewayError('not_found', 'The tenant has no webhook. Set one with PUT.')
  return context.json(view)
})

meter.put('/', needs('tenants:write'), async (context) => {
  const tenantId = context.req.param('tenantId') ?? ''
  const body = await read(context.req.raw, SetMeter)
  const { meterLoopback } = await settings(context.env)
  const fault = meterUrlFault(body.url, meterLoopback)
  if (fault) throw new GatewayError('invalid_value', `url: ${fault}`, { param: 'url' })
  const stub = tenantStub(context.env, tenantId)
  const before = await stub.meter()
  const set = await stub.setMeter({ ...body, customerId: body.customerId ?? tenantId })
  if (!set) throw noSuchTenant()
  note(context, { target: body.url, before, after: set.meter })
  return context.json({ ...set.meter, ...(set.secret !== null && { secret: set.secret }) })
})

meter.delete('/', needs('tenants:write'), async (context) => {
  const stub = tenantStub(context.env, context.req.param('tenantId') ?? '')
  note(context, { before: await stub.meter() })
  if (!(await stub.dropMeter()))
    throw new GatewayError('not_found', 'The tenant has no webhook. There is nothing to remove.')
  return context.json({ removed: true })
})
