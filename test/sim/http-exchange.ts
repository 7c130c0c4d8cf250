/** The worker's side of one HTTP exchange: what Node's server would hand to the product's port. */
import { EventEmitter } from 'node:events'
import { Readable } from 'node:stream'

/** Receives what the worker sends, in order. */
export interface ExchangePeer {
  head: (status: number, headers: Record<string, string>) => void
  bytes: (bytes: Uint8Array) => void
  end: () => void
  /** The connection broke before the end. */
  lost: () => void
}

export function requestOf(
  method: string,
  path: string,
  headers: Record<string, string>,
  body: string | Uint8Array | undefined,
): Readable {
  const bytes = body === undefined ? [] : [Buffer.from(body as Uint8Array)]
  const lower = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
  return Object.assign(Readable.from(bytes), { method, url: path, headers: lower, complete: true, socket: {} })
}

export class ExchangeResponse extends EventEmitter {
  destroyed = false
  headersSent = false
  readonly #peer: ExchangePeer
  #status = 200
  #headers: Record<string, string> = {}
  #ended = false

  constructor(peer: ExchangePeer) {
    super()
    this.#peer = peer
  }

  writeHead(status: number, headers: Record<string, unknown> = {}): this {
    this.#status = status
    this.#headers = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]))
    return this
  }

  flushHeaders(): void {
    if (this.headersSent) return
    this.headersSent = true
    this.#peer.head(this.#status, this.#headers)
  }

  write(text: string | Uint8Array): boolean {
    if (this.destroyed || this.#ended) return false
    this.flushHeaders()
    this.#peer.bytes(Buffer.from(text as string))
    return true
  }

  end(text?: string): this {
    if (this.destroyed || this.#ended) return this
    if (text !== undefined) this.write(text)
    this.flushHeaders()
    this.#ended = true
    this.#peer.end()
    queueMicrotask(() => this.emit('close'))
    return this
  }

  destroy(): this {
    if (this.destroyed || this.#ended) return this
    this.destroyed = true
    this.#peer.lost()
    queueMicrotask(() => this.emit('close'))
    return this
  }

  /** The other side has disconnected. */
  disconnected(): void {
    if (this.destroyed || this.#ended) return
    this.destroyed = true
    this.emit('close')
  }
}
