/** The routes. Each is a shell of a few lines around its room. */
import { type Context, Hono } from 'hono'
import { budgets } from '../backends/protocol/budgets.ts'
import { heartbeatPath } from '../backends/protocol/heartbeat.ts'
import { receiptsPath } from '../backends/protocol/receipt.ts'
import { admin } from './admin/admin.ts'
import { ownKeys, ownLimits, ownUsage } from './admin/own.ts'
import { keptResponses } from './answers/routes.ts'
import { authenticate } from './auth/authenticate.ts'
import { identifyReader } from './auth/key-check.ts'
import { chat } from './chat.ts'
import { countTokens } from './dispatch/count-tokens.ts'
import { docs } from './docs/docs.ts'
import { type Env, settings } from './env.ts'
import { errorResponse, GatewayError } from './errors.ts'
import { type Line, newRequestId, startLine } from './line.ts'
import { anthropicModel, anthropicModels, listModels, showModel } from './models.ts'
import { reference } from './reference/reference.ts'
import { isReady } from './routing/health.ts'
import { takeHeartbeat } from './routing/heartbeats.ts'
import { settleReceipts } from './settlement/receipts.ts'
import { readJsonBody } from './shaping/body.ts'
import { messages } from './surfaces/messages/surface.ts'
import { responses } from './surfaces/responses/surface.ts'
import { notServed } from './surfaces/served.ts'
import type { Surface } from './surfaces/surface.ts'
import { errorsOf, isAnthropic, surfaces } from './surfaces/surfaces.ts'

type Bindings = { Bindings: Env; Variables: { requestId: string } }

export const app = new Hono<Bindings>()

for (const [path, surface] of Object.entries(surfaces)) {
  app.post(path, async (context) => {
    const line = await begin(context, surface)
    const answer = chat(context.req.raw, line)
    // Held from the start: when a client leaves, workerd drops whatever is not.
    line.waitUntil(answer.catch(() => undefined))
    return answer
  })
}

app.post('/v1/messages/count_tokens', async (context) => {
  return countTokens(context.req.raw, await begin(context, messages))
})

app.post('/v1/responses/input_tokens', async (context) => {
  return countTokens(context.req.raw, await begin(context, responses))
})

// Behind the line, which sets its own: everything else answers with both names of its request id.
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

/** The models that this key may ask. */
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

app.route('/v1/responses', keptResponses)
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

async function begin(context: Context<Bindings>, surface: Surface): Promise<Line> {
  const { executionCtx, env, req } = context
  const line = startLine(req.raw, surface, env, await settings(env), (work) => executionCtx.waitUntil(work), Date.now())
  context.set('requestId', line.requestId)
  return line
}

function requestId(context: Context<Bindings>): string {
  return context.get('requestId') ?? newRequestId(Date.now())
}
