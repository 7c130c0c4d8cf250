/** A client that leaves, at each of the four points where it can: the engine stops, the slot is free, the books close. */

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

/** Counting to a high number, with a bound far above what is read: the engine has work for seconds. */
function long(stream: boolean, content = 'Tell me a story about a fox.') {
  return JSON.stringify({
    model: product.demo().model,
    stream,
    messages: [{ role: 'user', content }],
    temperature: 1.5,
    max_tokens: 3_000,
    // Without an end the toy would stop too soon to be left.
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
  /** A polite close: what a client's `close()` does. */
  leave: () => void
  /** A reset: what a killed process or a broken network does. */
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
    output: Number(tenant.totals.output_tokens),
    closed: Number(tenant.totals.closed),
  }
}

/** How long until everything is back at zero. */
async function msToZero(): Promise<number> {
  const start = performance.now()
  expect(await eventually(product.counters, isZero, 20_000)).toEqual(zero)
  return performance.now() - start
}

describe('a client that leaves', () => {
  it('[E2E20] in mid-stream: billed for what was generated, far from its bound', async () => {
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

  it('[E2E21] before the first byte, politely, while the prompt is worked on', async () => {
    const before = await totals()
    const client = send(long(true, 'fox '.repeat(1_200)))
    await eventually(product.counters, (counters) => counters.leased === 1, 5_000)
    client.leave()
    await msToZero()
    const after = await totals()
    expect(after.closed - before.closed).toBe(1)
    expect(after.output - before.output).toBeLessThan(1_500)
  })

  it('[E2E22] from a request that does not stream', async () => {
    const before = await totals()
    const client = send(long(false))
    await eventually(product.counters, (counters) => counters.engineRunning === 1, 5_000)
    client.leave()
    await msToZero()
    const after = await totals()
    expect(after.closed - before.closed).toBe(1)
    expect(after.output - before.output).toBeLessThan(2_900)
  })

  it('[E2E23] while it waits for a slot: it never reaches an engine, and its reservation is void', async () => {
    const running = send(long(true))
    await running.firstByte
    const before = await totals()
    const waiting = send(long(true))
    expect(await eventually(product.counters, (counters) => counters.waiting === 1, 5_000)).toMatchObject({
      waiting: 1,
    })
    // The wait is told in comments, which is also what shows that a client has left.
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

  it('[E2E27] while it waits for a slot and does not stream: when its turn comes, not a token is spent on it', async () => {
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
    expect(left).toMatchObject({ closed: 1, prompt_tokens: 0, output_tokens: 0 })
    await msToZero()
  })

  it('[E2E24] a storm of forty departures, polite and not, at random moments leaves every counter at zero, and the next request works', async () => {
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
