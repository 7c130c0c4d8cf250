/**
 * The backend under examination. The checks send requests through its adapter, as the worker does, and see the full
 * outcome: text, calls, counts and the end. The transport decides whether real calls are made.
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
import {
  countsOf,
  isEstimated,
  newTokenCounter,
  type TokenCounter,
  takeEvent,
} from '../../backends/contract/token-counter.ts'
import { type Chat, readChat } from '../../backends/model/chat.ts'
import type { FinishReason, WireCall } from '../../backends/model/chunk.ts'
import type { EffortWord } from '../../backends/model/effort.ts'
import type { Counts } from '../../backends/model/money.ts'

export interface SubjectRequest {
  /** Body of a chat request, without `model`. */
  body: Record<string, unknown>
  effort?: EffortWord
  outputTokensMax?: number
  cacheSalt?: string
  /** Breaks the answer off after this many deltas: by the client, by the connection, or by an error from the engine. */
  breakOff?: { after: number; by: 'client' | 'connection' | 'error' }
  /** Called with every delta. */
  onDelta?: () => Promise<void>
}

export interface SubjectOutcome {
  /** Refusal by the adapter before the call, or by the engine. */
  refusal: BackendFailure | undefined
  content: string
  reasoning: string
  calls: WireCall[]
  /** Undefined if the answer did not end. `failed` has the reason, unless the client broke it off. */
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
  ask(request: SubjectRequest): Promise<SubjectOutcome>
  /** Counts the tokens of the prompt before anything is generated; undefined if the backend cannot. */
  count(request: SubjectRequest): Promise<number | undefined>
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
/** Makes a call; rejects without an answer. The body ends or throws when the signal aborts. */
export type Transport = (call: HttpCall, signal: AbortSignal) => Promise<OpenAnswer>

/** @param within returns a signal that aborts after the time limit of one answer */
export function httpSubject(
  backend: HttpBackend,
  attached: Attached,
  open: Transport,
  within: () => AbortSignal,
): Subject {
  let requestCount = 0
  const run = <T>(probe: Probe<T>) => askProbe(probe, open, within())
  return {
    capabilities: attached.capabilities,
    truth: backend.truth,
    contextTokens: attached.contextTokens,
    health: () => run(backend.health),
    load: () => run(backend.load),
    async count(request) {
      const probe = backend.count?.(chatOf(request), orderOf(request, 0), attached)
      const counted = probe && (await run(probe))
      return typeof counted === 'number' ? counted : undefined
    },
    async countText(text) {
      const probe = backend.countText?.(text, attached)
      return probe && (await run(probe))
    },
    async ask(request) {
      const chat = chatOf(request)
      const terms = orderOf(request, ++requestCount)
      const built = backend.request(chat, terms, attached)
      if (!built.ok) return refused(built)
      const left = new AbortController()
      const opened = await open(built.call, AbortSignal.any([left.signal, within()]))
      if (opened.status !== 200) {
        const { status, headers } = opened
        return refused(backend.failure({ status, headers, body: await textOf(opened.body) }))
      }
      const counter = newTokenCounter()
      const outcome = { ...empty(), warnings: built.warnings }
      const reader = backend.reader(terms, opened.streams, built.clientNames)
      await readAnswer(request, opened, reader, (event) => take(outcome, counter, event))
      left.abort()
      const promptTokens = promptTokensMax(chat, built.call.body)
      const known = { truth: backend.truth, promptTokens, promptCounted: false }
      return { ...outcome, counts: countsOf(counter, known), estimated: isEstimated(counter, known) }
    },
  }
}

/** Feeds the answer to the reader, and breaks it off if the request says so. */
async function readAnswer(
  request: SubjectRequest,
  opened: OpenAnswer,
  reader: ResponseReader,
  take: (event: BackendEvent) => number,
): Promise<void> {
  const { after, by } = request.breakOff ?? { after: Number.POSITIVE_INFINITY, by: 'client' as const }
  let deltas = 0
  for await (const bytes of opened.body) {
    for (const piece of request.breakOff ? pieces(bytes) : [bytes]) {
      for (const event of reader.push(piece)) deltas = take(event)
      await request.onDelta?.()
      if (deltas < after) continue
      if (by === 'client') return
      if (by === 'error') for (const event of reader.push(errorFrame)) take(event)
      for (const event of reader.end()) take(event)
      return
    }
  }
  for (const event of reader.end()) take(event)
}

/** Splits after every event, because a fast engine sends its whole answer in one chunk, which has no middle. */
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

function take(outcome: SubjectOutcome, counter: TokenCounter, event: BackendEvent): number {
  takeEvent(counter, event)
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

export async function textOf(body: AsyncIterable<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  for await (const part of body) {
    text += decoder.decode(part, { stream: true })
    if (text.length > textMax) break
  }
  return text
}

export function chatOf(request: SubjectRequest): Chat {
  const read = readChat({ model: 'examined', temperature: 0, stream: true, ...request.body })
  if (!read.ok) throw new Error(`a check sends an invalid request: ${read.message}`)
  return read.chat
}

export function orderOf(request: SubjectRequest, number: number): RequestTerms {
  return {
    requestId: `check-${number}`,
    effort: request.effort ?? 'none',
    outputTokensMax: request.outputTokensMax ?? 128,
    priority: 0,
    cacheSalt: request.cacheSalt ?? '',
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
