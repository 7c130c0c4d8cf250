/**
 * One dispatch on the worker: bound it, run it, write it out, owe the receipt.
 *
 * The order at the end is what the ledger rests on: the engine has stopped, the receipt is in the outbox, and only
 * then does the last byte go out. A client that left (the response closed early) aborts the engine within one token;
 * an engine that died breaks the response off, so that the edge tells the client; before the first byte it is a refusal,
 * so that the edge tries another worker. The head waits a moment for that: an engine that will not run a request mostly
 * says so at once.
 */
import type { ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import type { Chat } from '../backends/protocol/chat.ts'
import { chunkWriter, completion, type FinishReason, type Head, type WireCall } from '../backends/protocol/chunk.ts'
import { type Dispatch, promptTokensHeader, type Refusal, warningsHeader } from '../backends/protocol/dispatch.ts'
import { type Counts, outputTokensWithin } from '../backends/protocol/money.ts'
import { type Receipt, receiptOf } from '../backends/protocol/receipt.ts'
import { type Engine, EngineRefused, type Prepared, type Run } from './engine/engine.ts'
import { type Outbox, OutboxFailure } from './outbox.ts'

/** White space or comments this often until the first token: how a client that left is noticed before it. */
const beatMs = 250
/** The head goes out with the first event, or when this has passed. */
const headMs = 50
/** A quiet one’s goes out then at the latest: what lies between may give up on an answer without a head (Cloudflare, 100 s). */
const quietMs = 30_000
/** Between the bytes that find out whether a client that waited is still there: the first is answered by a reset. */
const knockMs = 20

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
 * Runs a bounded dispatch to its end, whatever that is. The slot is the caller's to release. Rejects never; resolves with
 * a refusal, which the caller writes, where nothing was generated and nothing written.
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
  if (dispatch.waited && !chat.stream) await knock(writer, left.signal)
  const run = engine.run(prepared, { requestId, outputTokensMax: work.outputTokensMax, priority, owner }, left.signal)
  const quiet = dispatch.quiet === true && chat.stream
  const headTimer = setTimeout(() => writer.begin(), quiet ? quietMs : headMs)
  const beat = setInterval(() => {
    if (!quiet || response.headersSent) writer.beat()
  }, beatMs)
  let firstTokenMs: number | null = null
  const { end, stop, cause } = await pump(run, {
    counted: () => outbox.count(slot, run.counts),
    first: () => {
      firstTokenMs = now() - startedAt
      writer.begin()
      if (chat.stream) clearInterval(beat)
    },
    text: writer.text,
    call: (name, args) => writer.call({ id: parts.callId(), name, arguments: args }),
  })
  clearTimeout(headTimer)
  clearInterval(beat)
  if (end === 'failed' && !response.headersSent && isNothing(run.counts)) {
    outbox.forget(dispatch.dispatchId)
    return refusalFor(cause)
  }
  const receipt = receiptOf(dispatch, {
    finishReason: end === 'failed' ? 'error' : end,
    counts: run.counts,
    estimated: run.estimated ?? false,
    ...{ startedAt, endedAt: now(), firstTokenMs },
    engine: `${engine.description.engine} ${engine.description.version}`,
  })
  outbox.finish(receipt)
  const settled = parts.owed(receipt, dispatch.settleFirst)
  if (dispatch.settleFirst && receipt.outcome === 'finished') await settled
  if (end === 'failed') response.destroy()
  else if (end !== 'abort') writer.end(end, receipt.counts, stop)
  return undefined
}

/**
 * A stream is written to while it waits, an answer in one piece is not: its client may have left long ago. Two bytes tell,
 * before a token is spent on it; where the way is longer than `knockMs`, the beats tell later.
 */
async function knock(writer: Writer, left: AbortSignal): Promise<void> {
  for (let times = 0; times < 2 && !left.aborted; times++) {
    writer.beat()
    await delay(knockMs, undefined, { signal: left }).catch(() => undefined)
  }
}

function isNothing({ promptTokens, outputTokens }: Readonly<Counts>): boolean {
  return promptTokens + outputTokens === 0
}

function refusalFor(cause: unknown): Refusal {
  if (cause instanceof EngineRefused) return cause.refusal
  return { code: 'engine_down', message: cause instanceof Error ? cause.message : 'the engine failed' }
}

type End = FinishReason | 'abort' | 'failed'

/** `cause` is why it failed. */
async function pump(
  run: Run,
  on: {
    counted: () => void
    first: () => void
    text: (channel: 'reasoning' | 'content', text: string) => void
    call: (name: string, args: string) => void
  },
): Promise<{ end: End; stop: string | undefined; cause: unknown }> {
  let end: End = 'failed'
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
    end = 'failed'
    cause = error
  }
  on.counted()
  return { end, stop, cause }
}

/** `begin` writes the head, once; everything else writes it first if it must. */
interface Writer {
  begin(): void
  beat(): void
  text(channel: 'reasoning' | 'content', text: string): void
  call(call: WireCall): void
  end(finishReason: FinishReason, counts: Readonly<Counts>, stop: string | undefined): void
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
function streamWriter(head: Head, chat: Chat, prepared: Prepared, response: ServerResponse): Writer {
  const chunks = chunkWriter(head, chat.includeUsage)
  const begin = () => {
    if (response.headersSent || response.destroyed) return
    response.writeHead(200, headers('text/event-stream; charset=utf-8', prepared))
    response.write(chunks.role())
  }
  return {
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
  }
}

/** White space until the answer is whole. */
function wholeWriter(head: Head, prepared: Prepared, response: ServerResponse): Writer {
  const answer = { content: '', reasoning: '', calls: [] as WireCall[] }
  const begin = () => {
    if (response.headersSent || response.destroyed) return
    response.writeHead(200, headers('application/json', prepared))
    response.flushHeaders()
  }
  return {
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
      begin()
      response.end(completion(head, { ...answer, finishReason, counts, stop }))
    },
  }
}

/** What is known before the first byte: the prompt's exact length, and what the engine does not honour. */
function headers(contentType: string, { promptTokens, promptEstimated, warnings = [] }: Prepared) {
  const told = warnings
    .join('; ')
    .replace(/[^\x20-\x7e]/g, '?')
    .slice(0, 2_000)
  return {
    'content-type': contentType,
    'cache-control': 'no-store',
    ...(!promptEstimated && { [promptTokensHeader]: String(promptTokens) }),
    ...(told !== '' && { [warningsHeader]: told }),
  }
}
