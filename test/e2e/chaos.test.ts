/**
 * Workers that are killed, frozen or cut off, and engines that crash or stall, under load. The workers launch a
 * scripted engine as their llama-server. After every fault each request ends with `[DONE]` or an error, no answer
 * starts twice, and every slot is freed.
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
/** The network between the edge and the second worker, one wire per direction. */
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
  /** `done`, or the code of the error that ended the stream. */
  end: string
}

/** Reads one stream as a client does. Throws if the stream ends with neither `[DONE]` nor an error event. */
async function ask(): Promise<Answered> {
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
  })
  const requestId = response.headers.get('x-request-id') ?? ''
  const worker = response.headers.get('x-tramontane-worker') ?? ''
  const body = await response.text()
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
  if (typeof error?.code !== 'string') throw new Error(`${requestId} ended with neither [DONE] nor an error: ${last}`)
  return { requestId, worker, text, end: error.code }
}

/**
 * Starts forty streams and calls `harm` while they run: after 900 ms, when the worker to be harmed has a stream. A worker
 * that was harmed before first becomes usable again.
 */
async function underLoad(workerId: string, harm: () => Promise<unknown> | unknown): Promise<Answered[]> {
  await serves(workerId)
  const answers = Promise.all(
    Array.from({ length: 40 }, (_, index) =>
      new Promise<void>((resolve) => setTimeout(resolve, index * 25)).then(() => ask()),
    ),
  )
  await new Promise((resolve) => setTimeout(resolve, 900))
  const streams = async () => (await inPool(workerId))?.leased ?? 0
  expect(await eventually(streams, (count) => count > 0, 1_500), `streams on ${workerId}`).toBeGreaterThan(0)
  await harm()
  return answers
}

/** The pid of the worker's engine. Throws if there is none: a signal to pid 0 would end the test itself. */
function engineOf(worker: number): number {
  const engine = engines.of(worker)
  if (!engine) throw new Error('the worker has no engine')
  return engine.pid
}

/** Checks that no answer restarted after its first word, and that a finished answer is complete. */
function checkTexts(answers: Answered[]): void {
  const whole = Array.from({ length: 50 }, (_, index) => `w${index} `).join('')
  for (const { text, end } of answers) {
    if (end === 'done') expect(text).toBe(whole)
    else expect(whole.startsWith(text)).toBe(true)
  }
}

/**
 * Every request is charged at most once. A complete answer is posted, to the token; a broken one is void. A worker that
 * finished an answer on a dead network reports it later, as a late entry.
 */
async function checkBooks(answers: Answered[]): Promise<void> {
  for (const { requestId, end, text } of answers) {
    const { reservation, entries } = await booked(requestId)
    const charged = entries.filter((entry) => entry.costNano > 0)
    expect(charged.length).toBeLessThanOrEqual(1)
    if (end !== 'done') continue
    expect([reservation, charged[0]?.outputTokens, text.split(' ').length - 1]).toEqual(['posted', 50, 50])
  }
}

interface Booked {
  reservation: string
  entries: { kind: string; costNano: number; outputTokens: number | null }[]
}

const booked = (requestId: string) => product.admin<Booked>('GET', `/admin/tenants/demo/requests/${requestId}`)

async function slotsReturn(): Promise<void> {
  // `counters` fails while a worker is unreachable: retry.
  expect(
    await eventually(
      () => product.counters().catch(() => undefined),
      (counters) => counters !== undefined && isZero(counters),
      20_000,
    ),
  ).toEqual(zero)
}

/**
 * Resolves once the worker has answered: the circuit breaker skips a failed worker for a while, then retries it. More
 * requests than the other workers have slots, so that the choice between usable workers does not matter.
 */
async function serves(workerId: string): Promise<void> {
  const answered = () => Promise.all(Array.from({ length: 24 }, () => ask()))
  const has = (answers: Answered[]) => answers.some(({ worker, end }) => worker === workerId && end === 'done')
  expect(has(await eventually(answered, has, 30_000)), workerId).toBe(true)
}

interface PoolWorker {
  workerId: string
  state: string
  leased: number
}

async function inPool(workerId: string): Promise<PoolWorker | undefined> {
  const pools = await product.admin<Record<string, { workers: PoolWorker[] }>>('GET', '/admin/pools')
  return pools.latency?.workers.find((worker) => worker.workerId === workerId)
}

const poolState = async (workerId: string) => (await inPool(workerId))?.state ?? 'missing'

async function backInPool(workerId: string): Promise<void> {
  expect(
    await eventually(
      () => poolState(workerId),
      (state) => state === 'ready',
      20_000,
    ),
  ).toBe('ready')
}

const broken = (answers: Answered[]) => answers.filter(({ end }) => end === 'worker_lost').length

describe('under load', () => {
  it('[CHA1] after a worker is killed its streams end with an error, all other streams are whole, and every slot is freed', async () => {
    const answers = await underLoad('local-latency', () => process.kill(product.demo().pids.latency, 'SIGKILL'))
    expect(broken(answers)).toBeGreaterThan(0)
    expect(answers.filter(({ end }) => end === 'done').length).toBeGreaterThan(20)
    expect(new Set(answers.map(({ end }) => end))).toEqual(new Set(['done', 'worker_lost']))
    checkTexts(answers)
    await backInPool('local-latency')
    await slotsReturn()
    await checkBooks(answers)
  })

  it('[CHA2] after a worker freezes its streams end with an error when its heartbeats are missed, and it returns with every slot free', async () => {
    await backInPool('second')
    const answers = await underLoad('second', () => second.kill('SIGSTOP'))
    expect(await poolState('second')).not.toBe('ready')
    expect(broken(answers)).toBeGreaterThan(0)
    expect(answers.filter(({ end }) => end === 'done').length).toBeGreaterThan(20)
    checkTexts(answers)
    second.kill('SIGCONT')
    await backInPool('second')
    await slotsReturn()
    await checkBooks(answers)
    expect((await ask()).end).toBe('done')
  })

  it('[CHA3] after a silent network failure the broken streams end with an error, every slot is freed, and the undelivered receipts arrive later', async () => {
    const answers = await underLoad('second', () => {
      toWorker.freeze()
      toEdge.freeze()
    })
    expect(broken(answers)).toBeGreaterThan(0)
    checkTexts(answers)
    toWorker.thaw()
    toEdge.thaw()
    await backInPool('second')
    await slotsReturn()
    await checkBooks(answers)
  })

  it('[CHA4] after an engine crash its requests end with an error, and its worker stays and starts another engine', async () => {
    const worker = product.demo().pids.latency
    const answers = await underLoad('local-latency', () => process.kill(engineOf(worker), 'SIGKILL'))
    expect(broken(answers)).toBeGreaterThan(0)
    checkTexts(answers)
    expect(product.demo().pids.latency).toBe(worker)
    await backInPool('local-latency')
    await slotsReturn()
    await checkBooks(answers)
  })

  it('[CHA5] each request on an engine that stalls or closes the connection early ends with an error and frees its slot', async () => {
    for (const kind of ['stall', 'half-close'] as const) {
      const at = engines.of(product.demo().pids.latency)
      if (!at) throw new Error('the worker has no engine')
      await serves('local-latency')
      await at.say({ fault: { after: 30, kind } })
      const answers = await underLoad('second', () => undefined)
      await at.say({ fault: null })
      expect(broken(answers)).toBeGreaterThan(0)
      expect(broken(answers)).toBeLessThan(40)
      checkTexts(answers)
      await slotsReturn()
      await checkBooks(answers)
    }
    expect((await ask()).end).toBe('done')
  })

  it('[CHA6] an engine that is restarted by SIGHUP first finishes its running requests, loses nothing, and its successor serves', async () => {
    const worker = product.demo().pids.latency
    const engine = engines.of(worker)?.pid
    const answers = await underLoad('local-latency', () => process.kill(worker, 'SIGHUP'))
    expect(answers.map(({ end }) => end)).toEqual(answers.map(() => 'done'))
    checkTexts(answers)
    const next = () => Promise.resolve(engines.of(worker)?.pid ?? engine)
    expect(await eventually(next, (pid) => pid !== engine)).not.toBe(engine)
    await backInPool('local-latency')
    await slotsReturn()
    await checkBooks(answers)
  })

  it('[CHA7] a worker that must stop before its requests end sends an error for each unfinished request, counts its tokens and bills nothing', async () => {
    const gone = new Promise((resolve) => second.once('exit', resolve))
    const answers = await underLoad('second', () => second.kill('SIGTERM'))
    expect(await gone).toBe(0)
    expect(broken(answers)).toBeGreaterThan(0)
    expect(broken(answers)).toBeLessThan(10)
    checkTexts(answers)
    await slotsReturn()
    await checkBooks(answers)
    for (const { requestId, end } of answers) {
      if (end === 'done') continue
      const { reservation, entries } = await booked(requestId)
      expect([reservation, entries.map(({ costNano }) => costNano)]).toEqual(['voided', [0, 0]])
    }
  })
})
