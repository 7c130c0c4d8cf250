/** `/admin/tenants/:tenantId/keys`. The full key is shown once, when it is created; later only its prefix. */
import { Hono } from 'hono'
import { read, readPage } from '../http/parse.ts'
import { accept, tenantStub } from '../tenant/stub.ts'
import { KeyBody, KeyChangeBody, RotateBody } from './bodies.ts'
import { type AdminContext, type AdminEnv, note } from './context.ts'
import { createKey, modeOf } from './create-key.ts'
import { needs } from './guard.ts'

const by = { kind: 'operator' } as const

export const keys = new Hono<AdminEnv>()

keys.get('/', needs('tenants:read'), async (context) => {
  const page = { ...readPage(context), prefix: (context.req.query('prefix') ?? '').slice(0, 100) }
  const { keys: data, next } = accept(await tenant(context).listKeys(by, page))
  return context.json({ data, next })
})

keys.post('/', needs('keys:write'), async (context) => {
  const tenantId = context.req.param('tenantId') ?? ''
  const { mode, ...body } = await read(context.req.raw, KeyBody)
  const stub = tenant(context)
  const { keyId, key, secret } = await createKey(context.env, tenantId, mode)
  const view = accept(await stub.addKey({ ...body, keyId, ...secret }, by))
  note(context, { target: keyId, after: view })
  // The only time that the key is shown.
  return context.json({ ...view, apiKey: key.reveal() }, 201)
})

keys.get('/:keyId', needs('tenants:read'), async (context) => {
  return context.json(accept(await tenant(context).showKey(by, context.req.param('keyId'))))
})

keys.patch('/:keyId', needs('keys:write'), async (context) => {
  const keyId = context.req.param('keyId')
  const change = await read(context.req.raw, KeyChangeBody)
  const { before, after } = accept(await tenant(context).changeKey(by, keyId, change))
  note(context, { target: keyId, before, after })
  return context.json(after)
})

keys.post('/:keyId/rotate', needs('keys:write'), async (context) => {
  const keyId = context.req.param('keyId')
  const { overlapSeconds } = await read(context.req.raw, RotateBody)
  const stub = tenant(context)
  const before = accept(await stub.showKey(by, keyId))
  const created = await createKey(context.env, context.req.param('tenantId') ?? '', modeOf(before.prefix), keyId)
  const after = accept(await stub.rotateKey(by, keyId, created.secret, overlapSeconds * 1_000))
  note(context, { target: keyId, before, after })
  return context.json({ ...after, apiKey: created.key.reveal() }, 201)
})

keys.delete('/:keyId', needs('keys:write'), async (context) => {
  const keyId = context.req.param('keyId')
  const after = accept(await tenant(context).revokeKey(keyId, by))
  note(context, { target: keyId, after })
  return context.json({ revoked: true, ...after })
})

function tenant(context: AdminContext) {
  return tenantStub(context.env, context.req.param('tenantId') ?? '')
}
