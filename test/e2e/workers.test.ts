/** Workers of the whole product: enrolled, started twice, redirecting, or with a blocked event loop. */
import { mkdtempSync, readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sealKey } from '../../backends/wire/seal.ts'
import { keyIdOf, parseWorkerKey } from '../../backends/wire/worker-key.ts'
import { readConfig } from '../../gpu-worker/config.ts'
import { Heartbeats } from '../../gpu-worker/heartbeat.ts'
import { beginLife } from '../../gpu-worker/life.ts'
import { createWorker } from '../../gpu-worker/worker.ts'
import { testBeat } from '../support/fleet.ts'
import { eventually, type Product, startProduct, temporaryHome } from '../support/product.ts'
import { ScriptedEngine } from '../support/scripted-engine.ts'

const preload = fileURLToPath(new URL('../support/block-on-signal.ts', import.meta.url))
const home = temporaryHome()
const env = { NODE_OPTIONS: `--import=${preload}` }
let product: Product

beforeAll(async () => {
  product = await startProduct({ home, env })
})

afterAll(async () => {
  await product?.stop()
})

interface Row {
  workerId: string
  state: string
  reason: string | null
  url: string
  lastEnd: string | null
  status: string
  epoch: number
  slotsMax: number
}

async function inPools(workerId: string): Promise<Row | undefined> {
  const pools = await product.admin<Record<string, { workers: Row[] }>>('GET', '/admin/pools')
  return Object.values(pools)
    .flatMap(({ workers }) => workers)
    .find((worker) => worker.workerId === workerId)
}

const rowOf = (workerId: string) => product.admin<Row>('GET', `/admin/workers/${workerId}`)

async function ask(effort = 'none'): Promise<{ status: number; worker: string | null; text: string }> {
  const { baseUrl, apiKey, model } = product.demo()
  const response = await fetch(`${baseUrl}/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      model,
      max_tokens: 5,
      reasoning_effort: effort,
      messages: [{ role: 'user', content: 'hi' }],
    }),
  })
  const text = await response.text()
  return { status: response.status, worker: response.headers.get('x-tramontane-worker'), text }
}

function childrenOf(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
  return children === '' ? [] : children.split(' ').map(Number)
}

function lives(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

describe('workers', () => {
  it('[WDG4] a worker of `npm start` whose event loop is blocked is ended and started again, serves again, and reports why in `/admin/pools`', async () => {
    const pid = product.demo().pids.throughput
    const children = childrenOf(pid)
    expect(children.length).toBeGreaterThan(0)
    const blockedAt = performance.now()
    process.kill(pid, 'SIGUSR2')
    const next = await eventually(
      async () => product.demo().pids.throughput,
      (each) => each !== pid,
      40_000,
    )
    expect(next).not.toBe(pid)
    console.log(`blocked worker replaced after ${Math.round(performance.now() - blockedAt)} ms`)
    expect([pid, ...children].filter(lives)).toEqual([])
    const row = await eventually(
      () => inPools('local-throughput'),
      (each) => each?.state === 'ready' && each.lastEnd !== null,
      20_000,
    )
    expect(row).toMatchObject({ state: 'ready', lastEnd: expect.stringMatching(/watchdog .*event loop was blocked/) })
    expect(product.output()).toMatch(/worker local-throughput: its event loop was blocked .*Its watchdog kills process/)
    const answered = await eventually(
      () => ask('high'),
      ({ worker }) => worker === 'local-throughput',
      20_000,
    )
    expect(answered).toMatchObject({ status: 200, worker: 'local-throughput' })
  }, 90_000)

  it('[WHB4] of two worker processes with one id, the first serves, both log the other, and the second takes over when the first leaves', async () => {
    const { workerKey } = await product.admin<{ workerKey: string }>('POST', '/admin/workers', {
      workerId: 'twin',
      url: 'http://127.0.0.1:*',
    })
    const process = async () => {
      const lines: string[] = []
      const config = readConfig({
        TRAMONTANE_WORKER_KEY: workerKey,
        TRAMONTANE_EDGE_URL: `http://127.0.0.1:${product.port}`,
        TRAMONTANE_HOME: mkdtempSync(join(tmpdir(), 'tramontane-twin-')),
        TRAMONTANE_MODEL_ID: product.demo().model,
        TRAMONTANE_DRAIN_MS: '200',
      })
      const engine = new ScriptedEngine()
      const parts = {
        engine,
        now: () => Date.now(),
        callId: () => 'call00001',
        log: (line: string) => void lines.push(line),
      }
      return { engine, lines, worker: await createWorker(config, parts) }
    }
    const first = await process()
    const firstUrl = await first.worker.start()
    const second = await process()
    const secondStarted = second.worker.start()
    const says = (lines: string[]) => lines.find((line) => line.includes('another process with worker id twin'))
    expect(
      await eventually(
        async () => says(second.lines),
        (line) => line !== undefined,
      ),
    ).toMatch(new RegExp(`^heartbeat refused: .* is live at ${firstUrl}, started 20.*Stop one of them`))
    expect(
      await eventually(
        async () => says(first.lines),
        (line) => line !== undefined,
      ),
    ).toMatch(/^heartbeat: /)
    expect(await inPools('twin')).toMatchObject({ state: 'duplicate', url: firstUrl })
    await eventually(
      () => ask(),
      () => first.engine.runs.length > 0,
      20_000,
    )
    expect(first.engine.runs.length).toBeGreaterThan(0)
    expect(second.engine.runs.length).toBe(0)
    const leftAt = performance.now()
    await first.worker.stop()
    const secondUrl = await secondStarted
    console.log(`the second process took over after ${Math.round(performance.now() - leftAt)} ms`)
    expect(
      await eventually(
        () => inPools('twin'),
        (row) => row?.url === secondUrl,
      ),
    ).toMatchObject({ url: secondUrl })
    await second.worker.stop()
    expect(await inPools('twin')).toBeUndefined()
  })

  it('[WEN11] the workers of `npm start` are enrolled, and enrolling one again while it runs returns 409', async () => {
    expect(await rowOf('local-latency')).toMatchObject({
      status: 'enrolled',
      url: 'http://127.0.0.1:*',
      state: 'ready',
    })
    const order = { workerId: 'local-latency', url: 'http://127.0.0.1:*' }
    await expect(product.admin('POST', '/admin/workers', order)).rejects.toThrow(/409/)
  })

  it('[WEN12] the edge follows no redirect of a worker', async () => {
    let trapped = 0
    let dispatched = 0
    const trap = await listen((_, body) => {
      trapped += 1 + body.length
      return { status: 200, body: '{}' }
    })
    const bent = await listen((path) => {
      if (path === '/inquiry') return { status: 200, body: '{"running":[],"owed":[]}' }
      dispatched += 1
      return { status: 307, location: `${trap.url}/latest/meta-data` }
    })
    const { workerKey } = await product.admin<{ workerKey: string }>('POST', '/admin/workers', {
      workerId: 'bent',
      url: bent.url,
    })
    const key = parseWorkerKey(workerKey)
    if (!key) throw new Error('not a worker key')
    for (const own of ['local-latency', 'local-throughput']) await product.admin('POST', `/admin/workers/${own}/revoke`)
    const life = beginLife(
      mkdtempSync(join(tmpdir(), 'tramontane-bent-')),
      () => Date.now(),
      () => undefined,
    )
    const heartbeats = new Heartbeats({
      edgeUrl: new URL(`http://127.0.0.1:${product.port}`),
      kid: keyIdOf(key),
      key: await sealKey(key.secret),
      state: () => ({ ...testBeat('bent', { url: bent.url, model: product.demo().model }), ...life.signs() }),
      log: () => undefined,
    })
    await heartbeats.start()
    expect((await ask()).status).toBeGreaterThanOrEqual(500)
    const { baseUrl, apiKey, model } = product.demo()
    await fetch(`${baseUrl}/messages/count_tokens`, {
      method: 'POST',
      headers: { 'x-api-key': apiKey, 'content-type': 'application/json' },
      body: JSON.stringify({ model, messages: [{ role: 'user', content: 'hi' }] }),
    })
    expect(dispatched).toBeGreaterThan(0)
    expect(trapped).toBe(0)
    heartbeats.stop()
    for (const { server } of [trap, bent]) server.close()
  })

  it('[WEN11] a revoked worker of `npm start` is enrolled again at the next start', async () => {
    expect(await rowOf('local-latency')).toMatchObject({ status: 'revoked', epoch: 1 })
    await product.stop()
    product = await startProduct({ home, env })
    expect(await rowOf('local-latency')).toMatchObject({ status: 'enrolled', epoch: 2, state: 'ready' })
    expect(
      await eventually(
        () => ask(),
        ({ status }) => status === 200,
      ),
    ).toMatchObject({ status: 200 })
  })
})

interface Reply {
  status: number
  body?: string
  location?: string
}

async function listen(reply: (path: string, body: string) => Reply): Promise<{ server: Server; url: string }> {
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const part of request) body += part
    const { status, location, body: said } = reply(request.url ?? '', body)
    response.writeHead(status, { ...(location && { location }), 'content-type': 'application/json' }).end(said)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}
