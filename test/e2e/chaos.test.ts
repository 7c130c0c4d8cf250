/**
 * Workers that are killed, frozen, cut off, and whose engines crash and stall, under load: the whole product, its workers
 * launching a scripted engine as their llama-server. Whatever breaks, every request ends so that its client knows how,
 * no answer begins twice, and every slot comes back.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type EngineProgram, engineProgramFor } from '../support/engine-at.ts'
import { eventually, freePort, isZero, metricsKey, type Product, startProduct, zero } from '../support/product.ts'
import { startWire, type Wire } from '../support/wire.ts'

const engines: EngineProgram = engineProgramFor({ tokens: 50, tokenMs: 20 })
const settings = {
  ...engines.env,
  TRAMONTANE_SLOTS: '8',
  TRAMONTANE_ENGINE_SILENT_MS: '1500',
}
let product: Product
let second: ChildProcess
/** What lies between the edge and the second worker, each way. */
let toWorker: Wire
let toEdge: Wire

beforeAll(async () => {
  product = await startProduct({ env: settings })
  const workerPort = await freePort()
  toWorker = await startWire(() => workerPort)
  toEdge = await startWire(() => product.port)
  const { workerKey } = await product.admin<{ workerKey: string }>('POST', '/admin/workers', {
    workerId: 'second',
    url: `http://127.0.0.1:${toWorker.port}`,
  })
  second = fork(fileURLToPath(new URL('../../gpu-worker/main.ts', import.meta.url)), [], {
    env: {
      ...{ ...process.env, ...settings, TRAMONTANE_HOME: product.home, TRAMONTANE_POOL: 'latency' },
      TRAMONTANE_WORKER_KEY: workerKey,
      TRAMONTANE_METRICS_KEY: metricsKey,
      TRAMONTANE_DRAIN_MS: '200',
      TRAMONTANE_WORKER_PORT: String(workerPort),
      TRAMONTANE_WORKER_URL: `http://127.0.0.1:${toWorker.port}`,
      TRAMONTANE_EDGE_URL: `http://127.0.0.1:${toEdge.port}`,
    },
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  })
  await new Promise((resolve) => second.once('message', resolve))
})

afterAll(async () => {
  if (second && second.exitCode === null) {
    const gone = new Promise((resolve) => second.once('exit', resolve))
    second.kill('SIGCONT')
    second.kill('SIGTERM')
    await gone
  }
  await product?.stop()
  await Promise.all([toWorker?.close(), toEdge?.close()])
})

interface Answered {
  requestId: string
  worker: string
  text: string
  /** `done`, or the code of the error that ended it. */
  end: string
}

/** One stream, read as a client reads it. Throws where it ends in any other way than a stream may end. */
async function ask(signal?: AbortSignal): Promise<Answered> {
  const { baseUrl, apiKey, model } = product.demo()
  const response = await fetch(`${baseUrl}/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      model,
      stream: true,
      max_tokens: 64,
      messages: [{ role: 'user', content: 'count to fifty' }],
    }),
    ...(signal && { signal }),
  })
  const body = await response.text()
  const requestId = response.headers.get('x-request-id') ?? ''
  const worker = response.headers.get('x-tramontane-worker') ?? ''
  if (response.status !== 200) return { requestId, worker, text: '', end: JSON.parse(body).error.code }
  const events = body
    .split('\n\n')
    .filter((event) => event.startsWith('data: '))
    .map((event) => event.slice(6))
  const last = events.at(-1)
  const parsed = events.filter((event) => event !== '[DONE]').map((event) => JSON.parse(event))
  const text = parsed.map((event) => event.choices?.[0]?.delta?.content ?? '').join('')
  if (last === '[DONE]') {
    expect(parsed.some((event) => event.choices?.[0]?.finish_reason === 'stop')).toBe(true)
    return { requestId, worker, text, end: 'done' }
  }
  const { error } = JSON.parse(last ?? '{}')
  if (typeof error?.code !== 'string') throw new Error(`${requestId} ended with neither: ${last}`)
  return { requestId, worker, text, end: error.code }
}

/** Forty streams, and in the middle of them `harm`. */
async function underLoad(harm: () => Promise<unknown> | unknown): Promise<Answered[]> {
  const asked = Array.from({ length: 40 }, (_, index) =>
    new Promise<void>((resolve) => setTimeout(resolve, index * 25)).then(() => ask()),
  )
  const told = Promise.all(asked)
  await new Promise((resolve) => setTimeout(resolve, 900))
  await harm()
  return told
}

/** No answer began anew after its first word, and what is whole is whole. */
/** Fails here where there is none: a signal to process 0 would end the test itself. */
function engineOf(worker: number): number {
  const engine = engines.of(worker)
  if (!engine) throw new Error('the worker has no engine')
  return engine.pid
}

function checkTexts(told: Answered[]): void {
  const whole = Array.from({ length: 50 }, (_, index) => `w${index} `).join('')
  for (const { text, end } of told) {
    if (end === 'done') expect(text).toBe(whole)
    else expect(whole.startsWith(text)).toBe(true)
  }
}

/**
 * Every request is charged once at most: what its client has whole is posted, to the token. What broke off is void; a
 * worker that had written all of it into a dead network says so later, and that is a late entry.
 */
async function checkBooks(told: Answered[]): Promise<void> {
  for (const { requestId, end, text } of told) {
    const { reservation, entries } = await booked(requestId)
    const charged = entries.filter((entry) => entry.cost_nano > 0)
    expect(charged.length).toBeLessThanOrEqual(1)
    if (end !== 'done') continue
    expect([reservation, charged[0]?.output_tokens, text.split(' ').length - 1]).toEqual(['posted', 50, 50])
  }
}

interface Booked {
  reservation: string
  entries: { kind: string; cost_nano: number; output_tokens: number | null }[]
}

const booked = (requestId: string) => product.admin<Booked>('GET', `/admin/tenants/demo/requests/${requestId}`)

async function slotsReturn(): Promise<void> {
  // A worker that is away is not asked.
  expect(
    await eventually(
      () => product.counters().catch(() => undefined),
      (counters) => counters !== undefined && isZero(counters),
      20_000,
    ),
  ).toEqual(zero)
}

/** Resolves when it has answered: one that has failed is left alone for a while, and then tried. */
async function serves(workerId: string): Promise<void> {
  const answered = () => Promise.all(Array.from({ length: 12 }, () => ask()))
  const has = (told: Answered[]) => told.some(({ worker, end }) => worker === workerId && end === 'done')
  expect(has(await eventually(answered, has, 30_000)), workerId).toBe(true)
}

const poolState = async (workerId: string) => {
  const pools = await product.admin<Record<string, { workers: { workerId: string; state: string }[] }>>(
    'GET',
    '/admin/pools',
  )
  return pools.latency?.workers.find((worker) => worker.workerId === workerId)?.state ?? 'missing'
}

async function back(workerId: string): Promise<void> {
  expect(
    await eventually(
      () => poolState(workerId),
      (state) => state === 'ready',
      20_000,
    ),
  ).toBe('ready')
}

const broken = (told: Answered[]) => told.filter(({ end }) => end === 'worker_lost').length

describe('under load', () => {
  it('[CHA1] a worker that is killed: its streams end with an error, all others whole, and every slot comes back', async () => {
    const told = await underLoad(() => process.kill(product.demo().pids.latency, 'SIGKILL'))
    expect(broken(told)).toBeGreaterThan(0)
    expect(told.filter(({ end }) => end === 'done').length).toBeGreaterThan(20)
    expect(new Set(told.map(({ end }) => end))).toEqual(new Set(['done', 'worker_lost']))
    checkTexts(told)
    await back('local-latency')
    await slotsReturn()
    await checkBooks(told)
  })

  it('[CHA2] a worker that freezes: its streams end with an error when it is missed, and it comes back with every slot', async () => {
    await back('second')
    const told = await underLoad(() => second.kill('SIGSTOP'))
    expect(await poolState('second')).not.toBe('ready')
    expect(broken(told)).toBeGreaterThan(0)
    expect(told.filter(({ end }) => end === 'done').length).toBeGreaterThan(20)
    checkTexts(told)
    second.kill('SIGCONT')
    await back('second')
    await slotsReturn()
    await checkBooks(told)
    expect((await ask()).end).toBe('done')
  })

  it('[CHA3] a network that is cut without a word: the same, and receipts that could not be delivered come afterwards', async () => {
    const told = await underLoad(() => {
      toWorker.freeze()
      toEdge.freeze()
    })
    expect(broken(told)).toBeGreaterThan(0)
    checkTexts(told)
    toWorker.thaw()
    toEdge.thaw()
    await back('second')
    await slotsReturn()
    await checkBooks(told)
  })

  it('[CHA4] an engine that crashes: its requests end with an error, its worker stays and starts another', async () => {
    const worker = product.demo().pids.latency
    const told = await underLoad(() => process.kill(engineOf(worker), 'SIGKILL'))
    expect(broken(told)).toBeGreaterThan(0)
    checkTexts(told)
    expect(product.demo().pids.latency).toBe(worker)
    await back('local-latency')
    await slotsReturn()
    await checkBooks(told)
  })

  it('[CHA5] an engine that stalls in mid-answer, or closes too early: each such request ends with an error, no slot is kept', async () => {
    for (const kind of ['stall', 'half-close'] as const) {
      const at = engines.of(product.demo().pids.latency)
      if (!at) throw new Error('the worker has no engine')
      await serves('local-latency')
      await at.say({ fault: { after: 30, kind } })
      const told = await underLoad(() => undefined)
      await at.say({ fault: null })
      expect(broken(told)).toBeGreaterThan(0)
      expect(broken(told)).toBeLessThan(40)
      checkTexts(told)
      await slotsReturn()
      await checkBooks(told)
    }
    expect((await ask()).end).toBe('done')
  })

  it('[CHA6] an engine that is to be started anew: what runs ends first, nothing is lost, and the next one serves', async () => {
    const worker = product.demo().pids.latency
    const engine = engines.of(worker)?.pid
    const told = await underLoad(() => process.kill(worker, 'SIGHUP'))
    expect(told.map(({ end }) => end)).toEqual(told.map(() => 'done'))
    checkTexts(told)
    const next = () => Promise.resolve(engines.of(worker)?.pid ?? engine)
    expect(await eventually(next, (pid) => pid !== engine)).not.toBe(engine)
    await back('local-latency')
    await slotsReturn()
    await checkBooks(told)
  })

  it('[CHA7] a worker that must go before its requests have ended: what it cannot finish is told, counted and not billed', async () => {
    const gone = new Promise((resolve) => second.once('exit', resolve))
    const told = await underLoad(() => second.kill('SIGTERM'))
    expect(await gone).toBe(0)
    expect(broken(told)).toBeGreaterThan(0)
    expect(broken(told)).toBeLessThan(10)
    checkTexts(told)
    await slotsReturn()
    await checkBooks(told)
    for (const { requestId, end } of told) {
      if (end === 'done') continue
      const { reservation, entries } = await booked(requestId)
      expect([reservation, entries.map(({ cost_nano }) => cost_nano)]).toEqual(['voided', [0, 0]])
    }
  })
})
