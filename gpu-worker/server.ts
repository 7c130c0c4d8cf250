/**
 * The worker's HTTP port: `POST /dispatch`, `/media`, `/count` and `/inquiry` for the edge, `GET /healthz` and
 * `GET /metrics` for the operator.
 *
 * The worker verifies the signed token in the header before it reads a byte of the body. A request without a valid
 * token gets an answer, and its connection is closed with its body unread.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { budgets } from '../backends/model/budgets.ts'
import { CountQuestion, countPath } from '../backends/wire/count.ts'
import { dispatchPath, type Refusal } from '../backends/wire/dispatch.ts'
import { Inquiry, inquiryPath } from '../backends/wire/inquiry.ts'
import { MediaQuestion, mediaBusy, mediaPath } from '../backends/wire/media-question.ts'
import { type Accepted, acceptClaims, acceptDispatch, UsedDispatches } from './accept-dispatch.ts'
import { Connections, connectionsMax, unprovenMax } from './connections.ts'
import { count, countBusy, countSignal, newCountGate } from './count-tokens.ts'
import { EngineFailure } from './engine/engine.ts'
import { answerMedia, newMediaGate } from './media-reading.ts'
import type { Metrics } from './metrics.ts'
import { answerOperator, type OperatorParts } from './operator-port.ts'
import { RefusalLog } from './refusal-log.ts'
import { type DispatchParts, draining, internalError, runDispatch } from './run-dispatch.ts'
import { readSignedBody } from './signed-body.ts'

export interface ServerParts extends DispatchParts, OperatorParts {
  workerId: string
  key: CryptoKey
  metrics: Metrics
  /** Delivers pending receipts now. */
  deliver: () => void
}

const statusOf: Record<string, number> = {
  bad_dispatch: 401,
  replayed_dispatch: 409,
  media_missing: 409,
  invalid_value: 400,
  context_length_exceeded: 400,
  prompt_over_bound: 409,
  internal_error: 500,
  [mediaBusy.tenant]: 429,
}

/** How long a connection with an unread body stays open, so that its client can read the answer. */
const lingerMs = 250
/** How often Node looks for requests whose headers or body are late. */
const lookEveryMs = 2_000

export function createWorkerServer(parts: ServerParts): Server {
  const port = new Port(parts)
  const options = {
    headersTimeout: budgets.workerHeadersMs.value,
    // Limits only the request; a generation may take longer.
    requestTimeout: budgets.workerRequestMs.value,
    connectionsCheckingInterval: lookEveryMs,
    // The edge reuses its connections.
    keepAliveTimeout: 60_000,
  }
  const server = createServer(options, (request, response) => void port.handle(request, response))
  server.maxConnections = connectionsMax(parts.slots.max)
  server.on('connection', (socket) => port.connections.opened(socket))
  server.on('drop', () => port.dropped())
  return server
}

class Port {
  readonly connections: Connections
  readonly #parts: ServerParts
  readonly #used = new UsedDispatches()
  readonly #refusals = new RefusalLog()
  readonly #counting = newCountGate()
  readonly #reading = newMediaGate()

  constructor(parts: ServerParts) {
    this.#parts = parts
    this.connections = new Connections(unprovenMax(parts.slots.max))
  }

  /** Notes that a connection was closed because there are too many. */
  dropped(): void {
    this.#note({ code: 'too_many_connections', message: 'every connection of this port is in use' })
  }

  /** Never rejects. */
  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      await this.#route(request, response)
    } catch (error) {
      const refusal = internalError(this.#parts, error)
      if (response.headersSent) response.destroy()
      else this.#refuse(request, response, refusal)
    }
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    switch (`${request.method} ${request.url}`) {
      case `POST ${dispatchPath}`:
        return this.#dispatch(request, response)
      case `POST ${mediaPath}`:
        return this.#media(request, response)
      case `POST ${countPath}`:
        return this.#count(request, response)
      case `POST ${inquiryPath}`:
        return this.#inquiry(request, response)
    }
    if (answerOperator(this.#parts, request, response)) return
    answerUnread(
      request,
      response,
      404,
      '{"message":"this port serves only the gateway, GET /healthz and GET /metrics"}',
    )
  }

  async #dispatch(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts = this.#parts
    const { authorization } = request.headers
    const accepted = await acceptDispatch(authorization, { ...parts, used: this.#used }, parts.now())
    const dispatch = this.#proven(accepted, request, response)
    if (!dispatch) return
    if (parts.draining()) return this.#refuse(request, response, draining)
    const body = await readSignedBody(request, dispatch.bodyDigest)
    if (body.kind === 'gone') return void response.destroy()
    if (body.kind === 'refused') return this.#refuse(request, response, body.refusal)
    const note = (refusal: Refusal) => this.#note(refusal)
    const refusal = await runDispatch(parts, dispatch, body.bytes, response, note)
    if (refusal) this.#refuse(request, response, refusal)
  }

  async #media(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts = this.#parts
    const accepted = await acceptClaims('media', MediaQuestion, request.headers.authorization, parts, parts.now())
    const question = this.#proven(accepted, request, response)
    if (!question) return
    if (!this.#used.use(question.questionId, parts.now())) {
      return this.#refuse(request, response, {
        code: 'replayed_dispatch',
        message: 'the media question was already used',
      })
    }
    if (parts.draining()) return this.#refuse(request, response, draining)
    const note = (refusal: Refusal) => this.#note(refusal)
    const unanswered = await answerMedia(parts, this.#reading, question, request, response, note)
    if (unanswered) this.#refuse(request, response, unanswered.refusal)
  }

  async #count(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts = this.#parts
    const accepted = await acceptClaims('count', CountQuestion, request.headers.authorization, parts, parts.now())
    const question = this.#proven(accepted, request, response)
    if (!question) return
    const left = new AbortController()
    response.on('close', () => left.abort(new Error('the connection closed')))
    const entered = await this.#counting.enter(question.tenantId, left.signal)
    if (!entered.ok) return this.#refuse(request, response, countBusy)
    try {
      const body = await readSignedBody(request, question.bodyDigest)
      if (body.kind === 'gone') return void response.destroy()
      if (body.kind === 'refused') return this.#refuse(request, response, body.refusal)
      const signal = countSignal(question, left.signal, parts.now())
      const answer = await count(parts.engine, question, body.bytes, signal).catch((error: unknown) => {
        if (signal.aborted) return { ok: false as const, code: 'busy', message: 'the count took too long' }
        if (!(error instanceof EngineFailure)) throw error
        return { ok: false as const, code: 'engine_down', message: error.message }
      })
      if (response.destroyed) return
      if (!answer.ok) return this.#refuse(request, response, answer)
      const { promptTokens, estimated } = answer
      json(response, 200, JSON.stringify({ promptTokens, estimated }))
    } finally {
      entered.leave()
    }
  }

  /** An inquiry also delivers pending receipts at once. */
  async #inquiry(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts = this.#parts
    const accepted = await acceptClaims('inquiry', Inquiry, request.headers.authorization, parts, parts.now())
    const inquiry = this.#proven(accepted, request, response)
    if (!inquiry) return
    request.resume()
    parts.deliver()
    json(response, 200, JSON.stringify(parts.outbox.about(inquiry.requestIds)))
  }

  /** Returns the claims, or undefined after it has written the refusal. */
  #proven<Claims>(accepted: Accepted<Claims>, request: IncomingMessage, response: ServerResponse): Claims | undefined {
    if (!accepted.ok) {
      this.#refuse(request, response, accepted)
      return undefined
    }
    this.connections.proven(request.socket)
    return accepted.claims
  }

  #refuse(request: IncomingMessage, response: ServerResponse, refusal: Refusal): void {
    this.#note(refusal)
    const { code, message, param = null, promptTokens, unsupported } = refusal
    const body: Refusal = { code, message, param, promptTokens, unsupported }
    const status = statusOf[code] ?? 503
    if (request.complete) json(response, status, JSON.stringify(body))
    else answerUnread(request, response, status, JSON.stringify(body))
  }

  #note({ code, message }: Refusal): void {
    this.#parts.metrics.refused(code)
    const line = this.#refusals.note(code, message, this.#parts.now())
    if (line) this.#parts.log(line)
  }
}

function json(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(body)
}

/**
 * Answers without reading the body, then closes the connection after `lingerMs`. `response.end` would make Node read
 * the rest of the body to keep the connection. Closing at once with unread bytes would discard an answer that the
 * client has not read.
 */
function answerUnread(request: IncomingMessage, response: ServerResponse, status: number, body: string): void {
  request.pause()
  const length = Buffer.byteLength(body)
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': length, connection: 'close' })
  response.write(body)
  setTimeout(() => response.destroy(), lingerMs).unref()
}
