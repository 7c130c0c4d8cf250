/**
 * The hosted fallback: the last step of a request's attempts. When no worker can take a request now or in time, and the
 * tenant allows it, a hosted API answers. Its events become the chunks that a worker would write, and pass the same relay.
 *
 * A hosted API enforces no budget, so the reservation is first raised to the hosted rate card, with a safe bound on the
 * prompt. It signs no receipt, so the edge settles, exactly once, at the first of: the answer's end, the client's
 * departure, the API's failure. `waitUntil` holds the settlement from before the call, because nothing else runs after
 * a client has left.
 *
 * Cancellation: `context.left` and the stream's `cancel` both close the call, and the API stops generating. When the
 * API breaks off, the stream errors and the relay reports it to the client.
 */
import pRetry from 'p-retry'
import type {
  BackendEvent,
  BackendFailure,
  Request,
  RequestTerms,
  ResponseReader,
} from '../../backends/contract/backend.ts'
import { promptBound } from '../../backends/contract/prompt-bound.ts'
import { rootOf } from '../../backends/contract/root.ts'
import { mistral, mistralModel } from '../../backends/engines/mistral.ts'
import { chunkWriter, completion, type FinishReason, type Head, type WireCall } from '../../backends/model/chunk.ts'
import type { Counts, Rates } from '../../backends/model/money.ts'
import { hostedDispatch } from '../../backends/wire/dispatch.ts'
import type { ApiKey } from '../auth/api-key.ts'
import type { HostedSettings } from '../config.ts'
import { GatewayError, logError } from '../http/errors.ts'
import type { Admission } from '../tenant/rpc.ts'
import { hostedCard } from '../tenant/store/rate-card-rows.ts'
import type { Answered } from './answered.ts'
import type { RequestContext } from './context.ts'
import { within } from './deadline.ts'
import { HostedAnswer, type HostedEnd, type HostedTerms, hostedSettlement } from './hosted-usage.ts'
import type { PreparedRequest } from './prepare.ts'
import { reserveMore, tenantStub } from './reserve.ts'

const keepAliveMs = 250
/** An API that is silent for this long counts as failed. */
const silentMsMax = 120_000
const refusalBytesMax = 16 * 1024
const mistralWorkerId = 'hosted-mistral'
const unreachable = 'No worker has a free slot, and the hosted API cannot be reached. Retry after a second.'

export interface HostedOptions {
  context: RequestContext
  key: ApiKey
  prepared: PreparedRequest
  admission: Admission
  hosted: HostedSettings
  rates: Rates
}

export class HostedCall {
  readonly #context: RequestContext
  readonly #key: ApiKey
  readonly #prepared: PreparedRequest
  readonly #hosted: HostedSettings
  readonly #terms: RequestTerms
  readonly #request: Request | BackendFailure
  readonly #details: HostedTerms
  readonly #seen = new HostedAnswer()
  readonly #held = Promise.withResolvers<void>()
  /** Whether the API may have started to generate. */
  #called = false
  #settled: Promise<void> | undefined

  constructor({ context, key, prepared, admission, hosted, rates }: HostedOptions) {
    this.#context = context
    this.#key = key
    this.#prepared = prepared
    this.#hosted = hosted
    const { requestId } = context
    const { outputTokensMax } = admission
    this.#terms = { requestId, effort: prepared.effort.effective, outputTokensMax, priority: 0, cacheSalt: '' }
    this.#request = mistral.request(prepared.chat, this.#terms, mistralModel(hosted.model))
    const { textBytes, otherTokensMax } = promptBound(prepared.chat, this.#request.ok ? this.#request.call.body : '')
    this.#details = {
      requestId: context.requestId,
      dispatchId: `${context.requestId}.${hostedDispatch}`,
      tenantId: key.tenantId,
      keyId: key.keyId,
      workerId: mistralWorkerId,
      model: prepared.model.id,
      effort: prepared.effort.effective,
      engine: `mistral ${hosted.model}`.slice(0, 64),
      startedAt: Date.now(),
      bytesPerToken: prepared.model.bytesPerToken,
      ...{ rates, textBytes, otherTokensMax, outputTokensMax },
    }
    context.waitUntil(this.#held.promise)
    context.left.addEventListener('abort', () => void this.end('abort'))
  }

  get workerId(): string {
    return mistralWorkerId
  }

  /** Request fields that the hosted API ignores. */
  get warnings(): readonly string[] {
    return this.#request.ok ? this.#request.warnings : []
  }

  /** Resolves when the API starts to answer. */
  async begin(): Promise<Answered> {
    const { body, reader } = await this.#call().catch((error: unknown) => {
      void this.end('refused')
      throw error
    })
    const { stream } = this.#prepared.chat
    const wire = stream ? streamWire(this.#head(), this.#prepared.chat.includeUsage) : wholeWire(this.#head())
    return {
      lease: { pool: 'hosted', endpoint: { workerId: mistralWorkerId }, waitedMs: 0, position: null },
      warnings: this.warnings,
      watch: undefined,
      promptTokens: undefined,
      outputTokensMax: undefined,
      first: encoder.encode(wire.start()),
      rest: this.#answer(body, reader, wire),
    }
  }

  /**
   * Settles the request once; later calls change nothing. Resolves when it is settled; never rejects. `refused`: the
   * API generated nothing, and the reservation is voided.
   */
  end(end: HostedEnd | 'refused'): Promise<void> {
    this.#settled ??= this.#close(end === 'abort' && !this.#called ? 'refused' : end)
      .catch((error: unknown) =>
        logError(`request ${this.#context.requestId}: the hosted answer is not settled`, error),
      )
      .finally(this.#held.resolve)
    return this.#settled
  }

  async #close(end: HostedEnd | 'refused'): Promise<void> {
    const settlement = end === 'refused' ? undefined : hostedSettlement(this.#details, this.#seen, end, Date.now())
    const retries = { retries: 4, minTimeout: 100 }
    // A stub that failed stays broken, so each try uses a new one. Both calls are idempotent.
    const tenant = () => tenantStub(this.#context, this.#key.tenantId)
    if (settlement) await pRetry(() => tenant().settle([settlement]), retries)
    // A failed answer is counted but not billed, and its settlement leaves the reservation open.
    if (end === 'refused' || end === 'failed') await pRetry(() => tenant().void(this.#context.requestId), retries)
  }

  /** Reserves at the hosted rates and calls the API. Rejects with the client's error. */
  async #call(): Promise<{ body: ReadableStream<Uint8Array>; reader: ResponseReader }> {
    const request = this.#request
    if (!request.ok) throw new GatewayError(request.code, request.message, { param: request.param })
    const { contextTokens, id } = this.#prepared.model
    const { textBytes, otherTokensMax, outputTokensMax } = this.#details
    const promptTokensMax = Math.min(contextTokens, textBytes + otherTokensMax)
    const order = { model: hostedCard(id), promptTokens: promptTokensMax, outputTokens: outputTokensMax }
    await reserveMore(this.#context, this.#key, order)
    this.#called = true
    const late = new AbortController()
    const timer = setTimeout(() => late.abort(), silentMsMax)
    const response = await fetch(`${rootOf(this.#hosted.url)}${request.call.path}`, {
      method: request.call.method,
      headers: { authorization: `Bearer ${this.#hosted.key.reveal()}`, 'content-type': 'application/json' },
      body: request.call.body,
      signal: AbortSignal.any([this.#context.left, late.signal]),
      // A redirect would send the API's key to another address.
      redirect: 'manual',
    })
      .catch((cause: unknown) => {
        throw new GatewayError('server_is_overloaded', unreachable, { cause })
      })
      .finally(() => clearTimeout(timer))
    const { body } = response
    // The request asks for a stream, but an API that does not stream is accepted too.
    const streams = response.headers.get('content-type')?.startsWith('text/event-stream') ?? false
    if (response.ok && body) return { body, reader: mistral.reader(this.#terms, streams, request.clientNames) }
    const text = await readBounded(body)
    const headers = Object.fromEntries(response.headers)
    const failure = mistral.failure({ status: response.status, headers, body: text })
    if (failure.operator) logError(`the hosted API refused this gateway: ${response.status}`, text.slice(0, 500))
    throw new GatewayError(failure.code, failure.message, { retryAfterMs: failure.retryAfterMs })
  }

  /** The answer as a worker would write it. Cancelling it closes the call; it errors when the API breaks off. */
  #answer(body: ReadableStream<Uint8Array>, reader: ResponseReader, wire: Wire): ReadableStream<Uint8Array> {
    const source = body.getReader()
    let reading: ReturnType<typeof source.read> | undefined
    let silentMs = 0
    const pull = async (): Promise<{ text: string; ended: boolean }> => {
      if (!reading) {
        reading = source.read()
        // The API may break off while no pull is pending.
        reading.catch(() => undefined)
      }
      const read = await within(reading, keepAliveMs)
      if (!read) {
        silentMs += keepAliveMs
        if (silentMs >= silentMsMax) throw new Error(`the hosted API sent nothing for ${silentMsMax / 1_000} s`)
        return { text: wire.keepAlive, ended: false }
      }
      reading = undefined
      silentMs = 0
      const events = read.done ? reader.end() : reader.push(read.value)
      return this.#write(events, wire)
    }
    return new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          try {
            for (;;) {
              const { text, ended } = await pull()
              if (text !== '') controller.enqueue(encoder.encode(text))
              if (ended) return controller.close()
              if (text !== '') return
            }
          } catch (error) {
            if (!this.#context.left.aborted) logError(`request ${this.#context.requestId}`, error)
            void this.end(this.#context.left.aborted ? 'abort' : 'failed')
            source.cancel().catch(() => undefined)
            controller.error(error)
          }
        },
        cancel: async (reason) => {
          void this.end('abort')
          await source.cancel(reason).catch(() => undefined)
        },
      },
      { highWaterMark: 0 },
    )
  }

  /** The last chunk is sent after the settlement, so a client that has it finds the entry in its usage. */
  async #write(events: BackendEvent[], wire: Wire): Promise<{ text: string; ended: boolean }> {
    let text = ''
    for (const event of events) {
      this.#seen.take(event, Date.now())
      if (event.kind === 'failed') throw new Error(event.message)
      if (event.kind === 'text') text += wire.text(event.channel, event.text)
      if (event.kind === 'call') text += wire.call(event.call)
      if (event.kind !== 'end') continue
      await this.end(event.finishReason)
      return { text: text + wire.end(event.finishReason, this.#seen.count(this.#details).counts), ended: true }
    }
    return { text, ended: false }
  }

  #head(): Head {
    const { requestId, startedAt } = this.#context
    const { effort, model } = this.#prepared
    const id = `chatcmpl-${requestId.replace(/^req_/, '')}`
    return { id, created: Math.floor(startedAt / 1_000), model: model.id, effort, rates: this.#details.rates }
  }
}

/** Writes an answer to the client. Each function returns the text to send now. */
interface Wire {
  start(): string
  /** Keep-alive text; a failed write shows that the client has left. */
  keepAlive: string
  text(channel: 'content' | 'reasoning', text: string): string
  call(call: WireCall): string
  end(finishReason: FinishReason, counts: Counts): string
}

const encoder = new TextEncoder()

function streamWire(head: Head, includeUsage: boolean): Wire {
  const chunks = chunkWriter(head, includeUsage)
  // The headers may have been sent before the hosted API was chosen, so the stream names it too.
  const start = () => `: pool hosted, worker ${mistralWorkerId}\n\n${chunks.role()}`
  return { ...chunks, start, keepAlive: ': working on the prompt\n\n' }
}

/** White space until the answer is complete. */
function wholeWire(head: Head): Wire {
  const answer = { content: '', reasoning: '', calls: [] as WireCall[] }
  return {
    start: () => ' ',
    keepAlive: ' ',
    text(channel, text) {
      answer[channel] += text
      return ' '
    },
    call(call) {
      answer.calls.push(call)
      return ''
    },
    end: (finishReason, counts) => completion(head, { ...answer, finishReason, counts }),
  }
}

async function readBounded(body: ReadableStream<Uint8Array> | null): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  try {
    for await (const part of body ?? []) {
      text += decoder.decode(part, { stream: true })
      if (text.length > refusalBytesMax) break
    }
  } catch {
    // The part that arrived is enough.
  }
  return text
}
