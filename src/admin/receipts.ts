/**
 * `/admin/receipts`: receipts that the edge refused. An operator lists them, settles one, with corrected counts if
 * necessary, or dismisses it. The settled cost stays within the request's bound.
 */

import { z } from 'zod'
import { budgets } from '../../backends/model/budgets.ts'
import { faultText, readFields } from '../../backends/model/field-fault.ts'
import { Counts } from '../../backends/model/money.ts'
import { Receipt } from '../../backends/wire/receipt.ts'
import { GatewayError } from '../http/errors.ts'
import { onePage, PageBefore } from '../http/page.ts'
import type { Route } from '../http/route.ts'
import { dropRefused, findRefused, markSettled, type RefusedRow } from '../settlement/refused-receipts.ts'
import { accept, tenantStub } from '../tenant/stub.ts'
import { RefusedReceiptAnswer, RefusedReceiptList, SettledReceipt } from './answers/workers.ts'
import { type AdminContext, note } from './context.ts'
import { operatorRoute } from './operator-route.ts'
import { DispatchId } from './parameters.ts'

const named = (what: string, example: string) =>
  z
    .string()
    .min(1)
    .max(64)
    .describe(`${what}, 1 to 64 characters.`)
    .meta({ examples: [example] })

const ReceiptsQuery = PageBefore.extend({
  workerId: named('Only receipts of this worker: its id', 'gpu-1').optional(),
  tenantId: named('Only receipts that name this tenant: its id', 'acme').optional(),
  requestId: named('Only receipts that name this request: its id', 'req_019ad0c2f4b7e8a1903c5d6e7f8091a2').optional(),
  state: z
    .enum(['refused', 'settled'])
    .optional()
    .describe('Only receipts in this state.')
    .meta({ examples: ['refused'] }),
})

const sender = named('Id of the worker. Required only if two workers sent a receipt for this dispatch', 'gpu-1')
const ReceiptQuery = z.object({ workerId: sender.optional() })

const counted = (what: string, example: number) =>
  Counts.shape.promptTokens
    .describe(`${what}, 0 to ${budgets.requestTokens.value.toLocaleString('en-US')}.`)
    .meta({ examples: [example] })

const SettleReceipt = z
  .strictObject({
    workerId: sender.exactOptional(),
    counts: z
      .strictObject({
        promptTokens: counted('Prompt tokens', 1_200),
        cachedTokens: counted('Prompt tokens that came from the cache', 800),
        outputTokens: counted('Output tokens', 240),
        reasoningTokens: counted('Output tokens that are reasoning', 100),
      })
      .exactOptional()
      .describe('Counts in place of those of the receipt. Left out: those of the receipt.'),
  })
  .meta({ id: 'SettleReceipt' })

/** The fields of a refused receipt that the ledger needs. Cost and rates come from the tenant. */
const Names = Receipt.pick({
  ...{ requestId: true, dispatchId: true, tenantId: true, workerId: true, model: true, pool: true, effort: true },
  ...{ outcome: true, finishReason: true, startedAt: true, endedAt: true, firstTokenMs: true, engine: true },
})

export const receipts: readonly Route[] = [
  operatorRoute(
    {
      method: 'get',
      path: '/admin/receipts',
      id: 'listRefusedReceipts',
      tag: 'Workers',
      summary: 'List receipts that the gateway refused, newest first',
      description: 'Each has its reason, worker and content. The oldest receipts of a worker are dropped first.',
      scope: 'tenants:read',
      query: ReceiptsQuery,
      answer: RefusedReceiptList,
    },
    async (context, { query }) => {
      const { limit, before, ...filter } = query
      const rows = await findRefused(context.env.DB, filter, before, limit + 1)
      return onePage(rows.map(view), limit, (row) => row.seq)
    },
  ),
  operatorRoute(
    {
      method: 'get',
      path: '/admin/receipts/{dispatchId}',
      params: { dispatchId: DispatchId },
      id: 'retrieveRefusedReceipt',
      tag: 'Workers',
      summary: 'Retrieve a refused receipt',
      scope: 'tenants:read',
      query: ReceiptQuery,
      answer: RefusedReceiptAnswer,
    },
    async (context, { query }) => {
      const row = await findOne(context, query.workerId)
      return view(row)
    },
  ),
  /** Repeating it changes nothing: a dispatch has at most one entry. */
  operatorRoute(
    {
      method: 'post',
      path: '/admin/receipts/{dispatchId}/settle',
      params: { dispatchId: DispatchId },
      id: 'settleReceipt',
      tag: 'Workers',
      summary: 'Settle a refused receipt, optionally with corrected counts',
      description:
        'The tenant’s own prices apply, and the cost stays within the request’s reservation. Repeating a request posts nothing more.',
      scope: 'money:write',
      body: SettleReceipt,
      answer: SettledReceipt,
    },
    async (context, { body }) => {
      const { workerId, counts } = body
      const row = await findOne(context, workerId)
      note(context, {
        target: row.dispatchId,
        before: view(row),
        ...(row.tenantId !== null && { tenantId: row.tenantId }),
      })
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
      return { dispatchId: row.dispatchId, tenantId, ...settled }
    },
  ),
  operatorRoute(
    {
      method: 'delete',
      path: '/admin/receipts/{dispatchId}',
      params: { dispatchId: DispatchId },
      id: 'dismissReceipt',
      tag: 'Workers',
      summary: 'Dismiss a refused receipt',
      scope: 'money:write',
      query: ReceiptQuery,
      status: 204,
      answer: 'nothing',
    },
    async (context, { query }) => {
      const row = await findOne(context, query.workerId)
      note(context, {
        target: row.dispatchId,
        before: view(row),
        ...(row.tenantId !== null && { tenantId: row.tenantId }),
      })
      await dropRefused(context.env.DB, row.seq)
      return context.body(null, 204)
    },
  ),
]

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
