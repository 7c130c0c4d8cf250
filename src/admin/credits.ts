/** `/admin/tenants/:tenantId/{credits,corrections}`: the operator posts money, each time with a unique id. */

import { z } from 'zod'
import type { Route } from '../http/route.ts'
import type { MoneyEntry } from '../tenant/credits.ts'
import { accept, tenantStub } from '../tenant/stub.ts'
import { type AdminContext, note } from './context.ts'
import { operatorRoute } from './operator-route.ts'

const OrderId = z
  .string()
  .regex(/^[\w.:-]{1,64}$/, 'must be 1 to 64 letters, digits or . _ : -, such as an invoice number')
const Note = z.string().min(1).max(500)
/** One million dollars in one request. */
const nanoMax = 1_000_000 * 1e9

const Credit = z.strictObject({ id: OrderId, creditNano: z.int().min(1).max(nanoMax), note: Note })
const Correction = z.strictObject({
  id: OrderId,
  /** Added to the posted cost; negative for a refund. */
  costNano: z.int().min(-nanoMax).max(nanoMax),
  requestId: z.string().min(1).max(64).nullable().default(null),
  note: Note,
})

const repeated = { status: 200, answer: 'object', description: 'The id was posted before' } as const

export const money: readonly Route[] = [
  operatorRoute(
    {
      method: 'post',
      path: '/admin/tenants/{tenantId}/credits',
      id: 'addCredit',
      tag: 'Money',
      summary: 'Add credit',
      description: 'Each id is posted once. Repeating a request posts nothing more.',
      scope: 'money:write',
      body: Credit,
      status: 201,
      otherAnswers: [repeated],
    },
    async (context, { body }) => {
      const { id, creditNano, note: text } = body
      return post(context, { orderId: id, kind: 'credit', requestId: null, amountNano: creditNano, note: text })
    },
  ),
  operatorRoute(
    {
      method: 'post',
      path: '/admin/tenants/{tenantId}/corrections',
      id: 'addCorrection',
      tag: 'Money',
      summary: 'Add a charge or a refund',
      description: 'Each id is posted once. Repeating a request posts nothing more.',
      scope: 'money:write',
      body: Correction,
      status: 201,
      otherAnswers: [repeated],
    },
    async (context, { body }) => {
      const { id, costNano, requestId, note: text } = body
      return post(context, { orderId: id, kind: 'correction', requestId, amountNano: costNano, note: text })
    },
  ),
]

async function post(context: AdminContext, entry: MoneyEntry): Promise<Response> {
  note(context, { target: entry.orderId, after: entry })
  const { seq, repeated } = accept(await tenantStub(context.env, context.req.param('tenantId') ?? '').postMoney(entry))
  return context.json({ id: entry.orderId, entry: seq, repeated }, repeated ? 200 : 201)
}
