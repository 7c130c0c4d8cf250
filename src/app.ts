/** The gateway's routes. Each handler only connects HTTP to one module. */
import { type Context, Hono } from 'hono'
import { budgets } from '../backends/model/budgets.ts'
import { heartbeatPath } from '../backends/wire/heartbeat.ts'
import { receiptsPath } from '../backends/wire/receipt.ts'
import { ownKeys, ownLimits, ownUsage } from './account/routes.ts'
import { admin } from './admin/admin.ts'
import { authenticate } from './auth/authenticate.ts'
import { chat } from './chat/chat.ts'
import { newRequestId, type RequestContext, startRequest } from './chat/context.ts'
import { countTokens } from './chat/count-tokens.ts'
import { settings } from './config.ts'
import { messages } from './dialects/anthropic/dialect.ts'
import type { Dialect } from './dialects/dialect.ts'
import { errorResponse } from './dialects/error-response.ts'
import { responses } from './dialects/openai-responses/dialect.ts'
import { dialects, errorsOf, isAnthropic } from './dialects/registry.ts'
import { docs } from './docs/docs.ts'
import { reference } from './docs/texts.ts'
import type { Env } from './env.ts'
import { isReady } from './fleet/health.ts'
import { takeHeartbeat } from './fleet/heartbeats.ts'
import { readJsonBody } from './http/body.ts'
import { GatewayError } from './http/errors.ts'
import { anthropicModel, anthropicModels, listModels, showModel } from './http/models.ts'
import { notServed } from './http/not-served.ts'
import { storedResponses } from './responses/routes.ts'
import { settleReceipts } from './settlement/receipts.ts'
import { identifyReader } from './tenant/key-check.ts'

type Bindings = { Bindings: Env; Variables: { requestId: string } }

export const app = new Hono<Bindings>()

for (const [path, dialect] of Object.entries(dialects)) {
  app.post(path, async (context) => {
    const requestContext = await begin(context, dialect)
    const answer = chat(context.req.raw, requestContext)
    // Held from the start: when a client leaves, workerd drops all work that `waitUntil` does not hold.
    requestContext.waitUntil(answer.catch(() => undefined))
    return answer
  })
}

app.post('/v1/messages/count_tokens', async (context) => {
  return countTokens(context.req.raw, await begin(context, messages))
})

app.post('/v1/responses/input_tokens', async (context) => {
  return countTokens(context.req.raw, await begin(context, responses))
})

// Chat routes set these headers themselves. Every other answer gets both names of the request id here.
app.use(async (context, next) => {
  context.set('requestId', newRequestId(Date.now()))
  await next()
  if (context.res.headers.has('x-request-id')) return
  context.header('x-request-id', context.get('requestId'))
  context.header('request-id', context.get('requestId'))
})

for (const base of ['/v1/models', '/mistral/v1/models']) {
  app.get(base, async (context) => {
    const offered = await modelsOf(context)
    return context.json(isAnthropic(context.req.raw) ? anthropicModels(offered) : listModels(offered))
  })

  app.get(`${base}/:id`, async (context) => {
    const offered = await modelsOf(context)
    const show = isAnthropic(context.req.raw) ? anthropicModel : showModel
    return context.json(show(offered, context.req.param('id')))
  })
}

/** The models that this key may use. */
async function modelsOf({ env, req }: Context<Bindings>): Promise<readonly string[]> {
  const { models, macKey } = await settings(env)
  const key = await authenticate(req.raw.headers, macKey)
  const { models: allowed = null } = await identifyReader(env, key)
  return allowed ? models.filter((id) => allowed.includes(id)) : models
}

app.get('/healthz', async (context) => {
  await settings(context.env)
  const ready = await isReady(context.env)
  return context.json({ status: ready ? 'ok' : 'no worker is up' }, ready ? 200 : 503)
})

app.post(heartbeatPath, async (context) => {
  const body = await readJsonBody(context.req.raw, { bytesMax: budgets.internalBodyBytes.value })
  const after = (work: Promise<unknown>) => context.executionCtx.waitUntil(work)
  const { status, answer } = await takeHeartbeat(body.value, context.env, await settings(context.env), after)
  return context.json(answer, status)
})

app.post(receiptsPath, async (context) => {
  const body = await readJsonBody(context.req.raw, { bytesMax: budgets.internalBodyBytes.value })
  return context.json(await settleReceipts(body.value, context.env, await settings(context.env)))
})

app.route('/v1/responses', storedResponses)
app.route('/v1/usage', ownUsage)
app.route('/v1/limits', ownLimits)
app.route('/v1/keys', ownKeys)
app.route('/admin', admin)
app.route('/docs', docs)
app.route('/', reference)

app.notFound((context) => {
  const { method, path, raw } = context.req
  const failure = new GatewayError('unknown_url', notServed(method, path.slice(0, 200)))
  return errorResponse(failure, requestId(context), errorsOf(raw))
})

app.onError((error, context) => errorResponse(error, requestId(context), errorsOf(context.req.raw)))

async function begin(context: Context<Bindings>, dialect: Dialect): Promise<RequestContext> {
  const { executionCtx, env, req } = context
  const requestContext = startRequest(
    req.raw,
    dialect,
    env,
    await settings(env),
    (work) => executionCtx.waitUntil(work),
    Date.now(),
  )
  context.set('requestId', requestContext.requestId)
  return requestContext
}

function requestId(context: Context<Bindings>): string {
  return context.get('requestId') ?? newRequestId(Date.now())
}
