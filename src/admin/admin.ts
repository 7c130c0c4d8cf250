/** The operator's routes: tenants, keys, workers, and what became of a request. */
import { Hono } from 'hono'
import { z } from 'zod'
import { poolNames } from '../../backends/protocol/dispatch.ts'
import { workerIdPattern } from '../../backends/protocol/worker-key.ts'
import { base32, idPattern, mintApiKey, presentedKey } from '../auth/api-key.ts'
import { mintWorkerKey } from '../auth/fleet.ts'
import { constantTimeEqual, sha256Hex } from '../auth/secret.ts'
import { type Env, settings } from '../env.ts'
import { GatewayError } from '../errors.ts'
import { noLimits } from '../limits/holder.ts'
import { readJsonBody } from '../shaping/body.ts'
import { roles, TenantSettings } from '../tenant/store.ts'

const TenantId = z.string().regex(idPattern, 'must be 4 to 24 lower-case letters or digits')

const Limit = z.int().min(0).max(1_000_000_000).nullable().default(null)
const Budget = z.int().min(0).max(Number.MAX_SAFE_INTEGER).nullable().default(null)
const LimitsOrder = z.object({
  requestsPerMinute: Limit,
  tokensPerMinute: Limit,
  concurrentMax: Limit,
  budgetNano: z.object({ total: Budget, day: Budget, month: Budget }).prefault({}),
})

const CreateTenant = z.object({
  tenantId: TenantId,
  name: z.string().min(1).max(200),
  creditNano: z.int().min(0),
  limits: LimitsOrder.optional(),
  settings: TenantSettings.prefault({}),
})

const CreateKey = z.object({
  name: z.string().min(1).max(200),
  mode: z.enum(['live', 'test']).default('live'),
  role: z.enum(roles).default('member'),
  models: z.array(z.string().max(64)).max(64).nullable().default(null),
  limits: LimitsOrder.optional(),
  expiresAt: z.int().min(0).nullable().default(null),
})

const EnrolWorker = z.object({
  workerId: z.string().regex(workerIdPattern, 'must be 1 to 40 lower-case letters, digits or dashes'),
  epoch: z.int().min(1).max(999_999).default(1),
})

export const admin = new Hono<{ Bindings: Env }>()

admin.use(async (context, next) => {
  const { operatorKeyHash } = await settings(context.env)
  const presented = await sha256Hex(presentedKey(context.req.raw.headers) ?? '')
  if (!constantTimeEqual(presented, operatorKeyHash)) {
    throw new GatewayError(
      'invalid_api_key',
      'this route takes the operator key: send it as "authorization: Bearer <key>"',
    )
  }
  await next()
})

admin.post('/tenants', async (context) => {
  const order = await read(context.req.raw, CreateTenant)
  const { models } = await settings(context.env)
  const created = await context.env.TENANT.getByName(order.tenantId).create({
    tenantId: order.tenantId,
    name: order.name,
    creditNano: order.creditNano,
    models: [...models],
    limits: order.limits ?? noLimits,
    settings: order.settings,
  })
  if (!created)
    throw new GatewayError('invalid_value', `tenant ${order.tenantId} exists: choose another id`, { param: 'tenantId' })
  return context.json({ tenantId: order.tenantId }, 201)
})

admin.get('/tenants/:tenantId', async (context) => {
  const summary = await tenant(context.env, context.req.param('tenantId')).summary()
  if (!summary) throw new GatewayError('not_found', 'no such tenant')
  return context.json(summary)
})

admin.post('/tenants/:tenantId/keys', async (context) => {
  const tenantId = context.req.param('tenantId')
  const order = await read(context.req.raw, CreateKey)
  const { macKey } = await settings(context.env)
  const random = crypto.getRandomValues(new Uint8Array(30))
  const keyId = base32(random.subarray(20))
  const { key, prefix, secretHash } = await mintApiKey(order.mode, tenantId, keyId, random, macKey)
  const { name, role, models, limits, expiresAt } = order
  const newKey = { keyId, name, prefix, secretHash, role, models, limits: limits ?? noLimits, expiresAt }
  const added = await tenant(context.env, tenantId).addKey(newKey)
  if (!added) throw new GatewayError('not_found', 'no such tenant: create it first')
  // The one time the key is shown.
  return context.json({ keyId, prefix, apiKey: key.reveal() }, 201)
})

admin.delete('/tenants/:tenantId/keys/:keyId', async (context) => {
  const revoked = await tenant(context.env, context.req.param('tenantId')).revokeKey(context.req.param('keyId'))
  if (!revoked) throw new GatewayError('not_found', 'no such key')
  return context.json({ revoked: true })
})

admin.get('/tenants/:tenantId/requests/:requestId', async (context) => {
  return context.json(await tenant(context.env, context.req.param('tenantId')).entries(context.req.param('requestId')))
})

admin.post('/workers', async (context) => {
  const { workerId, epoch } = await read(context.req.raw, EnrolWorker)
  const { fleet } = await settings(context.env)
  return context.json({ workerId, epoch, workerKey: await mintWorkerKey(fleet, workerId, epoch) }, 201)
})

admin.get('/pools', async (context) => {
  const views = await Promise.all(poolNames.map((pool) => context.env.POOL.getByName(pool).view()))
  return context.json(Object.fromEntries(poolNames.map((pool, index) => [pool, views[index]])))
})

function tenant(env: Env, tenantId: string) {
  if (!idPattern.test(tenantId)) throw new GatewayError('not_found', 'no such tenant')
  return env.TENANT.getByName(tenantId)
}

async function read<Schema extends z.ZodType>(request: Request, schema: Schema): Promise<z.infer<Schema>> {
  const parsed = schema.safeParse((await readJsonBody(request)).value)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  const param = issue?.path.join('.') || null
  throw new GatewayError('invalid_value', `${param ?? 'body'}: ${issue?.message}`, { param })
}
