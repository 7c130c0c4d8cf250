/** A well-behaved tenant: one stream always open, one new request per second. Records its delays and failures. */
import type { World } from './world.ts'

export interface Noticed {
  /** Longest time between two tokens of an open stream, or from a request to its first token. Milliseconds. */
  longestPauseMs: number
  /** The request with the longest pause, and how many pieces of its stream came before. */
  longestPauseOf?: { requestId: string; after: number }
  requests: number
  /** Refusals and broken answers, as text. */
  failures: string[]
}

export class Neighbour {
  readonly #world: World
  readonly #stop = new AbortController()
  readonly #done: Promise<unknown>
  #noticed: Noticed = nothing()
  #open = 0
  /** When each open request last received a token. */
  readonly #waiting = new Map<number, { since: number; requestId: string; pieces: number }>()
  #ids = 0

  constructor(world: World) {
    this.#world = world
    this.#done = Promise.all([this.#streams(), this.#everySecond()])
  }

  /** Requests that are open now. */
  get inFlight(): number {
    return this.#open
  }

  /** Returns the observations since the last call, including pauses that are still in progress. */
  take(): Noticed {
    const now = performance.now()
    for (const waiting of this.#waiting.values()) this.#pause(waiting, now)
    const noticed = this.#noticed
    this.#noticed = nothing()
    return noticed
  }

  async stop(): Promise<void> {
    this.#stop.abort()
    await this.#done
  }

  async #streams(): Promise<void> {
    while (!this.#stop.signal.aborted) await this.#ask(300)
  }

  async #everySecond(): Promise<void> {
    const open = new Set<Promise<void>>()
    while (!this.#stop.signal.aborted) {
      const request = this.#ask(8)
      open.add(request)
      void request.finally(() => open.delete(request))
      await new Promise((resolve) => setTimeout(resolve, 1_000))
    }
    await Promise.all(open)
  }

  async #ask(maxTokens: number): Promise<void> {
    const id = this.#ids++
    this.#open += 1
    const waiting = { since: performance.now(), requestId: '', pieces: 0 }
    this.#waiting.set(id, waiting)
    try {
      const response = await fetch(`${this.#world.origin}/v1/chat/completions`, {
        method: 'POST',
        headers: { authorization: `Bearer ${this.#world.neighbourKey}`, 'content-type': 'application/json' },
        body: JSON.stringify({
          model: this.#world.model,
          stream: true,
          temperature: 1,
          max_tokens: maxTokens,
          messages: [{ role: 'user', content: 'Tell me a story about a fox.' }],
        }),
        signal: this.#stop.signal,
      })
      waiting.requestId = response.headers.get('x-request-id') ?? ''
      let text = ''
      const decoder = new TextDecoder()
      for await (const part of response.body ?? []) {
        const piece = decoder.decode(part, { stream: true })
        text = (text + piece).slice(-2_000)
        if (!piece.includes('data:')) continue
        const now = performance.now()
        this.#pause(waiting, now)
        waiting.since = now
        waiting.pieces += 1
      }
      const whole = response.ok && text.includes('[DONE]')
      if (!whole) this.#noticed.failures.push(`${response.status} ${messageIn(text)}`)
    } catch (error) {
      if (!this.#stop.signal.aborted)
        this.#noticed.failures.push(error instanceof Error ? error.message : String(error))
    } finally {
      this.#waiting.delete(id)
      this.#open -= 1
      this.#noticed.requests += 1
    }
    // Wait after a refusal, so that a gateway that refuses everything is not flooded.
    if (this.#noticed.failures.length > 0) await new Promise((resolve) => setTimeout(resolve, 100))
  }

  #pause({ since, requestId, pieces }: { since: number; requestId: string; pieces: number }, now: number): void {
    const ms = Math.round(now - since)
    if (ms <= this.#noticed.longestPauseMs) return
    this.#noticed.longestPauseMs = ms
    this.#noticed.longestPauseOf = { requestId, after: pieces }
  }
}

function messageIn(text: string): string {
  return (/"message":"([^"]{0,80})/.exec(text)?.[1] ?? text.slice(-80)).replace(/\s+/g, ' ')
}

function nothing(): Noticed {
  return { longestPauseMs: 0, requests: 0, failures: [] }
}
