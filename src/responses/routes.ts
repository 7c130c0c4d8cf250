/** Stored responses: `GET` and `DELETE /v1/responses/{id}`, and the input items of a response. */
import type { Context, MiddlewareHandler } from 'hono'
import { z } from 'zod'
import { authenticate } from '../auth/authenticate.ts'
import { type ConfigVariables, settings } from '../config.ts'
import { DeletedResponse, InputItemList, ResponseAnswer } from '../dialects/openai-responses/answer.ts'
import { GatewayError } from '../http/errors.ts'
import { type Route, routesIn } from '../http/route.ts'
import { accept, type TenantBinding, tenantStub } from '../tenant/stub.ts'
import type { ResponsesObject } from './responses-object.ts'
import { type ResponsesBinding, responsesStub } from './stub.ts'

interface ResponsesEnv extends ConfigVariables, TenantBinding, ResponsesBinding {}

interface StoredEnv {
  Bindings: ResponsesEnv
  Variables: { tenantId: string }
}

type AnswersContext = Context<StoredEnv>

const exampleId = 'resp_0195f3a2c4d17e6f8a9b0c1d2e3f4a5b'
const params = {
  id: z
    .string()
    .describe('The id of the response, from its field `id`.')
    .meta({ examples: [exampleId] }),
}

const ItemsPage = z.object({
  limit: z.coerce
    .number()
    .pipe(z.int().min(1).max(100))
    .default(20)
    .describe('The number of items in a page.')
    .meta({ examples: [20] }),
  after: z
    .string()
    .max(200)
    .optional()
    .describe('The id of the last item of the page before.')
    .meta({ examples: [`item_${exampleId.slice(5)}0003`] }),
  order: z
    .enum(['asc', 'desc'])
    .default('desc')
    .describe('By the place of the item: `desc` lists the last item first.')
    .meta({ examples: ['asc'] }),
})

const keyOnly: MiddlewareHandler<StoredEnv> = async (context, next) => {
  const { tenantId, ...key } = await authenticate(context.req.raw.headers, await settings(context.env))
  accept(await tenantStub(context.env, tenantId).identify({ kind: 'key', ...key }, 'ask'))
  context.set('tenantId', tenantId)
  await next()
}

const responsesRoute = routesIn<StoredEnv>()

export const storedResponses: readonly Route[] = [
  responsesRoute(
    {
      method: 'get',
      path: '/v1/responses/{id}',
      params,
      id: 'retrieveResponse',
      tag: 'Chat',
      summary: 'Retrieve a stored response',
      description:
        'Responses are stored for the number of days in the tenant’s setting `response_days`, unless the request has `store: false`.',
      auth: 'key',
      answer: ResponseAnswer,
    },
    async (context) => {
      if (context.req.query('stream') === 'true')
        throw new GatewayError(
          'invalid_value',
          'stream: is not supported when retrieving a stored response. Remove it.',
          {
            param: 'stream',
          },
        )
      const { stub, id } = find(context)
      const body = (await stub.body(id)) ?? refuseMissing(id)
      return context.body(body, 200, { 'content-type': 'application/json' })
    },
    [keyOnly],
  ),
  responsesRoute(
    {
      method: 'delete',
      path: '/v1/responses/{id}',
      params,
      id: 'deleteResponse',
      tag: 'Chat',
      summary: 'Delete a stored response',
      description: 'Deleting a response also ends every conversation that continues from it.',
      auth: 'key',
      answer: DeletedResponse,
    },
    async (context) => {
      const { stub, id } = find(context)
      if (!(await stub.forget(id))) refuseMissing(id)
      return context.json({ id, object: 'response', deleted: true })
    },
    [keyOnly],
  ),
  responsesRoute(
    {
      method: 'get',
      path: '/v1/responses/{id}/input_items',
      params,
      id: 'listResponseInputItems',
      tag: 'Chat',
      summary: 'List the input items of a stored response',
      auth: 'key',
      query: ItemsPage,
      answer: InputItemList,
    },
    async (context, { query }) => {
      const { stub, id } = find(context)
      const { limit, after, order } = query
      const sent = JSON.parse((await stub.input(id)) ?? refuseMissing(id)) as SentItem[]
      const items = sent.map((item, index) => listed(item, `item_${id.slice(5)}${index.toString(16).padStart(4, '0')}`))
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
    },
    [keyOnly],
  ),
]

type SentItem = Record<string, unknown>

/** An item with an id and a type, which clients may leave out. */
function listed(item: SentItem, defaultId: string): SentItem & { id: string; type: string } {
  return {
    ...item,
    id: typeof item.id === 'string' ? item.id : defaultId,
    type: typeof item.type === 'string' ? item.type : 'message',
  }
}

/** Each tenant has its own object, which contains no other tenant's responses. */
function find(context: AnswersContext): { stub: DurableObjectStub<ResponsesObject>; id: string } {
  const id = context.req.param('id') ?? ''
  const stub = responsesStub(context.env, context.get('tenantId'))
  return { stub, id: /^resp_[0-9a-f]{32}$/.test(id) ? id : refuseMissing(id) }
}

function refuseMissing(id: string): never {
  const message = `Response ${id.slice(0, 64)} not found. It may have been deleted or expired, or was not stored.`
  throw new GatewayError('not_found', message, { param: 'response_id' })
}
