/** Streams a tenant's export, page by page as the client takes it. */
import { createHash } from 'node:crypto'
import { responsesStub } from '../responses/stub.ts'
import { type ExportEnd, type ExportHead, exportFormat } from '../tenant/life/export-format.ts'
import type { ExportCursor, ExportPage } from '../tenant/life/export-rows.ts'
import { schema } from '../tenant/store/schema.ts'
import { tenantStub } from '../tenant/stub.ts'
import type { AdminBindings } from './context.ts'

interface ExportOptions {
  tenantId: string
  responses: boolean
}

/** Names of the tenant's rows in the operator's database. */
interface ListedTenant {
  name: string
  plan_id: string | null
  external_id: string | null
}

export function exportStream(env: AdminBindings, options: ExportOptions, now: number): ReadableStream<Uint8Array> {
  const chunks = exportChunks(env, options, now)
  return new ReadableStream({
    async pull(controller) {
      const { value, done } = await chunks.next()
      if (done) controller.close()
      else controller.enqueue(value)
    },
    async cancel() {
      await chunks.return(undefined)
    },
  })
}

async function* exportChunks(
  env: AdminBindings,
  { tenantId, responses }: ExportOptions,
  now: number,
): AsyncGenerator<Uint8Array, undefined> {
  const encoder = new TextEncoder()
  const hash = createHash('sha256')
  let count = 0
  let unchanged = true
  const chunk = (lines: string[]): Uint8Array => {
    const bytes = encoder.encode(lines.map((line) => `${line}\n`).join(''))
    count += lines.length
    hash.update(bytes)
    return bytes
  }
  const row = await env.DB.prepare('SELECT name, plan_id, external_id FROM tenants WHERE tenant_id = ?')
    .bind(tenantId)
    .first<ListedTenant>()
  const names = { name: row?.name ?? tenantId, externalId: row?.external_id ?? null, planId: row?.plan_id ?? null }
  const format = { export: 'tramontane-tenant', format: exportFormat, schema: schema.length } as const
  const head: ExportHead = { ...format, tenantId, ...names, exportedAt: now, responses }
  yield chunk([JSON.stringify(head)])
  const members = await env.DB.prepare('SELECT member, role, added_at FROM members WHERE tenant_id = ?')
    .bind(tenantId)
    .all<Record<string, string | number>>()
  yield chunk(members.results.map((each) => JSON.stringify({ store: 'operator', table: 'members', row: each })))
  const stores: ['tenant' | 'responses', (cursor: ExportCursor | null) => Promise<ExportPage>][] = [
    ['tenant', (cursor) => tenantStub(env, tenantId).exportPage(cursor)],
  ]
  if (responses) stores.push(['responses', (cursor) => responsesStub(env, tenantId).exportPage(cursor)])
  for (const [store, page] of stores) {
    let cursor: ExportCursor | null = null
    let stamp: string | undefined
    do {
      const read: ExportPage = await page(cursor)
      stamp ??= read.stamp
      if (read.stamp !== stamp) unchanged = false
      cursor = read.next
      // A row’s text begins with its table.
      yield chunk(read.lines.map((line) => `{"store":"${store}",${line.slice(1)}`))
    } while (cursor !== null)
  }
  const end: ExportEnd = { end: true, lines: count, sha256: hash.digest('hex'), unchanged }
  yield encoder.encode(`${JSON.stringify(end)}\n`)
  return undefined
}
