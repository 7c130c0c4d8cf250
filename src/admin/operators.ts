/** `/admin/operators`: operators' keys and their scopes. Nobody gives a scope that they lack. */
import { Hono } from 'hono'
import { z } from 'zod'
import { newOperatorKey, scopes } from '../auth/operator-key.ts'
import { settings } from '../env.ts'
import { GatewayError } from '../http/errors.ts'
import { Name, Time } from './bodies.ts'
import { type AdminEnv, note, read } from './context.ts'
import { needs, type OperatorRow } from './guard.ts'

export const NewOperator = z.strictObject({
  name: Name,
  scopes: z.array(z.enum(scopes)).min(1).max(scopes.length),
  expiresAt: Time.nullable().default(null),
})

const keysMax = 500

export const operators = new Hono<AdminEnv>()

operators.get('/', needs('operators:write'), async (context) => {
  const { results } = await context.env.DB.prepare('SELECT * FROM operator_keys ORDER BY created_at DESC LIMIT ?')
    .bind(keysMax)
    .all<OperatorRow>()
  return context.json({ data: results.map(view) })
})

operators.post('/', needs('operators:write'), async (context) => {
  const order = await read(context.req.raw, NewOperator)
  const now = Date.now()
  const above = order.scopes.find((scope) => !context.get('operator').scopes.includes(scope))
  if (above) {
    throw new GatewayError('permission_denied', `scopes: this key lacks ${above}, and cannot give it`, {
      param: 'scopes',
    })
  }
  if (order.expiresAt !== null && order.expiresAt <= now) {
    throw new GatewayError('invalid_value', 'expiresAt: must be in the future, in Unix milliseconds', {
      param: 'expiresAt',
    })
  }
  const { macKey } = await settings(context.env)
  const created = await newOperatorKey(crypto.getRandomValues(new Uint8Array(30)), macKey)
  const { keyId, prefix, secretHash } = created
  const added = await context.env.DB.prepare(
    'INSERT INTO operator_keys SELECT ?, ?, ?, ?, ?, ?, ?, NULL WHERE (SELECT count(*) FROM operator_keys WHERE revoked_at IS NULL) < ?',
  )
    .bind(keyId, order.name, prefix, secretHash, JSON.stringify(order.scopes), now, order.expiresAt, keysMax)
    .run()
  if (added.meta.changes === 0) {
    throw new GatewayError('conflict', `there are ${keysMax} operator keys: use one for more than one purpose`)
  }
  const shown = { keyId, prefix, name: order.name, scopes: order.scopes, expiresAt: order.expiresAt }
  note(context, { target: keyId, after: shown })
  // The one time the key is shown.
  return context.json({ ...shown, operatorKey: created.key.reveal() }, 201)
})

operators.delete('/:keyId', needs('operators:write'), async (context) => {
  const keyId = context.req.param('keyId')
  note(context, { target: keyId })
  const row = await context.env.DB.prepare(
    'UPDATE operator_keys SET revoked_at = coalesce(revoked_at, ?) WHERE key_id = ? RETURNING *',
  )
    .bind(Date.now(), keyId)
    .first<OperatorRow>()
  if (!row) throw new GatewayError('not_found', 'no such operator key: GET /admin/operators for those there are')
  return context.json({ revoked: true, ...view(row) })
})

function view(row: OperatorRow) {
  const { key_id: keyId, name, prefix, created_at: createdAt, expires_at: expiresAt, revoked_at: revokedAt } = row
  return { keyId, name, prefix, scopes: JSON.parse(row.scopes) as unknown, createdAt, expiresAt, revokedAt }
}
