/**
 * A tenant's own routes: usage, limits and keys, as far as the key's role allows (see tenant/roles.ts). The key alone
 * names the tenant; no route takes a tenant id, so no key can read another tenant's data.
 */
import { Hono, type MiddlewareHandler } from 'hono'
import type { z } from 'zod'
import { KeyBody, RotateBody } from '../admin/bodies.ts'
import { type AdminContext, type AdminEnv, note } from '../admin/context.ts'
import { createKey, modeOf } from '../admin/create-key.ts'
import { audited } from '../admin/guard.ts'
import { answerUsage } from '../admin/usage.ts'
import { authenticate } from '../auth/authenticate.ts'
import { settings } from '../config.ts'
import { GatewayError } from '../http/errors.ts'
import { parse, readBody, readPage } from '../http/parse.ts'
import { accept, tenantStub } from '../tenant/stub.ts'
import { toCamel, toSnake } from './snake-case.ts'

const ownKey: MiddlewareHandler<AdminEnv> = async (context, next) => {
  const { macKey } = await settings(context.env)
  const { tenantId, keyId, secretHash } = await authenticate(context.req.raw.headers, macKey)
  context.set('caller', { tenantId, by: { kind: 'key', keyId, secretHash } })
  await next()
}

/** Audits changes by valid keys only. */
const auditedChanges: MiddlewareHandler<AdminEnv> = async (context, next) => {
  if (context.req.method === 'GET') return next()
  const { tenantId, by } = context.get('caller')
  accept(await tenantStub(context.env, tenantId).identify(by))
  await audited(context, { id: `key:${tenantId}.${by.keyId}`, name: 'a key of the tenant', tenantId }, next)
}

export const ownUsage = new Hono<AdminEnv>()
ownUsage.get('/', ownKey, (context) => {
  const { tenantId, by } = context.get('caller')
  return answerUsage(context, tenantId, by)
})

export const ownLimits = new Hono<AdminEnv>()
ownLimits.get('/', ownKey, async (context) => {
  const { tenantId, by } = context.get('caller')
  const limits = accept(await tenantStub(context.env, tenantId).limits(by))
  return context.json({ object: 'limits', ...(toSnake(limits) as object) })
})

export const ownKeys = new Hono<AdminEnv>()
ownKeys.use(ownKey, auditedChanges)

ownKeys.get('/', async (context) => {
  const { tenantId, by } = context.get('caller')
  const page = { ...readPage(context), prefix: (context.req.query('prefix') ?? '').slice(0, 100) }
  const { keys, next } = accept(await tenantStub(context.env, tenantId).listKeys(by, page))
  return context.json({ object: 'list', data: toSnake(keys), next })
})

ownKeys.post('/', async (context) => {
  const { tenantId, by } = context.get('caller')
  const { mode, ...body } = await readSnake(context, KeyBody)
  const { keyId, key, secret } = await createKey(context.env, tenantId, mode)
  const view = accept(await tenantStub(context.env, tenantId).addKey({ ...body, keyId, ...secret }, by))
  note(context, { target: keyId, after: view })
  // The only time that the key is shown.
  return context.json({ ...(toSnake(view) as object), api_key: key.reveal() }, 201)
})

ownKeys.post('/:keyId/rotate', async (context) => {
  const { tenantId, by } = context.get('caller')
  const keyId = context.req.param('keyId')
  const { overlapSeconds } = await readSnake(context, RotateBody)
  const stub = tenantStub(context.env, tenantId)
  const before = accept(await stub.showKey(by, keyId))
  const created = await createKey(context.env, tenantId, modeOf(before.prefix), keyId)
  const view = accept(await stub.rotateKey(by, keyId, created.secret, overlapSeconds * 1_000))
  note(context, { target: keyId, before, after: view })
  return context.json({ ...(toSnake(view) as object), api_key: created.key.reveal() }, 201)
})

ownKeys.delete('/:keyId', async (context) => {
  const { tenantId, by } = context.get('caller')
  const keyId = context.req.param('keyId')
  const view = accept(await tenantStub(context.env, tenantId).revokeKey(keyId, by))
  note(context, { target: keyId, after: view })
  return context.json({ ...(toSnake(view) as object), revoked: true })
})

/** Parses a snake_case body with a camelCase schema. Errors name the field as the client sent it. */
async function readSnake<Schema extends z.ZodType>(context: AdminContext, schema: Schema): Promise<z.infer<Schema>> {
  const value = await readBody(context.req.raw)
  try {
    return parse(toCamel(value), schema)
  } catch (error) {
    if (!(error instanceof GatewayError) || error.param === null) throw error
    const param = error.param.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
    throw new GatewayError(error.code, error.message.replace(error.param, param), { param })
  }
}
