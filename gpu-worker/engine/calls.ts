/**
 * Performs an adapter's HTTP calls to one engine, over a connection pool. The size of an answer is limited, because any
 * program may listen at the engine's address.
 */
import { Pool } from 'undici'
import type { HttpAnswer, HttpCall, Probe } from '../../backends/contract/backend.ts'

const answerBytesMax = 32 * 1024 * 1024
const refusalBytesMax = 64 * 1024
/** An engine that takes longer to accept a connection counts as unreachable. */
const connectMs = 5_000

export interface OpenedCall {
  status: number
  streams: boolean
  headers: HttpAnswer['headers']
  /** Ends or throws when the call's signal aborts. Stopping early closes the connection. */
  body: AsyncIterable<Uint8Array>
}

export class Calls {
  readonly #pool: Pool
  readonly #headers: Record<string, string>
  readonly #prefix: string

  /** @param root base URL of the engine, without a trailing slash; may have a path */
  constructor(root: string, apiKey: string | null) {
    const { origin, pathname } = new URL(root)
    this.#prefix = pathname === '/' ? '' : pathname
    // The worker's slots limit the number of calls. The caller sets the time limits.
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

  /** Rejects if the engine does not answer. The caller reads the body or abandons it. */
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
    // If the stream is aborted before it is read, its error would have no listener.
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

  /** Returns the complete answer. Rejects if the engine does not answer. */
  async ask(call: HttpCall, signal: AbortSignal): Promise<HttpAnswer> {
    const opened = await this.open(call, signal)
    return { ...opened, body: await readText(opened, answerBytesMax) }
  }

  /** Reads the answers to a probe's calls; an unanswered call is null. */
  async probe<Value>({ calls, read }: Probe<Value>, signal: AbortSignal): Promise<Value> {
    return read(await Promise.all(calls.map((call) => this.ask(call, signal).catch(() => null))))
  }

  /** Reads a refusal's body, up to `refusalBytesMax`. */
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
