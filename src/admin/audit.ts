/**
 * `/admin/audit`: who changed what, newest first, as pages or as one file. A row without a status is a change that was
 * interrupted.
 */

import { z } from 'zod'
import { onePage, PageBefore } from '../http/page.ts'
import type { Route } from '../http/route.ts'
import { toSnake } from '../http/snake-case.ts'
import { utcMonths } from '../tenant/limits/calendar.ts'
import { accept } from '../tenant/stub.ts'
import { csvLine } from '../tenant/usage/csv.ts'
import { readTimeBounds, resolveBounds } from '../tenant/usage/time-bounds.ts'
import { AuditList } from './answers/operators.ts'
import { operatorRoute } from './operator-route.ts'

const text = (charactersMax: number) => z.string().min(1).max(charactersMax).optional()
const TimeParameter = z.string().max(40).optional()

const AuditQuery = PageBefore.extend({
  actor: text(100)
    .describe('Only changes by this actor, such as `operator:first` or `key:acme.k2v7mq3xw5ndab4e`.')
    .meta({ examples: ['operator:first'] }),
  action: text(200)
    .describe('Only this action: method and path of a route, or `failed sign-in`.')
    .meta({ examples: ['PATCH /admin/tenants/:tenantId'] }),
  tenantId: z
    .string()
    .max(64)
    .optional()
    .describe('Only changes of this tenant: its id, at most 64 characters.')
    .meta({ examples: ['acme'] }),
  target: text(512)
    .describe('Only changes of this target, such as the id of a key.')
    .meta({ examples: ['k2v7mq3xw5ndab4e'] }),
  from: TimeParameter.describe(
    'Only changes at or after this time: a date (UTC), a date-time or Unix milliseconds.',
  ).meta({
    examples: ['2026-11-01'],
  }),
  to: TimeParameter.describe('Only changes before this time: a date (UTC), a date-time or Unix milliseconds.').meta({
    examples: ['2026-12-01'],
  }),
  format: z
    .enum(['json', 'jsonl', 'csv'])
    .default('json')
    .describe('`jsonl` and `csv` return all matching rows as one file, without `limit`.')
    .meta({ examples: ['csv'] }),
})
type AuditFilter = Omit<z.infer<typeof AuditQuery>, 'from' | 'to'> & { from: number; to: number }

interface AuditRow {
  seq: number
  request_id: string
  at: number
  actor: string
  actor_name: string
  address: string | null
  action: string
  tenant_id: string | null
  target: string | null
  status: number | null
  before: string | null
  after: string | null
}

const rowsPerRead = 500
const csvColumns = [
  ...['seq', 'at', 'request_id', 'actor', 'actor_name', 'address', 'action', 'tenant_id', 'target', 'status'],
  ...['before', 'after'],
] as const

export const audit: readonly Route[] = [
  operatorRoute(
    {
      method: 'get',
      path: '/admin/audit',
      id: 'listAudit',
      tag: 'Operators',
      summary: 'List changes by operators and tenants, newest first',
      description: 'Failed sign-ins with operator keys are counted, in one row per address and hour.',
      scope: 'audit:read',
      query: AuditQuery,
      answer: AuditList,
      otherAnswers: [
        { status: 200, type: 'application/x-ndjson', answer: 'text' },
        { status: 200, type: 'text/csv', answer: 'text' },
      ],
    },
    async (context, { query }) => {
      const { DB } = context.env
      const { limit, before, format } = query
      const filter = { ...query, ...period(new URL(context.req.url).searchParams) }
      if (format !== 'json') return file(DB, filter, format)
      const rows = await read(DB, filter, before, limit + 1)
      return onePage(rows.map(view), limit, (row) => row.seq)
    },
  ),
]

/** In UTC. Without bounds, all time. */
function period(params: URLSearchParams): { from: number; to: number } {
  const bounds = readTimeBounds(params)
  if (bounds.from === null && bounds.to === null) return { from: 0, to: Number.MAX_SAFE_INTEGER }
  const now = Date.now()
  return accept(resolveBounds(bounds, utcMonths, now, now))
}

async function read(db: D1Database, query: AuditFilter, before: number, limit: number): Promise<AuditRow[]> {
  const { actor, action, tenantId, target, from, to } = query
  const filters: [string, string | number | undefined][] = [
    ['seq < ?', before],
    ['actor = ?', actor],
    ['action = ?', action],
    ['tenant_id = ?', tenantId],
    ['target = ?', target],
    ['at >= ?', from],
    ['at < ?', to],
  ]
  const used = filters.filter((filter): filter is [string, string | number] => filter[1] !== undefined)
  const where = used.map(([sql]) => sql).join(' AND ')
  const statement = db.prepare(`SELECT * FROM audit WHERE ${where} ORDER BY seq DESC LIMIT ?`)
  return (await statement.bind(...used.map(([, value]) => value), limit).all<AuditRow>()).results
}

/** All matching rows, read page by page as the client takes them. */
function file(db: D1Database, query: AuditFilter, format: 'jsonl' | 'csv'): Response {
  const encoder = new TextEncoder()
  let before = query.before
  let head = format === 'csv' ? csvLine(csvColumns) : ''
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const rows = await read(db, query, before, rowsPerRead)
      before = rows.at(-1)?.seq ?? before
      const lines = rows.map((row) =>
        format === 'csv' ? csvLine(csvCells(row)) : `${JSON.stringify(toSnake(view(row)))}\n`,
      )
      const chunk = head + lines.join('')
      head = ''
      if (chunk !== '') controller.enqueue(encoder.encode(chunk))
      if (rows.length < rowsPerRead) controller.close()
    },
  })
  const type = format === 'csv' ? 'text/csv; charset=utf-8' : 'application/x-ndjson'
  const headers = { 'content-type': type, 'cache-control': 'no-store' }
  return new Response(body, {
    headers: { ...headers, 'content-disposition': `attachment; filename="audit.${format}"` },
  })
}

function csvCells(row: AuditRow): (string | number | null)[] {
  const { before, after } = view(row)
  const written: Partial<Record<(typeof csvColumns)[number], string>> = {
    at: new Date(row.at).toISOString(),
    ...(row.before !== null && { before: JSON.stringify(toSnake(before)) }),
    ...(row.after !== null && { after: JSON.stringify(toSnake(after)) }),
  }
  return csvColumns.map((column) => written[column] ?? row[column])
}

function view(row: AuditRow) {
  return {
    seq: row.seq,
    at: row.at,
    requestId: row.request_id,
    actor: row.actor,
    actorName: row.actor_name,
    address: row.address,
    action: row.action,
    tenantId: row.tenant_id,
    target: row.target,
    status: row.status,
    before: row.before === null ? null : (JSON.parse(row.before) as unknown),
    after: row.after === null ? null : (JSON.parse(row.after) as unknown),
  }
}
