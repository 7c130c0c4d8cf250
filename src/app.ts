/** The gateway as one application: all routes, request ids, and the shapes of errors. */
import { type Context, Hono } from 'hono'
import { getPath } from 'hono/utils/url'
import { newRequestId } from './chat/context.ts'
import { errorResponse } from './dialects/error-response.ts'
import { errorsOf } from './dialects/registry.ts'
import { GatewayError } from './http/errors.ts'
import { notServed } from './http/not-served.ts'
import { mount } from './http/route.ts'
import { routePath } from './http/route-path.ts'
import { type Bindings, routes } from './routes.ts'

export const app = new Hono<Bindings>({ getPath: (request) => routePath(getPath(request)) })

// Chat routes set these headers themselves. Every other answer gets both names of the request id here.
app.use(async (context, next) => {
  context.set('requestId', newRequestId(Date.now()))
  await next()
  if (context.res.headers.has('x-request-id')) return
  context.header('x-request-id', context.get('requestId'))
  context.header('request-id', context.get('requestId'))
})

mount(app, routes)

const paths = [...new Set(routes.filter(({ auth }) => auth !== 'worker').map(({ path }) => path))]

app.notFound((context) => {
  const { method, path, raw } = context.req
  const failure = new GatewayError('unknown_url', notServed(method, path.slice(0, 200), paths))
  return errorResponse(failure, requestId(context), errorsOf(raw))
})

app.onError((error, context) => errorResponse(error, requestId(context), errorsOf(context.req.raw)))

function requestId(context: Context<Bindings>): string {
  return context.get('requestId') ?? newRequestId(Date.now())
}
