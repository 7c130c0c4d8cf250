/** A worker that falls silent while it prepares a request: the request fails, and no second worker gets it. */
import { type ChildProcess, fork } from 'node:child_process'
import type { AddressInfo } from 'node:net'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { eventually, freePort, type Product, startProduct } from '../support/product.ts'
import { withoutOwnWorkers, workerEnvironment } from '../support/scripted-worker.ts'
import type { Report } from '../support/worker-process.ts'

interface WorkerChild {
  workerId: string
  child: ChildProcess
  /** The requests that it was sent to prepare. */
  prepared: string[]
  aborted: string[]
}

let product: Product
let workers: WorkerChild[]
let resets: Set<Socket>
let proxies: Server[]
let serial = 0

beforeAll(async () => {
  product = await startProduct()
  proxies = []
  workers = []
  for (let count = 0; count < 2; count++) workers.push(await startWorker())
  await withoutOwnWorkers(product)
})

afterAll(async () => {
  for (const { child } of workers ?? []) child.kill('SIGKILL')
  for (const proxy of proxies ?? []) proxy.close()
  await product?.stop()
})

/** Replaces the workers that a test has ended. */
beforeEach(async () => {
  for (const [index, { child }] of workers.entries()) {
    if (child.exitCode === null && child.signalCode === null) continue
    workers[index] = await startWorker()
  }
  await eventually(ready, (count) => count === 2, 15_000)
  for (const worker of workers) {
    worker.prepared.length = 0
    worker.aborted.length = 0
  }
})

/** Starts a worker behind a proxy whose connections can be reset. */
async function startWorker(): Promise<WorkerChild> {
  resets ??= new Set()
  const workerId = `faulty-${serial++}`
  const port = await freePort()
  const proxy = createServer((socket) => {
    const on = connect(port, '127.0.0.1')
    resets.add(socket)
    for (const each of [socket, on]) each.on('error', () => undefined)
    socket.on('close', () => {
      resets.delete(socket)
      on.destroy()
    })
    on.on('close', () => socket.destroy())
    socket.pipe(on).pipe(socket)
  })
  proxies.push(proxy)
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  const env = {
    ...(await workerEnvironment(product, workerId, 4)),
    TRAMONTANE_WORKER_PORT: String(port),
    TRAMONTANE_WORKER_URL: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
  }
  const module = fileURLToPath(new URL('../support/worker-process.ts', import.meta.url))
  const child = fork(module, [], { env: { ...process.env, ...env }, stdio: ['ignore', 'ignore', 'ignore', 'ipc'] })
  const worker: WorkerChild = { workerId, child, prepared: [], aborted: [] }
  await new Promise<void>((resolve, reject) => {
    child.once('exit', () => reject(new Error('the worker did not start')))
    child.on('message', (message) => {
      const report = message as Report
      if (report.kind === 'ready') resolve()
      else worker[report.kind === 'prepare' ? 'prepared' : 'aborted'].push(report.text)
    })
  })
  return worker
}

type Pools = Record<string, { workers: { workerId: string; state: string }[] }>

async function ready(): Promise<number> {
  const pools = await product.admin<Pools>('GET', '/admin/pools')
  return Object.values(pools).flatMap((pool) => pool.workers.filter(({ state }) => state === 'ready')).length
}

function ask(content: string, more: object = {}, path = '/chat/completions'): Promise<Response> {
  const { baseUrl, apiKey, model } = product.demo()
  return fetch(baseUrl + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model, max_tokens: 50, messages: [{ role: 'user', content }], ...more }),
  })
}

const preparations = () => workers.flatMap(({ prepared }) => prepared)

/** The worker that prepares the request now. */
async function holder(): Promise<WorkerChild> {
  const find = async () => workers.find(({ prepared }) => prepared.length > 0)
  const found = await eventually(find, (worker) => worker !== undefined)
  if (!found) throw new Error('no worker has it')
  return found
}

async function nothingLeft(): Promise<void> {
  const counters = async () => {
    const { openReservations, reservedNano } = await product.tenant('demo')
    const pools = await product.admin<Record<string, { leased: number; waiting: number }>>('GET', '/admin/pools')
    const leased = Object.values(pools).reduce((sum, pool) => sum + pool.leased + pool.waiting, 0)
    return { openReservations, reservedNano, leased }
  }
  const none = { openReservations: 0, reservedNano: 0, leased: 0 }
  expect(await eventually(counters, (now) => JSON.stringify(now) === JSON.stringify(none), 10_000)).toEqual(none)
}

const refused = { code: 'preparation_failed', message: expect.stringMatching(/not sent to another worker.*req_/) }

describe('a worker that is lost while it prepares a request', () => {
  const ends: [string, string, (holder: WorkerChild) => void][] = [
    ['frozen', 'hang', ({ child }) => void child.kill('SIGSTOP')],
    ['killed', 'hang', ({ child }) => void child.kill('SIGKILL')],
    ['ended by the request itself', 'die', () => undefined],
    ['reset', 'hang', () => resets.forEach((socket) => void socket.resetAndDestroy())],
    ['blocked by the request', 'block', () => undefined],
  ]
  it.each(ends)(
    '[PSN1] %s: the request ends with `preparation_failed`, goes to no second worker and leaves nothing reserved',
    async (_, text, end) => {
      for (const stream of [false, true]) {
        const answer = ask(text, { stream })
        const worker = await holder()
        end(worker)
        const response = await answer
        // A stream whose headers were sent while it waited ends with the same error, as an event.
        const body = await response.text()
        if (response.status === 200) {
          expect(stream).toBe(true)
          const event = body.split('\n\n').find((each) => each.startsWith('data: '))
          expect(JSON.parse(event?.slice(6) ?? '')).toMatchObject(refused)
          expect(body).not.toContain('[DONE]')
        } else {
          expect(response.status).toBe(500)
          expect(response.headers.get('x-should-retry')).toBe('false')
          expect(JSON.parse(body)).toMatchObject(refused)
        }
        expect(preparations()).toEqual([text])
        await nothingLeft()
        // The other worker serves as usual.
        const next = await ask('Hello!')
        expect(next.status).toBe(200)
        await next.text()
        worker.child.kill('SIGKILL')
        const index = workers.indexOf(worker)
        workers[index] = await startWorker()
        await eventually(ready, (count) => count === 2, 15_000)
        for (const { prepared } of workers) prepared.length = 0
      }
    },
  )

  it('[PSN2] a request whose worker cannot be reached goes to another worker', async () => {
    for (const { child } of workers.slice(0, 1)) child.kill('SIGKILL')
    const statuses = await Promise.all(Array.from({ length: 4 }, async () => (await ask('Hello!')).status))
    expect(statuses).toEqual([200, 200, 200, 200])
    await nothingLeft()
  })

  it('[PSN3] a request that makes its worker throw ends with its own error, goes to no second worker, and its worker stays in the fleet', async () => {
    const response = await ask('throw')
    expect(response.status).toBe(500)
    expect(await response.json()).toMatchObject(refused)
    expect(preparations()).toEqual(['throw'])
    expect(await ready()).toBe(2)
    await nothingLeft()
  })

  it('[PSN4] a run that the request’s own rules end returns 400 before a token, and an error event and a bill after tokens', async () => {
    const early = await ask('rules 0', { stream: true })
    expect([early.status, ((await early.json()) as { code: string }).code]).toEqual([400, 'invalid_value'])
    await nothingLeft()
    const before = await product.tenant('demo')
    const late = await (await ask('rules 3', { stream: true })).text()
    expect(late).toContain('w2')
    expect(late).not.toContain('[DONE]')
    const events = late.trim().split('\n\n')
    expect(JSON.parse(events.at(-1)?.slice(6) ?? '')).toMatchObject({ code: 'invalid_value' })
    await nothingLeft()
    const after = await product.tenant('demo')
    expect(Number(after.totals.outputTokens) - Number(before.totals.outputTokens)).toBe(3)
    expect(after.postedNano).toBeGreaterThan(before.postedNano)
    expect(await ready()).toBe(2)
    expect(preparations()).toEqual(['rules 0', 'rules 3'])
  })

  it('[PSN4] the other dialects end such an answer with an error in their own format, streamed or not', async () => {
    const dialects: [string, object, RegExp][] = [
      ['/messages', {}, /event: error\ndata: .*"type":"error"/],
      ['/responses', { input: 'rules 3', max_output_tokens: 50 }, /event: (error|response.failed)/],
    ]
    for (const [path, more, event] of dialects) {
      const streamed = await (await ask('rules 3', { stream: true, ...more }, path)).text()
      expect(streamed).toMatch(event)
      const whole = await ask('rules 3', more, path)
      expect(await whole.text()).toContain('no token could follow')
    }
    const whole = await ask('rules 3')
    expect(await whole.json()).toMatchObject({ object: 'error', code: 'invalid_value' })
    await nothingLeft()
    expect(await ready()).toBe(2)
  })

  it('[PSN5] a client that disconnects ends its preparation at the worker and frees slot, lease and reservation', async () => {
    const left = new AbortController()
    const { baseUrl, apiKey, model } = product.demo()
    const answer = fetch(`${baseUrl}/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model, stream: true, messages: [{ role: 'user', content: 'hang' }] }),
      signal: left.signal,
    })
    const worker = await holder()
    await answer
    left.abort()
    await nothingLeft()
    expect(preparations()).toEqual(['hang'])
    expect(await ready()).toBe(2)
    void worker
  })
})
