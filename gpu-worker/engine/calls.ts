/**
 * Performs what an adapter describes: calls to one engine, over connections that are kept. Answers are read to a bound,
 * because an engine may be anything that listens there.
 */
import { Pool } from 'undici'
import type { HttpAnswer, HttpCall, Probe } from '../../backends/contract/backend.ts'

const answerBytesMax = 32 * 1024 * 1024
const refusalBytesMax = 64 * 1024
/** An engine that takes longer than this to take a connection is not there. */
const connectMs = 5_000

export interface OpenedCall {
  status: number
  streams: boolean
  headers: HttpAnswer['headers']
  /** Ends or throws with the call's signal; leaving it early closes the connection. */
  body: AsyncIterable<Uint8Array>
}

export class Calls {
  readonly #pool: Pool
  readonly #headers: Record<string, string>
  readonly #prefix: string

  /** @param root where the engine is, without a trailing slash; it may have a path */
  constructor(root: string, apiKey: string | null) {
    const { origin, pathname } = new URL(root)
    this.#prefix = pathname === '/' ? '' : pathname
    // The worker's slots bound the calls. How long an answer may take is the caller's to say.
    this.#pool = new Pool(origin, {
      connections: null,
      pipelining: 1,
      headersTimeout: 0,
      bodyTimeout: 0,
      connectTimeout: connectMs,
    })
    this.#headers = {
      'content-type': 'application/json',
      ...(apiKey !== null && { authorization: `Bearer ${apiKey}` }),
    }
  }

  /** Rejects when nobody answers. The body is the caller's to read or to leave. */
  async open({ method, path, body }: HttpCall, signal: AbortSignal): Promise<OpenedCall> {
    const {
      statusCode,
      headers,
      body: stream,
    } = await this.#pool.request({
      method,
      path: this.#prefix + path,
      headers: this.#headers,
      ...(body !== undefined && { body }),
      signal,
    })
    // Aborted before anybody reads, it would be an error without a listener.
    stream.on('error', () => undefined)
    const one = (value: string | string[] | undefined) => (Array.isArray(value) ? value.join(', ') : (value ?? ''))
    const flat = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, one(value)]))
    return {
      status: statusCode,
      streams: flat['content-type']?.startsWith('text/event-stream') ?? false,
      headers: flat,
      body: stream as AsyncIterable<Uint8Array>,
    }
  }

  /** The whole answer. Rejects when nobody answers. */
  async ask(call: HttpCall, signal: AbortSignal): Promise<HttpAnswer> {
    const opened = await this.open(call, signal)
    return { ...opened, body: await readText(opened, answerBytesMax) }
  }

  /** What the answers to a probe's calls say, null where nobody answered. */
  async probe<Value>({ calls, read }: Probe<Value>, signal: AbortSignal): Promise<Value> {
    return read(await Promise.all(calls.map((call) => this.ask(call, signal).catch(() => null))))
  }

  /** What a refusal says, as far as it is worth reading. */
  async refusal(opened: OpenedCall): Promise<HttpAnswer> {
    return { ...opened, body: await readText(opened, refusalBytesMax).catch(() => '') }
  }

  async close(): Promise<void> {
    await this.#pool.destroy()
  }
}

async function readText({ body }: OpenedCall, bytesMax: number): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  let bytes = 0
  for await (const part of body) {
    bytes += part.byteLength
    if (bytes > bytesMax) break
    text += decoder.decode(part, { stream: true })
  }
  return text
}
