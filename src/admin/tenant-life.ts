/** `/admin/tenants/:tenantId`: export everything, restore from an export, delete. */

import { z } from 'zod'
import { GatewayError } from '../http/errors.ts'
import type { Route } from '../http/route.ts'
import { responsesStub } from '../responses/stub.ts'
import type { ExportedRow, ExportHead } from '../tenant/life/export-format.ts'
import { ExportFault, readExport } from '../tenant/life/read-export.ts'
import { accept, tenantStub } from '../tenant/stub.ts'
import { DeletedTenantAnswer, RestoredTenant } from './answers/tenant-life.ts'
import { type AdminBindings, type AdminContext, note } from './context.ts'
import { exportStream } from './export-stream.ts'
import { operatorRoute } from './operator-route.ts'
import { TenantId } from './parameters.ts'
import { requireScope } from './require-scope.ts'

const ExportQuery = z.object({
  responses: z
    .enum(['true', 'false'])
    .default('false')
    .describe('Whether the export has the stored responses, with the texts of the tenant’s requests.')
    .meta({ examples: ['true'] }),
})

const retentionDefault = 365
const DeleteQuery = z.object({
  confirm: z
    .string()
    .min(1)
    .max(200)
    .describe('The name of the tenant.')
    .meta({ examples: ['Acme'] }),
  retentionDays: z.coerce
    .number()
    .pipe(z.int().min(0).max(3_650))
    .default(retentionDefault)
    .describe('Days that the books are kept, 0 to 3,650: the ledger, usage and credits.')
    .meta({ examples: [retentionDefault] }),
})

export const tenantLife: readonly Route[] = [
  operatorRoute(
    {
      method: 'get',
      path: '/admin/tenants/{tenantId}/export',
      params: { tenantId: TenantId },
      id: 'exportTenant',
      tag: 'Tenants',
      summary: 'Export everything of a tenant',
      description:
        'JSON lines: a head, one row per line, and an end with the digest. Keys are hashes. `npm run ledger:verify -- --file export.jsonl` verifies it offline. Suspend the tenant first: an export during which a row was written has `"unchanged": false` in its last line, and cannot be restored.',
      scope: 'tenants:write',
      audited: true,
      query: ExportQuery,
      answer: 'text',
      otherAnswers: [{ status: 200, type: 'application/x-ndjson', answer: 'text' }],
    },
    async (context, { params: { tenantId }, query }) => {
      const responses = query.responses === 'true'
      note(context, { target: tenantId, after: { responses } })
      const body = exportStream(context.env, { tenantId, responses }, Date.now())
      return new Response(body, {
        headers: {
          'content-type': 'application/x-ndjson',
          'cache-control': 'no-store',
          'content-disposition': `attachment; filename="tenant-${tenantId}.jsonl"`,
        },
      })
    },
  ),
  operatorRoute(
    {
      method: 'post',
      path: '/admin/tenants/{tenantId}/restore',
      params: { tenantId: TenantId },
      id: 'restoreTenant',
      tag: 'Tenants',
      summary: 'Restore a tenant from an export',
      description:
        'The body is an export. All or nothing: the tenant exists only after its hash chain and sums were verified. The id may be new, or that of the export if that tenant was deleted or never existed here. Under another id, all keys are revoked and the usage webhook is removed. Also requires the scopes `money:write` and `keys:write`.',
      scope: 'tenants:write',
      newTenant: true,
      readsItself: true,
      status: 201,
      answer: RestoredTenant,
    },
    async (context, { params: { tenantId } }) => {
      note(context, { tenantId, target: tenantId })
      for (const scope of ['money:write', 'keys:write'] as const) requireScope(context, scope)
      const restored = await restore(context, tenantId)
      note(context, { after: restored })
      return restored
    },
  ),
  operatorRoute(
    {
      method: 'delete',
      path: '/admin/tenants/{tenantId}',
      params: { tenantId: TenantId },
      id: 'deleteTenant',
      tag: 'Tenants',
      summary: 'Delete a tenant',
      description:
        'At once: its keys are refused, and stored responses, answers of idempotent requests, members, and the names of the tenant, its keys and its end users are erased. After `retention_days`: its books. The id is never used again. A repeated call completes an interrupted one.',
      scope: 'tenants:write',
      query: DeleteQuery,
      answer: DeletedTenantAnswer,
    },
    async (context, { params: { tenantId }, query: { confirm, retentionDays } }) => {
      note(context, { target: tenantId, after: { retentionDays } })
      const { env } = context
      const deleted = accept(await tenantStub(env, tenantId).deleteTenant(confirm, retentionDays))
      await responsesStub(env, tenantId).eraseAll()
      await env.DB.batch([
        env.DB.prepare('DELETE FROM members WHERE tenant_id = ?').bind(tenantId),
        env.DB.prepare(
          'UPDATE tenants SET name = tenant_id, external_id = NULL, deleted_at = ?, updated_at = ? WHERE tenant_id = ?',
        ).bind(deleted.deletedAt, Date.now(), tenantId),
      ])
      return { tenantId, ...deleted }
    },
  ),
]

async function restore(context: AdminContext, tenantId: string) {
  const { env, req } = context
  const body = req.raw.body
  if (body === null) throw refused('is empty. Send an export')
  let head: ExportHead | undefined
  let rows = 0
  const members: ExportedRow[] = []
  try {
    for await (const part of readExport(body as unknown as AsyncIterable<Uint8Array>)) {
      if (part.kind === 'head') {
        await begin(env, tenantId, part.head)
        head = part.head
      } else if (part.kind === 'rows') {
        rows += part.rows.length
        members.push(...part.rows.filter(({ store }) => store === 'operator'))
        await addTo(env, tenantId, part.rows)
      } else if (!part.end.unchanged) {
        throw new ExportFault('rows were written during the export. Suspend the tenant, and export it again')
      }
    }
  } catch (error) {
    if (head) await Promise.all([tenantStub(env, tenantId).dropRestore(), responsesStub(env, tenantId).eraseAll()])
    if (error instanceof ExportFault) throw refused(error.message)
    throw error
  }
  if (!head) throw refused('is empty. Send an export')
  const faults = await tenantStub(env, tenantId).finishRestore()
  if (faults.length > 0) {
    await responsesStub(env, tenantId).eraseAll()
    throw refused(`the ledger of the export is not valid: ${faults.slice(0, 5).join('; ')}`)
  }
  const externalId = await list(env, tenantId, head, members)
  return { tenantId, exportedTenantId: head.tenantId, rows, keysRevoked: head.tenantId !== tenantId, externalId }
}

async function begin(env: AdminBindings, tenantId: string, head: ExportHead): Promise<void> {
  const known = await env.DB.prepare('SELECT deleted_at FROM tenants WHERE tenant_id = ?')
    .bind(tenantId)
    .first<{ deleted_at: number | null }>()
  if (known && known.deleted_at !== null && head.tenantId !== tenantId) {
    const message = `tenantId: ${tenantId} was deleted, and its id is not used for another tenant. Choose another id.`
    throw new GatewayError('conflict', message, { param: 'tenantId' })
  }
  const fault = await tenantStub(env, tenantId).beginRestore({ tenantId, schema: head.schema })
  if (fault !== undefined) throw new GatewayError('conflict', `tenantId: ${fault}.`, { param: 'tenantId' })
  await responsesStub(env, tenantId).eraseAll()
}

async function addTo(env: AdminBindings, tenantId: string, rows: ExportedRow[]): Promise<void> {
  const of = (store: ExportedRow['store']) => rows.filter((row) => row.store === store)
  const [tenantRows, responseRows] = [of('tenant'), of('responses')]
  const faults = [
    tenantRows.length > 0 ? await tenantStub(env, tenantId).restoreRows(tenantRows) : undefined,
    responseRows.length > 0 ? await responsesStub(env, tenantId).restoreRows(responseRows) : undefined,
  ]
  const fault = faults.find((each) => each !== undefined)
  if (fault !== undefined) throw new ExportFault(fault)
}

/** Adds the tenant and its members to the operator's lists. Returns the external id, or null if another tenant has it. */
async function list(
  env: AdminBindings,
  tenantId: string,
  { externalId, planId }: ExportHead,
  members: ExportedRow[],
): Promise<string | null> {
  const listing = await tenantStub(env, tenantId).listing()
  if (!listing) throw new Error(`tenant ${tenantId} was restored and is missing`)
  const taken =
    externalId !== null &&
    (await env.DB.prepare('SELECT 1 FROM tenants WHERE external_id = ?').bind(externalId).first())
  const free = taken ? null : externalId
  const { name, status, createdAt } = listing
  const put = env.DB.prepare(
    `INSERT OR REPLACE INTO tenants (tenant_id, name, status, plan_id, external_id, created_at, updated_at)
      VALUES (?, ?, ?, (SELECT plan_id FROM plans WHERE plan_id = ?), ?, ?, ?)`,
  ).bind(tenantId, name, status, planId, free, createdAt, Date.now())
  const add = env.DB.prepare('INSERT OR REPLACE INTO members (tenant_id, member, role, added_at) VALUES (?, ?, ?, ?)')
  await env.DB.batch([
    put,
    ...members.map(({ row }) => add.bind(tenantId, row.member ?? '', row.role ?? '', row.added_at ?? 0)),
  ])
  return free
}

function refused(text: string): GatewayError {
  return new GatewayError('invalid_value', `body: ${text}. Nothing was restored.`, { param: null })
}
