/** `/admin/tenants`: D1 has the list; each tenant's object is authoritative. A change goes to the object first. */

import { z } from 'zod'
import { settings } from '../config.ts'
import { GatewayError } from '../http/errors.ts'
import { onePage, Page } from '../http/parse.ts'
import type { Route } from '../http/route.ts'
import type { TenantChange } from '../tenant/settings.ts'
import { tenantStatuses } from '../tenant/store/account-rows.ts'
import { accept, noSuchTenant, tenantStub } from '../tenant/stub.ts'
import { TenantSettings } from '../tenant/tenant-settings.ts'
import { LimitsBody, LimitsChange, Name, SettingsChange, TenantId } from './bodies.ts'
import { type AdminBindings, note } from './context.ts'
import { operatorRoute } from './operator-route.ts'
import { findPlan, PlanId } from './plans.ts'
import { defaultRateCards } from './rate-cards.ts'

const CreateTenant = z.strictObject({
  tenantId: TenantId,
  name: Name,
  creditNano: z.int().min(0),
  planId: PlanId.nullable().default(null),
  limits: LimitsBody.exactOptional(),
  settings: z.strictObject(TenantSettings.shape).partial().exactOptional(),
})

const ChangeTenant = z.strictObject({
  name: Name.exactOptional(),
  status: z.enum(tenantStatuses).exactOptional(),
  limits: LimitsChange.exactOptional(),
  settings: SettingsChange.exactOptional(),
})

const AssignPlan = z.strictObject({ planId: PlanId })

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
    },
    async (context, { body }) => {
      const { tenantId, name, creditNano, planId } = body
      note(context, { tenantId, target: tenantId })
      const { models } = await settings(context.env)
      const plan = planId === null ? undefined : await findPlan(context.env, planId)
      const limits = LimitsBody.parse(body.limits ?? plan?.limits ?? {})
      if (limits.budgetNano.total !== null) {
        const message =
          'limits.budgetNano.total: is not supported for a tenant: its total is its credit. Set creditNano, or day or month.'
        throw new GatewayError('invalid_value', message, { param: 'limits.budgetNano.total' })
      }
      const merged = { ...plan?.settings, ...body.settings }
      const created = await context.env.TENANT.getByName(tenantId).create({
        tenantId,
        name,
        creditNano,
        models: [...models],
        rateCards: await defaultRateCards(context.env),
        limits,
        settings: TenantSettings.parse(merged),
      })
      // Also when the tenant exists: repeating an interrupted creation completes it.
      await listTenant(context.env, tenantId, created ? planId : null)
      if (!created) {
        throw new GatewayError('invalid_value', `tenantId: ${tenantId} exists. Choose another id.`, {
          param: 'tenantId',
        })
      }
      note(context, { after: { name, creditNano, planId, limits } })
      return context.json({ tenantId }, 201)
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
      query: Page,
    },
    async (context, { query }) => {
      const { limit, after } = query
      const { results } = await context.env.DB.prepare(
        `SELECT tenant_id AS tenantId, name, status, plan_id AS planId, created_at AS createdAt, updated_at AS updatedAt
      FROM tenants WHERE tenant_id > ? ORDER BY tenant_id LIMIT ?`,
      )
        .bind(after, limit + 1)
        .all<{ tenantId: string }>()
      return context.json(onePage(results, limit, (row) => row.tenantId))
    },
  ),
  operatorRoute(
    {
      method: 'get',
      path: '/admin/tenants/{tenantId}',
      id: 'retrieveTenant',
      tag: 'Tenants',
      summary: 'Retrieve a tenant and its balances',
      scope: 'tenants:read',
    },
    async (context, { params }) => {
      const { tenantId } = params
      const summary = await tenantStub(context.env, tenantId).summary(context.req.query('totals') === 'true')
      if (!summary) throw noSuchTenant()
      const row = await context.env.DB.prepare('SELECT plan_id AS planId FROM tenants WHERE tenant_id = ?')
        .bind(tenantId)
        .first<{ planId: string | null }>()
      return context.json({ ...summary, planId: row?.planId ?? null })
    },
  ),
  operatorRoute(
    {
      method: 'patch',
      path: '/admin/tenants/{tenantId}',
      id: 'updateTenant',
      tag: 'Tenants',
      summary: 'Update a tenant’s name, status, limits or settings',
      scope: 'tenants:write',
      body: ChangeTenant,
    },
    async (context, { params, body }) => {
      const { tenantId } = params
      const change = body
      return context.json(
        await changeTenant(context.env, tenantId, change, (said) => note(context, { target: tenantId, ...said })),
      )
    },
  ),
  operatorRoute(
    {
      method: 'put',
      path: '/admin/tenants/{tenantId}/plan',
      id: 'assignPlan',
      tag: 'Tenants',
      summary: 'Assign a plan to a tenant',
      description: 'Copies the plan’s limits and settings. Later changes of the plan do not affect the tenant.',
      scope: 'tenants:write',
      body: AssignPlan,
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
        planId,
      )
      return context.json({ ...after, planId })
    },
  ),
  operatorRoute(
    {
      method: 'get',
      path: '/admin/tenants/{tenantId}/requests/{requestId}',
      id: 'listRequestEntries',
      tag: 'Tenants',
      summary: 'List the ledger entries of a request',
      scope: 'tenants:read',
    },
    async (context, { params }) => {
      return context.json(await tenantStub(context.env, params.tenantId).entries(params.requestId))
    },
  ),
  operatorRoute(
    {
      method: 'get',
      path: '/admin/tenants/{tenantId}/verification',
      id: 'verifyLedger',
      tag: 'Tenants',
      summary: 'Verify a tenant’s ledger',
      scope: 'tenants:read',
    },
    async (context, { params }) => {
      return context.json(await tenantStub(context.env, params.tenantId).verify())
    },
  ),
]

async function changeTenant(
  env: AdminBindings,
  tenantId: string,
  change: TenantChange,
  said: (note: { before: unknown; after: unknown }) => void,
  planId?: string,
) {
  const { before, after } = accept(await tenantStub(env, tenantId).change(change))
  said({ before, after })
  await listTenant(env, tenantId, planId)
  return { tenantId, ...after }
}

/** Updates the list's row from the object. Without a plan, the row keeps its plan. */
async function listTenant(env: AdminBindings, tenantId: string, planId: string | null = null): Promise<void> {
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
}
