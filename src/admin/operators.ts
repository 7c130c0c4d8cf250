/** `/admin/operators`: operator keys and their scopes. A key can grant only scopes that it has. */

import { z } from 'zod'
import { newOperatorKey, scopes } from '../auth/operator-key.ts'
import { settings } from '../config.ts'
import { GatewayError } from '../http/errors.ts'
import { wholeList } from '../http/page.ts'
import type { Route } from '../http/route.ts'
import { NewOperatorKey, OperatorKeyList, RevokedOperatorKey } from './answers/operators.ts'
import { ExpiresAt, Name } from './bodies.ts'
import { note } from './context.ts'
import type { OperatorRow } from './guard.ts'
import { operatorRoute } from './operator-route.ts'
import { OperatorKeyId } from './parameters.ts'

const CreateOperatorKey = z
  .strictObject({
    name: Name,
    scopes: z
      .array(z.enum(scopes))
      .min(1)
      .max(scopes.length)
      .describe(`Scopes of the key, 1 to ${scopes.length}. A key can grant only scopes that it has.`)
      .meta({ examples: [['tenants:read', 'usage:read']] }),
    expiresAt: ExpiresAt.default(null),
  })
  .meta({ id: 'CreateOperatorKey' })

const keysMax = 500

export const operators: readonly Route[] = [
  operatorRoute(
    {
      method: 'get',
      path: '/admin/operators',
      id: 'listOperatorKeys',
      tag: 'Operators',
      summary: 'List operator keys',
      scope: 'operators:write',
      answer: OperatorKeyList,
    },
    async (context) => {
      const { results } = await context.env.DB.prepare('SELECT * FROM operator_keys ORDER BY created_at DESC LIMIT ?')
        .bind(keysMax)
        .all<OperatorRow>()
      return wholeList(results.map(view))
    },
  ),
  operatorRoute(
    {
      method: 'post',
      path: '/admin/operators',
      id: 'createOperatorKey',
      tag: 'Operators',
      summary: 'Create an operator key',
      description: 'The key is shown only once.',
      scope: 'operators:write',
      body: CreateOperatorKey,
      status: 201,
      answer: NewOperatorKey,
    },
    async (context, { body }) => {
      const now = Date.now()
      const above = body.scopes.find((scope) => !context.get('operator').scopes.includes(scope))
      if (above) {
        throw new GatewayError(
          'permission_denied',
          `scopes: your key lacks ${above} and cannot grant it. Leave it out, or use a key that has it.`,
          {
            param: 'scopes',
          },
        )
      }
      if (body.expiresAt !== null && body.expiresAt <= now) {
        throw new GatewayError('invalid_value', 'expiresAt: must be in the future. Send Unix milliseconds.', {
          param: 'expiresAt',
        })
      }
      const { macKey } = await settings(context.env)
      const created = await newOperatorKey(crypto.getRandomValues(new Uint8Array(30)), macKey)
      const { keyId, prefix, secretHash } = created
      const added = await context.env.DB.prepare(
        'INSERT INTO operator_keys SELECT ?, ?, ?, ?, ?, ?, ?, NULL WHERE (SELECT count(*) FROM operator_keys WHERE revoked_at IS NULL) < ?',
      )
        .bind(keyId, body.name, prefix, secretHash, JSON.stringify(body.scopes), now, body.expiresAt, keysMax)
        .run()
      if (added.meta.changes === 0) {
        throw new GatewayError('conflict', `There are ${keysMax} operator keys, the maximum. Revoke one first.`)
      }
      const shown = { keyId, prefix, name: body.name, scopes: body.scopes, expiresAt: body.expiresAt }
      note(context, { target: keyId, after: shown })
      // The only time that the key is shown.
      return { ...shown, operatorKey: created.key.reveal() }
    },
  ),
  operatorRoute(
    {
      method: 'delete',
      path: '/admin/operators/{keyId}',
      params: { keyId: OperatorKeyId },
      id: 'revokeOperatorKey',
      tag: 'Operators',
      summary: 'Revoke an operator key',
      scope: 'operators:write',
      answer: RevokedOperatorKey,
    },
    async (context, { params }) => {
      const { keyId } = params
      note(context, { target: keyId })
      const row = await context.env.DB.prepare(
        'UPDATE operator_keys SET revoked_at = coalesce(revoked_at, ?) WHERE key_id = ? RETURNING *',
      )
        .bind(Date.now(), keyId)
        .first<OperatorRow>()
      if (!row) throw new GatewayError('not_found', 'Operator key not found. List keys with GET /admin/operators.')
      return { revoked: true, ...view(row) }
    },
  ),
]

function view(row: OperatorRow) {
  const { key_id: keyId, name, prefix, created_at: createdAt, expires_at: expiresAt, revoked_at: revokedAt } = row
  return { keyId, name, prefix, scopes: JSON.parse(row.scopes) as unknown, createdAt, expiresAt, revokedAt }
}
