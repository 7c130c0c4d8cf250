/** Answers about tenants, their members, webhooks and ledgers. */
import { z } from 'zod'
import { listBefore, listOf } from '../../http/page.ts'
import { entryKinds } from '../../tenant/ledger/ledger.ts'
import { roles } from '../../tenant/roles.ts'
import type { TenantSummary } from '../../tenant/rpc.ts'
import type { TenantView } from '../../tenant/settings.ts'
import { shownStatuses, tenantStatuses } from '../../tenant/store/account-rows.ts'
import { TenantSettings } from '../../tenant/tenant-settings.ts'
import type { VerificationReport } from '../../tenant/verify.ts'
import { Count, Id, Time, TimeOrNull } from './fields.ts'
import { LimitsAnswer, NewKeyAnswer } from './keys.ts'

const Settings = z.strictObject(TenantSettings.shape).meta({ id: 'TenantSettings' })
const externalId = Id.nullable().describe('The operator’s own id of the tenant.')
const planId = Id.nullable().describe('The plan that was assigned last.')

export const CreatedTenant = z
  .strictObject({ tenantId: Id, keys: z.array(NewKeyAnswer).describe('The first keys, in the order of the request.') })
  .meta({ id: 'CreatedTenant' })

export const TenantList = listOf(
  z
    .strictObject({
      tenantId: Id,
      name: z.string(),
      status: z.enum(shownStatuses),
      planId,
      externalId,
      createdAt: Time,
      updatedAt: Time,
      deletedAt: TimeOrNull,
    })
    .meta({ id: 'ListedTenant' }),
  'TenantList',
)

const EntryTotals = z.strictObject({
  entries: Count,
  closed: Count.describe('Requests that were posted, voided or expired.'),
  cost_nano: z.int(),
  prompt_tokens: Count,
  cached_tokens: Count,
  output_tokens: Count,
  reasoning_tokens: Count,
})

const summary = {
  tenantId: Id,
  name: z.string(),
  status: z.enum(shownStatuses),
  createdAt: Time,
  deletedAt: TimeOrNull,
  purgeAt: TimeOrNull.describe('When the books of a deleted tenant are removed.'),
  creditNano: Count.describe('Credit in nano-dollars.'),
  postedNano: z.int().describe('Cost of settled requests and corrections, in nano-dollars.'),
  reservedNano: Count.describe('Upper bounds of the running requests, in nano-dollars.'),
  openReservations: Count,
  limits: LimitsAnswer,
  settings: Settings,
  totals: EntryTotals.nullable().describe('Sums over the stored entries. Null unless requested.'),
}
export const TenantAnswer = z
  .strictObject({ ...summary, planId, externalId })
  .meta({ id: 'Tenant' }) satisfies z.ZodType<TenantSummary>

const changed = {
  tenantId: Id,
  name: z.string(),
  status: z.enum(tenantStatuses),
  limits: LimitsAnswer,
  settings: Settings,
}
export const ChangedTenant = z.strictObject(changed).meta({ id: 'ChangedTenant' }) satisfies z.ZodType<TenantView>
export const TenantWithPlan = z.strictObject({ ...changed, planId: Id }).meta({ id: 'TenantWithPlan' })

const role = z.enum(roles)
export const MemberAnswer = z.strictObject({ member: z.string(), role }).meta({ id: 'Member' })
export const MemberList = listOf(
  z.strictObject({ member: z.string(), role, addedAt: Time }).meta({ id: 'ListedMember' }),
  'MemberList',
)

const webhook = {
  url: z.string(),
  eventName: z.string(),
  customerId: z.string(),
  secretVersion: Count,
  entriesBehind: Count.describe('Entries that the receiver has not acknowledged.'),
  entriesLost: Count.describe('Entries that were deleted before they were sent.'),
  attempts: Count.describe('Failed deliveries since the last success.'),
  nextAt: TimeOrNull.describe('Time of the next delivery in Unix milliseconds; null if none is due.'),
  lastFault: z.string().nullable(),
}
export const Webhook = z.strictObject(webhook).meta({ id: 'Webhook' })
export const WebhookSet = z
  .strictObject({
    ...webhook,
    secret: z
      .string()
      .exactOptional()
      .describe('Signs the events, as in Standard Webhooks. Only present if it is new; no later answer contains it.'),
  })
  .meta({ id: 'WebhookSet' })

export const TestedWebhook = z
  .strictObject({
    delivered: z.boolean().describe('Whether the endpoint acknowledged the message.'),
    fault: z.string().nullable().describe('Why it did not; null if it did.'),
  })
  .meta({ id: 'TestedWebhook' })

/** The columns of the ledger, as they are stored. */
const Entry = z
  .strictObject({
    seq: Count.describe('Number of the entry in the tenant’s ledger.'),
    request_id: Id.nullable(),
    ref: z.string().nullable().describe('Unique reference, such as the dispatch id.'),
    kind: z.enum(entryKinds),
    cost_nano: z.int(),
    credit_nano: z.int(),
    short_nano: Count.describe('Part of the cost that no budget covered, in nano-dollars.'),
    prompt_tokens: Count.nullable(),
    cached_tokens: Count.nullable(),
    output_tokens: Count.nullable(),
    reasoning_tokens: Count.nullable(),
    estimated: z.literal([0, 1]).describe('1 if the counts are estimated.'),
    at: Time,
    hash: z.string().describe('Of this entry and of the hash before it.'),
    key_id: Id.nullable(),
    model: z.string().nullable(),
    pool: z.string().nullable(),
    effort: z.string().nullable(),
    worker_id: Id.nullable(),
    outcome: z.string().nullable(),
    note: z.string().nullable(),
  })
  .meta({ id: 'LedgerEntry' })
export const EntryList = listBefore(Entry, 'LedgerEntryList')
export const OwnEntry = Entry.omit({ worker_id: true }).meta({ id: 'OwnLedgerEntry' })
export const OwnEntryList = z
  .strictObject({
    object: z.literal('list'),
    ...listBefore(OwnEntry, 'OwnLedgerEntryPage').shape,
  })
  .meta({ id: 'OwnLedgerEntryList' })

export const RequestEntries = z
  .strictObject({
    reservation: z
      .enum(['reserved', 'posted', 'voided', 'expired'])
      .nullable()
      .describe('Null if the tenant has no such request.'),
    entries: z.array(Entry),
  })
  .meta({ id: 'RequestEntries' })

export const LedgerVerification = z
  .strictObject({
    entries: Count.describe('Verified entries.'),
    faults: z.array(z.string()).describe('One sentence per fault; empty if the ledger is valid.'),
  })
  .meta({ id: 'LedgerVerification' }) satisfies z.ZodType<VerificationReport>

export const PostedMoney = z
  .strictObject({
    id: Id,
    entry: Count.describe('Number of the entry in the tenant’s ledger.'),
    repeated: z.boolean().describe('Whether the id was posted before. Then nothing more was posted.'),
  })
  .meta({ id: 'PostedMoney' })
