/**
 * Runs one dispatch on the worker: bounds its output, runs it, writes the answer and stores the receipt.
 *
 * The ledger relies on the order at the end: the engine stops, the outbox stores the receipt, the last byte is sent.
 *
 * - A client that disconnects (the response closes early) aborts the engine within one token.
 * - An engine that dies breaks off the response, and the edge informs the client. Before the prelude it causes a
 *   refusal, and the edge tries another worker. So the prelude waits briefly: most engines that refuse a request do so
 *   at once.
 * - A run that the request's own rules end finishes with an error in the answer.
 */
import type { ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import type { Chat } from '../backends/model/chat.ts'
import { chunkWriter, completion, type FinishReason, type Head, type WireCall } from '../backends/model/chunk.ts'
import { errorBody } from '../backends/model/errors.ts'
import { type Counts, outputTokensWithin } from '../backends/model/money.ts'
import type { Dispatch, Refusal } from '../backends/wire/dispatch.ts'
import { preludeLine } from '../backends/wire/prelude.ts'
import { type Receipt, receiptOf } from '../backends/wire/receipt.ts'
import { type Engine, EngineRefused, type Prepared, type Run } from './engine/engine.ts'
import { type Outbox, OutboxFailure } from './outbox.ts'

/** Interval of keep-alives (white space or comments) before the first token. They reveal a client that disconnected. */
const keepAliveMs = 250
/** The prelude is sent with the first event, or after this time. */
const preludeMs = 50
/** Pause between two probe bytes: if the client is gone, its host answers the first byte with a reset. */
const clientProbeMs = 20

export interface RelayParts {
  engine: Engine
  outbox: Outbox
  /** Called with each new receipt. Resolves when the receipt is settled, or when a client should not wait longer. */
  owed: (receipt: Receipt, settleFirst: boolean) => Promise<void>
  now: () => number
  /** Nine letters or digits, as Mistral's models expect of a tool call's id. */
  callId: () => string
}

/** Returns the maximum number of output tokens, or a refusal with the exact length of the prompt. */
export function boundOutput(prepared: Prepared, dispatch: Dispatch): OutputBound | Refusal {
  const { promptTokens, outputTokensFit } = prepared
  const affordable = outputTokensWithin(dispatch.costNanoMax, promptTokens, dispatch.rates)
  if (promptTokens > dispatch.promptTokensMax || affordable < 1) {
    const message = `the prompt has ${promptTokens} tokens, more than its reservation covers`
    return { code: 'prompt_over_bound', message, promptTokens }
  }
  const outputTokensMax = Math.min(dispatch.outputTokensMax, outputTokensFit, affordable)
  return { outputTokensMax, unpaid: affordable < Math.min(dispatch.outputTokensMax, outputTokensFit) }
}

export interface OutputBound {
  outputTokensMax: number
  /** Whether the reservation is what bounds it. */
  unpaid: boolean
}

/**
 * Runs a bounded dispatch to its end. The caller has written the head of `response` and releases the slot. Resolves
 * with a refusal for the caller to write if no prelude was written. Rejects if the outbox fails; the response is then
 * destroyed, or nothing was written to it.
 */
export async function relay(
  parts: RelayParts,
  work: {
    dispatch: Dispatch
    chat: Chat
    prepared: Prepared
    bound: OutputBound
    slot: number
    /** The run is over: the slot is free for another request. */
    freeSlot: () => void
  },
  response: ServerResponse,
): Promise<Refusal | undefined> {
  const { engine, outbox, now } = parts
  const { dispatch, chat, prepared, bound, slot } = work
  const startedAt = now()
  try {
    outbox.begin(dispatch, slot, startedAt)
  } catch (error) {
    if (error instanceof OutboxFailure) return { code: error.code, message: error.message }
    throw error
  }
  const left = new AbortController()
  response.on('close', () => left.abort())
  if (response.destroyed) left.abort()
  const { requestId, priority, tenantId: owner } = dispatch
  const head = headOf(dispatch, now)
  const prelude = preludeOnce(prepared, bound)
  const writer = chat.stream ? streamWriter(head, chat, prelude, response) : wholeWriter(head, prelude, response)
  const timers = startTimers(writer)
  try {
    if (dispatch.waited && !chat.stream) await probeClient(writer, left.signal)
    const { outputTokensMax } = bound
    const run = engine.run(prepared, { requestId, outputTokensMax, priority, owner }, left.signal)
    let firstTokenMs: number | null = null
    const { end, stop, cause } = await pump(run, {
      counted: () => outbox.count(slot, run.counts),
      first: () => {
        firstTokenMs = now() - startedAt
        writer.begin()
        if (chat.stream) timers.stop()
      },
      text: writer.text,
      call: (name, args) => writer.call({ id: parts.callId(), name, arguments: args }),
    })
    timers.stop()
    if (isNothing(end, run.counts) && !writer.prepared) {
      outbox.forget(dispatch.dispatchId)
      return refusalFor(cause)
    }
    const receipt = receiptOf(dispatch, {
      finishReason: end === 'failed' || end === 'refused' ? 'error' : end,
      // A run that the request's own rules ended is billed for its tokens, and does not count against its worker.
      refused: end === 'refused',
      counts: run.counts,
      estimated: run.estimated ?? false,
      ...{ startedAt, endedAt: now(), firstTokenMs },
      engine: `${engine.description.engine} ${engine.description.version}`,
    })
    outbox.finish(receipt)
    const settled = parts.owed(receipt, dispatch.settleFirst)
    work.freeSlot()
    if (dispatch.settleFirst && receipt.outcome === 'finished') await settled
    if (end === 'failed') response.destroy()
    else if (end === 'refused') writer.fail(errorOf(refusalFor(cause), requestId))
    else if (end !== 'abort') writer.end(end, receipt.counts, stop)
    return undefined
  } catch (error) {
    // After any error (a full disk, a bug), an incomplete answer must not look complete.
    left.abort()
    if (writer.prepared) response.destroy()
    throw error
  } finally {
    timers.stop()
  }
}

/** Timers until the first token: for the prelude, and for the keep-alives that reveal a disconnected client. */
function startTimers(writer: ResponseWriter): { stop: () => void } {
  const prelude = setTimeout(() => writer.begin(), preludeMs)
  const keepAlive = setInterval(() => writer.keepAlive(), keepAliveMs)
  const stop = () => {
    clearTimeout(prelude)
    clearInterval(keepAlive)
  }
  return { stop }
}

/**
 * Checks whether the client of a non-streamed request that waited is still connected: unlike a stream, nothing was
 * written to it meanwhile. Two bytes reveal a closed connection before a token is spent. If the round trip takes longer
 * than `clientProbeMs`, the keep-alives reveal it later.
 */
async function probeClient(writer: ResponseWriter, left: AbortSignal): Promise<void> {
  for (let times = 0; times < 2 && !left.aborted; times++) {
    writer.keepAlive()
    await delay(clientProbeMs, undefined, { signal: left }).catch(() => undefined)
  }
}

function isNothing(end: RelayEnd, { promptTokens, outputTokens }: Readonly<Counts>): boolean {
  return (end === 'failed' && promptTokens + outputTokens === 0) || (end === 'refused' && outputTokens === 0)
}

function refusalFor(cause: unknown): Refusal {
  if (cause instanceof EngineRefused) return cause.refusal
  return { code: 'engine_down', message: cause instanceof Error ? cause.message : 'the engine failed' }
}

/** Writes the error in the Chat Completions format; the edge rewrites it for other dialects. */
function errorOf({ code, message, param }: Refusal, requestId: string): string {
  const known = engineCodes.find((each) => each === code) ?? 'internal_error'
  return JSON.stringify(errorBody(known, message, param ?? null, requestId))
}

const engineCodes = ['invalid_value', 'context_length_exceeded', 'preparation_failed'] as const

/** `refused`: the request's own rules ended the run, not the engine. */
type RelayEnd = FinishReason | 'abort' | 'failed' | 'refused'

/** `cause` is the error of a failed or refused run. */
async function pump(
  run: Run,
  on: {
    counted: () => void
    first: () => void
    text: (channel: 'reasoning' | 'content', text: string) => void
    call: (name: string, args: string) => void
  },
): Promise<{ end: RelayEnd; stop: string | undefined; cause: unknown }> {
  let end: RelayEnd = 'failed'
  let stop: string | undefined
  let cause: unknown
  let first = true
  try {
    for await (const event of run.events) {
      on.counted()
      if (event.kind === 'end') {
        end = event.finishReason
        stop = event.stop
      }
      if (event.kind === 'started' || event.kind === 'end') continue
      if (first) on.first()
      first = false
      if (event.kind === 'text') on.text(event.channel, event.text)
      else on.call(event.name, event.arguments)
    }
  } catch (error) {
    end = error instanceof EngineRefused ? 'refused' : 'failed'
    cause = error
  }
  on.counted()
  return { end, stop, cause }
}

/** `begin` writes the prelude and the start of the answer, once. Other methods write them first if needed. */
interface ResponseWriter {
  /** The prelude was written. */
  readonly prepared: boolean
  /** The start of the answer was written; for a non-streamed answer, the prelude. */
  readonly begun: boolean
  /** Writes the prelude alone. */
  prepare(): void
  begin(): void
  keepAlive(): void
  text(channel: 'reasoning' | 'content', text: string): void
  call(call: WireCall): void
  end(finishReason: FinishReason, counts: Readonly<Counts>, stop: string | undefined): void
  /** Ends the answer with this error, as JSON. */
  fail(error: string): void
}

function headOf(dispatch: Dispatch, now: () => number): Head {
  return {
    id: `chatcmpl-${dispatch.requestId.replace(/^req_/, '')}`,
    created: Math.floor(now() / 1_000),
    model: dispatch.model,
    effort: { asked: dispatch.effortAsked, effective: dispatch.effort },
    rates: dispatch.rates,
  }
}

/** Writes chunks as they arrive, one event per write: some clients lose an event that is split over two reads. */
function streamWriter(head: Head, chat: Chat, prelude: PreludeOnce, response: ServerResponse): ResponseWriter {
  const chunks = chunkWriter(head, chat.includeUsage)
  let begun = false
  const begin = () => {
    if (begun || response.destroyed) return
    begun = true
    response.write(prelude.take() + chunks.role())
  }
  return {
    get prepared() {
      return prelude.taken
    },
    get begun() {
      return begun
    },
    prepare() {
      if (!prelude.taken && !response.destroyed) response.write(prelude.take())
    },
    begin,
    keepAlive() {
      begin()
      response.write(': working on the prompt\n\n')
    },
    text: (channel, text) => void response.write(chunks.text(channel, text)),
    call: (call) => void response.write(chunks.call(call)),
    end(finishReason, counts, stop) {
      begin()
      response.end(chunks.end(finishReason, counts, stop))
    },
    fail(error) {
      // If only the prelude was sent, the error is the whole answer, and the edge can still choose the client's status.
      response.end(`${prelude.take()}data: ${error}\n\n`)
    },
  }
}

/** Writes white space until the answer is complete. */
function wholeWriter(head: Head, prelude: PreludeOnce, response: ServerResponse): ResponseWriter {
  const answer = { content: '', reasoning: '', calls: [] as WireCall[] }
  const begin = () => {
    if (!prelude.taken && !response.destroyed) response.write(prelude.take())
  }
  return {
    get prepared() {
      return prelude.taken
    },
    get begun() {
      return prelude.taken
    },
    prepare: begin,
    begin,
    keepAlive() {
      begin()
      response.write(' ')
    },
    text: (channel, text) => {
      answer[channel] += text
    },
    call: (call) => void answer.calls.push(call),
    end(finishReason, counts, stop) {
      response.end(prelude.take() + completion(head, { ...answer, finishReason, counts, stop }))
    },
    fail(error) {
      response.end(prelude.take() + error)
    },
  }
}

type PreludeOnce = ReturnType<typeof preludeOnce>

/** The prelude, written at most once: what the worker knows of the answer before its first token. */
function preludeOnce({ promptTokens, promptEstimated, warnings = [] }: Prepared, bound: OutputBound) {
  let taken = false
  return {
    get taken() {
      return taken
    },
    /** Returns the prelude the first time, then an empty string. */
    take(): string {
      if (taken) return ''
      taken = true
      return preludeLine({
        kind: 'prepared',
        ...(!promptEstimated && { promptTokens }),
        ...(bound.unpaid && { outputTokensMax: bound.outputTokensMax }),
        warnings: [...warnings],
      })
    },
  }
}
