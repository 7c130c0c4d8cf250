/**
 * No fault between a reservation and its answer leaves anything reserved, leased or waiting. Each step of a request
 * fails in turn. A step is the start or end of an exported function on the request's path, a call to an object or its
 * answer, or a header that is set.
 */
import { createExecutionContext } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { chunkWriter, completion, type Head } from '../../backends/model/chunk.ts'
import { costNano } from '../../backends/model/money.ts'
import type { Dispatch } from '../../backends/wire/dispatch.ts'
import { preludeLine } from '../../backends/wire/prelude.ts'
import { app } from '../../src/app.ts'
import type { Env } from '../../src/env.ts'
import { testBeat, testEnrolment } from '../support/fleet.ts'
import { makeReceipt, openKey, openTenant, operate } from './client.ts'

const steps = await vi.hoisted(async () => {
  // Module mocks call `disable`, which workerd does not have.
  const { AsyncLocalStorage } = await import('node:async_hooks')
  AsyncLocalStorage.prototype.disable = () => undefined
  // Work of the fake worker does not count as a step.
  const workers = new AsyncLocalStorage<boolean>()
  // The edge under test is a second instance with failing modules; the first instance runs the objects.
  vi.resetModules()
  let count = 0
  let failing = 0
  let open = false
  const names: string[] = []
  const step = (name: string) => {
    if (!open || workers.getStore()) return
    count += 1
    names.push(name)
    if (count === failing) throw new Error(`step ${count} fails: ${name}`)
  }
  return {
    names,
    asWorker: <Result>(work: () => Result): Result => workers.run(true, work),
    begin(at: number) {
      count = 0
      failing = at
      names.length = 0
      open = true
    },
    end() {
      open = false
      return count
    },
    step,
    /** Wraps the module's functions, and the functions in their results, as steps. */
    wrapped(module: object, name: string): object {
      const wrap = (fn: (...args: unknown[]) => unknown, at: string, deep: boolean) =>
        function wrapped(this: unknown, ...args: unknown[]): unknown {
          step(`before ${at}`)
          const result = fn.apply(this, args)
          if (result instanceof Promise)
            return result.then((value) => {
              step(`after ${at}`)
              return value
            })
          step(`after ${at}`)
          return deep && isPlain(result) ? wrapAll(result, at, false) : result
        }
      const isPlain = (value: unknown): value is object =>
        typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype
      const isClass = (value: object) => /^class /.test(Function.prototype.toString.call(value))
      const wrapClass = (base: new (...args: never[]) => object, at: string) => {
        const Wrapped = class extends base {}
        for (const [key, { value }] of Object.entries(Object.getOwnPropertyDescriptors(base.prototype)))
          if (key !== 'constructor' && typeof value === 'function')
            Object.defineProperty(Wrapped.prototype, key, { value: wrap(value, `${at}.${key}`, false) })
        return Wrapped
      }
      const wrapAll = (value: object, at: string, deep: boolean): object =>
        Object.fromEntries(
          Object.entries(value).map(([key, each]) => {
            if (typeof each !== 'function') return [key, each]
            return [key, isClass(each) ? wrapClass(each, `${at}.${key}`) : wrap(each, `${at}.${key}`, deep)]
          }),
        )
      return wrapAll(module, name, true)
    },
  }
})

vi.mock('../../src/chat/headers.ts', async (original) => steps.wrapped(await original(), 'headers'))
vi.mock('../../src/fleet/placement/prefix-hash.ts', async (original) => steps.wrapped(await original(), 'prefix'))
vi.mock('../../src/fleet/lease.ts', async (original) => steps.wrapped(await original(), 'route'))
vi.mock('../../src/chat/transcoder.ts', async (original) => steps.wrapped(await original(), 'transcoder'))
vi.mock('../../src/chat/attempts.ts', async (original) => steps.wrapped(await original(), 'attempts'))
vi.mock('../../src/chat/run-attempts.ts', async (original) => steps.wrapped(await original(), 'run'))
vi.mock('../../src/chat/hosted-call.ts', async (original) => steps.wrapped(await original(), 'hosted'))
vi.mock('../../src/chat/dispatch.ts', async (original) => steps.wrapped(await original(), 'dispatch'))
vi.mock('../../src/chat/media-reading.ts', async (original) => steps.wrapped(await original(), 'media'))
vi.mock('../../src/chat/first-error.ts', async (original) => steps.wrapped(await original(), 'first-error'))
vi.mock('../../src/chat/worker-watch.ts', async (original) => steps.wrapped(await original(), 'watch'))
vi.mock('../../src/chat/reserve.ts', async (original) => steps.wrapped(await original(), 'reserve'))
vi.mock('../../src/responses/previous-response.ts', async (original) => steps.wrapped(await original(), 'recall'))
vi.mock('../../src/responses/idempotency.ts', async (original) => steps.wrapped(await original(), 'replay'))
vi.mock('../../src/dialects/openai-responses/write.ts', async (original) =>
  steps.wrapped(await original(), 'responses'),
)
vi.mock('../../src/dialects/anthropic/write.ts', async (original) => steps.wrapped(await original(), 'messages'))
vi.mock('../../src/dialects/mistral/write.ts', async (original) => steps.wrapped(await original(), 'mistral'))
vi.mock('../../backends/wire/seal.ts', async (original) => steps.wrapped(await original(), 'seal'))
vi.mock('../../backends/engines/mistral.ts', async (original) => {
  const module = await original<typeof import('../../backends/engines/mistral.ts')>()
  return { ...module, mistral: steps.wrapped(module.mistral, 'hosted-api') }
})

const realFetch = globalThis.fetch
const realSet = Headers.prototype.set
/** Unfinished work of the fake worker and the fake hosted API. */
const working = new Set<Promise<unknown>>()
let key = ''
let hostedKey = ''

/** Every call to an object is two steps: the call and its answer can be lost. */
const faulty = {
  ...env,
  HOSTED_URL: 'https://hosted.test/v1',
  HOSTED_MODEL: 'small',
  HOSTED_KEY: 'secret',
  TENANT: namespaceOf(env.TENANT, 'tenant'),
  FLEET: namespaceOf(env.FLEET, 'pool'),
  RESPONSES: namespaceOf(env.RESPONSES, 'answers'),
} as unknown as Env

function namespaceOf(namespace: { getByName(name: string): object }, name: string) {
  return { getByName: (id: string) => stubOf(namespace.getByName(id), name) }
}

function stubOf(stub: object, name: string): object {
  return new Proxy(Object.create(null) as object, {
    get:
      (_, method: string) =>
      // biome-ignore lint/suspicious/noExplicitAny: any method of any object.
      async (...args: any[]) => {
        steps.step(`call ${name}.${method}`)
        // biome-ignore lint/suspicious/noExplicitAny: any method of any object.
        const answer = await (stub as any)[method](...args)
        steps.step(`answer ${name}.${method}`)
        return answer
      },
  })
}

beforeAll(async () => {
  // Settings are read once. This call reads them with the hosted API.
  await app.request('/llms.txt', {}, faulty)
  await openTenant('faulty')
  key = (await openKey('faulty')).apiKey
  await openTenant('hosted', { settings: { hosted: 'last-resort' } })
  hostedKey = (await openKey('hosted')).apiKey
  const card = { model: 'hosted:tramontane-tiny', inputNano: 100, cachedNano: 10, outputNano: 400 }
  await operate('POST', '/admin/tenants/hosted/rate-cards', card)
  globalThis.fetch = ((input: RequestInfo | URL, init?: RequestInit) => {
    steps.step('fetch')
    const url = String(input instanceof Request ? input.url : input)
    return url.includes('hosted.test') ? hostedAnswer() : workerAnswer(init ?? {})
  }) as typeof fetch
  Headers.prototype.set = function set(name: string, value: string) {
    steps.step(`header ${name}`)
    realSet.call(this, name, value)
  }
})

afterAll(() => {
  globalThis.fetch = realFetch
  Headers.prototype.set = realSet
})

beforeEach(() => steps.end())

const encoder = new TextEncoder()
const broken = 'broken'
const usage = { promptTokens: 5, cachedTokens: 0, outputTokens: 3, reasoningTokens: 1 }

/** A worker that prepares the request, writes three pieces and sends its receipt, also after a cancelled stream. */
async function workerAnswer(init: RequestInit): Promise<Response> {
  if (worker === 'late') await scheduler.wait(300)
  if (worker === 'unreachable' || worker === 'late') throw new Error('connection refused')
  const refusal = { code: 'invalid_value', message: 'no' }
  if (worker === 'refuses') return Response.json(refusal, { status: 400 })
  if (worker === 'refuses late') return new Response(preludeLine({ kind: 'refused', refusal }))
  if (worker === 'silent') return new Response(new ReadableStream({ start: (controller) => controller.close() }))
  const token = new Headers(init.headers).get('authorization')?.split('.')[1] ?? ''
  const claims = JSON.parse(atob(token.replaceAll('-', '+').replaceAll('_', '/'))) as Dispatch & { proof?: string }
  const { stream } = JSON.parse(new TextDecoder().decode(init.body as Uint8Array)) as { stream?: boolean }
  const head: Head = {
    id: 'c',
    created: 1,
    model: claims.model,
    effort: { asked: undefined, effective: 'none' },
    rates: claims.rates,
  }
  const chunks = chunkWriter(head, false)
  const answer = { content: 'hi', reasoning: 'hm', calls: [], finishReason: 'stop' as const, counts: usage }
  const pieces = stream
    ? [chunks.role(), chunks.text('reasoning', 'hm'), chunks.text('content', 'hi'), chunks.end('stop', usage)]
    : [' ', ' ', completion(head, answer)]
  if (worker === 'breaks') pieces.splice(2, Number.POSITIVE_INFINITY, broken)
  pieces.unshift(preludeLine({ kind: 'prepared', promptTokens: 5, warnings: ['top_k: ignored'] }))
  const type = stream ? 'text/event-stream' : 'application/json'
  return new Response(
    piecewise(pieces, init.signal, (outcome) => settle(claims, outcome)),
    {
      headers: { 'content-type': type },
    },
  )
}

async function hostedAnswer(): Promise<Response> {
  const chunk = (delta: object, more: object = {}) =>
    `data: ${JSON.stringify({ id: 'h', object: 'chat.completion.chunk', created: 1, model: 'small', choices: [{ index: 0, delta, finish_reason: null, ...more }] })}\n\n`
  const used = { prompt_tokens: 5, completion_tokens: 3, total_tokens: 8 }
  const last = `data: ${JSON.stringify({ id: 'h', object: 'chat.completion.chunk', created: 1, model: 'small', choices: [{ index: 0, delta: { content: '' }, finish_reason: 'stop' }], usage: used })}\n\n`
  const pieces = [chunk({ role: 'assistant', content: '' }), chunk({ content: 'hi' }), last, 'data: [DONE]\n\n']
  return new Response(
    piecewise(pieces, null, async () => undefined),
    {
      headers: { 'content-type': 'text/event-stream' },
    },
  )
}

function piecewise(
  pieces: string[],
  signal: AbortSignal | null | undefined,
  ended: (outcome: 'finished' | 'aborted') => Promise<void>,
): ReadableStream<Uint8Array> {
  let over = false
  const end = (outcome: 'finished' | 'aborted') => {
    if (over) return
    over = true
    const work = steps.asWorker(() => ended(outcome))
    working.add(work)
    void work.finally(() => working.delete(work))
  }
  const rest = [...pieces]
  return new ReadableStream<Uint8Array>({
    start(controller) {
      signal?.addEventListener('abort', () => {
        end('aborted')
        controller.error(new Error('the edge is gone'))
      })
    },
    pull(controller) {
      const piece = rest.shift()
      if (piece === broken) {
        end('aborted')
        return controller.error(new Error('the worker is gone'))
      }
      if (piece !== undefined) return controller.enqueue(encoder.encode(piece))
      end('finished')
      controller.close()
    },
    cancel: () => end('aborted'),
  })
}

async function settle(claims: Dispatch & { proof?: string }, outcome: 'finished' | 'aborted'): Promise<void> {
  const { requestId, dispatchId, tenantId, keyId, workerId, rates, costNanoMax, proof } = claims
  const { promptTokensMax, outputTokensMax, issuedAt } = claims
  const receipt = {
    ...makeReceipt({ requestId, dispatchId, tenantId, keyId, workerId, outcome, counts: usage }),
    finishReason: outcome === 'aborted' ? ('abort' as const) : ('stop' as const),
    costNano: costNano(usage, rates),
    terms: { costNanoMax, promptTokensMax, outputTokensMax, rates, issuedAt },
    proof,
  }
  // Directly to the objects, because the edge may fail at this step.
  await env.TENANT.getByName(tenantId).settle([receipt])
  const { effort, counts, firstTokenMs } = receipt
  const end = { requestId, workerId, effort, outcome, finished: false, firstTokenMs, ms: 1, keyEpoch: 1 }
  await env.FLEET.getByName('fleet').receiptsCame([{ ...end, ...counts }])
}

interface Case {
  path: string
  stream: boolean
  body?: object
  headers?: Record<string, string>
  hosted?: boolean
  /** How the worker fails, independent of a failing step. */
  worker?: 'absent' | 'refuses' | 'refuses late' | 'silent' | 'breaks' | 'unreachable' | 'late'
  status?: number
  /** A text that the answer contains. */
  says?: string
  /** The first step that fails. */
  from?: string
}

const hello = [{ role: 'user', content: 'hello' }]
const cases: [string, Case][] = [
  ['chat, streamed', { path: '/v1/chat/completions', stream: true, body: { messages: hello } }],
  ['chat, not streamed', { path: '/v1/chat/completions', stream: false, body: { messages: hello } }],
  [
    'chat, not streamed, to be replayed',
    { path: '/v1/chat/completions', stream: false, body: { messages: hello }, headers: { 'idempotency-key': 'k' } },
  ],
  ['responses, streamed', { path: '/v1/responses', stream: true, body: { input: 'hello' } }],
  ['responses, not streamed', { path: '/v1/responses', stream: false, body: { input: 'hello' } }],
  ['messages, streamed', { path: '/v1/messages', stream: true, body: { messages: hello } }],
  ['messages, not streamed', { path: '/v1/messages', stream: false, body: { messages: hello } }],
  ['mistral, streamed', { path: '/mistral/v1/chat/completions', stream: true, body: { messages: hello } }],
  ['mistral, not streamed', { path: '/mistral/v1/chat/completions', stream: false, body: { messages: hello } }],
  ['hosted, streamed', { path: '/v1/chat/completions', stream: true, body: { messages: hello }, hosted: true }],
  ['hosted, not streamed', { path: '/v1/chat/completions', stream: false, body: { messages: hello }, hosted: true }],
  ['hosted messages, not streamed', { path: '/v1/messages', stream: false, body: { messages: hello }, hosted: true }],
]

const chat = { path: '/v1/chat/completions', body: { messages: hello } }
cases.push(
  ['no worker', { ...chat, stream: true, worker: 'absent', status: 503 }],
  [
    'no worker, to be replayed',
    { ...chat, stream: false, worker: 'absent', status: 503, headers: { 'idempotency-key': 'k' } },
  ],
  ['a worker that refuses', { ...chat, stream: false, worker: 'refuses', status: 400 }],
  [
    'a worker that accepts the request and then refuses it',
    { ...chat, stream: false, worker: 'refuses late', status: 400 },
  ],
  [
    'a worker that accepts the request and then falls silent',
    { ...chat, stream: false, worker: 'silent', status: 500, says: 'preparation_failed' },
  ],
  ['a worker that breaks off, streamed', { ...chat, stream: true, worker: 'breaks', status: 200 }],
  ['a worker that breaks off, not streamed', { ...chat, stream: false, worker: 'breaks', status: 200 }],
  ['a worker that is unreachable', { ...chat, stream: true, worker: 'unreachable', status: 502 }],
  // The headers are already sent, so only the later steps are new.
  [
    'a worker that is lost late',
    { ...chat, stream: true, worker: 'late', status: 200, from: 'before run.Attempts.slow' },
  ],
)

let runs = 0
let lastSentAt = 0
let worker: Case['worker']

/** Sends one request whose step number `failing` fails. Returns its status and its number of steps. */
async function run(testCase: Case, failing: number): Promise<{ status: number; text: string; steps: number }> {
  const fleet = env.FLEET.getByName('fleet')
  // Each run has its own worker, because the circuit breaker excludes a failed worker from the next run.
  const beat = async (state: 'ready' | 'gone') => {
    lastSentAt = Math.max(Date.now(), lastSentAt + 1)
    const heard = await fleet.heartbeat(
      testBeat(`w${runs}`, { model: 'tramontane-tiny', sentAt: lastSentAt, state }),
      1,
    )
    expect(heard.status).toBe(200)
  }
  if (runs > 0) await beat('gone')
  runs += 1
  await fleet.enrol(testEnrolment(`w${runs}`, { models: ['tramontane-tiny'] }), undefined)
  worker = testCase.worker
  if (!testCase.hosted && worker !== 'absent') await beat('ready')
  const limit = testCase.path === '/v1/responses' ? 'max_output_tokens' : 'max_tokens'
  const body = { model: 'tramontane-tiny', [limit]: 5, ...testCase.body, stream: testCase.stream }
  const headers = {
    authorization: `Bearer ${testCase.hosted ? hostedKey : key}`,
    'content-type': 'application/json',
    ...testCase.headers,
    ...(testCase.headers && { 'idempotency-key': `k${runs}` }),
  }
  const request = new Request(`https://gateway.test${testCase.path}`, {
    method: 'POST',
    headers,
    body: JSON.stringify(body),
  })
  const works: Promise<unknown>[] = []
  const context = createExecutionContext()
  const waitUntil = (work: Promise<unknown>) => void works.push(work.catch(() => undefined))
  steps.begin(failing)
  const answer = await app.fetch(request, faulty, Object.assign(context, { waitUntil }))
  const text = await answer.text().catch((error: unknown) => String(error))
  for (let done = 0; done < works.length; done++) await works[done]
  while (working.size > 0) await Promise.all(working)
  return { status: answer.status, text, steps: steps.end() }
}

async function left(tenantId: string) {
  const { openReservations, reservedNano } = (await env.TENANT.getByName(tenantId).summary(false)) ?? {}
  const views = await env.FLEET.getByName('fleet').views()
  const sum = (of: 'leased' | 'waiting') => views.latency[of] + views.throughput[of]
  return { openReservations, reservedNano, leased: sum('leased'), waiting: sum('waiting') }
}

describe('between a reservation and its answer', () => {
  it.each(cases)(
    '[LEAK1] when any one step fails, nothing stays reserved, leased or waiting: %s',
    async (_, testCase) => {
      const tenantId = testCase.hosted ? 'hosted' : 'faulty'
      const clean = { openReservations: 0, reservedNano: 0, leased: 0, waiting: 0 }
      const complete = await run(testCase, 0)
      expect(complete, complete.text).toMatchObject({ status: testCase.status ?? 200 })
      expect(complete.text).toContain(testCase.says ?? '')
      expect(await left(tenantId)).toEqual(clean)
      expect(complete.steps).toBeGreaterThan(20)
      const first = testCase.from === undefined ? 1 : steps.names.indexOf(testCase.from) + 1
      expect(first).toBeGreaterThan(0)
      for (let failing = first; failing <= complete.steps; failing++) {
        await run(testCase, failing)
        const name = `step ${failing}: ${steps.names[failing - 1]}`
        expect({ name, ...(await left(tenantId)) }).toEqual({ name, ...clean })
      }
    },
  )
})
