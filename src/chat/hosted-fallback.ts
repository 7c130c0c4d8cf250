/**
 * The last resort: where the house has no place for a request, now or in time, and the tenant allows it, a hosted API
 * answers. Its events
 * become the same chunks that a worker writes, and go through the same relay.
 *
 * What a hosted API does not do is done here. It clamps nothing to a budget, so the reservation is raised to its own
 * rate card first, with a bound on the prompt that no prompt passes. It signs no receipt, so this settles, exactly
 * once, whichever comes first: the answer's end, the client's departure, the API's failure. `waitUntil` holds that from
 * before the call on, since nothing else runs after a client has left.
 *
 * Who stops whom: `line.left` and the stream's `cancel` both close the call to the API, which stops generating; when
 * the API breaks off, the stream errors and the relay tells the client.
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
import { hostedDispatch, warningsHeader } from '../../backends/wire/dispatch.ts'
import type { ApiKey } from '../auth/api-key.ts'
import type { HostedSettings } from '../env.ts'
import { GatewayError, logError } from '../http/errors.ts'
import { hostedCard } from '../tenant/admission.ts'
import { reserveMore, tenantStub } from '../tenant/client.ts'
import type { Admission } from '../tenant/rpc.ts'
import type { Answered, AttemptState } from './attempts.ts'
import type { RequestContext } from './context.ts'
import { addWarnings } from './headers.ts'
import { HostedAnswer, type HostedEnd, type HostedTerms, hostedSettlement } from './hosted-usage.ts'
import type { PreparedRequest } from './prepare.ts'
import { within } from './relay.ts'

const keepAliveMs = 250
/** An API that is silent for this long has broken off. */
const silentMsMax = 120_000
const refusalBytesMax = 16 * 1024
const mistralWorkerId = 'hosted-mistral'
const unreachable = 'no worker has a place for it, and the hosted API cannot be reached: try again soon'

/**
 * The same service, with the hosted API behind it; or the same, where the operator has none or the tenant wants none.
 * @param headers of the answer, which disclose it: they may go out before its first byte comes
 */
export function hostedFallback(
  context: RequestContext,
  key: ApiKey,
  prepared: PreparedRequest,
  admission: Admission,
  headers: Headers,
  attempts: AttemptState,
): AttemptState {
  const { hosted } = context.settings
  const { hostedRates } = admission
  if (!hosted || !hostedRates) return attempts
  let call: HostedCall | undefined
  // Once a worker is disclosed as the one that answers, the house is not left in its place.
  let disclosed = false
  return {
    ...attempts,
    async next() {
      if (call) throw new GatewayError('worker_lost', 'the hosted API broke off: try again', { retryAfterMs: 1_000 })
      try {
        const served = await attempts.next()
        disclosed = true
        return served
      } catch (cause) {
        if (disclosed || !attempts.nowhere() || context.left.aborted) throw cause
      }
      call = new HostedCall(context, key, prepared, admission, hosted, hostedRates)
      call.disclose(headers)
      return call.begin()
    },
    lost(served) {
      if (call) void call.end('failed')
      else attempts.lost(served)
    },
    cancel() {
      if (call) void call.end('abort')
      else attempts.cancel()
    },
  }
}

class HostedCall {
  readonly #line: RequestContext
  readonly #key: ApiKey
  readonly #shaped: PreparedRequest
  readonly #hosted: HostedSettings
  readonly #terms: RequestTerms
  readonly #request: Request | BackendFailure
  readonly #order: HostedTerms
  readonly #seen = new HostedAnswer()
  readonly #held = Promise.withResolvers<void>()
  /** From when on the API may have begun. */
  #called = false
  #settled: Promise<void> | undefined

  constructor(
    line: RequestContext,
    key: ApiKey,
    shaped: PreparedRequest,
    admission: Admission,
    hosted: HostedSettings,
    rates: Rates,
  ) {
    this.#line = line
    this.#key = key
    this.#shaped = shaped
    this.#hosted = hosted
    const { requestId } = line
    const { outputTokensMax } = admission
    this.#terms = { requestId, effort: shaped.effort.effective, outputTokensMax, priority: 0, cacheSalt: '' }
    this.#request = mistral.request(shaped.chat, this.#terms, mistralModel(hosted.model))
    const { textBytes, otherTokensMax } = promptBound(shaped.chat, this.#request.ok ? this.#request.call.body : '')
    this.#order = {
      requestId: line.requestId,
      dispatchId: `${line.requestId}.${hostedDispatch}`,
      tenantId: key.tenantId,
      keyId: key.keyId,
      workerId: mistralWorkerId,
      model: shaped.model.id,
      effort: shaped.effort.effective,
      engine: `mistral ${hosted.model}`.slice(0, 64),
      startedAt: Date.now(),
      bytesPerToken: shaped.model.bytesPerToken,
      ...{ rates, textBytes, otherTokensMax, outputTokensMax },
    }
    line.waitUntil(this.#held.promise)
    line.left.addEventListener('abort', () => void this.end('abort'))
  }

  disclose(headers: Headers): void {
    headers.set('x-tramontane-pool', 'hosted')
    headers.set('x-tramontane-worker', mistralWorkerId)
    headers.delete(warningsHeader)
    addWarnings(headers, [...this.#shaped.warnings, ...(this.#request.ok ? this.#request.warnings : [])])
  }

  /** Resolves when the API has begun to answer. */
  async begin(): Promise<Answered> {
    const { body, reader } = await this.#call().catch((error: unknown) => {
      void this.end('refused')
      throw error
    })
    const { stream } = this.#shaped.chat
    const wire = stream ? streamWire(this.#head(), this.#shaped.chat.includeUsage) : wholeWire(this.#head())
    return {
      lease: { pool: 'hosted', endpoint: { workerId: mistralWorkerId }, waitedMs: 0, position: null },
      warnings: [],
      watch: undefined,
      promptTokens: undefined,
      first: encoder.encode(wire.start()),
      rest: this.#answer(body, reader, wire),
    }
  }

  /**
   * Closes the books on this request, once; a later word changes nothing. Resolves when they are closed; never rejects.
   * `refused`: the API generated nothing, and the reservation is void.
   */
  end(end: HostedEnd | 'refused'): Promise<void> {
    this.#settled ??= this.#close(end === 'abort' && !this.#called ? 'refused' : end)
      .catch((error: unknown) => logError(`request ${this.#line.requestId}: its hosted answer is not settled`, error))
      .finally(this.#held.resolve)
    return this.#settled
  }

  async #close(end: HostedEnd | 'refused'): Promise<void> {
    const settlement = end === 'refused' ? undefined : hostedSettlement(this.#order, this.#seen, end, Date.now())
    const retries = { retries: 4, minTimeout: 100 }
    // A stub that failed stays broken: each try takes a new one. Both calls may be repeated.
    const tenant = () => tenantStub(this.#line, this.#key.tenantId)
    if (settlement) await pRetry(() => tenant().settle([settlement]), retries)
    // What failed is counted and not billed, and leaves the reservation open.
    if (end === 'refused' || end === 'failed') await pRetry(() => tenant().void(this.#line.requestId), retries)
  }

  /** Reserves for the hosted rates, and calls. Rejects with what the client is to be told. */
  async #call(): Promise<{ body: ReadableStream<Uint8Array>; reader: ResponseReader }> {
    const request = this.#request
    if (!request.ok) throw new GatewayError(request.code, request.message, { param: request.param })
    const { contextTokens, id } = this.#shaped.model
    const { textBytes, otherTokensMax } = this.#order
    const promptTokensMax = Math.min(contextTokens, textBytes + otherTokensMax)
    await reserveMore(this.#line, this.#key, this.#shaped, promptTokensMax, hostedCard(id))
    this.#called = true
    const late = new AbortController()
    const timer = setTimeout(() => late.abort(), silentMsMax)
    const response = await fetch(`${rootOf(this.#hosted.url)}${request.call.path}`, {
      method: request.call.method,
      headers: { authorization: `Bearer ${this.#hosted.key.reveal()}`, 'content-type': 'application/json' },
      body: request.call.body,
      signal: AbortSignal.any([this.#line.left, late.signal]),
      // Its key goes nowhere else.
      redirect: 'manual',
    })
      .catch((cause: unknown) => {
        throw new GatewayError('server_is_overloaded', unreachable, { cause })
      })
      .finally(() => clearTimeout(timer))
    const { body } = response
    // It is asked for a stream; an API that answers whole is read all the same.
    const streams = response.headers.get('content-type')?.startsWith('text/event-stream') ?? false
    if (response.ok && body) return { body, reader: mistral.reader(this.#terms, streams) }
    const text = await readBounded(body)
    const headers = Object.fromEntries(response.headers)
    const failure = mistral.failure({ status: response.status, headers, body: text })
    if (failure.operator) logError(`the hosted API refuses this gateway: ${response.status}`, text.slice(0, 500))
    throw new GatewayError(failure.code, failure.message, { retryAfterMs: failure.retryAfterMs })
  }

  /** The answer in the product's own words. Cancelling it closes the call; it errors when the API breaks off. */
  #answer(body: ReadableStream<Uint8Array>, reader: ResponseReader, wire: Wire): ReadableStream<Uint8Array> {
    const source = body.getReader()
    let reading: ReturnType<typeof source.read> | undefined
    let silentMs = 0
    const pull = async (): Promise<{ text: string; ended: boolean }> => {
      if (!reading) {
        reading = source.read()
        // It may break off while nobody pulls.
        reading.catch(() => undefined)
      }
      const read = await within(reading, keepAliveMs)
      if (!read) {
        silentMs += keepAliveMs
        if (silentMs >= silentMsMax) throw new Error('the hosted API is silent')
        return { text: wire.beat, ended: false }
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
            if (!this.#line.left.aborted) logError(`request ${this.#line.requestId}`, error)
            void this.end(this.#line.left.aborted ? 'abort' : 'failed')
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

  /** The last chunk waits until the books are closed: who has it, and asks, finds them so. */
  async #write(events: BackendEvent[], wire: Wire): Promise<{ text: string; ended: boolean }> {
    let text = ''
    for (const event of events) {
      this.#seen.take(event, Date.now())
      if (event.kind === 'failed') throw new Error(event.message)
      if (event.kind === 'text') text += wire.text(event.channel, event.text)
      if (event.kind === 'call') text += wire.call(event.call)
      if (event.kind !== 'end') continue
      await this.end(event.finishReason)
      return { text: text + wire.end(event.finishReason, this.#seen.count(this.#order).counts), ended: true }
    }
    return { text, ended: false }
  }

  #head(): Head {
    const { requestId, startedAt } = this.#line
    const { effort, model } = this.#shaped
    const id = `chatcmpl-${requestId.replace(/^req_/, '')}`
    return { id, created: Math.floor(startedAt / 1_000), model: model.id, effort }
  }
}

/** How an answer is written to the client; each gives what goes out now. */
interface Wire {
  start(): string
  /** Shows whether the client is still there. */
  beat: string
  text(channel: 'content' | 'reasoning', text: string): string
  call(call: WireCall): string
  end(finishReason: FinishReason, counts: Counts): string
}

const encoder = new TextEncoder()

function streamWire(head: Head, includeUsage: boolean): Wire {
  const chunks = chunkWriter(head, includeUsage)
  // The headers may have gone out while it was still sought who answers, so the stream says it too.
  const start = () => `: pool hosted, worker ${mistralWorkerId}\n\n${chunks.role()}`
  return { ...chunks, start, beat: ': working on the prompt\n\n' }
}

/** White space until the answer is whole. */
function wholeWire(head: Head): Wire {
  const answer = { content: '', reasoning: '', calls: [] as WireCall[] }
  return {
    start: () => ' ',
    beat: ' ',
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
    // What came of it is enough.
  }
  return text
}
