/**
 * `/admin/plans`: named sets of limits and settings. Assigning a plan to a tenant copies it; changing a plan afterwards
 * changes no tenant until it is assigned again.
 */

import { z } from 'zod'
import { GatewayError } from '../http/errors.ts'
import { onePage, Page } from '../http/page.ts'
import type { Route } from '../http/route.ts'
import { Removed } from './answers/fields.ts'
import { PlanAnswer, PlanList } from './answers/plans.ts'
import { Name, SettingsChange, TenantLimits } from './bodies.ts'
import { type AdminBindings, note } from './context.ts'
import { operatorRoute } from './operator-route.ts'
import { PlanId } from './parameters.ts'

const plan = {
  name: Name,
  limits: TenantLimits.prefault({}),
  settings: SettingsChange.prefault({}).describe(
    'Settings that the plan changes. A field that is left out keeps the value of the tenant.',
  ),
}
const ReplacePlan = z.strictObject(plan).meta({ id: 'ReplacePlan' })
const CreatePlan = z.strictObject({ planId: PlanId, ...plan }).meta({ id: 'CreatePlan' })

const Stored = z
  .object({ plan_id: z.string(), name: z.string(), limits: z.string(), settings: z.string() })
  .transform((row) => ({
    planId: row.plan_id,
    name: row.name,
    limits: TenantLimits.parse(JSON.parse(row.limits)),
    settings: SettingsChange.parse(JSON.parse(row.settings)),
  }))

const plansMax = 1_000

export const plans: readonly Route[] = [
  operatorRoute(
    {
      method: 'get',
      path: '/admin/plans',
      id: 'listPlans',
      tag: 'Plans and prices',
      summary: 'List plans',
      scope: 'tenants:read',
      query: Page,
      answer: PlanList,
    },
    async (context, { query }) => {
      const { limit, after } = query
      const { results } = await context.env.DB.prepare('SELECT * FROM plans WHERE plan_id > ? ORDER BY plan_id LIMIT ?')
        .bind(after, limit + 1)
        .all()
      return onePage(
        results.map((row) => Stored.parse(row)),
        limit,
        (plan) => plan.planId,
      )
    },
  ),
  operatorRoute(
    {
      method: 'post',
      path: '/admin/plans',
      id: 'createPlan',
      tag: 'Plans and prices',
      summary: 'Create a plan',
      scope: 'plans:write',
      body: CreatePlan,
      status: 201,
      answer: PlanAnswer,
    },
    async (context, { body }) => {
      const { planId, name, limits, settings } = body
      note(context, { target: planId, after: { name, limits, settings } })
      const now = Date.now()
      const added = await context.env.DB.prepare(
        `INSERT OR IGNORE INTO plans SELECT ?, ?, ?, ?, ?, ? WHERE (SELECT count(*) FROM plans) < ${plansMax}`,
      )
        .bind(planId, name, JSON.stringify(limits), JSON.stringify(settings), now, now)
        .run()
      if (added.meta.changes === 0) {
        throw new GatewayError(
          'conflict',
          `planId: ${planId} exists, or there are ${plansMax} plans, the maximum. Change the plan with PUT, or remove one.`,
          {
            param: 'planId',
          },
        )
      }
      return { planId, name, limits, settings }
    },
  ),
  operatorRoute(
    {
      method: 'get',
      path: '/admin/plans/{planId}',
      params: { planId: PlanId },
      id: 'retrievePlan',
      tag: 'Plans and prices',
      summary: 'Retrieve a plan',
      scope: 'tenants:read',
      answer: PlanAnswer,
    },
    async (context, { params }) => {
      return await findPlan(context.env, params.planId)
    },
  ),
  operatorRoute(
    {
      method: 'put',
      path: '/admin/plans/{planId}',
      params: { planId: PlanId },
      id: 'replacePlan',
      tag: 'Plans and prices',
      summary: 'Replace a plan',
      description: 'Tenants with this plan do not change until it is assigned again.',
      scope: 'plans:write',
      body: ReplacePlan,
      answer: PlanAnswer,
    },
    async (context, { params, body }) => {
      const { planId } = params
      const { name, limits, settings } = body
      const before = await findPlan(context.env, planId)
      note(context, { target: planId, before, after: { name, limits, settings } })
      await context.env.DB.prepare(
        'UPDATE plans SET name = ?, limits = ?, settings = ?, updated_at = ? WHERE plan_id = ?',
      )
        .bind(name, JSON.stringify(limits), JSON.stringify(settings), Date.now(), planId)
        .run()
      return { planId, name, limits, settings }
    },
  ),
  operatorRoute(
    {
      method: 'delete',
      path: '/admin/plans/{planId}',
      params: { planId: PlanId },
      id: 'deletePlan',
      tag: 'Plans and prices',
      summary: 'Delete a plan',
      scope: 'plans:write',
      answer: Removed,
    },
    async (context, { params }) => {
      const { planId } = params
      note(context, { target: planId, before: await findPlan(context.env, planId) })
      const removed = await context.env.DB.prepare(
        'DELETE FROM plans WHERE plan_id = ?1 AND NOT EXISTS (SELECT 1 FROM tenants WHERE plan_id = ?1)',
      )
        .bind(planId)
        .run()
      if (removed.meta.changes === 0) {
        throw new GatewayError('conflict', `Plan ${planId} is in use. Assign its tenants another plan first.`)
      }
      return { removed: true }
    },
  ),
]

export async function findPlan(env: AdminBindings, planId: string): Promise<z.infer<typeof Stored>> {
  const row = await env.DB.prepare('SELECT * FROM plans WHERE plan_id = ?').bind(planId).first()
  if (!row)
    throw new GatewayError(
      'not_found',
      `planId: plan ${planId.slice(0, 40)} not found. List plans with GET /admin/plans.`,
      { param: 'planId' },
    )
  return Stored.parse(row)
}
