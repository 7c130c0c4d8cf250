/**
 * One dispatch on the worker: bound it, run it, write it out, owe the receipt.
 *
 * The order at the end is what the ledger rests on: the engine has stopped, the receipt is in the outbox, and only
 * then does the last byte go out. A client that left (the response closed early) aborts the engine within one token;
 * an engine that died breaks the response off, so that the edge, which alone knows whether bytes went out, tells the
 * client or tries another worker.
 */
import type { ServerResponse } from 'node:http'
import type { Chat } from '../backends/protocol/chat.ts'
import { chunkWriter, completion, type FinishReason, type Head, type WireCall } from '../backends/protocol/chunk.ts'
import { type Dispatch, promptTokensHeader, type Refusal } from '../backends/protocol/dispatch.ts'
import { type Counts, costNano, outputTokensWithin } from '../backends/protocol/money.ts'
import type { Receipt } from '../backends/protocol/receipt.ts'
import type { Engine, Prepared, Run } from './engine/engine.ts'
import type { Outbox } from './outbox.ts'

/** White space or comments this often until the first token: how a client that left is noticed before it. */
const beatMs = 250

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

/** Runs a bounded dispatch to its end, whatever that is. The slot is the caller's to release. Rejects never. */
export async function relay(
  parts: RelayParts,
  work: { dispatch: Dispatch; chat: Chat; prepared: Prepared; outputTokensMax: number; slot: number },
  response: ServerResponse,
): Promise<void> {
  const { engine, outbox, now } = parts
  const { dispatch, chat, prepared, slot } = work
  const startedAt = now()
  outbox.begin(dispatch, slot, startedAt)
  const left = new AbortController()
  response.on('close', () => left.abort())
  if (response.destroyed) left.abort()
  const { requestId, priority, tenantId: owner } = dispatch
  const run = engine.run(prepared, { requestId, outputTokensMax: work.outputTokensMax, priority, owner }, left.signal)
  response.setHeader(promptTokensHeader, String(prepared.promptTokens))
  const writer = chat.stream ? streamWriter(dispatch, chat, response, now) : wholeWriter(dispatch, response, now)
  const beat = setInterval(() => writer.beat(), beatMs)
  let firstTokenMs: number | null = null
  const { end, stop } = await pump(run, {
    counted: () => outbox.count(slot, run.counts),
    first: () => {
      firstTokenMs = now() - startedAt
      if (chat.stream) clearInterval(beat)
    },
    text: writer.text,
    call: (name, args) => writer.call({ id: parts.callId(), name, arguments: args }),
  })
  clearInterval(beat)
  const receipt = receiptOf(dispatch, run.counts, end, { startedAt, endedAt: now(), firstTokenMs }, engine)
  outbox.finish(receipt)
  const settled = parts.owed(receipt, dispatch.settleFirst)
  if (dispatch.settleFirst && receipt.outcome === 'finished') await settled
  if (end === 'failed') response.destroy()
  else if (end !== 'abort') writer.end(end, run.counts, stop)
}

type End = FinishReason | 'abort' | 'failed'

async function pump(
  run: Run,
  on: {
    counted: () => void
    first: () => void
    text: (channel: 'reasoning' | 'content', text: string) => void
    call: (name: string, args: string) => void
  },
): Promise<{ end: End; stop: string | undefined }> {
  let end: End = 'failed'
  let stop: string | undefined
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
  } catch {
    // The engine said why to its log when it died; to this request it is one outcome.
    end = 'failed'
  }
  on.counted()
  return { end, stop }
}

function receiptOf(
  dispatch: Dispatch,
  live: Readonly<Counts>,
  end: End,
  times: Pick<Receipt, 'startedAt' | 'endedAt' | 'firstTokenMs'>,
  engine: Engine,
): Receipt {
  const counts = { ...live }
  const { requestId, dispatchId, tenantId, keyId, workerId, model, pool, effort, rates } = dispatch
  return {
    ...{ requestId, dispatchId, tenantId, keyId, workerId, model, pool, effort },
    outcome: end === 'failed' ? 'failed' : end === 'abort' ? 'aborted' : 'finished',
    finishReason: end === 'failed' ? 'error' : end,
    counts,
    costNano: end === 'failed' ? 0 : Math.min(costNano(counts, rates), dispatch.costNanoMax),
    estimated: false,
    ...times,
    engine: `${engine.description.engine} ${engine.description.version}`,
  }
}

interface Writer {
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
function streamWriter(dispatch: Dispatch, chat: Chat, response: ServerResponse, now: () => number): Writer {
  const chunks = chunkWriter(headOf(dispatch, now), chat.includeUsage)
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-store' })
  response.write(chunks.role())
  return {
    beat: () => void response.write(': working on the prompt\n\n'),
    text: (channel, text) => void response.write(chunks.text(channel, text)),
    call: (call) => void response.write(chunks.call(call)),
    end: (finishReason, counts, stop) => void response.end(chunks.end(finishReason, counts, stop)),
  }
}

/** White space until the answer is whole. */
function wholeWriter(dispatch: Dispatch, response: ServerResponse, now: () => number): Writer {
  const head = headOf(dispatch, now)
  const answer = { content: '', reasoning: '', calls: [] as WireCall[] }
  response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' })
  response.flushHeaders()
  return {
    beat: () => void response.write(' '),
    text: (channel, text) => {
      answer[channel] += text
    },
    call: (call) => void answer.calls.push(call),
    end: (finishReason, counts, stop) => void response.end(completion(head, { ...answer, finishReason, counts, stop })),
  }
}
