/**
 * Cross-origin requests. A preflight carries no key, so its tenant is unknown: every preflight is accepted, which only
 * lets the page send its request. The tenant's setting `cors_origins` decides whether a page may read an answer,
 * refusals included. Requests without an `origin` header pass unchanged.
 */

import { routePath } from './route-path.ts'

type Handler<Env> = (request: Request, env: Env, context: ExecutionContext) => Response | Promise<Response>
/** The origins whose pages may read the answers to a request's key. */
type OriginsOf<Env> = (headers: Headers, env: Env) => Promise<string[]>

const forBrowsers = /^\/(mistral\/)?v1\//
const preflightS = 7_200
const requestHeadersMax = 2_048
/** A host name has at most 253 characters. */
const originMax = 300

/** Headers that a page may read in addition to the CORS-safelisted ones. */
const exposed = [
  'x-request-id',
  'request-id',
  'retry-after',
  'x-should-retry',
  'openai-processing-ms',
  'idempotency-replayed',
  'deprecation',
  'x-ratelimit-limit-requests',
  'x-ratelimit-remaining-requests',
  'x-ratelimit-reset-requests',
  'x-ratelimit-limit-tokens',
  'x-ratelimit-remaining-tokens',
  'x-ratelimit-reset-tokens',
  'x-tramontane-effort',
  'x-tramontane-effort-asked',
  'x-tramontane-model',
  'x-tramontane-pool',
  'x-tramontane-warnings',
].join(', ')

export function crossOrigin<Env>(next: Handler<Env>, originsOf: OriginsOf<Env>): Handler<Env> {
  return (request, env, context) => {
    const origin = request.headers.get('origin')
    if (origin === null || !forBrowsers.test(routePath(new URL(request.url).pathname)))
      return next(request, env, context)
    if (request.method === 'OPTIONS' && request.headers.has('access-control-request-method')) return preflight(request)
    return answered(
      origin,
      () => next(request, env, context),
      () => originsOf(request.headers, env),
    )
  }
}

function preflight(request: Request): Response {
  const requested = request.headers.get('access-control-request-headers') ?? ''
  return new Response(null, {
    status: 204,
    headers: {
      'access-control-allow-origin': '*',
      'access-control-allow-methods': 'GET, POST, DELETE',
      // `*` does not cover `authorization`.
      'access-control-allow-headers': requested.length <= requestHeadersMax ? requested : 'authorization, content-type',
      'access-control-max-age': String(preflightS),
    },
  })
}

async function answered(
  origin: string,
  next: () => Response | Promise<Response>,
  originsOf: () => Promise<string[]>,
): Promise<Response> {
  const [response, origins] = await Promise.all([next(), originsOf().catch((): string[] => [])])
  const readable = origin.length <= originMax && (origins.includes('*') || origins.includes(origin))
  const headers = new Headers(response.headers)
  headers.append('vary', 'origin')
  if (readable) {
    headers.set('access-control-allow-origin', origin)
    headers.set('access-control-expose-headers', exposed)
  }
  const { status, statusText, body } = response
  return new Response(body, { status, statusText, headers })
}
