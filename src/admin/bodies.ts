/** Schemas that several operator routes share. */

import { z } from 'zod'
import { readFields } from '../../backends/model/field-fault.ts'
import { idPattern } from '../auth/api-key.ts'
import { Page } from '../http/parse.ts'
import { roles } from '../tenant/roles.ts'
import { TenantSettings } from '../tenant/tenant-settings.ts'

export const TenantId = z.string().regex(idPattern, 'must be 4 to 24 lower-case letters or digits')
export const Name = z.string().min(1).max(200)
export const RoleName = z.enum(roles)
export const ModelId = z.string().min(1).max(64)
const Models = z.array(ModelId).min(1).max(64).nullable()
/** Unix milliseconds. */
export const Time = z.int().min(0)

const Limit = z.int().min(0).max(1_000_000_000).nullable()
const Budget = z.int().min(0).max(Number.MAX_SAFE_INTEGER).nullable()

/** All limits. A field that is left out means no limit. */
export const LimitsBody = z.strictObject({
  requestsPerMinute: Limit.default(null),
  tokensPerMinute: Limit.default(null),
  concurrentMax: Limit.default(null),
  budgetNano: z
    .strictObject({ total: Budget.default(null), day: Budget.default(null), month: Budget.default(null) })
    .prefault({}),
})

/** Some limits. A field that is left out does not change. */
export const LimitsChange = z.strictObject({
  requestsPerMinute: Limit.exactOptional(),
  tokensPerMinute: Limit.exactOptional(),
  concurrentMax: Limit.exactOptional(),
  budgetNano: z
    .strictObject({ total: Budget.exactOptional(), day: Budget.exactOptional(), month: Budget.exactOptional() })
    .exactOptional(),
})

/** Some settings. A field that is left out does not change: the defaults apply to new tenants only. */
export const SettingsChange = z
  .record(z.string(), z.unknown())
  .superRefine((value, context) => {
    const read = readFields(z.strictObject(TenantSettings.shape).partial(), value)
    if (read.ok) return
    const { field, message } = read.fault
    context.addIssue({ code: 'custom', path: field === null ? [] : [field], message })
  })
  .transform((value) => value as Partial<TenantSettings>)

const Price = z.int().min(0).max(1_000_000_000)
/** Nano-dollars per token. `effectiveAt` defaults to now. */
export const RateCardBody = z.strictObject({
  model: ModelId,
  effectiveAt: Time.nullable().default(null),
  inputNano: Price,
  cachedNano: Price,
  outputNano: Price,
})

/** A key can lower its tenant's class, but not raise it. */
const KeyClass = z.literal('batch').nullable()

export const KeyBody = z.strictObject({
  name: Name,
  mode: z.enum(['live', 'test']).default('live'),
  role: RoleName.default('member'),
  models: Models.default(null),
  class: KeyClass.default(null),
  limits: LimitsBody.prefault({}),
  expiresAt: Time.nullable().default(null),
})

export const KeyChangeBody = z.strictObject({
  name: Name.exactOptional(),
  role: RoleName.exactOptional(),
  models: Models.exactOptional(),
  class: KeyClass.exactOptional(),
  limits: LimitsChange.exactOptional(),
  expiresAt: Time.nullable().exactOptional(),
})

export const RotateBody = z.strictObject({
  overlapSeconds: z
    .int()
    .min(0)
    .max(30 * 86_400)
    .default(0),
})

export const KeysPage = Page.extend({
  prefix: z.string().max(100).default('').describe('only keys that begin with this text'),
})
