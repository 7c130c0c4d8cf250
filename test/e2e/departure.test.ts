/** A client that disconnects at each possible point: the engine stops, the slot is freed, the ledger is closed. */

import { request } from 'node:http'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { eventually, isZero, type Product, startProduct, zero } from '../support/product.ts'

let product: Product

beforeAll(async () => {
  // One slot in each pool and a toy context large enough for a long answer, so that a second request must wait.
  product = await startProduct({ env: { TRAMONTANE_SLOTS: '1', TRAMONTANE_SPILL: 'off' } })
})

afterAll(async () => {
  await product?.stop()
})

/** A long answer, with a bound far above the tokens that the client reads: the engine works for seconds. */
function long(stream: boolean, content = 'Tell me a story about a fox.') {
  return JSON.stringify({
    model: product.demo().model,
    stream,
    messages: [{ role: 'user', content }],
    temperature: 1.5,
    max_tokens: 3_000,
    // Without a schema the toy would stop before the client can disconnect.
    response_format: {
      type: 'json_schema',
      json_schema: { name: 'l', schema: { type: 'array', items: { type: 'integer' }, minItems: 900 } },
    },
  })
}

interface Leaving {
  /** Resolves at the first byte of the body. */
  firstByte: Promise<void>
  headers: Promise<number>
  /** An orderly close, like a client's `close()`. */
  leave: () => void
  /** A reset, as from a killed process or a broken network. */
  reset: () => void
  bytes: () => number
}

function send(body: string, apiKey = product.demo().apiKey): Leaving {
  let bytes = 0
  let byte: () => void
  let head: (status: number) => void
  const firstByte = new Promise<void>((resolve) => {
    byte = resolve
  })
  const headers = new Promise<number>((resolve) => {
    head = resolve
  })
  const call = request(
    {
      host: '127.0.0.1',
      port: product.port,
      path: '/v1/chat/completions',
      method: 'POST',
      headers: {
        authorization: `Bearer ${apiKey}`,
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(body),
      },
    },
    (response) => {
      head(response.statusCode ?? 0)
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        if (!chunk.toString().startsWith(':')) byte()
      })
      response.on('error', () => undefined)
    },
  )
  call.on('error', () => undefined)
  call.end(body)
  return {
    firstByte,
    headers,
    leave: () => call.socket?.end(() => call.socket?.destroy()),
    reset: () => call.socket?.resetAndDestroy(),
    bytes: () => bytes,
  }
}

async function totals(): Promise<{ output: number; closed: number }> {
  const tenant = await product.tenant('demo')
  return {
    output: Number(tenant.totals.outputTokens),
    closed: Number(tenant.totals.closed),
  }
}

/** Milliseconds until every counter is zero. */
async function msToZero(): Promise<number> {
  const start = performance.now()
  expect(await eventually(product.counters, isZero, 20_000)).toEqual(zero)
  return performance.now() - start
}

describe('a client that disconnects', () => {
  it('[E2E20] a client that disconnects in mid-stream pays for the tokens generated until then, not for its output bound', async () => {
    const before = await totals()
    const client = send(long(true))
    await client.firstByte
    await eventually(
      async () => client.bytes(),
      (bytes) => bytes > 2_000,
    )
    client.leave()
    const ms = await msToZero()
    const after = await totals()
    expect(after.closed - before.closed).toBe(1)
    expect(after.output - before.output).toBeGreaterThan(0)
    expect(after.output - before.output).toBeLessThan(2_000)
    expect(ms).toBeLessThan(3_000)
  })

  it('[E2E21] a client that disconnects before the first byte, while its prompt is computed, frees its slot and pays for less than its output bound', async () => {
    const before = await totals()
    const client = send(long(true, 'fox '.repeat(1_200)))
    await eventually(product.counters, (counters) => counters.leased === 1, 5_000)
    client.leave()
    await msToZero()
    const after = await totals()
    expect(after.closed - before.closed).toBe(1)
    expect(after.output - before.output).toBeLessThan(1_500)
  })

  it('[E2E22] a client that disconnects from a non-streaming request frees its slot and pays for less than its output bound', async () => {
    const before = await totals()
    const client = send(long(false))
    await eventually(product.counters, (counters) => counters.engineRunning === 1, 5_000)
    client.leave()
    await msToZero()
    const after = await totals()
    expect(after.closed - before.closed).toBe(1)
    expect(after.output - before.output).toBeLessThan(2_900)
  })

  it('[E2E23] a request whose client disconnects in the queue never reaches an engine, and its reservation is voided', async () => {
    const running = send(long(true))
    await running.firstByte
    const before = await totals()
    const waiting = send(long(true))
    expect(await eventually(product.counters, (counters) => counters.waiting === 1, 5_000)).toMatchObject({
      waiting: 1,
    })
    // A queued stream receives comments; a failed write of one also shows that the client has disconnected.
    expect(await waiting.headers).toBe(200)
    waiting.leave()
    expect(
      await eventually(product.counters, (counters) => counters.waiting === 0 && counters.openReservations === 1),
    ).toMatchObject({
      waiting: 0,
      openReservations: 1,
      leased: 1,
    })
    const after = await totals()
    expect(after.closed - before.closed).toBe(1)
    expect(after.output).toBe(before.output)
    running.leave()
    await msToZero()
  })

  it('[E2E27] a non-streaming request whose client disconnects in the queue uses no token when its turn comes', async () => {
    await product.admin('POST', '/admin/tenants', { tenantId: 'leaver', name: 'Leaver', creditNano: 1e9 })
    const order = { name: 'leaver', mode: 'test' }
    const { apiKey } = await product.admin<{ apiKey: string }>('POST', '/admin/tenants/leaver/keys', order)
    const running = send(long(true))
    await running.firstByte
    const waiting = send(long(false), apiKey)
    expect(await eventually(product.counters, (counters) => counters.waiting === 1, 5_000)).toMatchObject({
      waiting: 1,
    })
    waiting.leave()
    running.leave()
    const books = () => product.tenant('leaver')
    const { totals: left } = await eventually(books, ({ openReservations }) => openReservations === 0)
    expect(left).toMatchObject({ closed: 1, promptTokens: 0, outputTokens: 0 })
    await msToZero()
  })

  it('[E2E24] after forty disconnects at random moments every counter returns to zero, and the next request works', async () => {
    const before = await totals()
    let seed = 7
    const random = () => {
      seed = (seed * 16_807) % 2_147_483_647
      return seed / 2_147_483_647
    }
    await Promise.all(
      Array.from({ length: 40 }, async (_, index) => {
        const client = send(long(index % 2 === 0))
        await new Promise((resolve) => setTimeout(resolve, random() * 1_500))
        if (index % 4 < 2) client.leave()
        else client.reset()
      }),
    )
    await msToZero()
    const after = await totals()
    expect(after.closed - before.closed).toBe(40)
    const answer = await product.client().chat.completions.create({
      model: product.demo().model,
      messages: [{ role: 'user', content: 'Hello!' }],
      max_tokens: 5,
    })
    expect(answer.choices[0]?.message.content).toMatch(/\w/)
  })
})
