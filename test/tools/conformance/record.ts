/**
 * Recorded bytes: a backend's answers to the conformance suite, call by call, so that the suite can run again without
 * the engine. A replay answers only recorded calls, so an adapter that changes its calls fails.
 */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import type { HttpCall } from '../../../backends/contract/backend.ts'
import type { OpenAnswer, Transport } from '../../../gpu-worker/doctor/subject.ts'

const Exchange = z.object({
  /** Method, path and body; a long body by its digest. */
  call: z.string(),
  status: z.int(),
  headers: z.record(z.string(), z.string()),
  /** As received, one part per read. */
  parts: z.array(z.string()),
})
type Exchange = z.infer<typeof Exchange>

export const Recorded = z.object({
  backend: z.string(),
  /**
   * `live`: from a running engine. `documents`: from a script of its documented formats
   * (test/tools/conformance/documented).
   */
  source: z.enum(['live', 'documents']),
  version: z.string(),
  /** Date of the run, as YYYY-MM-DD. */
  date: z.string(),
  /** What ran, where and how: one line in the matrix. */
  how: z.string(),
  nonce: z.string(),
  model: z.string(),
  verdicts: z.record(z.string(), z.object({ verdict: z.string(), note: z.string() })),
  exchanges: z.array(Exchange),
})
export type Recorded = z.infer<typeof Recorded>

const folder = fileURLToPath(new URL('records/', import.meta.url))

export function readRecords(): Recorded[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .sort()
    .map((name) => Recorded.parse(JSON.parse(readFileSync(folder + name, 'utf8'))))
}

export function writeRecord(record: Recorded): void {
  writeFileSync(`${folder}${record.backend}.json`, `${JSON.stringify(record, null, 1)}\n`)
}

const bodyMax = 4_000
const keptHeaders = ['content-type', 'retry-after']

function keyOf({ method, path, body = '' }: HttpCall): string {
  const short = body.length <= bodyMax ? body : `sha256 ${createHash('sha256').update(body).digest('hex')}`
  return `${method} ${path} ${short}`.trimEnd()
}

/** Records all calls and answers in `exchanges`. */
export function recording(open: Transport, exchanges: Exchange[]): Transport {
  return async (call, signal) => {
    const answer = await open(call, signal)
    const headers = Object.fromEntries(Object.entries(answer.headers).filter(([name]) => keptHeaders.includes(name)))
    const exchange: Exchange = { call: keyOf(call), status: answer.status, headers, parts: [] }
    exchanges.push(exchange)
    const trim = call.path === '/metrics' ? shortMetrics : withoutPaths
    return { ...answer, body: keeping(answer.body, exchange, trim) }
  }
}

async function* keeping(
  body: AsyncIterable<Uint8Array>,
  exchange: Exchange,
  trim: (text: string) => string,
): AsyncIterable<Uint8Array> {
  const decoder = new TextDecoder()
  for await (const part of body) {
    exchange.parts.push(trim(decoder.decode(part, { stream: true })))
    yield part
  }
}

/** Hides the model's path on the machine of the recording. */
function withoutPaths(text: string): string {
  return text.replaceAll(/"(model_path|root)":"[^"]*"/g, '"$1":"tiny"')
}

/** Keeps only the metrics that adapters can read, of hundreds: no comments, histograms or runtime metrics. */
function shortMetrics(text: string): string {
  const kept = text.split('\n').filter((line) => /^\w+:\w*(requests|tokens|usage)\w*[ {]/.test(line))
  return kept.filter((line) => !/_(bucket|sum|count|created)\b|time_|by_/.test(line)).join('\n')
}

/** Answers each call with its recorded answers in order, then repeats the last one. */
export function replay(exchanges: readonly Exchange[]): Transport {
  const queues = new Map<string, Exchange[]>()
  for (const exchange of exchanges) queues.set(exchange.call, [...(queues.get(exchange.call) ?? []), exchange])
  return async (call) => {
    const queue = queues.get(keyOf(call)) ?? []
    const exchange = queue.length > 1 ? queue.shift() : queue[0]
    if (!exchange) throw new Error(`this call was not recorded: ${keyOf(call).slice(0, 200)}`)
    return answerOf(exchange)
  }
}

export function answerOf({ status, headers, parts }: Omit<Exchange, 'call'>): OpenAnswer {
  const streams = headers['content-type']?.startsWith('text/event-stream') ?? false
  return { status, streams, headers, body: bytesOf(parts) }
}

async function* bytesOf(parts: readonly string[]): AsyncIterable<Uint8Array> {
  for (const part of parts) yield new TextEncoder().encode(part)
}
