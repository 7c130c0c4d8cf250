/** Stored responses: `GET` and `DELETE /v1/responses/{id}`, and the input items of a response. */
import { type Context, Hono } from 'hono'
import { z } from 'zod'
import { authenticate } from '../auth/authenticate.ts'
import { type ConfigVariables, settings } from '../config.ts'
import { GatewayError } from '../http/errors.ts'
import { parse } from '../http/parse.ts'
import { accept, type TenantBinding, tenantStub } from '../tenant/stub.ts'
import type { ResponsesObject } from './responses-object.ts'
import { type ResponsesBinding, responsesStub } from './stub.ts'

interface ResponsesEnv extends ConfigVariables, TenantBinding, ResponsesBinding {}

type AnswersContext = Context<{ Bindings: ResponsesEnv }>

export const storedResponses = new Hono<{ Bindings: ResponsesEnv }>()

storedResponses.get('/:id', async (context) => {
  if (context.req.query('stream') === 'true')
    throw new GatewayError('invalid_value', 'stream: is not supported when retrieving a stored response. Remove it.', {
      param: 'stream',
    })
  const { stub, id } = await find(context)
  const body = (await stub.body(id)) ?? refuseMissing(id)
  return context.body(body, 200, { 'content-type': 'application/json' })
})

storedResponses.delete('/:id', async (context) => {
  const { stub, id } = await find(context)
  if (!(await stub.forget(id))) refuseMissing(id)
  return context.json({ id, object: 'response', deleted: true })
})

export const ItemsPage = z.object({
  limit: z.coerce.number().pipe(z.int().min(1).max(100)).default(20),
  after: z.string().max(200).optional(),
  order: z.enum(['asc', 'desc']).default('desc'),
})

storedResponses.get('/:id/input_items', async (context) => {
  const { stub, id } = await find(context)
  const { limit, after, order } = parse(context.req.query(), ItemsPage)
  const sent = JSON.parse((await stub.input(id)) ?? refuseMissing(id)) as object[]
  // An item without an id gets one from its position.
  const items = sent.map((item, index) => ({
    id: `item_${id.slice(5)}${index.toString(16).padStart(4, '0')}`,
    ...item,
  }))
  if (order === 'desc') items.reverse()
  const start = after === undefined ? 0 : items.findIndex((item) => item.id === after) + 1
  const data = items.slice(start, start + limit)
  return context.json({
    object: 'list',
    data,
    first_id: data[0]?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
    has_more: start + limit < items.length,
  })
})

/** Each tenant has its own object, which contains no other tenant's responses. */
async function find(context: AnswersContext): Promise<{ stub: DurableObjectStub<ResponsesObject>; id: string }> {
  const { macKey } = await settings(context.env)
  const { tenantId, keyId, secretHash } = await authenticate(context.req.raw.headers, macKey)
  accept(await tenantStub(context.env, tenantId).identify({ kind: 'key', keyId, secretHash }, 'ask'))
  const id = context.req.param('id') ?? ''
  return { stub: responsesStub(context.env, tenantId), id: /^resp_[0-9a-f]{32}$/.test(id) ? id : refuseMissing(id) }
}

function refuseMissing(id: string): never {
  const message = `Response ${id.slice(0, 64)} not found. It may have been deleted or expired, or was not stored.`
  throw new GatewayError('not_found', message, { param: 'response_id' })
}
