/** A hosted API in Chat Completions' format. It may refuse, break off, send no usage, or fall silent. */
import { AsyncLocalStorage } from 'node:async_hooks'
import type { Counts } from '../../backends/model/money.ts'
import { scriptIn } from './engine.ts'
import type { Faults } from './faults.ts'
import { Machine } from './machine.ts'
import type { Network } from './network.ts'
import type { FetchInit } from './platform.ts'
import type { Random } from './random.ts'
import type { Timeline } from './timeline.ts'

/** The client's request on whose behalf an isolate works. */
export interface RequestScope {
  requestId: string | undefined
  tenantId: string
  isolate: Machine
  /** The client has left. */
  left: boolean
  /** The platform has reported that the client left. */
  reported: boolean
}

export const requestScope = new AsyncLocalStorage<RequestScope>()

/** The facts about one hosted answer. */
export interface HostedTruth {
  scope: RequestScope
  counts: Counts
  /** The edge got the usage. */
  usage: boolean
  end: 'running' | 'whole' | 'broken' | 'refused'
}

export class HostedApi {
  readonly #timeline: Timeline
  readonly #random: Random
  readonly #faults: Faults
  readonly #network: Network
  readonly #called: (truth: HostedTruth, outputTokensMax: number) => void

  constructor(parts: {
    timeline: Timeline
    random: Random
    faults: Faults
    network: Network
    called: (truth: HostedTruth, outputTokensMax: number) => void
  }) {
    this.#timeline = parts.timeline
    this.#random = parts.random
    this.#faults = parts.faults
    this.#network = parts.network
    this.#called = parts.called
  }

  fetch(init: FetchInit): Promise<Response> {
    const from = Machine.current
    const scope = requestScope.getStore()
    const text = typeof init.body === 'string' ? init.body : Buffer.from(init.body ?? '').toString()
    const script = scriptIn(text)
    const { signal } = init
    // A call whose signal is aborted is not sent.
    if (signal?.aborted) return Promise.reject(signal.reason)
    if (!from || !scope || !script) throw new Error('no request calls the hosted API')
    const { max_tokens: outputTokensMax } = JSON.parse(text) as { max_tokens: number }
    // Text never has more tokens than bytes.
    const promptTokens = Math.min(script.promptTokens, text.length >> 1)
    const counts = { promptTokens, cachedTokens: 0, outputTokens: 0, reasoningTokens: 0 }
    const truth: HostedTruth = { scope, counts, usage: false, end: 'running' }
    this.#called(truth, outputTokensMax)
    const random = this.#random
    return new Promise((resolve, reject) => {
      let gone = false
      let body: ReadableStreamDefaultController<Uint8Array> | undefined
      const stop = () => {
        gone = true
        if (body) body.error(signal?.reason)
        else reject(signal?.reason)
      }
      signal?.addEventListener('abort', stop, { once: true })
      const toCaller = (what: string, ms: number, deliver: () => void) =>
        this.#timeline.after(ms, `the hosted API ${what}`, () => from.run(() => gone || deliver()))
      if (this.#faults.befalls('hosted refused')) {
        truth.end = 'refused'
        const status = random.pick([0, 400, 401, 429, 500])
        toCaller(`refuses with ${status}`, this.#network.delayMs(), () =>
          status === 0 ? reject(new Error('unreachable')) : resolve(new Response('{"message":"no"}', { status })),
        )
        return
      }
      const breaksAt = this.#faults.befalls('hosted broken') ? random.int(0, 8) : Number.POSITIVE_INFINITY
      const usage = !this.#faults.befalls('hosted usage missing')
      const silent = random.chance(0.3)
      const send = (chunk: object) => body?.enqueue(Buffer.from(`data: ${JSON.stringify(chunk)}\n\n`))
      const step = () => {
        if (counts.outputTokens >= breaksAt) {
          truth.end = 'broken'
          if (!silent) body?.error(new Error('the hosted API broke off'))
          return
        }
        const whole = counts.outputTokens >= Math.min(script.outputTokens, outputTokensMax)
        if (!whole) {
          const content = ` 0:${counts.outputTokens}`
          counts.outputTokens += 1
          send({ choices: [{ index: 0, delta: { content }, finish_reason: null }] })
          toCaller('generates', random.int(1, 60), step)
          return
        }
        truth.end = 'whole'
        truth.usage = usage
        const { promptTokens: prompt_tokens, outputTokens: completion_tokens } = counts
        send({
          choices: [{ index: 0, delta: {}, finish_reason: 'stop' }],
          ...(usage && {
            usage: { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens },
          }),
        })
        body?.enqueue(Buffer.from('data: [DONE]\n\n'))
        body?.close()
      }
      toCaller('answers', this.#network.delayMs(), () => {
        const stream = new ReadableStream<Uint8Array>({
          start: (controller) => {
            body = controller
          },
          cancel: () => {
            gone = true
          },
        })
        resolve(new Response(stream, { headers: { 'content-type': 'text/event-stream' } }))
        toCaller('generates', random.int(1, 60), step)
      })
    })
  }
}
