/** `/admin/audit`: who changed what, newest first. A row without a status is a change that was interrupted. */

import { z } from 'zod'
import { onePage, PageBefore } from '../http/page.ts'
import type { Route } from '../http/route.ts'
import { AuditList } from './answers/operators.ts'
import { operatorRoute } from './operator-route.ts'

const AuditQuery = PageBefore.extend({
  tenantId: z
    .string()
    .max(64)
    .optional()
    .describe('Only changes of this tenant: its id, at most 64 characters.')
    .meta({ examples: ['acme'] }),
})

interface AuditRow {
  seq: number
  request_id: string
  at: number
  actor: string
  actor_name: string
  action: string
  tenant_id: string | null
  target: string | null
  status: number | null
  before: string | null
  after: string | null
}

export const audit: readonly Route[] = [
  operatorRoute(
    {
      method: 'get',
      path: '/admin/audit',
      id: 'listAudit',
      tag: 'Operators',
      summary: 'List changes by operators and tenants, newest first',
      scope: 'audit:read',
      query: AuditQuery,
      answer: AuditList,
    },
    async (context, { query }) => {
      const { limit, before, tenantId } = query
      const ofTenant = tenantId === undefined ? '' : 'AND tenant_id = ?3'
      const { results } = await context.env.DB.prepare(
        `SELECT * FROM audit WHERE seq < ?1 ${ofTenant} ORDER BY seq DESC LIMIT ?2`,
      )
        .bind(before, limit + 1, ...(tenantId === undefined ? [] : [tenantId]))
        .all<AuditRow>()
      return onePage(results.map(view), limit, (row) => row.seq)
    },
  ),
]

function view(row: AuditRow) {
  return {
    seq: row.seq,
    at: row.at,
    requestId: row.request_id,
    actor: row.actor,
    actorName: row.actor_name,
    action: row.action,
    tenantId: row.tenant_id,
    target: row.target,
    status: row.status,
    before: row.before === null ? null : (JSON.parse(row.before) as unknown),
    after: row.after === null ? null : (JSON.parse(row.after) as unknown),
  }
}
