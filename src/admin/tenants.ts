/** `/admin/tenants`: D1 has the list; each tenant's object is authoritative. A change goes to the object first. */

import { z } from 'zod'
import { settings } from '../config.ts'
import { GatewayError } from '../http/errors.ts'
import { onePage, Page } from '../http/page.ts'
import type { Route } from '../http/route.ts'
import type { TenantChange } from '../tenant/settings.ts'
import { tenantStatuses } from '../tenant/store/account-rows.ts'
import { accept, noSuchTenant, tenantStub } from '../tenant/stub.ts'
import { TenantSettings } from '../tenant/tenant-settings.ts'
import {
  ChangedTenant,
  CreatedTenant,
  EntryList,
  LedgerVerification,
  RequestEntries,
  TenantAnswer,
  TenantList,
  TenantWithPlan,
} from './answers/tenants.ts'
import { EntriesPage, ExternalId, KeyBody, Name, SettingsChange, TenantLimits, TenantLimitsChange } from './bodies.ts'
import { type AdminBindings, note } from './context.ts'
import { createKey, type NewApiKey } from './create-key.ts'
import { operatorRoute } from './operator-route.ts'
import { PlanId, RequestId, TenantId } from './parameters.ts'
import { findPlan } from './plans.ts'
import { defaultRateCards } from './rate-cards.ts'
import { requireScope } from './require-scope.ts'

const CreateTenant = z
  .strictObject({
    tenantId: TenantId,
    name: Name,
    creditNano: z
      .int()
      .min(0)
      .describe('Credit in nano-dollars, from 0 to 9,007,199,254,740,991. 1,000,000,000 are one dollar.')
      .meta({ examples: [100_000_000_000] }),
    planId: PlanId.nullable()
      .default(null)
      .describe('Id of the plan whose limits and settings the tenant gets. Null: none.')
      .meta({ examples: [null, 'starter'] }),
    limits: TenantLimits.exactOptional().describe(
      'Limits in place of those of the plan. A field that is left out means no limit.',
    ),
    settings: SettingsChange.exactOptional().describe(
      'Settings. A field that is left out has the value of the plan, or its default.',
    ),
    externalId: ExternalId.default(null),
    keys: z
      .array(KeyBody)
      .max(20)
      .default([])
      .describe('The first keys of the tenant, at most 20. Requires the scope `keys:write`.')
      .meta({ examples: [[{ name: 'first', role: 'owner' }]] }),
  })
  .meta({ id: 'CreateTenant' })

const ChangeTenant = z
  .strictObject({
    name: Name.exactOptional(),
    status: z
      .enum(tenantStatuses)
      .exactOptional()
      .describe('`suspended`: the tenant’s keys can only read its usage and limits.')
      .meta({ examples: ['active'] }),
    limits: TenantLimitsChange.exactOptional(),
    settings: SettingsChange.exactOptional(),
    externalId: ExternalId.exactOptional(),
  })
  .meta({ id: 'UpdateTenant' })

const AssignPlan = z.strictObject({ planId: PlanId }).meta({ id: 'AssignPlan' })

const TenantsPage = Page.extend({
  externalId: z
    .string()
    .min(1)
    .max(128)
    .optional()
    .describe('Only the tenant with this external id.')
    .meta({ examples: ['crm-7f3a91'] }),
})

const TenantQuery = z.object({
  totals: z
    .enum(['true', 'false'])
    .default('false')
    .describe('Whether the answer has the sums over all stored entries, which are slow for large tenants.')
    .meta({ examples: ['true'] }),
})

export const tenants: readonly Route[] = [
  operatorRoute(
    {
      method: 'post',
      path: '/admin/tenants',
      id: 'createTenant',
      tag: 'Tenants',
      summary: 'Create a tenant',
      scope: 'tenants:write',
      body: CreateTenant,
      status: 201,
      answer: CreatedTenant,
    },
    async (context, { body }) => {
      const { tenantId, name, creditNano, planId, externalId } = body
      note(context, { tenantId, target: tenantId })
      const now = Date.now()
      if (body.keys.length > 0) requireScope(context, 'keys:write')
      refuseExpired(body.keys, now)
      await refuseTaken(context.env, tenantId, externalId)
      const keys = await Promise.all(body.keys.map(({ mode }) => createKey(context.env, tenantId, mode)))
      const { models } = await settings(context.env)
      const plan = planId === null ? undefined : await findPlan(context.env, planId)
      const limits = body.limits ?? plan?.limits ?? TenantLimits.parse({})
      const merged = { ...plan?.settings, ...body.settings }
      const created = await context.env.TENANT.getByName(tenantId).create({
        tenantId,
        name,
        creditNano,
        models: [...models],
        rateCards: await defaultRateCards(context.env),
        limits,
        settings: TenantSettings.parse(merged),
        keys: body.keys.map(({ mode: _, ...key }, index) => ({ ...key, ...newKeyOf(keys[index]) })),
      })
      // Also when the tenant exists: repeating an interrupted creation completes it.
      await listTenant(context.env, tenantId, created ? { planId, externalId } : {})
      if (!created) {
        throw new GatewayError('conflict', `tenantId: ${tenantId} exists. Choose another id.`, {
          param: 'tenantId',
        })
      }
      note(context, { after: { name, creditNano, planId, limits, externalId, keys: created } })
      // The only time that the keys are shown.
      return { tenantId, keys: created.map((key, index) => ({ ...key, apiKey: keys[index]?.key.reveal() ?? '' })) }
    },
  ),
  operatorRoute(
    {
      method: 'get',
      path: '/admin/tenants',
      id: 'listTenants',
      tag: 'Tenants',
      summary: 'List tenants',
      scope: 'tenants:read',
      query: TenantsPage,
      answer: TenantList,
    },
    async (context, { query }) => {
      const { limit, after, externalId } = query
      const { results } = await context.env.DB.prepare(
        `SELECT tenant_id AS tenantId, name, iif(deleted_at IS NULL, status, 'deleted') AS status, plan_id AS planId,
          external_id AS externalId, created_at AS createdAt, updated_at AS updatedAt, deleted_at AS deletedAt
          FROM tenants WHERE tenant_id > ? ${externalId === undefined ? '' : 'AND external_id = ?'} ORDER BY tenant_id LIMIT ?`,
      )
        .bind(after, ...(externalId === undefined ? [] : [externalId]), limit + 1)
        .all<{ tenantId: string }>()
      return onePage(results, limit, (row) => row.tenantId)
    },
  ),
  operatorRoute(
    {
      method: 'get',
      path: '/admin/tenants/{tenantId}',
      params: { tenantId: TenantId },
      id: 'retrieveTenant',
      tag: 'Tenants',
      summary: 'Retrieve a tenant and its balances',
      scope: 'tenants:read',
      query: TenantQuery,
      answer: TenantAnswer,
    },
    async (context, { params, query }) => {
      const { tenantId } = params
      const summary = await tenantStub(context.env, tenantId).summary(query.totals === 'true')
      if (!summary) throw noSuchTenant()
      const row = await context.env.DB.prepare(
        'SELECT plan_id AS planId, external_id AS externalId FROM tenants WHERE tenant_id = ?',
      )
        .bind(tenantId)
        .first<{ planId: string | null; externalId: string | null }>()
      return { ...summary, planId: row?.planId ?? null, externalId: row?.externalId ?? null }
    },
  ),
  operatorRoute(
    {
      method: 'patch',
      path: '/admin/tenants/{tenantId}',
      params: { tenantId: TenantId },
      id: 'updateTenant',
      tag: 'Tenants',
      summary: 'Update a tenant’s name, status, limits, settings or external id',
      scope: 'tenants:write',
      body: ChangeTenant,
      answer: ChangedTenant,
    },
    async (context, { params, body }) => {
      const { tenantId } = params
      const { externalId, ...change } = body
      if (externalId !== undefined) await refuseTaken(context.env, tenantId, externalId)
      const said = (values: { before: unknown; after: unknown }) => note(context, { target: tenantId, ...values })
      return await changeTenant(context.env, tenantId, change, said, { externalId })
    },
  ),
  operatorRoute(
    {
      method: 'put',
      path: '/admin/tenants/{tenantId}/plan',
      params: { tenantId: TenantId },
      id: 'assignPlan',
      tag: 'Tenants',
      summary: 'Assign a plan to a tenant',
      description: 'Copies the plan’s limits and settings. Later changes of the plan do not affect the tenant.',
      scope: 'tenants:write',
      body: AssignPlan,
      answer: TenantWithPlan,
    },
    async (context, { params, body }) => {
      const { tenantId } = params
      const { planId } = body
      const plan = await findPlan(context.env, planId)
      const change = { limits: plan.limits, settings: plan.settings }
      const after = await changeTenant(
        context.env,
        tenantId,
        change,
        (said) => note(context, { target: planId, ...said }),
        { planId },
      )
      return { ...after, planId }
    },
  ),
  operatorRoute(
    {
      method: 'get',
      path: '/admin/tenants/{tenantId}/requests/{requestId}',
      params: { tenantId: TenantId, requestId: RequestId },
      id: 'listRequestEntries',
      tag: 'Tenants',
      summary: 'List the ledger entries of a request',
      scope: 'tenants:read',
      answer: RequestEntries,
    },
    async (context, { params }) => {
      return await tenantStub(context.env, params.tenantId).entries(params.requestId)
    },
  ),
  operatorRoute(
    {
      method: 'get',
      path: '/admin/tenants/{tenantId}/entries',
      params: { tenantId: TenantId },
      id: 'listEntries',
      tag: 'Money',
      summary: 'List a tenant’s ledger entries, newest first',
      scope: 'tenants:read',
      query: EntriesPage,
      answer: EntryList,
    },
    async (context, { params, query: { limit, before, kind } }) => {
      const page = { limit, before, kinds: kind }
      const rows = accept(await tenantStub(context.env, params.tenantId).listEntries({ kind: 'operator' }, page))
      return onePage(rows, limit, ({ seq }) => Number(seq))
    },
  ),
  operatorRoute(
    {
      method: 'get',
      path: '/admin/tenants/{tenantId}/verification',
      params: { tenantId: TenantId },
      id: 'verifyLedger',
      tag: 'Tenants',
      summary: 'Verify a tenant’s ledger',
      scope: 'tenants:read',
      answer: LedgerVerification,
    },
    async (context, { params }) => {
      return await tenantStub(context.env, params.tenantId).verify()
    },
  ),
]

async function changeTenant(
  env: AdminBindings,
  tenantId: string,
  change: TenantChange,
  said: (note: { before: unknown; after: unknown }) => void,
  listed: Listed,
) {
  const { before, after } = accept(await tenantStub(env, tenantId).change(change))
  said({ before, after })
  await listTenant(env, tenantId, listed)
  return { tenantId, ...after }
}

/** Fields that only the list has. An undefined one stays as it is. */
interface Listed {
  planId?: string | null
  externalId?: string | null | undefined
}

/** Updates the list's row from the object. Without a plan, the row keeps its plan. */
async function listTenant(
  env: AdminBindings,
  tenantId: string,
  { planId = null, externalId }: Listed = {},
): Promise<void> {
  const listing = await tenantStub(env, tenantId).listing()
  if (!listing) throw noSuchTenant()
  const { name, status, createdAt } = listing
  await env.DB.prepare(
    `INSERT INTO tenants (tenant_id, name, status, plan_id, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)
      ON CONFLICT DO UPDATE SET name = excluded.name, status = excluded.status,
        plan_id = coalesce(excluded.plan_id, plan_id), updated_at = excluded.updated_at`,
  )
    .bind(tenantId, name, status, planId, createdAt, Date.now())
    .run()
  if (externalId === undefined) return
  const set = env.DB.prepare('UPDATE OR IGNORE tenants SET external_id = ? WHERE tenant_id = ?').bind(
    externalId,
    tenantId,
  )
  // Another tenant may have got it since it was checked.
  if ((await set.run()).meta.changes === 0) throw taken()
}

async function refuseTaken(env: AdminBindings, tenantId: string, externalId: string | null): Promise<void> {
  if (externalId === null) return
  const other = await env.DB.prepare('SELECT 1 FROM tenants WHERE external_id = ? AND tenant_id <> ?')
    .bind(externalId, tenantId)
    .first()
  if (other) throw taken()
}

function taken(): GatewayError {
  const message = 'externalId: another tenant has this external id. Find it with GET /admin/tenants?external_id=.'
  return new GatewayError('conflict', message, { param: 'externalId' })
}

function refuseExpired(keys: readonly { expiresAt: number | null }[], now: number): void {
  const index = keys.findIndex(({ expiresAt }) => expiresAt !== null && expiresAt <= now)
  if (index < 0) return
  const param = `keys[${index}].expiresAt`
  throw new GatewayError('invalid_value', `${param}: must be in the future, in Unix milliseconds.`, { param })
}

function newKeyOf(created: NewApiKey | undefined) {
  if (!created) throw new Error('a key was not created')
  return { keyId: created.keyId, ...created.secret }
}
