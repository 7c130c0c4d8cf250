/**
 * `/admin/operators`: operator keys and their scopes. A key grants only scopes that it has, and changes, rotates and
 * revokes only keys whose scopes it has.
 */

import { z } from 'zod'
import { newOperatorKey, scopes } from '../auth/operator-key.ts'
import { settings } from '../config.ts'
import { GatewayError } from '../http/errors.ts'
import { wholeList } from '../http/page.ts'
import type { Route } from '../http/route.ts'
import { NewOperatorKey, OperatorKeyAnswer, OperatorKeyList, RevokedOperatorKey } from './answers/operators.ts'
import { ExpiresAt, Name, RotateBody } from './bodies.ts'
import { type AdminContext, note } from './context.ts'
import { refuseTouching, refuseWider } from './operator-bounds.ts'
import { operatorRoute } from './operator-route.ts'
import { findOperatorRow, type OperatorRow, scopesOf, viewOperator } from './operator-rows.ts'
import { OperatorKeyId } from './parameters.ts'

const Scopes = z
  .array(z.enum(scopes))
  .min(1)
  .max(scopes.length)
  .describe(`Scopes of the key, 1 to ${scopes.length}. A key can grant only scopes that it has.`)
  .meta({ examples: [['tenants:read', 'usage:read']] })

const CreateOperatorKey = z
  .strictObject({ name: Name, scopes: Scopes, expiresAt: ExpiresAt.default(null) })
  .meta({ id: 'CreateOperatorKey' })

const ChangeOperatorKey = z
  .strictObject({
    name: Name.exactOptional(),
    scopes: Scopes.exactOptional(),
    expiresAt: ExpiresAt.exactOptional(),
  })
  .refine((change) => Object.keys(change).length > 0, 'is empty. Name name, scopes or expiresAt.')
  .meta({ id: 'UpdateOperatorKey', minProperties: 1 })

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
      return wholeList(results.map(viewOperator))
    },
  ),
  operatorRoute(
    {
      method: 'post',
      path: '/admin/operators',
      id: 'createOperatorKey',
      tag: 'Operators',
      summary: 'Create an operator key',
      description: 'The key is shown only once. It has no scope that your key lacks, and expires no later than yours.',
      scope: 'operators:write',
      body: CreateOperatorKey,
      status: 201,
      answer: NewOperatorKey,
    },
    async (context, { body }) => {
      const now = Date.now()
      refuseWider(context.get('operator'), body)
      if (body.expiresAt !== null && body.expiresAt <= now) throw expiresInPast()
      const created = await newKey(context)
      const { keyId, prefix, secretHash } = created
      const added = await context.env.DB.prepare(
        `INSERT INTO operator_keys (key_id, name, prefix, secret_hash, scopes, created_at, expires_at)
          SELECT ?, ?, ?, ?, ?, ?, ? WHERE (SELECT count(*) FROM operator_keys WHERE revoked_at IS NULL) < ?`,
      )
        .bind(keyId, body.name, prefix, secretHash, JSON.stringify(body.scopes), now, body.expiresAt, keysMax)
        .run()
      if (added.meta.changes === 0) {
        throw new GatewayError('conflict', `There are ${keysMax} operator keys, the maximum. Revoke one first.`)
      }
      const shown = viewOperator(await findKey(context, keyId))
      note(context, { target: keyId, after: shown })
      // The only time that the key is shown.
      return { ...shown, operatorKey: created.key.reveal() }
    },
  ),
  operatorRoute(
    {
      method: 'patch',
      path: '/admin/operators/{keyId}',
      params: { keyId: OperatorKeyId },
      id: 'updateOperatorKey',
      tag: 'Operators',
      summary: 'Change an operator key',
      description:
        'Fields that are left out do not change. Your key needs every scope that the key has before and after the change.',
      scope: 'operators:write',
      body: ChangeOperatorKey,
      answer: OperatorKeyAnswer,
    },
    async (context, { params: { keyId }, body }) => {
      const row = await findTouchable(context, keyId)
      const before = viewOperator(row)
      const after = { ...before, ...body }
      note(context, { target: keyId, before, after })
      refuseWider(context.get('operator'), after)
      if (typeof body.expiresAt === 'number' && body.expiresAt <= Date.now()) throw expiresInPast()
      const changed = context.env.DB.prepare(
        'UPDATE operator_keys SET name = ?, scopes = ?, expires_at = ? WHERE key_id = ? AND scopes = ? AND revoked_at IS NULL',
      ).bind(after.name, JSON.stringify(after.scopes), after.expiresAt, keyId, row.scopes)
      if ((await changed.run()).meta.changes === 0) throw changedMeanwhile()
      return after
    },
  ),
  operatorRoute(
    {
      method: 'post',
      path: '/admin/operators/{keyId}/rotate',
      params: { keyId: OperatorKeyId },
      id: 'rotateOperatorKey',
      tag: 'Operators',
      summary: 'Rotate the secret of an operator key',
      description: 'The new secret is shown only once. The old one stays valid for `overlapSeconds`.',
      scope: 'operators:write',
      body: RotateBody,
      status: 201,
      answer: NewOperatorKey,
    },
    async (context, { params: { keyId }, body: { overlapSeconds } }) => {
      const row = await findTouchable(context, keyId)
      const before = viewOperator(row)
      note(context, { target: keyId, before })
      refuseWider(context.get('operator'), before)
      const now = Date.now()
      const { key, prefix, secretHash } = await newKey(context, keyId)
      const until = overlapSeconds > 0 ? now + overlapSeconds * 1_000 : null
      const rotated = context.env.DB.prepare(
        `UPDATE operator_keys SET secret_hash = ?, prefix = ?, previous_hash = ?, previous_until = ?, rotated_at = ?
          WHERE key_id = ? AND secret_hash = ? AND scopes = ? AND revoked_at IS NULL`,
      ).bind(secretHash, prefix, until && row.secret_hash, until, now, keyId, row.secret_hash, row.scopes)
      if ((await rotated.run()).meta.changes === 0) throw changedMeanwhile()
      const after = viewOperator(await findKey(context, keyId))
      note(context, { after })
      return { ...after, operatorKey: key.reveal() }
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
      description: 'Your key needs every scope that the key has.',
      scope: 'operators:write',
      answer: RevokedOperatorKey,
    },
    async (context, { params: { keyId } }) => {
      note(context, { target: keyId })
      const known = await findKey(context, keyId)
      refuseTouching(context.get('operator'), scopesOf(known))
      const row = await context.env.DB.prepare(
        `UPDATE operator_keys SET revoked_at = coalesce(revoked_at, ?), previous_hash = NULL, previous_until = NULL
          WHERE key_id = ? AND scopes = ? RETURNING *`,
      )
        .bind(Date.now(), keyId, known.scopes)
        .first<OperatorRow>()
      if (!row) throw changedMeanwhile()
      return { revoked: true, ...viewOperator(row) }
    },
  ),
]

/** A new key, or a new secret for the key with this id. */
async function newKey(context: AdminContext, keyId?: string) {
  const { macKey } = await settings(context.env)
  return newOperatorKey(crypto.getRandomValues(new Uint8Array(30)), macKey, keyId)
}

async function findKey(context: AdminContext, keyId: string): Promise<OperatorRow> {
  const row = await findOperatorRow(context.env.DB, keyId)
  if (!row) throw new GatewayError('not_found', 'Operator key not found. List keys with GET /admin/operators.')
  return row
}

/** A key that is not revoked, and whose scopes the caller has. */
async function findTouchable(context: AdminContext, keyId: string): Promise<OperatorRow> {
  const row = await findKey(context, keyId)
  refuseTouching(context.get('operator'), scopesOf(row))
  if (row.revoked_at !== null) throw new GatewayError('conflict', 'This operator key was revoked. Create a new key.')
  return row
}

function expiresInPast(): GatewayError {
  const message = 'expiresAt: must be in the future. Send Unix milliseconds.'
  return new GatewayError('invalid_value', message, { param: 'expiresAt' })
}

function changedMeanwhile(): GatewayError {
  return new GatewayError('conflict', 'The operator key was changed at the same time. Read it again, then retry.')
}
