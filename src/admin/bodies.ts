/** Schemas of bodies that several routes share. */

import { z } from 'zod'
import { models } from '../../backends/model/model.ts'
import { resolveModel } from '../../backends/model/model-alias.ts'
import { ipRangeCharactersMax, readIpRange } from '../auth/ip-range.ts'
import { Page, PageBefore } from '../http/page.ts'
import { entryKinds } from '../tenant/ledger/ledger.ts'
import { roles } from '../tenant/roles.ts'
import { hostedCard, hostedPrefix } from '../tenant/store/rate-card-rows.ts'
import { TenantSettings } from '../tenant/tenant-settings.ts'

export const Name = z
  .string()
  .min(1)
  .max(200)
  .describe('A name for people, 1 to 200 characters.')
  .meta({ examples: ['Acme'] })
export const ExternalId = z
  .string()
  .min(1)
  .max(128)
  .regex(/^[\x21-\x7e]+$/, 'must be printable ASCII characters without spaces')
  .nullable()
  .describe('Your own id of the tenant, unique, 1 to 128 printable characters without spaces. Null: none.')
  .meta({ examples: ['crm-7f3a91'] })
export const RoleName = z
  .enum(roles)
  .describe('Permissions. Each role has those of the roles after it: owner, admin, member, viewer.')
  .meta({ examples: ['member'] })
const catalogue = models.map(({ id }) => id)
const modelName = z
  .string()
  .min(1)
  .max(64)
  .describe('Id or alias of a model, 1 to 64 characters. An alias becomes the id of its model.')
  .meta({ examples: ['mistral-small-4'] })
const ModelId = modelName.transform(toModelId)

/** A price of the hosted fallback has its own card. */
export const RateCardModel = modelName
  .describe('Id or alias of a model, 1 to 64 characters; after `hosted:` for the price of the hosted fallback.')
  .transform((name, context) => {
    const hosted = name.startsWith(hostedPrefix)
    const id = toModelId(hosted ? name.slice(hostedPrefix.length) : name, context)
    return hosted ? hostedCard(id) : id
  })

function toModelId(name: string, context: z.RefinementCtx): string {
  const found = resolveModel(name, catalogue)
  if (found.ok) return found.model.id
  context.addIssue({
    code: 'custom',
    message: `is not in the catalogue. Use one of ${catalogue.join(', ')}, or an alias.`,
  })
  return z.NEVER
}

const Models = z
  .array(ModelId)
  .min(1)
  .max(64)
  .nullable()
  .describe('Ids or aliases of the models that the key may use, 1 to 64. Null: all models.')
  .meta({ examples: [['mistral-small-4']] })
/** Unix milliseconds. */
export const Time = z.int().min(0)
export const ExpiresAt = Time.nullable()
  .describe('When the key expires: a time in the future, in Unix milliseconds. Null: never.')
  .meta({ examples: [1_893_456_000_000] })

const Limit = z.int().min(0).max(1_000_000_000).nullable()
const Budget = z.int().min(0).max(Number.MAX_SAFE_INTEGER).nullable()
const total = Budget.describe('Nano-dollars in all, from 0. Null: no limit.').meta({ examples: [50_000_000_000] })
const day = Budget.describe('Nano-dollars per UTC day, from 0. Null: no limit.').meta({ examples: [5_000_000_000] })
const month = Budget.describe('Nano-dollars per UTC month, from 0. Null: no limit.').meta({
  examples: [50_000_000_000],
})
const tenantTotal = z
  .null('is not supported: the total of a tenant is its credit. Set day or month.')
  .describe('Always null: the total of a tenant is its credit.')
  .meta({ examples: [null] })
const rates = {
  requestsPerMinute: Limit.describe('Requests per minute, 0 to 1,000,000,000. Null: no limit.').meta({
    examples: [600],
  }),
  tokensPerMinute: Limit.describe(
    'Prompt and output tokens per minute together, 0 to 1,000,000,000. Null: no limit.',
  ).meta({ examples: [200_000] }),
  concurrentMax: Limit.describe('Requests that run at the same time, 0 to 1,000,000,000. Null: no limit.').meta({
    examples: [8],
  }),
}
const noRates = {
  requestsPerMinute: rates.requestsPerMinute.default(null),
  tokensPerMinute: rates.tokensPerMinute.default(null),
  concurrentMax: rates.concurrentMax.default(null),
}
const someRates = {
  requestsPerMinute: rates.requestsPerMinute.exactOptional(),
  tokensPerMinute: rates.tokensPerMinute.exactOptional(),
  concurrentMax: rates.concurrentMax.exactOptional(),
}
const budgetText = 'Maximum cost. Amounts are integer nano-dollars: 1,000,000,000 are one dollar.'
const allLimits = 'Limits. A field that is left out means no limit.'
const someLimits = 'Limits. A field that is left out does not change.'

/** All limits of a key. */
const LimitsBody = z.strictObject({
  ...noRates,
  budgetNano: z
    .strictObject({ total: total.default(null), day: day.default(null), month: month.default(null) })
    .prefault({})
    .describe(budgetText),
})

/** All limits of a tenant or plan. */
export const TenantLimits = z
  .strictObject({
    ...noRates,
    budgetNano: z
      .strictObject({ total: tenantTotal.default(null), day: day.default(null), month: month.default(null) })
      .prefault({})
      .describe(budgetText),
  })
  .describe(allLimits)

export const TenantLimitsChange = z
  .strictObject({
    ...someRates,
    budgetNano: z
      .strictObject({
        total: tenantTotal.exactOptional(),
        day: day.exactOptional(),
        month: month.exactOptional(),
      })
      .exactOptional()
      .describe(budgetText),
  })
  .describe(someLimits)

const KeyLimitsChange = z
  .strictObject({
    ...someRates,
    budgetNano: z
      .strictObject({ total: total.exactOptional(), day: day.exactOptional(), month: month.exactOptional() })
      .exactOptional()
      .describe(budgetText),
  })
  .describe(someLimits)

/** The settings without their defaults, which apply to new tenants only. */
export const SettingsFields = Object.fromEntries(
  Object.entries(TenantSettings.shape).map(([name, field]) => {
    const initial = field.parse(undefined)
    const text = `${field.description} Default of a new tenant: \`${JSON.stringify(initial)}\`.`
    return [
      name,
      field
        .unwrap()
        .exactOptional()
        .describe(text)
        .meta({ examples: [initial] }),
    ]
  }),
) as unknown as { [Name in keyof TenantSettings]: z.ZodExactOptional<z.ZodType<TenantSettings[Name]>> }

export const SettingsChange = z
  .strictObject(SettingsFields)
  .describe('Settings. A field that is left out does not change.') as unknown as z.ZodType<Partial<TenantSettings>>

const Price = z.int().min(0).max(1_000_000_000)
const priceText = (what: string) => `Nano-dollars for one ${what}, 0 to 1,000,000,000. $0.15 per million tokens is 150.`
export const RateCardBody = z
  .strictObject({
    model: RateCardModel,
    effectiveAt: Time.nullable()
      .default(null)
      .describe('When the price begins: now or a time in the future, in Unix milliseconds. Null: now.')
      .meta({ examples: [1_893_456_000_000] }),
    inputNano: Price.describe(priceText('prompt token')).meta({ examples: [150] }),
    cachedNano: Price.describe(priceText('cached prompt token')).meta({ examples: [15] }),
    outputNano: Price.describe(priceText('output token')).meta({ examples: [600] }),
  })
  .meta({ id: 'AddRateCard' })

const KeyClass = z
  .literal('batch')
  .nullable()
  .describe('`batch`: requests wait behind interactive ones. Null: the tenant’s class. A key cannot raise its class.')
  .meta({ examples: ['batch'] })

const allowedIpsMax = 64
const AllowedIps = z
  .array(
    z
      .string()
      .max(ipRangeCharactersMax)
      .transform((text, context) => {
        const read = readIpRange(text)
        if (read.ok) return read.range
        context.addIssue({ code: 'custom', message: read.message })
        return z.NEVER
      }),
  )
  .min(1)
  .max(allowedIpsMax)
  .nullable()
  .describe(
    `IP addresses and ranges (CIDR, IPv4 or IPv6) from which the key can be used, 1 to ${allowedIpsMax}. Null: all addresses.`,
  )
  .meta({ examples: [['192.0.2.0/24', '2001:db8::/32']] })

export const KeyBody = z
  .strictObject({
    name: Name,
    mode: z
      .enum(['live', 'test'])
      .default('live')
      .describe('Only the beginning of the key differs: `tm_live_` or `tm_test_`.')
      .meta({ examples: ['live'] }),
    role: RoleName.default('member'),
    models: Models.default(null),
    class: KeyClass.default(null),
    allowedIps: AllowedIps.default(null),
    limits: LimitsBody.prefault({}).describe(allLimits),
    expiresAt: ExpiresAt.default(null),
  })
  .meta({ id: 'CreateKey' })

export const KeyChangeBody = z
  .strictObject({
    name: Name.exactOptional(),
    role: RoleName.exactOptional(),
    models: Models.exactOptional(),
    class: KeyClass.exactOptional(),
    allowedIps: AllowedIps.exactOptional(),
    limits: KeyLimitsChange.exactOptional(),
    expiresAt: ExpiresAt.exactOptional(),
  })
  .meta({ id: 'UpdateKey' })

export const RevokeAllBody = z
  .strictObject({
    includeOwn: z
      .boolean()
      .default(false)
      .describe('Whether your own key is revoked too. Then only the operator can create the next key.')
      .meta({ examples: [false] }),
  })
  .meta({ id: 'RevokeAllKeys' })

export const RotateBody = z
  .strictObject({
    overlapSeconds: z
      .int()
      .min(0)
      .max(30 * 86_400)
      .default(0)
      .describe('Seconds for which the old secret stays valid, 0 to 2,592,000 (30 days).')
      .meta({ examples: [3_600] }),
  })
  .meta({ id: 'RotateSecret' })

export const EntriesPage = PageBefore.extend({
  kind: z
    .preprocess((text) => (typeof text === 'string' && text !== '' ? text.split(',') : []), z.array(z.enum(entryKinds)))
    .describe(`Only entries of these kinds, separated by commas: ${entryKinds.join(', ')}. Without it, all entries.`)
    .meta({ examples: ['credit,reversal,correction'] }),
})

export const KeysPage = Page.extend({
  prefix: z
    .string()
    .max(100)
    .default('')
    .describe('Only keys that begin with this text, at most 100 characters.')
    .meta({ examples: ['tm_live_acme_'] }),
})
