/**
 * The operator's routes: `GET /metrics` and `GET /healthz`. Without the metrics key, the main port reports only whether
 * the worker is ready. A second port, on the loopback address by default, serves both routes in full without a key.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { budgets } from '../backends/model/budgets.ts'

export interface OperatorParts {
  /** Bearer token for `/metrics` and the details of `/healthz` on the main port. */
  metricsKey?: string | undefined
  health: () => { status: string; [name: string]: unknown }
  render: () => string
}

/** Answers on the main port. Returns false for any other route. */
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
  'metrics: not served on this port. Set TRAMONTANE_METRICS_KEY and send it as a bearer token, or set TRAMONTANE_METRICS_PORT to serve them on a separate port'

/** Creates the second port, which serves only the operator. The caller calls `listen`. */
export function createOperatorServer(parts: OperatorParts): Server {
  const server = createServer({ headersTimeout: budgets.workerHeadersMs.value }, (request, response) => {
    if (request.method === 'GET' && request.url === '/healthz') health(parts, response, true)
    else if (request.method === 'GET' && request.url === '/metrics') metrics(parts, response)
    else refuse(response, 404, 'this port serves only GET /metrics and GET /healthz')
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

/** Closes the operator's connection after the answer: open connections are for the edge. */
function json(response: ServerResponse, status: number, body: object): void {
  response
    .writeHead(status, { 'content-type': 'application/json', connection: 'close' })
    .end(`${JSON.stringify(body)}\n`)
}

/** Compares digests, which have a fixed length, in constant time. */
function isKey(authorization: string | undefined, key: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(authorization ?? ''), digest(`Bearer ${key}`))
}
