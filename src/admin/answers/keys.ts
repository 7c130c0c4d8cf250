/** Answers about keys and limits. On a tenant's own routes, their field names are snake_case. */
import { z } from 'zod'
import { listOf } from '../../http/page.ts'
import type { KeyView } from '../../tenant/keys.ts'
import type { Limits } from '../../tenant/limits/limits.ts'
import type { LimitsRemaining } from '../../tenant/limits/remaining.ts'
import type { RevokedKeys } from '../../tenant/revoke-keys.ts'
import { roles } from '../../tenant/roles.ts'
import type { LimitsView } from '../../tenant/settings.ts'
import { tenantStatuses } from '../../tenant/store/account-rows.ts'
import { Count, Id, Time, TimeOrNull } from './fields.ts'

const Limit = Count.nullable().describe('Null: no limit.')

export const LimitsAnswer = z
  .strictObject({
    requestsPerMinute: Limit,
    tokensPerMinute: Limit,
    concurrentMax: Limit,
    budgetNano: z.strictObject({ total: Limit, day: Limit, month: Limit }).describe('In nano-dollars.'),
  })
  .meta({ id: 'Limits' }) satisfies z.ZodType<Limits>

const key = {
  keyId: Id,
  name: z.string(),
  prefix: z.string().describe('The beginning of the key.'),
  role: z.enum(roles),
  status: z.enum(['active', 'expired', 'revoked']),
  createdAt: Time,
  rotatedAt: TimeOrNull.describe('When the key got its present secret. Null: at its creation.'),
  expiresAt: TimeOrNull,
  revokedAt: TimeOrNull,
  lastUsedAt: TimeOrNull,
  previousUntil: TimeOrNull.describe('Until when the secret before the last rotation is also accepted.'),
  models: z.array(z.string()).nullable().describe('The models that the key may use. Null: all models.'),
  class: z.literal('batch').nullable(),
  allowedIps: z
    .array(z.string())
    .nullable()
    .describe('IP addresses and ranges from which the key can be used. Null: all addresses.'),
  limits: LimitsAnswer,
}

export const KeyAnswer = z.strictObject(key).meta({ id: 'Key' }) satisfies z.ZodType<KeyView>

export const NewKeyAnswer = z
  .strictObject({ ...key, apiKey: z.string().describe('The key. No later answer contains it.') })
  .meta({ id: 'NewKey' })

export const RevokedKey = z.strictObject({ ...key, revoked: z.literal(true) }).meta({ id: 'RevokedKey' })

export const RevokedKeysAnswer = z
  .strictObject({
    revoked: Count.describe('Keys that this call revoked.'),
    kept: Count.describe('Keys that are still valid: your own, and those of a higher role.'),
  })
  .meta({ id: 'RevokedKeys' }) satisfies z.ZodType<RevokedKeys>

export const KeyList = listOf(KeyAnswer, 'KeyList')

export const OwnKeyList = z.strictObject({ object: z.literal('list'), ...KeyList.shape }).meta({ id: 'OwnKeyList' })

const RateRemaining = z
  .strictObject({ left: Count, resetMs: Count.describe('Milliseconds until the whole limit is free again.') })
  .nullable()
  .describe('Null: no limit.')
const BudgetRemaining = z
  .strictObject({
    max: Count.describe('The same as `max_nano`.'),
    maxNano: Count.describe('The budget in nano-dollars.'),
    spentNano: z.int(),
    reservedNano: Count.describe('Upper bounds of the running requests.'),
    leftNano: Count,
    endsAt: TimeOrNull.describe('End of the day or month in Unix milliseconds; null for the total.'),
  })
  .nullable()
  .describe('Null: no limit.')

const Remaining = z
  .strictObject({
    requests: RateRemaining,
    tokens: RateRemaining,
    concurrent: z.strictObject({ running: Count, left: Count.nullable().describe('Null: no limit.') }),
    budgetNano: z.strictObject({ total: BudgetRemaining, day: BudgetRemaining, month: BudgetRemaining }),
  })
  .meta({ id: 'RemainingLimits' }) satisfies z.ZodType<LimitsRemaining>

export const OwnLimits = z
  .strictObject({
    object: z.literal('limits'),
    tenant: z.strictObject({
      tenantId: Id,
      status: z.enum(tenantStatuses),
      limits: LimitsAnswer,
      left: Remaining,
      credit: z
        .strictObject({
          creditNano: Count,
          spentNano: z.int(),
          reservedNano: Count.describe('Upper bounds of the running requests.'),
          leftNano: z.int(),
        })
        .describe('In nano-dollars.'),
    }),
    key: z.strictObject({
      keyId: Id,
      role: z.enum(roles),
      expiresAt: TimeOrNull,
      models: key.models,
      limits: LimitsAnswer,
      left: Remaining,
    }),
  })
  .meta({ id: 'OwnLimits' }) satisfies z.ZodType<LimitsView>
