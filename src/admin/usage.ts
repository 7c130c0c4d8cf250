/** `/admin/tenants/:tenantId/usage`: the same report that the tenant's own keys get. */
import { Hono } from 'hono'
import type { Requester } from '../tenant/permissions.ts'
import { accept, tenantStub } from '../tenant/stub.ts'
import { readUsageQuery, writeUsage } from '../tenant/usage/report.ts'
import type { AdminContext, AdminEnv } from './context.ts'
import { needs } from './guard.ts'

export const usage = new Hono<AdminEnv>()

usage.get('/', needs('usage:read'), (context) => {
  return answerUsage(context, context.req.param('tenantId') ?? '', { kind: 'operator' })
})

export async function answerUsage(context: AdminContext, tenantId: string, by: Requester): Promise<Response> {
  const { query, format } = readUsageQuery(new URL(context.req.url).searchParams, Date.now())
  const rows = accept(await tenantStub(context.env, tenantId).usage(by, query))
  const { type, body } = writeUsage(query, rows, format)
  const name = `usage-${tenantId}-${new Date(query.from).toISOString().slice(0, 10)}.${format}`
  const attachment = format === 'json' ? {} : { 'content-disposition': `attachment; filename="${name}"` }
  return context.body(body, 200, { 'content-type': type, 'cache-control': 'no-store', ...attachment })
}
