/** `/admin/tenants/:tenantId/members`: members and roles. The last owner stays while there are other members. */
import { Hono } from 'hono'
import { z } from 'zod'
import { GatewayError } from '../http/errors.ts'
import { onePage, read, readPage } from '../http/parse.ts'
import { noSuchTenant } from '../tenant/stub.ts'
import { RoleName } from './bodies.ts'
import { type AdminEnv, note } from './context.ts'
import { needs } from './guard.ts'

const Member = z
  .string()
  .min(1)
  .max(200)
  .regex(/^[^\s/]+$/, 'must be an e-mail address or an id, without spaces or slashes')
export const AddMember = z.strictObject({ member: Member, role: RoleName })
export const ChangeMember = z.strictObject({ role: RoleName })

const columns = 'member, role, added_at AS addedAt'
/** True when this member is the only owner. */
const lastOwner = `role = 'owner' AND (SELECT count(*) FROM members WHERE tenant_id = ?1 AND role = 'owner') = 1`

const membersMax = 1_000

export const members = new Hono<AdminEnv>()

members.get('/', needs('tenants:read'), async (context) => {
  const { limit, after } = readPage(context)
  const tenantId = context.req.param('tenantId') ?? ''
  const { results } = await context.env.DB.prepare(
    `SELECT ${columns} FROM members WHERE tenant_id = ? AND member > ? ORDER BY member LIMIT ?`,
  )
    .bind(tenantId, after, limit + 1)
    .all<{ member: string }>()
  return context.json(onePage(results, limit, (row) => row.member))
})

members.post('/', needs('members:write'), async (context) => {
  const tenantId = context.req.param('tenantId') ?? ''
  const { member, role } = await read(context.req.raw, AddMember)
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
  return context.json({ member, role }, 201)
})

members.patch('/:member', needs('members:write'), async (context) => {
  const tenantId = context.req.param('tenantId') ?? ''
  const member = context.req.param('member')
  const { role } = await read(context.req.raw, ChangeMember)
  const before = await findMember(context.env.DB, tenantId, member)
  note(context, { target: member, before, after: { role } })
  const changed = await context.env.DB.prepare(
    `UPDATE members SET role = ?3 WHERE tenant_id = ?1 AND member = ?2 AND (?3 = 'owner' OR NOT (${lastOwner}))`,
  )
    .bind(tenantId, member, role)
    .run()
  if (changed.meta.changes === 0) throw isLastOwner(member)
  return context.json({ member, role })
})

members.delete('/:member', needs('members:write'), async (context) => {
  const tenantId = context.req.param('tenantId') ?? ''
  const member = context.req.param('member')
  const before = await findMember(context.env.DB, tenantId, member)
  note(context, { target: member, before })
  const removed = await context.env.DB.prepare(
    `DELETE FROM members WHERE tenant_id = ?1 AND member = ?2 AND (NOT (${lastOwner}) OR (SELECT count(*) FROM members WHERE tenant_id = ?1) = 1)`,
  )
    .bind(tenantId, member)
    .run()
  if (removed.meta.changes === 0) throw isLastOwner(member)
  return context.json({ removed: true })
})

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
