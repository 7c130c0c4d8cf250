/** `/admin/tenants/:tenantId/keys`. The full key is shown once, when it is created; later only its prefix. */
import type { Route } from '../http/route.ts'
import { accept, tenantStub } from '../tenant/stub.ts'
import { KeyAnswer, KeyList, NewKeyAnswer, RevokedKey, RevokedKeysAnswer } from './answers/keys.ts'
import { KeyBody, KeyChangeBody, KeysPage, RotateBody } from './bodies.ts'
import { type AdminContext, note } from './context.ts'
import { createKey, modeOf } from './create-key.ts'
import { operatorRoute } from './operator-route.ts'
import { KeyId, TenantId } from './parameters.ts'

const by = { kind: 'operator' } as const

export const keys: readonly Route[] = [
  operatorRoute(
    {
      method: 'get',
      path: '/admin/tenants/{tenantId}/keys',
      params: { tenantId: TenantId },
      id: 'listKeys',
      tag: 'Keys',
      summary: 'List a tenant’s keys',
      scope: 'tenants:read',
      query: KeysPage,
      answer: KeyList,
    },
    async (context, { query }) => {
      const { keys: data, next } = accept(await tenant(context).listKeys(by, query))
      return { data, next }
    },
  ),
  operatorRoute(
    {
      method: 'post',
      path: '/admin/tenants/{tenantId}/keys',
      params: { tenantId: TenantId },
      id: 'createKey',
      tag: 'Keys',
      summary: 'Create a key',
      description: 'The key is shown only once.',
      scope: 'keys:write',
      body: KeyBody,
      status: 201,
      answer: NewKeyAnswer,
    },
    async (context, { params: { tenantId }, body: { mode, ...body } }) => {
      const stub = tenant(context)
      const { keyId, key, secret } = await createKey(context.env, tenantId, mode)
      const view = accept(await stub.addKey({ ...body, keyId, ...secret }, by))
      note(context, { target: keyId, after: view })
      // The only time that the key is shown.
      return { ...view, apiKey: key.reveal() }
    },
  ),
  operatorRoute(
    {
      method: 'post',
      path: '/admin/tenants/{tenantId}/keys/revoke-all',
      params: { tenantId: TenantId },
      id: 'revokeAllKeys',
      tag: 'Keys',
      summary: 'Revoke all keys of a tenant',
      description: 'Takes effect with the next request.',
      scope: 'keys:write',
      answer: RevokedKeysAnswer,
    },
    async (context) => {
      const revoked = accept(await tenant(context).revokeAllKeys(by, true))
      note(context, { after: revoked })
      return context.json(revoked)
    },
  ),
  operatorRoute(
    {
      method: 'get',
      path: '/admin/tenants/{tenantId}/keys/{keyId}',
      params: { tenantId: TenantId, keyId: KeyId },
      id: 'retrieveKey',
      tag: 'Keys',
      summary: 'Retrieve a key',
      scope: 'tenants:read',
      answer: KeyAnswer,
    },
    async (context, { params }) => {
      return accept(await tenant(context).showKey(by, params.keyId))
    },
  ),
  operatorRoute(
    {
      method: 'patch',
      path: '/admin/tenants/{tenantId}/keys/{keyId}',
      params: { tenantId: TenantId, keyId: KeyId },
      id: 'updateKey',
      tag: 'Keys',
      summary: 'Update a key',
      description: 'Fields that are left out do not change.',
      scope: 'keys:write',
      body: KeyChangeBody,
      answer: KeyAnswer,
    },
    async (context, { params, body }) => {
      const { keyId } = params
      const change = body
      const { before, after } = accept(await tenant(context).changeKey(by, keyId, change))
      note(context, { target: keyId, before, after })
      return after
    },
  ),
  operatorRoute(
    {
      method: 'post',
      path: '/admin/tenants/{tenantId}/keys/{keyId}/rotate',
      params: { tenantId: TenantId, keyId: KeyId },
      id: 'rotateKey',
      tag: 'Keys',
      summary: 'Rotate the secret of a key',
      description: 'The new secret is shown only once. The old one stays valid for `overlap_seconds`.',
      scope: 'keys:write',
      body: RotateBody,
      status: 201,
      answer: NewKeyAnswer,
    },
    async (context, { params, body }) => {
      const { keyId } = params
      const { overlapSeconds } = body
      const stub = tenant(context)
      const before = accept(await stub.showKey(by, keyId))
      const created = await createKey(context.env, params.tenantId, modeOf(before.prefix), keyId)
      const after = accept(await stub.rotateKey(by, keyId, created.secret, overlapSeconds * 1_000))
      note(context, { target: keyId, before, after })
      return { ...after, apiKey: created.key.reveal() }
    },
  ),
  operatorRoute(
    {
      method: 'delete',
      path: '/admin/tenants/{tenantId}/keys/{keyId}',
      params: { tenantId: TenantId, keyId: KeyId },
      id: 'revokeKey',
      tag: 'Keys',
      summary: 'Revoke a key',
      description: 'Takes effect with the next request.',
      scope: 'keys:write',
      answer: RevokedKey,
    },
    async (context, { params }) => {
      const { keyId } = params
      const after = accept(await tenant(context).revokeKey(keyId, by))
      note(context, { target: keyId, after })
      return { revoked: true, ...after }
    },
  ),
]

function tenant(context: AdminContext) {
  return tenantStub(context.env, context.req.param('tenantId') ?? '')
}
