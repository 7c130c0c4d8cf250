/**
 * Refused receipts in the operator's database. Each worker has a bounded share, because a dishonest worker may send any
 * number. Over its share, the worker's own oldest rows are dropped; other workers' rows stay.
 */
import { budgets } from '../../backends/model/budgets.ts'
import { cleanText } from '../../backends/model/clean-text.ts'
import type { ReceiptNames } from '../../backends/wire/receipt.ts'

export interface RefusedReceipt {
  /** The worker that sealed it. */
  workerId: string
  dispatchId: string
  reason: string
  /** The receipt's content. */
  claims: ReceiptNames
}

export interface RefusedRow {
  seq: number
  workerId: string
  dispatchId: string
  tenantId: string | null
  requestId: string | null
  reason: string
  receipt: string
  state: 'refused' | 'settled'
  firstAt: number
  lastAt: number
  times: number
}

export interface RefusedFilter {
  workerId?: string | undefined
  tenantId?: string | undefined
  requestId?: string | undefined
  dispatchId?: string | undefined
  state?: RefusedRow['state'] | undefined
}

const columns = `seq, worker_id AS workerId, dispatch_id AS dispatchId, tenant_id AS tenantId, request_id AS requestId,
  reason, receipt, state, first_at AS firstAt, last_at AS lastAt, times`
const idCharactersMax = 64

/** Records one worker's receipts. A repeated receipt raises its count; a settled one stays settled. */
export async function recordRefused(db: D1Database, receipts: readonly RefusedReceipt[], now: number): Promise<void> {
  const workerId = receipts[0]?.workerId ?? ''
  const rows = receipts.map(({ dispatchId, reason, claims }) => ({
    dispatchId: cleanText(dispatchId, idCharactersMax),
    reason,
    tenantId: idOf(claims.tenantId),
    requestId: idOf(claims.requestId),
    receipt: JSON.stringify(claims),
  }))
  const insert = db.prepare(
    `INSERT INTO refused_receipts (worker_id, dispatch_id, tenant_id, request_id, reason, receipt, first_at, last_at)
      SELECT ?1, value ->> 'dispatchId', value ->> 'tenantId', value ->> 'requestId', value ->> 'reason',
        value ->> 'receipt', ?3, ?3 FROM json_each(?2) WHERE true
      ON CONFLICT DO UPDATE SET reason = excluded.reason, receipt = excluded.receipt, last_at = excluded.last_at,
        times = times + 1`,
  )
  const dropOwn = db.prepare(
    `DELETE FROM refused_receipts WHERE worker_id = ?1 AND seq <=
      (SELECT seq FROM refused_receipts WHERE worker_id = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)`,
  )
  const dropOldest = db.prepare(
    'DELETE FROM refused_receipts WHERE seq <= (SELECT seq FROM refused_receipts ORDER BY seq DESC LIMIT 1 OFFSET ?)',
  )
  await db.batch([
    insert.bind(workerId, JSON.stringify(rows), now),
    dropOwn.bind(workerId, budgets.refusedReceiptsPerWorker.value),
    dropOldest.bind(budgets.refusedReceipts.value),
  ])
}

/** Rows before `before`, newest first. */
export async function findRefused(
  db: D1Database,
  filter: RefusedFilter,
  before: number,
  limit: number,
): Promise<RefusedRow[]> {
  const filters = [
    ['worker_id', filter.workerId],
    ['tenant_id', filter.tenantId],
    ['request_id', filter.requestId],
    ['dispatch_id', filter.dispatchId],
    ['state', filter.state],
  ].filter((pair): pair is [string, string] => pair[1] !== undefined)
  const where = ['seq < ?', ...filters.map(([column]) => `${column} = ?`)].join(' AND ')
  const { results } = await db
    .prepare(`SELECT ${columns} FROM refused_receipts WHERE ${where} ORDER BY seq DESC LIMIT ?`)
    .bind(before, ...filters.map(([, value]) => value), limit)
    .all<RefusedRow>()
  return results
}

export async function markSettled(db: D1Database, seq: number): Promise<void> {
  await db.prepare(`UPDATE refused_receipts SET state = 'settled' WHERE seq = ?`).bind(seq).run()
}

export async function dropRefused(db: D1Database, seq: number): Promise<void> {
  await db.prepare('DELETE FROM refused_receipts WHERE seq = ?').bind(seq).run()
}

function idOf(value: unknown): string | null {
  return typeof value === 'string' ? cleanText(value, idCharactersMax) : null
}
