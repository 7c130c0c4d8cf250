/** `/admin/tenants/:tenantId/usage`: the same report that the tenant's own keys get. */

import { UsageReport, usageFiles } from '../http/response-schemas.ts'
import type { Route } from '../http/route.ts'
import type { Requester } from '../tenant/permissions.ts'
import { accept, tenantStub } from '../tenant/stub.ts'
import { readUsageQuery, writeUsage } from '../tenant/usage/report.ts'
import { UsageParameters } from '../tenant/usage/usage-parameters.ts'
import type { AdminContext } from './context.ts'
import { operatorRoute } from './operator-route.ts'
import { TenantId } from './parameters.ts'

export const usage: readonly Route[] = [
  operatorRoute(
    {
      method: 'get',
      path: '/admin/tenants/{tenantId}/usage',
      params: { tenantId: TenantId },
      id: 'reportTenantUsage',
      tag: 'Tenants',
      summary: 'Report a tenant’s usage',
      scope: 'usage:read',
      query: UsageParameters,
      answer: UsageReport,
      otherAnswers: usageFiles,
      readsItself: true,
    },
    (context, { params }) => {
      return answerUsage(context, params.tenantId, { kind: 'operator' })
    },
  ),
]

export async function answerUsage(context: AdminContext, tenantId: string, by: Requester): Promise<Response> {
  const { query, format } = readUsageQuery(new URL(context.req.url).searchParams)
  const report = accept(await tenantStub(context.env, tenantId).usage(by, query))
  const { type, body } = writeUsage(query, report, format)
  const name = `usage-${tenantId}-${new Date(report.from).toISOString().slice(0, 10)}.${format}`
  const attachment = format === 'json' ? {} : { 'content-disposition': `attachment; filename="${name}"` }
  return context.body(body, 200, { 'content-type': type, 'cache-control': 'no-store', ...attachment })
}
