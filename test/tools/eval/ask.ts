/** Sends one case over HTTP, streamed. Returns the answer and its usage, or the server's refusal. */
import { EventSourceParserStream } from 'eventsource-parser/stream'
import pRetry, { AbortError } from 'p-retry'
import { z } from 'zod'
import { type Assembly, Chunk, finished, nothingYet, withChunk, writes } from './answer.ts'
import type { Case } from './case.ts'
import { type Faults, retryAfterMs, standingOf } from './refusal.ts'

export interface Target {
  url: string
  key: string | undefined
  model: string
}

export interface Asking {
  effort: string
  temperature: number
  tokensMax: number | null
}

export type Asked =
  | { kind: 'answered'; answer: Assembly; firstTokenMs: number | null; tokenMs: number | null }
  /** The case itself cannot be served, regardless of retries. */
  | { kind: 'refused'; code: string }

/** The server cannot serve any case: the run ends with this sentence. */
export class Hopeless extends Error {}

const retries = 8
/** A server that is silent for this long is considered dead. */
const silenceMs = 600_000
/** Pieces that arrive closer together than this came in one packet. */
const burstMs = 0.3

/** Rejects early, with the signal's reason, when `signal` aborts. */
export async function ask(target: Target, one: Case, asking: Asking, signal: AbortSignal): Promise<Asked> {
  const body = JSON.stringify(requestOf(target.model, one, asking))
  return pRetry(() => attempt(target, body, signal), {
    retries,
    minTimeout: 500,
    maxTimeout: 20_000,
    randomize: true,
    signal,
    onFailedAttempt: ({ error, retriesLeft }) =>
      retriesLeft > 0 && error instanceof Later ? pause(error.afterMs, signal) : undefined,
    shouldRetry: ({ error }) => error instanceof Later,
  })
}

/** The server may accept the request later. `afterMs` is the server's own value, added to the growing pause. */
class Later extends Error {
  readonly afterMs: number

  constructor(message: string, afterMs: number) {
    super(message)
    this.afterMs = afterMs
  }
}

async function attempt(target: Target, body: string, signal: AbortSignal): Promise<Asked> {
  const startedAt = performance.now()
  const limit = AbortSignal.any([signal, AbortSignal.timeout(silenceMs)])
  const response = await fetch(`${target.url}/chat/completions`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'text/event-stream',
      ...(target.key && { authorization: `Bearer ${target.key}` }),
    },
    body,
    signal: limit,
  }).catch((error: unknown) => {
    if (signal.aborted) throw new AbortError(String(signal.reason))
    throw new Later(`no connection to ${target.url}: ${reasonOf(error)}`, 0)
  })
  if (!response.ok) return refusal(response)
  return answerOf(response, startedAt, signal)
}

async function refusal(response: Response): Promise<Asked> {
  const text = await response.text().catch(() => '')
  const standing = standingOf(response.status, faults(text), response.headers.get('x-should-retry'))
  switch (standing.kind) {
    case 'later':
      throw new Later(standing.why, retryAfterMs(response.headers.get('retry-after'), Date.now()))
    case 'case':
      return { kind: 'refused', code: standing.code }
    case 'fault':
      throw new AbortError(standing.why)
    case 'hopeless':
      throw new AbortError(new Hopeless(standing.why))
  }
}

/** Reads the stream to its end; an abort of the signal ends the request. */
async function answerOf(response: Response, startedAt: number, signal: AbortSignal): Promise<Asked> {
  if (!response.body) throw new Later('the answer has no body', 0)
  let answer: Assembly = nothingYet
  let [firstAt, lastAt, pieces, arrivals]: [number | null, number, number, number] = [null, startedAt, 0, 0]
  try {
    const events = response.body
      .pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>)
      .pipeThrough(new EventSourceParserStream())
    for await (const { data } of events) {
      if (data === '[DONE]') break
      const chunk = Chunk.parse(JSON.parse(data))
      if (chunk.error !== undefined) throw new Error(JSON.stringify(chunk.error))
      if (writes(chunk)) {
        const now = performance.now()
        if (now - lastAt > burstMs) arrivals++
        lastAt = now
        firstAt ??= now
        pieces++
      }
      answer = withChunk(answer, chunk)
    }
  } catch (error) {
    if (signal.aborted) throw new AbortError(String(signal.reason))
    throw new Later(`the stream broke: ${reasonOf(error)}`, 0)
  }
  if (answer.finish === null) throw new Later('the stream ended without a finish_reason', 0)
  const steps = (answer.tokens?.output ?? pieces) - 1
  return {
    kind: 'answered',
    answer: finished({ ...answer, effortServed: response.headers.get('x-tramontane-effort') ?? answer.effortServed }),
    firstTokenMs: firstAt === null ? null : firstAt - startedAt,
    // An answer in one packet, such as a tool call or a short text, has no measurable pace.
    tokenMs: firstAt === null || arrivals < 3 || steps < 1 ? null : (lastAt - firstAt) / steps,
  }
}

function requestOf(model: string, one: Case, { effort, temperature, tokensMax }: Asking) {
  return {
    model,
    messages: one.messages,
    ...(one.tools && { tools: one.tools.map((tool) => ({ type: 'function', function: tool })) }),
    ...(effort !== 'default' && { reasoning_effort: effort }),
    temperature,
    ...(tokensMax !== null && { max_tokens: tokensMax }),
    stream: true,
    stream_options: { include_usage: true },
  }
}

const Body = z.object({
  code: z.union([z.string(), z.number()]).nullish(),
  message: z.string().nullish(),
  error: z
    .union([z.string(), z.object({ code: z.union([z.string(), z.number()]).nullish(), message: z.string().nullish() })])
    .nullish(),
})

/** Code and message, flat or nested, otherwise the beginning of the body. */
function faults(text: string): Faults {
  try {
    const { error, ...flat } = Body.parse(JSON.parse(text))
    const nested = typeof error === 'string' ? { message: error } : (error ?? {})
    const both = { ...flat, ...nested }
    return { code: String(both.code ?? ''), message: both.message ?? '' }
  } catch {
    return { code: '', message: text.slice(0, 200) }
  }
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause instanceof Error ? error.cause.message : error.message
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, ms)
    signal.addEventListener('abort', end)
  })
}
