/** The worker's port against hostile clients, and the first line of its answers, on real sockets. */
import { createServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { budgets } from '../../backends/model/budgets.ts'
import type { Chat } from '../../backends/model/chat.ts'
import type { EffortWord } from '../../backends/model/effort.ts'
import { anyImage } from '../../backends/model/image.ts'
import { dispatchPath } from '../../backends/wire/dispatch.ts'
import { connectionsMax, unprovenMax } from '../../gpu-worker/connections.ts'
import { publicPolicy } from '../../gpu-worker/media/fetch.ts'
import { createResolver } from '../../gpu-worker/media/resolver.ts'
import { createOperatorServer } from '../../gpu-worker/operator-port.ts'
import { dataUrl } from '../support/images.ts'
import { encryptedPdf, endlessPdf, pdf } from '../support/pdf.ts'
import { eventually } from '../support/product.ts'
import { EngineRefused } from '../support/scripted-engine.ts'
import { bodyOf, preludeOf, refusalOf, WorkerPort } from '../support/worker-port.ts'

const metricsKey = 'a-key-of-twenty-letters'
let port: WorkerPort
let sockets: Socket[]

beforeEach(async () => {
  sockets = []
  port = await new WorkerPort().open({ metricsKey })
})

afterEach(async () => {
  for (const socket of sockets) socket.destroy()
  await port.close()
})

interface Raw {
  socket: Socket
  text: () => string
  closed: () => boolean
}

function raw(head = ''): Raw {
  const socket = connect(port.port, '127.0.0.1')
  sockets.push(socket)
  let text = ''
  let closed = false
  socket.on('data', (part) => {
    text += part
  })
  socket.on('error', () => undefined)
  socket.on('close', () => {
    closed = true
  })
  if (head !== '') socket.write(head)
  return { socket, text: () => text, closed: () => closed }
}

const post = (path: string, length: number, authorization = '') =>
  `POST ${path} HTTP/1.1\r\nhost: w\r\ncontent-length: ${length}\r\n${authorization && `authorization: Bearer ${authorization}\r\n`}\r\n`

/** Waits until the condition holds, and fails the test if it never does. */
async function soon<Value>(look: () => Value, until: (value: Value) => boolean, ms = 5_000): Promise<Value> {
  const value = await eventually(async () => look(), until, ms)
  expect(until(value)).toBe(true)
  return value
}

describe('a worker’s port', () => {
  it('[WPT1] a request without a signed token gets 401 with its body unread, and its connection is closed', async () => {
    const megabyte = Buffer.alloc(1024 * 1024, 0x20)
    const before = process.memoryUsage().rss
    const accepted: Socket[] = []
    port.server.on('connection', (socket) => accepted.push(socket))
    const open = Array.from({ length: 32 }, (_, index) =>
      raw(
        post(
          ['/dispatch', '/count', '/media', '/inquiry'][index % 4] ?? '',
          32 * 1024 * 1024,
          index % 2 ? 'a.b.c' : '',
        ),
      ),
    )
    for (const { socket } of open) for (let count = 0; count < 31; count++) socket.write(megabyte)
    await soon(
      () => open.filter(({ closed }) => closed()).length,
      (count) => count === 32,
    )
    for (const { text } of open) {
      expect(text()).toMatch(/^HTTP\/1\.1 401 .*\r\n[\s\S]*connection: close[\s\S]*"code":"bad_dispatch"/)
    }
    // The sockets of this test queue the same one-megabyte buffer.
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * 1024 * 1024)
    // Node reads only until its buffers are full.
    for (const { bytesRead } of accepted) expect(bytesRead).toBeLessThan(256 * 1024)
    expect(accepted.length).toBe(32)
  })

  it('[WPT1] a token is accepted once, before its body arrives, and a body that was not signed is refused', async () => {
    const bytes = bodyOf({})
    const token = await port.token(bytes, { requestId: 'req_once' })
    const slow = raw(post(dispatchPath, bytes.length, token))
    const again = await fetch(port.origin + dispatchPath, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}` },
      body: bytes,
    })
    expect(await refusalOf(again)).toMatchObject({ status: 409, code: 'replayed_dispatch' })
    slow.socket.write(bytes)
    expect(await soon(slow.text, (text) => text.includes('[DONE]'))).toMatch(/^HTTP\/1\.1 200 OK/)
    const other = bytes.slice()
    other[0] = 0x20
    const changed = await fetch(port.origin + dispatchPath, {
      method: 'POST',
      headers: { authorization: `Bearer ${await port.token(bytes)}` },
      body: other,
    })
    expect(await refusalOf(changed)).toMatchObject({ status: 401, message: expect.stringContaining('does not match') })
    expect(port.engine.runs.length).toBe(1)
  })

  it('[WPT2] the oldest connection without a valid token is closed for the newest, and the edge is served', async () => {
    const max = unprovenMax(port.slots.max)
    const proven = await port.dispatch()
    await proven.text()
    const idle = Array.from({ length: max + 40 }, () => raw())
    await soon(
      () => idle.filter(({ closed }) => closed()).length,
      (count) => count >= 40,
    )
    // Twice as many at once as there are slots.
    const burst = await Promise.all(Array.from({ length: 4 }, () => port.dispatch()))
    for (const answer of burst) expect([200, 503]).toContain(answer.status)
    expect(idle.slice(0, 40).every(({ closed }) => closed())).toBe(true)
    expect(idle.slice(-max + 1).some(({ closed }) => !closed())).toBe(true)
  })

  it('[WPT3] a connection with late headers or a late body is closed, and a long generation is not', async () => {
    const { server } = port
    expect(server.headersTimeout).toBe(budgets.workerHeadersMs.value)
    expect(server.requestTimeout).toBe(budgets.workerRequestMs.value)
    expect(server.maxConnections).toBe(connectionsMax(2))
    expect(connectionsMax(2)).toBe(4 + 4 + 128 + 256)
    // The same port with shorter limits.
    Object.assign(server, { headersTimeout: 300, requestTimeout: 900 })
    const bytes = bodyOf({})
    const silent = raw()
    const half = raw('POST /dispatch HTTP/1.1\r\nhost: w\r\n')
    const noBody = raw(post(dispatchPath, bytes.length, await port.token(bytes)))
    let go: () => void = () => undefined
    const gate = new Promise<void>((resolve) => {
      go = resolve
    })
    port.engine.step = () => gate
    const running = await port.dispatch()
    await soon(() => [silent, half, noBody].every(({ closed }) => closed()), Boolean, 8_000)
    go()
    expect(await running.text()).toContain('[DONE]')
  })

  it('[WPT4] metrics and health details require the metrics key; without it, /healthz returns only the status', async () => {
    const get = async (path: string, key?: string) => {
      const answer = await fetch(port.origin + path, key ? { headers: { authorization: `Bearer ${key}` } } : {})
      return { status: answer.status, text: await answer.text() }
    }
    expect(JSON.parse((await get('/healthz')).text)).toEqual({ status: 'ready' })
    expect(JSON.parse((await get('/healthz', 'wrong')).text)).toEqual({ status: 'ready' })
    expect(JSON.parse((await get('/healthz', metricsKey)).text)).toEqual({ status: 'ready', engine: 'scripted' })
    expect(await get('/metrics')).toMatchObject({ status: 401, text: expect.stringContaining('bearer token') })
    expect(await get('/metrics', `${metricsKey}x`)).toMatchObject({ status: 401 })
    expect(await get('/metrics', metricsKey)).toMatchObject({ status: 200, text: 'tramontane_engine_up 1\n' })
    const keyless = await new WorkerPort().open({ health: () => ({ status: 'restarting', load: 3 }) })
    const metrics = await fetch(`${keyless.origin}/metrics`, { headers: { authorization: 'Bearer undefined' } })
    expect([metrics.status, await metrics.text()]).toEqual([
      404,
      expect.stringMatching(/TRAMONTANE_METRICS_KEY.*_PORT/),
    ])
    const health = await fetch(`${keyless.origin}/healthz`)
    expect([health.status, await health.json()]).toEqual([503, { status: 'restarting' }])
    await keyless.close()
  })

  it('[WPT4] a second port serves /metrics and /healthz without a key', async () => {
    const server = createOperatorServer({ health: () => ({ status: 'ready', load: 3 }), render: () => 'm 1\n' })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    expect(await (await fetch(`${origin}/healthz`)).json()).toEqual({ status: 'ready', load: 3 })
    expect(await (await fetch(`${origin}/metrics`)).text()).toBe('m 1\n')
    expect((await fetch(`${origin}/dispatch`, { method: 'POST' })).status).toBe(404)
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })

  it('[WPT5] a refusal code is logged once in ten seconds, without a client’s words', async () => {
    for (let count = 0; count < 20; count++) await refusalOf(await port.dispatch({}, { workerId: 'w2' }))
    await refusalOf(await port.dispatch({ messages: 'secret\u001b[31m words' }))
    expect(port.logged).toEqual([
      expect.stringMatching(/^refused a request: bad_dispatch: the dispatch is for another worker/),
      'refused a request: invalid_value: the request is invalid',
    ])
  })
})

describe('the progress of a dispatch', () => {
  it('[PRL4] the head is sent at once, and the prelude when the engine has begun or refused', async () => {
    let go: () => void = () => undefined
    const gate = new Promise<void>((resolve) => {
      go = resolve
    })
    const { prepare } = port.engine
    port.engine.prepare = async (...args) => {
      await gate
      return prepare.apply(port.engine, args)
    }
    const answer = await port.dispatch()
    expect(answer.status).toBe(200)
    const reader = (answer.body as ReadableStream<Uint8Array>).getReader()
    const first = reader.read()
    expect(await Promise.race([first, new Promise((resolve) => setTimeout(() => resolve('nothing yet'), 200))])).toBe(
      'nothing yet',
    )
    go()
    const { value } = await first
    expect(Buffer.from(value ?? '').toString()).toMatch(
      /^\{"kind":"prepared","promptTokens":10,"warnings":\[\]\}\ndata: /,
    )
    await reader.cancel()
  })

  it('[PSN6] an exception during preparation refuses that request, and the worker serves the next', async () => {
    const { prepare } = port.engine
    for (const stream of [true, false]) {
      port.engine.prepare = () => {
        throw new URIError('URI malformed')
      }
      expect(await refusalOf(await port.dispatch({ stream }))).toMatchObject({ status: 200, code: 'internal_error' })
      port.engine.prepare = prepare
      expect((await preludeOf(await port.dispatch({ stream }))).prelude.kind).toBe('prepared')
    }
    expect(port.slots.holders()).toEqual([])
    expect(port.outbox.counts().running).toBe(0)
    expect(port.logged.join()).toContain('URI malformed')
  })

  it('[PSN7] a run that the request’s own rules end is refused before a token, and billed with an error after tokens', async () => {
    const refusal = { ok: false, code: 'invalid_value', message: 'no token could follow', param: null } as const
    for (const stream of [true, false]) {
      port.engine.step = async (index) => {
        if (index === 0) throw new EngineRefused(refusal)
      }
      expect(await refusalOf(await port.dispatch({ stream }))).toMatchObject({ code: 'invalid_value' })
      expect(port.receipts).toEqual([])
      port.engine.step = async (index) => {
        if (index === 3) throw new EngineRefused(refusal, true)
      }
      const { rest } = await preludeOf(await port.dispatch({ stream }))
      const error = stream ? (rest.trim().split('\n\n').at(-1)?.slice(6) ?? '') : rest.trim()
      expect(JSON.parse(error)).toMatchObject({
        object: 'error',
        code: 'invalid_value',
        message: 'no token could follow',
      })
      expect(rest).not.toContain('[DONE]')
      const [receipt] = port.receipts.splice(0)
      expect(receipt).toMatchObject({ outcome: 'aborted', finishReason: 'error', costNano: 400 })
      expect(receipt?.counts.outputTokens).toBe(3)
    }
    expect(port.slots.holders()).toEqual([])
  })

  it('[PSN5] a closed connection ends its preparation and frees the slot', async () => {
    const left = new AbortController()
    let ended = false
    port.engine.prepare = untilAborted(() => {
      ended = true
    })
    await port.dispatch({}, {}, left.signal)
    left.abort()
    await soon(() => ended && port.slots.holders().length === 0, Boolean)
    expect([ended, port.slots.holders(), port.receipts, port.logged]).toEqual([true, [], [], []])
  })
})

describe('media before a slot', () => {
  const file = (bytes: Buffer) => ({ type: 'file', file: { file_data: dataUrl(bytes, 'application/pdf') } })
  const chat = (...files: Buffer[]) => ({
    messages: [{ role: 'user', content: [...files.map(file), { type: 'text', text: 'Sum?' }] }],
  })
  const slow = (name: string) => Buffer.concat([endlessPdf(22), Buffer.from(`% ${name}`)])

  it('[MED35] a request whose media cannot be read is refused before it holds a slot', async () => {
    const good = chat(pdf([['total 4711']]))
    expect(await refusalOf(await port.dispatch(good))).toMatchObject({ status: 409, code: 'media_missing' })
    expect(await refusalOf(await port.media(chat(encryptedPdf())))).toMatchObject({
      ...{ status: 200, code: 'invalid_value', param: 'messages[0].content[0]' },
    })
    expect((await preludeOf(await port.media(good))).prelude.kind).toBe('prepared')
    // Another tenant does not share the cached document.
    expect(await refusalOf(await port.dispatch(good, { tenantId: 'other' }))).toMatchObject({ code: 'media_missing' })
    await (await port.dispatch(good)).text()
    expect(port.engine.chats[0]?.messages[0]?.content).toEqual([
      { kind: 'text', text: '[Document, pages: 1]\n\n[Page 1]\ntotal 4711\n\n' },
      { kind: 'text', text: 'Sum?' },
    ])
    expect(port.engine.runs.length).toBe(1)
  })

  it('[MRD4] two requests of a tenant are read at a time, eight wait, more get 429; another tenant is read at once', async () => {
    const left = new AbortController()
    const max = budgets.mediaReadingPerTenant.value + budgets.mediaWaitingPerTenant.value
    const storm = Array.from({ length: max + 1 }, (_, index) => port.media(chat(slow(`${index}`)), {}, left.signal))
    const refused = storm.map(async (each) => {
      const answer = await each
      return answer.status === 429 ? answer : Promise.reject(answer.status)
    })
    expect(await refusalOf(await Promise.any(refused))).toMatchObject({
      ...{ code: 'media_tenant_busy', message: expect.stringMatching(/^documents: 2 .*8 may wait/) },
    })
    const startedAt = performance.now()
    const other = await port.media(chat(pdf([['a word']])), { tenantId: 'other' })
    expect((await preludeOf(other)).prelude.kind).toBe('prepared')
    expect(performance.now() - startedAt).toBeLessThan(5_000)
    left.abort()
    // The waiting requests are gone, so the same tenant is read at once.
    const next = await port.media(chat(pdf([['free']])))
    expect((await preludeOf(next)).prelude.kind).toBe('prepared')
    expect(port.slots.holders()).toEqual([])
  })

  it('[MRD5] the first failure among a request’s media stops its other fetches', async () => {
    let open = 0
    const host = createServer((_, response) => {
      open += 1
      response.on('close', () => {
        open -= 1
      })
    })
    await new Promise<void>((resolve) => host.listen(0, '127.0.0.1', resolve))
    const policy = { ...publicPolicy, ports: { 'http:': 'any' as const }, allowed: () => true }
    const reader = createResolver(() => Date.now(), policy)
    const url = `http://127.0.0.1:${(host.address() as AddressInfo).port}/`
    const content = [1, 2, 3].map((index) => ({ kind: 'document' as const, url: `${url}${index}`, name: '' }))
    const broken = { kind: 'document' as const, url: dataUrl(Buffer.from('%PDF-1.7 x'), 'application/pdf'), name: '' }
    const messages = [{ role: 'user' as const, content: [...content, broken] }]
    const request = { ...(await chatOf()), messages }
    const startedAt = performance.now()
    const read = await reader.read(
      request,
      { vision: false, images: anyImage, owner: 't' },
      new AbortController().signal,
    )
    expect(read).toMatchObject({ ok: false, param: 'messages[0].content[3]' })
    expect(performance.now() - startedAt).toBeLessThan(5_000)
    await soon(
      () => open,
      (count) => count === 0,
    )
    expect(open).toBe(0)
    host.closeAllConnections()
    host.close()
  })
})

/** A preparation that ends only when it is aborted. */
function untilAborted(ended: () => void) {
  return (_chat: Chat, _effort: EffortWord, signal?: AbortSignal) =>
    new Promise<never>((_, reject) => {
      signal?.addEventListener('abort', () => {
        ended()
        reject(signal.reason)
      })
    })
}

async function chatOf() {
  await (await port.dispatch()).text()
  const [chat] = port.engine.chats
  if (!chat) throw new Error('no chat')
  return chat
}

describe('counting', () => {
  it('[WPT6] a worker counts two prompts at a time, one per tenant, and a count ends when its connection closes', async () => {
    const left = new AbortController()
    let ended = 0
    port.engine.prepare = untilAborted(() => {
      ended += 1
    })
    const first = port.count({}, { tenantId: 'a' }, left.signal).catch(() => undefined)
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(await refusalOf(await port.count({}, { tenantId: 'a' }))).toMatchObject({ status: 503, code: 'busy' })
    const second = port.count({}, { tenantId: 'b' }, left.signal).catch(() => undefined)
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(await refusalOf(await port.count({}, { tenantId: 'c' }))).toMatchObject({ status: 503, code: 'busy' })
    left.abort()
    await Promise.all([first, second])
    expect(
      await soon(
        () => ended,
        (count) => count === 2,
      ),
    ).toBe(2)
    // A count ends when its question expires.
    const startedAt = performance.now()
    const late = await port.count({}, { expiresAt: Date.now() + 200 })
    expect(await refusalOf(late)).toMatchObject({ code: 'busy' })
    expect(performance.now() - startedAt).toBeLessThan(2_000)
    expect(ended).toBe(3)
  })
})
