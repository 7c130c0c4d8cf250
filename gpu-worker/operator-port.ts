/**
 * What a worker says to its operator: `GET /metrics` and `GET /healthz`. Without the metrics key, the main port says only
 * whether the worker is ready. A second port, on the loopback address by default, says all and needs no key.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { budgets } from '../backends/model/budgets.ts'

export interface OperatorParts {
  /** Who sends it as a bearer token gets everything on the main port. */
  metricsKey?: string | undefined
  health: () => { status: string; [name: string]: unknown }
  render: () => string
}

/** On the main port. False where the route is another one. */
export function answerOperator(parts: OperatorParts, request: IncomingMessage, response: ServerResponse): boolean {
  if (request.method !== 'GET') return false
  const { metricsKey } = parts
  const allowed = metricsKey !== undefined && isKey(request.headers.authorization, metricsKey)
  if (request.url === '/healthz') health(parts, response, allowed)
  else if (request.url !== '/metrics') return false
  else if (allowed) metrics(parts, response)
  else if (metricsKey === undefined) refuse(response, 404, notServed)
  else refuse(response, 401, 'authorization: the metrics key is missing or wrong. Send it as a bearer token')
  return true
}

const notServed =
  'metrics: this port does not serve them. Set TRAMONTANE_METRICS_KEY and send it as a bearer token, or set TRAMONTANE_METRICS_PORT to serve them on a port of their own'

/** Everything on this port is for the operator. The caller listens. */
export function createOperatorServer(parts: OperatorParts): Server {
  const server = createServer({ headersTimeout: budgets.workerHeadersMs.value }, (request, response) => {
    if (request.method === 'GET' && request.url === '/healthz') health(parts, response, true)
    else if (request.method === 'GET' && request.url === '/metrics') metrics(parts, response)
    else refuse(response, 404, 'this port serves GET /metrics and GET /healthz')
  })
  server.maxConnections = budgets.workerUnprovenConnections.value
  return server
}

function health(parts: OperatorParts, response: ServerResponse, details: boolean): void {
  const health = parts.health()
  const { status } = health
  json(response, status === 'ready' ? 200 : 503, details ? health : { status })
}

function metrics(parts: OperatorParts, response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4', connection: 'close' }).end(parts.render())
}

function refuse(response: ServerResponse, status: number, message: string): void {
  json(response, status, { message })
}

/** An operator's connection is not kept: connections are for the edge. */
function json(response: ServerResponse, status: number, body: object): void {
  response
    .writeHead(status, { 'content-type': 'application/json', connection: 'close' })
    .end(`${JSON.stringify(body)}\n`)
}

/** Digests have one length, so nothing of the key shows in the time that comparing takes. */
function isKey(authorization: string | undefined, key: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(authorization ?? ''), digest(`Bearer ${key}`))
}
