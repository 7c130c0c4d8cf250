/** Answers about operator keys and the audit log. */
import { z } from 'zod'
import { scopes } from '../../auth/operator-key.ts'
import { listBefore, listOf } from '../../http/page.ts'
import { Count, Id, Time, TimeOrNull } from './fields.ts'

const operatorKey = {
  keyId: Id,
  name: z.string(),
  prefix: z.string().describe('The beginning of the key.'),
  scopes: z.array(z.enum(scopes)),
  createdAt: Time,
  rotatedAt: TimeOrNull.describe('When the key got its present secret. Null: at its creation.'),
  expiresAt: TimeOrNull,
  revokedAt: TimeOrNull,
  previousUntil: TimeOrNull.describe('Until when the secret before the last rotation is also accepted.'),
}
export const OperatorKeyAnswer = z.strictObject(operatorKey).meta({ id: 'OperatorKey' })
export const OperatorKeyList = listOf(OperatorKeyAnswer, 'OperatorKeyList')
export const RevokedOperatorKey = z
  .strictObject({ ...operatorKey, revoked: z.literal(true) })
  .meta({ id: 'RevokedOperatorKey' })
export const NewOperatorKey = z
  .strictObject({
    ...operatorKey,
    operatorKey: z.string().describe('The key. No later answer contains it.'),
  })
  .meta({ id: 'NewOperatorKey' })

const AuditRowAnswer = z
  .strictObject({
    seq: Count,
    at: Time,
    requestId: Id,
    actor: z.string().describe('`operator:` or `key:`, and the id of the key.'),
    actorName: z.string(),
    address: z.string().nullable().describe('IP address of the actor; null if it was unknown.'),
    action: z.string().describe('Method and path of the route.'),
    tenantId: Id.nullable(),
    target: z.string().nullable().describe('Id of what was changed.'),
    status: z.int().nullable().describe('Status of the answer; null if the change was interrupted.'),
    before: z.unknown().describe('The changed values before, or null.'),
    after: z.unknown().describe('The changed values after, or null.'),
  })
  .meta({ id: 'AuditRow' })
export const AuditList = listBefore(AuditRowAnswer, 'AuditList')
