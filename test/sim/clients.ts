/**
 * Clients: they send requests in two dialects, with images, documents and idempotency keys, read their answers, and may
 * leave at any time. Each checks its answer: every token of one dispatch once, and an end that says how it ended.
 */
import { hostedDispatch } from '../../backends/wire/dispatch.ts'
import type { Auditor } from './auditor.ts'
import type { Coverage } from './coverage.ts'
import { type Script, textOf } from './engine.ts'
import type { Faults } from './faults.ts'
import { requestScope } from './hosted-api.ts'
import type { Machine } from './machine.ts'
import type { Network } from './network.ts'
import { type ExecutionCalls, edge } from './product.ts'
import type { Random } from './random.ts'
import type { Timeline } from './timeline.ts'
import { worldModel } from './worker.ts'

/** An isolate of the edge, which may die at any time. */
export class Isolate {
  readonly machine: Machine
  readonly #env: object

  constructor(machine: Machine, env: object) {
    this.machine = machine
    this.#env = env
  }

  /** Never resolves if the isolate dies. */
  handle(request: () => Request): Promise<Response> {
    const calls: ExecutionCalls = {
      waitUntil: (work) => void work.catch(() => undefined),
      passThroughOnException: () => undefined,
    }
    return new Promise((resolve, reject) => {
      this.machine.run(() => {
        Promise.resolve(edge.default.fetch(request(), this.#env, calls)).then(resolve, reject)
      })
    })
  }
}

interface Ask {
  serial: number
  tenantId: string
  apiKey: string
  path: string
  body: string
  stream: boolean
  idempotencyKey: string | undefined
}

/** The answer as its client saw it. */
interface Seen {
  status: number
  headers: Headers
  text: string
  /** The connection ended in order, broke, or the client left. */
  ended: 'whole' | 'broken' | 'left'
}

interface Client {
  ask: Ask
  isolate: Isolate
  leave: () => void
}

export interface ClientsParts {
  timeline: Timeline
  random: Random
  faults: Faults
  network: Network
  auditor: Auditor
  coverage: Coverage
  isolate: () => Isolate
  /** No fault meets this tenant. */
  faultless: (tenantId: string) => boolean
  keys: readonly { tenantId: string; apiKey: string }[]
  log: (line: string) => void
}

const image =
  'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='

export class Clients {
  readonly #parts: ClientsParts
  readonly #open = new Set<Client>()
  /** Requests with an idempotency key, to repeat. */
  readonly #repeatable: Ask[] = []
  /** Complete answers by idempotency key. */
  readonly #answers = new Map<string, { text: string; requestId: string | null }>()
  /** Ids of calls that store an answer and were lost: the edge does not know whether it is stored. */
  readonly storesLost = new Set<string>()
  sent = 0

  constructor(parts: ClientsParts) {
    this.#parts = parts
  }

  get waiting(): number {
    return this.#open.size
  }

  /** The clients of a dead isolate lose their connections. */
  lost(isolate: Isolate): void {
    for (const client of this.#open) if (client.isolate === isolate) this.#open.delete(client)
  }

  send(): void {
    const { random, timeline, faults, network, isolate } = this.#parts
    const again = this.#repeatable.length > 0 && random.chance(0.15) ? random.pick(this.#repeatable) : undefined
    const ask = again ?? this.#newAsk()
    const controller = new AbortController()
    let left = false
    let reader: ReadableStreamDefaultReader<Uint8Array> | undefined
    const home = isolate()
    const { machine } = home
    const scope = { requestId: undefined, tenantId: ask.tenantId, isolate: machine, left: false, reported: false }
    const client: Client = {
      ask,
      isolate: home,
      leave: () => {
        left = true
        void reader?.cancel().catch(() => undefined)
        // A reset before the headers is noticed at once, a clean close only at the next write.
        if (reader || !random.chance(0.5)) return
        scope.reported = true
        controller.abort()
      },
    }
    this.#open.add(client)
    const read = async (response: Response): Promise<Seen> => {
      const { status, headers } = response
      const seen: Seen = { status, headers, text: '', ended: 'whole' }
      reader = response.body?.getReader()
      if (left) await reader?.cancel().catch(() => undefined)
      const decoder = new TextDecoder()
      try {
        for (let part = await reader?.read(); part && !part.done; part = await reader?.read())
          seen.text += decoder.decode(part.value, { stream: true })
      } catch {
        seen.ended = 'broken'
      }
      if (left) seen.ended = 'left'
      return seen
    }
    machine.after(network.delayMs(), `request ${ask.serial} arrives`, () =>
      requestScope.run(scope, () => {
        client.isolate
          .handle(() => requestOf(ask, controller.signal))
          .then(read)
          .then(
            (seen) => this.#answered(client, seen),
            (error) => {
              this.#open.delete(client)
              if (!left) this.#parts.auditor.violate('every request gets an answer', String(error?.stack ?? error))
            },
          )
      }),
    )
    if (faults.has('client left') && random.chance(0.3))
      timeline.after(random.int(0, random.pick([60, 600, 3_000])), `client ${ask.serial} disconnects`, () => {
        if (!this.#open.has(client) || machine.state === 'down') return
        faults.counts['client left'] += 1
        scope.left = true
        machine.run(client.leave)
      })
  }

  #newAsk(): Ask {
    const { random, keys } = this.#parts
    const serial = this.sent++
    const promptTokens = random.chance(0.2)
      ? random.int(200, 330)
      : random.pick([random.int(1, 60), random.int(100, 160)])
    const script: Script = {
      serial,
      promptTokens,
      cachedTokens: random.chance(0.5) ? random.int(0, promptTokens) : 0,
      outputTokens: random.pick([random.int(1, 40), 40]),
      prepareMs: random.int(1, random.chance(0.2) ? 300 : 8),
    }
    if (random.chance(0.12))
      script.refuses = random.pick(['before-the-run', 'preparation', 'at-once', 'in-the-run'] as const)
    const stream = random.chance(0.6)
    const effort = random.pick(['none', 'high'])
    const max = random.chance(0.15) ? undefined : random.int(1, 24)
    const responses = random.chance(0.2)
    const text = textOf(script)
    const model = worldModel.id
    const parts: object[] = [{ type: 'text', text }]
    if (random.chance(0.2)) parts.push({ type: 'image_url', image_url: { url: image } })
    if (random.chance(0.2)) {
      const missing = random.pick(['', '', '', '&missing', '&large'])
      const name = random.int(0, 3)
      parts.push({
        type: 'document_url',
        document_url: `https://documents.test/${name}?ms=${random.int(1, 90)}${missing}`,
      })
    }
    const body = responses
      ? { model, input: text, max_output_tokens: max, stream, reasoning: { effort } }
      : {
          ...{ model, messages: [{ role: 'user', content: parts.length > 1 ? parts : text }] },
          ...{ max_tokens: max, stream, reasoning_effort: effort },
          ...(stream && random.chance(0.5) && { stream_options: { include_usage: true } }),
        }
    const { tenantId, apiKey } = random.pick(keys)
    const ask: Ask = {
      ...{ serial, tenantId, apiKey, stream, body: JSON.stringify(body) },
      path: responses ? '/v1/responses' : '/v1/chat/completions',
      idempotencyKey: !stream && random.chance(0.4) ? `once-${serial}` : undefined,
    }
    if (ask.idempotencyKey !== undefined) this.#repeatable.push(ask)
    return ask
  }

  #answered(client: Client, seen: Seen): void {
    const { coverage, log } = this.#parts
    if (!this.#open.delete(client)) return
    const { ask } = client
    const requestId = seen.headers.get('x-request-id')
    const complete = isComplete(ask, seen)
    const replayed = seen.headers.has('idempotency-replayed')
    const outcome = seen.ended === 'left' ? 'left' : complete ? (replayed ? 'replayed' : 'complete') : errorOf(seen)
    log(`client ${ask.serial}: ${requestId} ${seen.status} ${outcome}`)
    coverage.count('client', outcome)
    if (this.#parts.faultless(ask.tenantId) && /internal_error|worker_lost|broken off/.test(outcome))
      this.#violate('the faults of one tenant do not fail another', ask, seen)
    if (outcome === 'unended') return void this.#violate('an answer never ends cleanly without its end', ask, seen)
    if (seen.status !== 200 || seen.ended === 'left' || replayed) {
      if (replayed && ask.idempotencyKey) this.#replayed(ask.idempotencyKey, ask, seen)
      return
    }
    this.#checkTokens(ask, seen, requestId, complete)
    if (complete && ask.path === '/v1/responses') this.#checkKept(ask, seen)
    if (complete && ask.idempotencyKey) this.#firstAnswer(ask.idempotencyKey, ask, seen, requestId)
  }

  #replayed(key: string, ask: Ask, seen: Seen): void {
    const first = this.#answers.get(key)
    if (first && seen.ended === 'whole' && first.text !== seen.text)
      this.#violate('a replay has the bytes of the first answer', ask, seen)
  }

  #firstAnswer(key: string, ask: Ask, seen: Seen, requestId: string | null): void {
    const first = this.#answers.get(key)
    if (first && !this.storesLost.has(first.requestId ?? ''))
      this.#violate('a repeated idempotent request runs once', ask, seen)
    this.#answers.set(key, { text: seen.text, requestId })
  }

  #checkTokens(ask: Ask, seen: Seen, requestId: string | null, complete: boolean): void {
    const { auditor } = this.#parts
    const text = deltas(ask, seen.text)
    const tokens = [...text.matchAll(/(\d+):(\d+)/g)].map(([, number, index]) => [Number(number), Number(index)])
    if (tokens.some(([number, index], at) => number !== tokens[0]?.[0] || index !== at))
      this.#violate('an answer has every token of one dispatch once', ask, seen)
    const [first] = tokens
    if (complete && first && requestId !== null) {
      const usage = /"(?:completion|output)_tokens":(\d+)/.exec(seen.text)?.[1]
      // A hosted API may send no usage: then the count is an estimate.
      if (usage !== undefined && first[0] !== hostedDispatch && Number(usage) !== tokens.length)
        this.#violate('the usage of an answer counts its tokens', ask, seen)
      auditor.delivered(ask.tenantId, `${requestId}.${first[0]}`, tokens.length)
    }
  }

  /** A response that was kept can be read at once. */
  #checkKept(ask: Ask, seen: Seen): void {
    const { coverage, isolate, auditor } = this.#parts
    // Only the last event of a stream knows.
    const kept = [...seen.text.matchAll(/"store":(true|false)/g)].at(-1)?.[1] === 'true'
    coverage.count('response', kept ? 'kept' : 'not kept')
    const id = /"id":"(resp_[0-9a-f]+)"/.exec(seen.text)?.[1]
    const headers = { authorization: `Bearer ${ask.apiKey}` }
    const read = isolate().handle(() => new Request(`https://edge/v1/responses/${id}`, { headers }))
    void read.then(({ status }) => {
      coverage.count('response', `${kept ? 'kept' : 'not kept'}, read with ${status}`)
      const unknown = !kept && id !== undefined && this.storesLost.has(id)
      if (!unknown && status === (kept ? 404 : 200))
        auditor.violate('exactly the kept responses can be read', `${id}: ${status}`)
    })
  }

  #violate(invariant: string, ask: Ask, seen: Seen): void {
    this.#parts.auditor.violate(
      invariant,
      `client ${ask.serial} ${seen.headers.get('x-request-id')}: ${seen.text.slice(-3000)}`,
    )
  }
}

function requestOf({ path, body, apiKey, idempotencyKey }: Ask, signal: AbortSignal): Request {
  const headers: Record<string, string> = {
    ...{ authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    'content-length': String(Buffer.byteLength(body)),
    ...(idempotencyKey !== undefined && { 'idempotency-key': idempotencyKey }),
  }
  return new Request(`https://edge${path}`, { method: 'POST', headers, body, signal })
}

function isComplete({ path, stream }: Ask, { status, text, ended }: Seen): boolean {
  if (status !== 200 || ended !== 'whole') return false
  if (!stream) return !text.trimStart().startsWith('{"error"') && /"(choices|output)":/.test(text)
  return path === '/v1/responses'
    ? text.includes('event: response.completed') || text.includes('event: response.incomplete')
    : text.includes('data: [DONE]')
}

function errorOf({ status, text, ended }: Seen): string {
  const code = /"code":"([a-z_]+)"/.exec(text)?.[1] ?? /"type":"([a-z_.]+)"/.exec(text)?.[1]
  if (ended === 'broken') return 'broken off'
  return text.includes('"error"') && code !== undefined ? `${status} ${code}` : 'unended'
}

/** The text of an answer, reasoning first. */
function deltas({ path, stream }: Ask, text: string): string {
  const all = (pattern: RegExp) => [...text.matchAll(pattern)].map(([, part]) => part).join('')
  if (path === '/v1/responses') return stream ? all(/"delta":"([^"]*)"/g) : all(/"text":"([^"]*)"/g)
  return stream
    ? all(/"(?:reasoning_content|content)":"([^"]*)"/g)
    : all(/"reasoning_content":"([^"]*)"/g) + all(/"content":"([^"]*)"/g)
}
