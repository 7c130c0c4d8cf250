/**
 * What is examined: a backend that answers. The checks ask it as the worker does, through its adapter, and see all of
 * what came: text, calls, counts, and how it ended. Whether real calls are made is the transport's matter.
 */
import type {
  Attached,
  BackendEvent,
  BackendFailure,
  Capabilities,
  Health,
  HttpAnswer,
  HttpBackend,
  HttpCall,
  Load,
  Probe,
  RequestTerms,
  ResponseReader,
  Truth,
} from '../../backends/contract/backend.ts'
import { promptTokensMax } from '../../backends/contract/prompt-bound.ts'
import { createMeter, type TokenCounter } from '../../backends/contract/token-counter.ts'
import { type Chat, readChat } from '../../backends/model/chat.ts'
import type { FinishReason, WireCall } from '../../backends/model/chunk.ts'
import type { EffortWord } from '../../backends/model/effort.ts'
import type { Counts } from '../../backends/model/money.ts'

export interface SubjectRequest {
  /** Of a chat request, without `model`. */
  body: Record<string, unknown>
  effort?: EffortWord
  outputTokensMax?: number
  cacheSalt?: string
  /** After so many deltas the answer is broken off: by us, by the connection, or by an error that the engine sends. */
  breakOff?: { after: number; by: 'client' | 'connection' | 'error' }
  /** Called with every delta. */
  onDelta?: () => Promise<void>
}

export interface SubjectOutcome {
  /** By the adapter before a call was made, or by the engine. */
  refusal: BackendFailure | undefined
  content: string
  reasoning: string
  calls: WireCall[]
  /** Undefined: the answer did not end, and `failed` says why, unless it was broken off by the client. */
  finishReason: FinishReason | undefined
  failed: string | undefined
  counts: Counts
  estimated: boolean
  deltas: number
  warnings: string[]
}

export interface Subject {
  readonly capabilities: Capabilities
  readonly truth: Truth
  readonly contextTokens: number | null
  ask(ask: SubjectRequest): Promise<SubjectOutcome>
  /** Tokens of the prompt, as counted before anything is generated; undefined where it cannot be. */
  count(ask: SubjectRequest): Promise<number | undefined>
  countText(text: string): Promise<number | undefined>
  load(): Promise<Load>
  health(): Promise<Health>
}

export interface OpenAnswer {
  status: number
  streams: boolean
  headers: HttpAnswer['headers']
  body: AsyncIterable<Uint8Array>
}
/** Makes a call; rejects when nobody answers. The body ends or throws with the signal. */
export type Transport = (call: HttpCall, signal: AbortSignal) => Promise<OpenAnswer>

/** @param within the most milliseconds that one answer may take, as a signal for each */
export function httpSubject(
  backend: HttpBackend,
  attached: Attached,
  open: Transport,
  within: () => AbortSignal,
): Subject {
  let asked = 0
  const probe = <T>(what: Probe<T>) => askProbe(what, open, within())
  return {
    capabilities: attached.capabilities,
    truth: backend.truth,
    contextTokens: attached.contextTokens,
    health: () => probe(backend.health),
    load: () => probe(backend.load),
    async count(ask) {
      const what = backend.count?.(chatOf(ask), orderOf(ask, 0), attached)
      const counted = what && (await probe(what))
      return typeof counted === 'number' ? counted : undefined
    },
    async countText(text) {
      const what = backend.countText?.(text, attached)
      return what && (await probe(what))
    },
    async ask(ask) {
      const chat = chatOf(ask)
      const order = orderOf(ask, ++asked)
      const request = backend.request(chat, order, attached)
      if (!request.ok) return refused(request)
      const left = new AbortController()
      const opened = await open(request.call, AbortSignal.any([left.signal, within()]))
      if (opened.status !== 200) {
        const { status, headers } = opened
        return refused(backend.failure({ status, headers, body: await textOf(opened.body) }))
      }
      const meter = createMeter(backend.truth, promptTokensMax(chat, request.call.body), false)
      const outcome = { ...empty(), warnings: request.warnings }
      await readAnswer(ask, opened, backend.reader(order, opened.streams), (event) => take(outcome, meter, event))
      left.abort()
      return { ...outcome, counts: meter.counts, estimated: meter.estimated }
    },
  }
}

/** Feeds the reader, and breaks off as asked. */
async function readAnswer(
  ask: SubjectRequest,
  opened: OpenAnswer,
  reader: ResponseReader,
  take: (event: BackendEvent) => number,
): Promise<void> {
  const { after, by } = ask.breakOff ?? { after: Number.POSITIVE_INFINITY, by: 'client' as const }
  let deltas = 0
  for await (const bytes of opened.body) {
    for (const piece of ask.breakOff ? pieces(bytes) : [bytes]) {
      for (const event of reader.push(piece)) deltas = take(event)
      await ask.onDelta?.()
      if (deltas < after) continue
      if (by === 'client') return
      if (by === 'error') for (const event of reader.push(errorFrame)) take(event)
      for (const event of reader.end()) take(event)
      return
    }
  }
  for (const event of reader.end()) take(event)
}

/** Cut behind every event: a fast engine sends its whole answer at once, and there is no middle of it otherwise. */
function* pieces(bytes: Uint8Array): Iterable<Uint8Array> {
  let from = 0
  for (let at = 1; at < bytes.length; at++) {
    if (bytes[at] !== newline || bytes[at - 1] !== newline) continue
    yield bytes.subarray(from, at + 1)
    from = at + 1
  }
  yield bytes.subarray(from)
}
const newline = 10

const errorFrame = new TextEncoder().encode(
  '\n\ndata: {"error": {"message": "out of memory", "type": "server_error", "code": 500}}\n\n',
)

function take(outcome: SubjectOutcome, meter: TokenCounter, event: BackendEvent): number {
  meter.take(event)
  switch (event.kind) {
    case 'text':
      outcome[event.channel] += event.text
      outcome.deltas++
      break
    case 'piece':
      outcome.deltas++
      break
    case 'call':
      outcome.calls.push(event.call)
      break
    case 'end':
      outcome.finishReason = event.finishReason
      break
    case 'failed':
      outcome.failed = event.message
  }
  return outcome.deltas
}

export async function askProbe<T>(probe: Probe<T>, open: Transport, signal: AbortSignal): Promise<T> {
  const answers = probe.calls.map(async (call): Promise<HttpAnswer | null> => {
    try {
      const { status, headers, body } = await open(call, signal)
      return { status, headers, body: await textOf(body) }
    } catch {
      return null
    }
  })
  return probe.read(await Promise.all(answers))
}

const textMax = 32 * 1024 * 1024

async function textOf(body: AsyncIterable<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  for await (const part of body) {
    text += decoder.decode(part, { stream: true })
    if (text.length > textMax) break
  }
  return text
}

export function chatOf(ask: SubjectRequest): Chat {
  const read = readChat({ model: 'examined', temperature: 0, stream: true, ...ask.body })
  if (!read.ok) throw new Error(`a check asks wrongly: ${read.message}`)
  return read.chat
}

export function orderOf(ask: SubjectRequest, number: number): RequestTerms {
  return {
    requestId: `check-${number}`,
    effort: ask.effort ?? 'none',
    outputTokensMax: ask.outputTokensMax ?? 128,
    priority: 0,
    cacheSalt: ask.cacheSalt ?? '',
  }
}

export function empty(): SubjectOutcome {
  return {
    refusal: undefined,
    content: '',
    reasoning: '',
    calls: [],
    finishReason: undefined,
    failed: undefined,
    counts: { promptTokens: 0, cachedTokens: 0, outputTokens: 0, reasoningTokens: 0 },
    estimated: false,
    deltas: 0,
    warnings: [],
  }
}

export function refused(refusal: BackendFailure): SubjectOutcome {
  return { ...empty(), refusal }
}
