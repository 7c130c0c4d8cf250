/** `/admin/tenants/:tenantId/{credits,reversals,corrections}`: the operator posts money, each time with a unique id. */

import { z } from 'zod'
import type { Route } from '../http/route.ts'
import type { MoneyEntry } from '../tenant/credits.ts'
import { accept, tenantStub } from '../tenant/stub.ts'
import { PostedMoney } from './answers/tenants.ts'
import { type AdminContext, note } from './context.ts'
import { operatorRoute } from './operator-route.ts'
import { RequestId, TenantId } from './parameters.ts'

const OrderId = z
  .string()
  .regex(/^[\w.:-]{1,64}$/, 'must be 1 to 64 letters, digits or . _ : -, such as an invoice number')
  .describe('Your id for this entry, such as an invoice number: 1 to 64 letters, digits or . _ : -')
  .meta({ examples: ['invoice-2026-0042'] })
const Note = z
  .string()
  .min(1)
  .max(500)
  .describe('Reason for the entry, 1 to 500 characters.')
  .meta({ examples: ['Paid by bank transfer'] })
/** One million dollars in one request. */
const nanoMax = 1_000_000 * 1e9

const Credit = z
  .strictObject({
    id: OrderId,
    creditNano: z
      .int()
      .min(1)
      .max(nanoMax)
      .describe('Credit to add in nano-dollars, from 1 to 1,000,000,000,000,000, one million dollars.')
      .meta({ examples: [100_000_000_000] }),
    note: Note,
  })
  .meta({ id: 'AddCredit' })
const Correction = z
  .strictObject({
    id: OrderId,
    costNano: z
      .int()
      .min(-nanoMax)
      .max(nanoMax)
      .describe(
        'Cost to add in nano-dollars, at most one million dollars; negative for a refund, of at most what was charged.',
      )
      .meta({ examples: [-2_500_000] }),
    requestId: RequestId.nullable()
      .default(null)
      .describe('Id of the request that is corrected. Null: none.')
      .meta({ examples: ['req_019ad0c2f4b7e8a1903c5d6e7f8091a2'] }),
    note: Note,
  })
  .meta({ id: 'AddCorrection' })

const Reversal = z
  .strictObject({
    id: OrderId,
    creditId: OrderId.describe('The id of the credit that is reversed; `opening-credit` for that of a new tenant.'),
    creditNano: z
      .int()
      .min(1)
      .max(nanoMax)
      .describe('Amount to take back in nano-dollars: at most the part of the credit that is not spent or reversed.')
      .meta({ examples: [100_000_000_000] }),
    note: Note,
  })
  .meta({ id: 'ReverseCredit' })

const repeated = { status: 200, answer: PostedMoney, description: 'The id was posted before' } as const

export const money: readonly Route[] = [
  operatorRoute(
    {
      method: 'post',
      path: '/admin/tenants/{tenantId}/credits',
      params: { tenantId: TenantId },
      id: 'addCredit',
      tag: 'Money',
      summary: 'Add credit',
      description: 'Each id is posted once. Repeating a request posts nothing more.',
      scope: 'money:write',
      body: Credit,
      status: 201,
      otherAnswers: [repeated],
      answer: PostedMoney,
    },
    async (context, { body }) => {
      const { id, creditNano, note: text } = body
      return post(context, { ...orderOf(id, 'credit', creditNano), note: text })
    },
  ),
  operatorRoute(
    {
      method: 'post',
      path: '/admin/tenants/{tenantId}/reversals',
      params: { tenantId: TenantId },
      id: 'reverseCredit',
      tag: 'Money',
      summary: 'Reverse a credit',
      description:
        'For a credit that was a mistake or was paid back. A reversal is no usage: the webhook does not report it.',
      scope: 'money:write',
      body: Reversal,
      status: 201,
      otherAnswers: [repeated],
      answer: PostedMoney,
    },
    async (context, { body }) => {
      const { id, creditId, creditNano, note: text } = body
      return post(context, { ...orderOf(id, 'reversal', creditNano), creditId, note: text })
    },
  ),
  operatorRoute(
    {
      method: 'post',
      path: '/admin/tenants/{tenantId}/corrections',
      params: { tenantId: TenantId },
      id: 'addCorrection',
      tag: 'Money',
      summary: 'Add a charge or a refund',
      description: 'Each id is posted once. Repeating a request posts nothing more.',
      scope: 'money:write',
      body: Correction,
      status: 201,
      otherAnswers: [repeated],
      answer: PostedMoney,
    },
    async (context, { body }) => {
      const { id, costNano, requestId, note: text } = body
      return post(context, { ...orderOf(id, 'correction', costNano), requestId, note: text })
    },
  ),
]

function orderOf(orderId: string, kind: MoneyEntry['kind'], amountNano: number): Omit<MoneyEntry, 'note'> {
  return { orderId, kind, amountNano, requestId: null, creditId: null }
}

async function post(context: AdminContext, entry: MoneyEntry): Promise<Response | object> {
  note(context, { target: entry.orderId, after: entry })
  const { seq, repeated } = accept(await tenantStub(context.env, context.req.param('tenantId') ?? '').postMoney(entry))
  const posted = { id: entry.orderId, entry: seq, repeated }
  return repeated ? context.json(posted) : posted
}
