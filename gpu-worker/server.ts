/** The worker's HTTP port: `POST /dispatch`, `/count` and `/inquiry` for the edge, `GET /healthz` and `GET /metrics` for the operator. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type Message, readChat } from '../backends/protocol/chat.ts'
import { countPath } from '../backends/protocol/count.ts'
import { clockSkewMs, type Dispatch, dispatchPath, type Refusal } from '../backends/protocol/dispatch.ts'
import { Inquiry, inquiryPath } from '../backends/protocol/inquiry.ts'
import { unseal } from '../backends/protocol/seal.ts'
import { acceptDispatch, UsedDispatches } from './accept.ts'
import { answerCount, count } from './count.ts'
import { EngineFailure } from './engine/engine.ts'
import type { Resolver } from './media/resolver.ts'
import type { Metrics } from './metrics.ts'
import { boundOutput, type RelayParts, relay } from './relay.ts'
import type { Slots } from './slots.ts'

/** The edge takes 32 MiB from a client and sends no more than that. */
const bodyBytesMax = 33 * 1024 * 1024

const statusOf: Record<string, number> = {
  bad_dispatch: 401,
  replayed_dispatch: 409,
  invalid_value: 400,
  context_length_exceeded: 400,
  prompt_over_bound: 409,
}

export interface ServerParts extends RelayParts {
  workerId: string
  key: CryptoKey
  slots: Slots
  metrics: Metrics
  /** Fetches images and documents, and makes of them what the engine takes. */
  media: Resolver
  draining: () => boolean
  /** Send what is owed, now. */
  deliver: () => void
  /** A slot was taken or given back. */
  changed: () => void
  health: () => { status: string; [name: string]: unknown }
  render: () => string
  log: (line: string) => void
}

export function createWorkerServer(parts: ServerParts): Server {
  const used = new UsedDispatches()
  const server = createServer((request, response) => {
    handle(parts, used, request, response).catch((error: unknown) => {
      parts.log(`a request failed: ${error instanceof Error ? error.stack : error}`)
      if (response.headersSent) response.destroy()
      else refuse(parts, response, { code: 'internal_error', message: 'an internal error of the worker' })
    })
  })
  // The edge keeps its connections; a generation may take long.
  server.requestTimeout = 0
  server.keepAliveTimeout = 60_000
  return server
}

async function handle(
  parts: ServerParts,
  used: UsedDispatches,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const route = `${request.method} ${request.url}`
  if (route === `POST ${dispatchPath}`) return dispatch(parts, used, request, response)
  if (route === `POST ${inquiryPath}`) return inquiry(parts, request, response)
  if (route === `POST ${countPath}`) return counted(parts, request, response)
  if (route === 'GET /healthz') return health(parts, response)
  if (route === 'GET /metrics') {
    response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' }).end(parts.render())
    return
  }
  response
    .writeHead(404, { 'content-type': 'application/json' })
    .end('{"message":"POST /dispatch, GET /healthz, GET /metrics"}')
}

/** Only the edge may ask, by its signature; what is owed is delivered at once. */
async function inquiry(parts: ServerParts, request: IncomingMessage, response: ServerResponse): Promise<void> {
  request.resume()
  const token = /^Bearer (\S+)$/.exec(request.headers.authorization ?? '')?.[1] ?? ''
  const asked = await unseal('inquiry', token, parts.key, Inquiry)
  if (!asked || asked.workerId !== parts.workerId || parts.now() > asked.expiresAt + clockSkewMs) {
    return refuse(parts, response, {
      code: 'bad_dispatch',
      message: 'the inquiry is not signed with this worker’s key, or is old',
    })
  }
  parts.deliver()
  response.writeHead(200, { 'content-type': 'application/json' })
  response.end(JSON.stringify(parts.outbox.about(asked.requestIds)))
}

async function counted(parts: ServerParts, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await readBody(request)
  if (!body) return refuse(parts, response, { code: 'bad_dispatch', message: 'the body is too large' })
  const answer = await count(parts, request, body).catch((error: unknown) => {
    if (!(error instanceof EngineFailure)) throw error
    return { ok: false as const, code: 'engine_down', message: error.message }
  })
  if (answer.ok) answerCount(response, answer)
  else refuse(parts, response, answer)
}

function health(parts: ServerParts, response: ServerResponse): void {
  const health = parts.health()
  response.writeHead(health.status === 'ready' ? 200 : 503, { 'content-type': 'application/json' })
  response.end(JSON.stringify(health))
}

async function dispatch(
  parts: ServerParts,
  used: UsedDispatches,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const body = await readBody(request)
  if (!body) return refuse(parts, response, { code: 'bad_dispatch', message: 'the body is too large' })
  const accepted = await acceptDispatch(request.headers.authorization, body, { ...parts, used }, parts.now())
  if (!accepted.ok) return refuse(parts, response, accepted)
  const order = accepted.dispatch
  if (parts.draining()) return refuse(parts, response, { code: 'draining', message: 'this worker is shutting down' })
  const slot = parts.slots.take(order.requestId)
  if (slot === undefined) return refuse(parts, response, { code: 'no_slot', message: 'every slot is taken' })
  parts.changed()
  try {
    const refusal = await run(parts, order, body, slot, response)
    if (refusal) refuse(parts, response, refusal)
  } catch (error) {
    if (!(error instanceof EngineFailure)) throw error
    refuse(parts, response, { code: 'engine_down', message: error.message })
  } finally {
    parts.slots.release(order.requestId)
    parts.changed()
  }
}

async function run(
  parts: ServerParts,
  order: Dispatch,
  body: Uint8Array,
  slot: number,
  response: ServerResponse,
): Promise<Refusal | undefined> {
  const read = readChat(JSON.parse(new TextDecoder().decode(body)))
  if (!read.ok) return read
  const left = new AbortController()
  const leave = () => left.abort()
  response.on('close', leave)
  const media = { vision: parts.engine.description.vision, owner: order.tenantId }
  if (!media.vision && read.chat.messages.some(hasImage)) return noVision
  const resolved = await parts.media(read.chat, media, left.signal).catch((error: unknown) => {
    if (!left.signal.aborted) throw error
    return { ok: false as const, code: 'client_left', message: 'the client left while its media were read' }
  })
  response.off('close', leave)
  if (!resolved.ok) return resolved
  const { chat } = resolved
  const prepared = await parts.engine.prepare(chat, order.effort)
  if (!prepared.ok) return prepared
  const bound = boundOutput(prepared, order)
  if (typeof bound !== 'number') return bound
  return relay(parts, { dispatch: order, chat, prepared, outputTokensMax: bound, slot }, response)
}

/** What a tool gave back stays in a conversation for good; there the engine leaves an image out. */
function hasImage({ role, content }: Message): boolean {
  return role !== 'tool' && content.some(({ kind }) => kind === 'image')
}

/** This worker cannot; another may. */
const noVision: Refusal = {
  code: 'no_vision',
  message: 'messages: the engine that was to answer has no vision; leave the image out',
  param: 'messages',
}

function refuse(parts: ServerParts, response: ServerResponse, refusal: Refusal): void {
  parts.metrics.refused(refusal.code)
  const { code, message, param, promptTokens } = refusal
  response.writeHead(statusOf[code] ?? 503, { 'content-type': 'application/json' })
  response.end(
    JSON.stringify({ code, message, param: param ?? null, ...(promptTokens !== undefined && { promptTokens }) }),
  )
}

async function readBody(request: IncomingMessage): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const parts: Buffer[] = []
  let length = 0
  for await (const part of request as AsyncIterable<Buffer>) {
    length += part.length
    if (length > bodyBytesMax) return undefined
    parts.push(part)
  }
  return new Uint8Array(Buffer.concat(parts))
}
