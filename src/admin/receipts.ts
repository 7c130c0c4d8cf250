/**
 * `/admin/receipts`: receipts that the edge refused. An operator lists them, settles one, with corrected counts if
 * necessary, or dismisses it. The settled cost stays within the request's bound.
 */

import { Hono } from 'hono'
import { z } from 'zod'
import { faultText, readFields } from '../../backends/model/field-fault.ts'
import { Counts } from '../../backends/model/money.ts'
import { Receipt } from '../../backends/wire/receipt.ts'
import { GatewayError } from '../http/errors.ts'
import { onePage, parse, read } from '../http/parse.ts'
import { dropRefused, findRefused, markSettled, type RefusedRow } from '../settlement/refused-receipts.ts'
import { accept, tenantStub } from '../tenant/stub.ts'
import { type AdminContext, type AdminEnv, note } from './context.ts'
import { needs } from './guard.ts'

const Id = z.string().min(1).max(64)

export const ReceiptsQuery = z.object({
  workerId: Id.optional(),
  tenantId: Id.optional(),
  requestId: Id.optional(),
  state: z.enum(['refused', 'settled']).optional(),
  limit: z.coerce.number().pipe(z.int().min(1).max(1_000)).default(100),
  /** The `next` of the previous page. */
  before: z.coerce.number().pipe(z.int().min(1)).default(Number.MAX_SAFE_INTEGER),
})

/** Required only when two workers sent a receipt with the same dispatch id. */
export const ReceiptQuery = z.object({ workerId: Id.optional() })

export const SettleReceipt = z.strictObject({
  workerId: Id.exactOptional(),
  /** Replace the receipt's counts. */
  counts: z.strictObject(Counts.shape).exactOptional(),
})

/** The fields of a refused receipt that the ledger needs. Cost and rates come from the tenant. */
const Names = Receipt.pick({
  ...{ requestId: true, dispatchId: true, tenantId: true, workerId: true, model: true, pool: true, effort: true },
  ...{ outcome: true, finishReason: true, startedAt: true, endedAt: true, firstTokenMs: true, engine: true },
})

export const receipts = new Hono<AdminEnv>()

receipts.get('/', needs('tenants:read'), async (context) => {
  const { limit, before, ...filter } = parse(context.req.query(), ReceiptsQuery)
  const rows = await findRefused(context.env.DB, filter, before, limit + 1)
  return context.json(onePage(rows.map(view), limit, (row) => row.seq))
})

receipts.get('/:dispatchId', needs('tenants:read'), async (context) => {
  const row = await findOne(context, parse(context.req.query(), ReceiptQuery).workerId)
  return context.json(view(row))
})

/** Repeating it changes nothing: a dispatch has at most one entry. */
receipts.post('/:dispatchId/settle', needs('money:write'), async (context) => {
  const { workerId, counts } = await read(context.req.raw, SettleReceipt)
  const row = await findOne(context, workerId)
  note(context, { target: row.dispatchId, before: view(row), ...(row.tenantId !== null && { tenantId: row.tenantId }) })
  const claims: unknown = JSON.parse(row.receipt)
  const names = Names.safeParse(claims)
  if (!names.success) {
    const message = `${names.error.issues[0]?.path.join('.')}: this receipt cannot be settled. Dismiss it, or correct the account with POST /admin/tenants/{tenantId}/corrections.`
    throw new GatewayError('conflict', message)
  }
  const { tenantId, ...run } = names.data
  const used = counts ?? countsOf(claims)
  const settled = accept(await tenantStub(context.env, tenantId).settleRefused({ ...run, counts: used }))
  await markSettled(context.env.DB, row.seq)
  note(context, { after: { counts: used, ...settled } })
  return context.json({ dispatchId: row.dispatchId, tenantId, ...settled })
})

receipts.delete('/:dispatchId', needs('money:write'), async (context) => {
  const row = await findOne(context, parse(context.req.query(), ReceiptQuery).workerId)
  note(context, { target: row.dispatchId, before: view(row), ...(row.tenantId !== null && { tenantId: row.tenantId }) })
  await dropRefused(context.env.DB, row.seq)
  return context.body(null, 204)
})

async function findOne(context: AdminContext, workerId: string | undefined): Promise<RefusedRow> {
  const dispatchId = context.req.param('dispatchId') ?? ''
  const [row, other] = await findRefused(context.env.DB, { dispatchId, workerId }, Number.MAX_SAFE_INTEGER, 2)
  if (!row)
    throw new GatewayError('not_found', 'Refused receipt not found. List refused receipts with GET /admin/receipts.')
  if (other) {
    const message = `workerId: ${row.workerId} and ${other.workerId} both sent a receipt for this dispatch. Name one of them.`
    throw new GatewayError('conflict', message, { param: 'workerId' })
  }
  return row
}

function countsOf(claims: unknown): Counts {
  const read = readFields(z.object({ counts: Counts }), claims)
  if (read.ok) return read.data.counts
  const message = `${faultText(read.fault)} Send counts within the request's bound.`
  throw new GatewayError('invalid_value', message, { param: 'counts' })
}

function view({ receipt, ...row }: RefusedRow) {
  return { ...row, receipt: JSON.parse(receipt) as unknown }
}
