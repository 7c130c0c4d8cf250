/** `/admin/tenants/:tenantId/members`: members and roles. The last owner stays while there are other members. */

import { z } from 'zod'
import { GatewayError } from '../http/errors.ts'
import { onePage, Page } from '../http/page.ts'
import type { Route } from '../http/route.ts'
import { noSuchTenant } from '../tenant/stub.ts'
import { Removed } from './answers/fields.ts'
import { MemberAnswer, MemberList } from './answers/tenants.ts'
import { RoleName } from './bodies.ts'
import { note } from './context.ts'
import { operatorRoute } from './operator-route.ts'
import { MemberId, TenantId } from './parameters.ts'

const AddMember = z.strictObject({ member: MemberId, role: RoleName }).meta({ id: 'AddMember' })
const ChangeMember = z.strictObject({ role: RoleName }).meta({ id: 'UpdateMember' })

const columns = 'member, role, added_at AS addedAt'
/** True when this member is the only owner. */
const lastOwner = `role = 'owner' AND (SELECT count(*) FROM members WHERE tenant_id = ?1 AND role = 'owner') = 1`

const membersMax = 1_000

export const members: readonly Route[] = [
  operatorRoute(
    {
      method: 'get',
      path: '/admin/tenants/{tenantId}/members',
      params: { tenantId: TenantId },
      id: 'listMembers',
      tag: 'Tenants',
      summary: 'List members of a tenant',
      scope: 'tenants:read',
      query: Page,
      answer: MemberList,
    },
    async (context, { params, query }) => {
      const { limit, after } = query
      const { tenantId } = params
      const { results } = await context.env.DB.prepare(
        `SELECT ${columns} FROM members WHERE tenant_id = ? AND member > ? ORDER BY member LIMIT ?`,
      )
        .bind(tenantId, after, limit + 1)
        .all<{ member: string }>()
      return onePage(results, limit, (row) => row.member)
    },
  ),
  operatorRoute(
    {
      method: 'post',
      path: '/admin/tenants/{tenantId}/members',
      params: { tenantId: TenantId },
      id: 'addMember',
      tag: 'Tenants',
      summary: 'Add a member to a tenant',
      scope: 'members:write',
      body: AddMember,
      status: 201,
      answer: MemberAnswer,
    },
    async (context, { params, body }) => {
      const { tenantId } = params
      const { member, role } = body
      note(context, { target: member, after: { role } })
      const { DB } = context.env
      const tenant = await DB.prepare('SELECT 1 FROM tenants WHERE tenant_id = ?').bind(tenantId).first()
      if (!tenant) throw noSuchTenant()
      const added = await DB.prepare(
        `INSERT OR IGNORE INTO members SELECT ?1, ?2, ?3, ?4
      WHERE (SELECT count(*) FROM members WHERE tenant_id = ?1) < ${membersMax}`,
      )
        .bind(tenantId, member, role, Date.now())
        .run()
      if (added.meta.changes === 0) {
        throw new GatewayError(
          'conflict',
          `member: ${member} is already a member, or the tenant has ${membersMax} members, the maximum. Change the role with PATCH, or remove a member.`,
          {
            param: 'member',
          },
        )
      }
      return { member, role }
    },
  ),
  operatorRoute(
    {
      method: 'patch',
      path: '/admin/tenants/{tenantId}/members/{member}',
      params: { tenantId: TenantId, member: MemberId },
      id: 'updateMember',
      tag: 'Tenants',
      summary: 'Change a member’s role',
      scope: 'members:write',
      body: ChangeMember,
      answer: MemberAnswer,
    },
    async (context, { params, body }) => {
      const { tenantId } = params
      const member = MemberId.parse(params.member)
      const { role } = body
      const before = await findMember(context.env.DB, tenantId, member)
      note(context, { target: member, before, after: { role } })
      const changed = await context.env.DB.prepare(
        `UPDATE members SET role = ?3 WHERE tenant_id = ?1 AND member = ?2 AND (?3 = 'owner' OR NOT (${lastOwner}))`,
      )
        .bind(tenantId, member, role)
        .run()
      if (changed.meta.changes === 0) throw isLastOwner(member)
      return { member, role }
    },
  ),
  operatorRoute(
    {
      method: 'delete',
      path: '/admin/tenants/{tenantId}/members/{member}',
      params: { tenantId: TenantId, member: MemberId },
      id: 'removeMember',
      tag: 'Tenants',
      summary: 'Remove a member from a tenant',
      scope: 'members:write',
      answer: Removed,
    },
    async (context, { params }) => {
      const { tenantId } = params
      const member = MemberId.parse(params.member)
      const before = await findMember(context.env.DB, tenantId, member)
      note(context, { target: member, before })
      const removed = await context.env.DB.prepare(
        `DELETE FROM members WHERE tenant_id = ?1 AND member = ?2 AND (NOT (${lastOwner}) OR (SELECT count(*) FROM members WHERE tenant_id = ?1) = 1)`,
      )
        .bind(tenantId, member)
        .run()
      if (removed.meta.changes === 0) throw isLastOwner(member)
      return { removed: true }
    },
  ),
]

async function findMember(db: D1Database, tenantId: string, member: string): Promise<{ role: string }> {
  const row = await db
    .prepare('SELECT role FROM members WHERE tenant_id = ? AND member = ?')
    .bind(tenantId, member)
    .first<{ role: string }>()
  if (!row) throw new GatewayError('not_found', 'Member not found in this tenant. Add the member first.')
  return row
}

function isLastOwner(member: string): GatewayError {
  return new GatewayError('conflict', `${member} is the last owner. Make another member an owner first.`)
}
