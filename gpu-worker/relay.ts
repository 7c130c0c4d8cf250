/**
 * One dispatch on the worker: bound it, run it, write it out, owe the receipt.
 *
 * The order at the end is what the ledger rests on: the engine has stopped, the receipt is in the outbox, and only
 * then does the last byte go out. A client that left (the response closed early) aborts the engine within one token;
 * an engine that died breaks the response off, so that the edge informs the client; before the prelude it is a refusal,
 * so that the edge tries another worker. The prelude waits a moment for that: an engine that will not run a request mostly
 * says so at once. A run that the request itself ended, by its own rules, ends with an error in the answer.
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

/** White space or comments this often until the first token: how a client that left is noticed before it. */
const beatMs = 250
/** The prelude goes out with the first event, or when this has passed. */
const preludeMs = 50
/** A quiet stream sends nothing but its prelude for so long: a proxy may close a connection that is silent (100 s). */
const quietMs = 30_000
/** Between the bytes that find out whether a client that waited is still there: the first is answered by a reset. */
const clientProbeMs = 20

export interface RelayParts {
  engine: Engine
  outbox: Outbox
  /** Called when a receipt is owed; resolves when it is settled, or when that takes too long to be waited for. */
  owed: (receipt: Receipt, settleFirst: boolean) => Promise<void>
  now: () => number
  /** Nine letters or digits: what Mistral's models expect of a tool call's id. */
  callId: () => string
}

/** The most that may be generated, or the refusal that says how long the prompt really is. */
export function boundOutput(prepared: Prepared, dispatch: Dispatch): number | Refusal {
  const { promptTokens, outputTokensFit } = prepared
  const affordable = outputTokensWithin(dispatch.costNanoMax, promptTokens, dispatch.rates)
  if (promptTokens > dispatch.promptTokensMax || affordable < 1) {
    const message = `the prompt has ${promptTokens} tokens, more than was reserved for`
    return { code: 'prompt_over_bound', message, promptTokens }
  }
  return Math.min(dispatch.outputTokensMax, outputTokensFit, affordable)
}

/**
 * Runs a bounded dispatch to its end, of any kind. The head of `response` has been written; the slot is the caller's
 * to release. Resolves with a refusal, which the caller writes, where no prelude was written. Rejects where the outbox
 * fails; the response is then destroyed, or nothing of it was written.
 */
export async function relay(
  parts: RelayParts,
  work: { dispatch: Dispatch; chat: Chat; prepared: Prepared; outputTokensMax: number; slot: number },
  response: ServerResponse,
): Promise<Refusal | undefined> {
  const { engine, outbox, now } = parts
  const { dispatch, chat, prepared, slot } = work
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
  const writer = chat.stream ? streamWriter(head, chat, prepared, response) : wholeWriter(head, prepared, response)
  const timers = startTimers(writer, dispatch.quiet === true && chat.stream)
  try {
    if (dispatch.waited && !chat.stream) await probeClient(writer, left.signal)
    const run = engine.run(prepared, { requestId, outputTokensMax: work.outputTokensMax, priority, owner }, left.signal)
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
      // A request that its own rules ended is billed for what was generated, and its worker is not to blame.
      refused: end === 'refused',
      counts: run.counts,
      estimated: run.estimated ?? false,
      ...{ startedAt, endedAt: now(), firstTokenMs },
      engine: `${engine.description.engine} ${engine.description.version}`,
    })
    outbox.finish(receipt)
    const settled = parts.owed(receipt, dispatch.settleFirst)
    if (dispatch.settleFirst && receipt.outcome === 'finished') await settled
    if (end === 'failed') response.destroy()
    else if (end === 'refused') writer.fail(errorOf(refusalFor(cause), requestId))
    else if (end !== 'abort') writer.end(end, receipt.counts, stop)
    return undefined
  } catch (error) {
    // For any cause (a full disk, a fault of ours): an answer never looks whole when it is not.
    left.abort()
    if (writer.prepared) response.destroy()
    throw error
  } finally {
    timers.stop()
  }
}

/** Until the first token: the prelude, and the bytes that show whether the client is there. */
function startTimers(writer: ResponseWriter, quiet: boolean): { stop: () => void } {
  const prelude = setTimeout(() => (quiet ? writer.prepare() : writer.begin()), preludeMs)
  const loud = quiet ? setTimeout(() => writer.begin(), quietMs) : undefined
  const beat = setInterval(() => {
    if (!quiet || writer.begun) writer.beat()
  }, beatMs)
  const stop = () => {
    clearTimeout(prelude)
    clearTimeout(loud)
    clearInterval(beat)
  }
  return { stop }
}

/**
 * A stream is written to while it waits, an answer in one piece is not: its client may have left long ago. Two bytes tell,
 * before a token is spent on it; where the way is longer than `knockMs`, the beats tell later.
 */
async function probeClient(writer: ResponseWriter, left: AbortSignal): Promise<void> {
  for (let times = 0; times < 2 && !left.aborted; times++) {
    writer.beat()
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

/** As a client of Chat Completions reads it; the edge rewrites it for every other client. */
function errorOf({ code, message, param }: Refusal, requestId: string): string {
  const known = engineCodes.find((each) => each === code) ?? 'internal_error'
  return JSON.stringify(errorBody(known, message, param ?? null, requestId))
}

const engineCodes = ['invalid_value', 'context_length_exceeded', 'preparation_failed'] as const

/** `refused`: the request itself, and not the engine, is why the run ended. */
type RelayEnd = FinishReason | 'abort' | 'failed' | 'refused'

/** `cause` is why it failed. */
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

/** `begin` writes the prelude and the answer's beginning, once; everything else writes them first if it must. */
interface ResponseWriter {
  /** The prelude was written. */
  readonly prepared: boolean
  /** Something was written after the prelude, or the answer has no beginning of its own. */
  readonly begun: boolean
  /** Writes the prelude alone. */
  prepare(): void
  begin(): void
  beat(): void
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
  }
}

/** Chunks as they come. One event per write: some clients lose an event that is split over two reads. */
function streamWriter(head: Head, chat: Chat, prepared: Prepared, response: ServerResponse): ResponseWriter {
  const chunks = chunkWriter(head, chat.includeUsage)
  const prelude = preludeOnce(prepared)
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
    beat() {
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
      // Where nothing but the prelude went out, the error stands alone: the edge still has the client's status to choose.
      response.end(`${prelude.take()}data: ${error}\n\n`)
    },
  }
}

/** White space until the answer is whole. */
function wholeWriter(head: Head, prepared: Prepared, response: ServerResponse): ResponseWriter {
  const answer = { content: '', reasoning: '', calls: [] as WireCall[] }
  const prelude = preludeOnce(prepared)
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
    beat() {
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

/** What is known before the first byte: the prompt's exact length, and what the engine does not honour. */
function preludeOnce({ promptTokens, promptEstimated, warnings = [] }: Prepared) {
  let taken = false
  return {
    get taken() {
      return taken
    },
    /** The line, the first time; then nothing. */
    take(): string {
      if (taken) return ''
      taken = true
      return preludeLine({ kind: 'prepared', ...(!promptEstimated && { promptTokens }), warnings: [...warnings] })
    },
  }
}
