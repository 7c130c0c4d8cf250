/** Documents that take long to read: they hold no slot and no lease, delay no neighbour, and end with their client. */
import { request } from 'node:http'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { dataUrl } from '../support/images.ts'
import { endlessPdf, pdf } from '../support/pdf.ts'
import { eventually, isZero, type Product, startProduct, zero } from '../support/product.ts'

let product: Product
/** The API key of a hostile tenant. */
let harmful: string

beforeAll(async () => {
  product = await startProduct()
  await product.admin('POST', '/admin/tenants', { tenantId: 'storm', name: 'Storm', creditNano: 1e12 })
  const order = { name: 'storm', mode: 'test' }
  harmful = (await product.admin<{ apiKey: string }>('POST', '/admin/tenants/storm/keys', order)).apiKey
})

afterAll(async () => {
  await product?.stop()
})

const file = (bytes: Buffer) => ({
  type: 'file',
  file: { filename: 'a.pdf', file_data: dataUrl(bytes, 'application/pdf') },
})

function bodyOf(content: unknown, more: object = {}): string {
  return JSON.stringify({
    model: product.demo().model,
    stream: true,
    max_tokens: 40,
    messages: [{ role: 'user', content }],
    ...more,
  })
}

function ask(apiKey: string, body: string, signal?: AbortSignal): Promise<Response> {
  return fetch(`${product.demo().baseUrl}/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    body,
    ...(signal && { signal }),
  })
}

/** Each document differs, so that no cache has it. */
const storm = (count: number, documents = 8, padding = Buffer.alloc(0)) =>
  Array.from({ length: count }, (_, index) =>
    bodyOf([
      ...Array.from({ length: documents }, (_, at) =>
        file(Buffer.concat([endlessPdf(20), padding, Buffer.from(`%${index}.${at}`)])),
      ),
      { type: 'text', text: 'Sum?' },
    ]),
  )

/** Sends the request and closes the connection after `afterMs`. */
function sendAndLeave(apiKey: string, body: string, afterMs: number): Promise<void> {
  return new Promise((resolve) => {
    const call = request({
      ...{ host: '127.0.0.1', port: product.port, path: '/v1/chat/completions', method: 'POST' },
      headers: {
        authorization: `Bearer ${apiKey}`,
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(body),
      },
    })
    call.on('error', () => undefined)
    call.on('response', (response) => response.on('error', () => undefined).resume())
    call.end(body)
    setTimeout(() => {
      call.socket?.end(() => call.socket?.destroy())
      resolve()
    }, afterMs)
  })
}

/** A neighbour's stream: its time to first token and its longest pause after that. */
async function neighbour(): Promise<{ firstMs: number; pauseMs: number }> {
  const startedAt = performance.now()
  const body = bodyOf('Tell me a story about a fox.', { max_tokens: 300, temperature: 1.5, response_format: endless })
  const response = await ask(product.demo().apiKey, body)
  expect(response.status).toBe(200)
  let firstMs = 0
  let pauseMs = 0
  let lastAt = startedAt
  for await (const part of response.body ?? []) {
    if (!Buffer.from(part).includes('data: ')) continue
    const now = performance.now()
    if (firstMs === 0) firstMs = now - startedAt
    else pauseMs = Math.max(pauseMs, now - lastAt)
    lastAt = now
  }
  return { firstMs, pauseMs }
}

const endless = {
  type: 'json_schema',
  json_schema: { name: 'l', schema: { type: 'array', items: { type: 'integer' }, minItems: 900 } },
}

async function storming(): Promise<{ openReservations: number; leased: number }> {
  const { openReservations } = await product.tenant('storm')
  const pools = await product.admin<Record<string, { leased: number; waiting: number }>>('GET', '/admin/pools')
  return { openReservations, leased: Object.values(pools).reduce((sum, pool) => sum + pool.leased + pool.waiting, 0) }
}

describe('documents', () => {
  it('[MRD1] a document is read before its request holds a lease, and the next turn of its conversation finds it read', async () => {
    const body = bodyOf([file(pdf([['the total is 4711']])), { type: 'text', text: 'Sum?' }])
    const response = await ask(product.demo().apiKey, body)
    expect(response.status).toBe(200)
    expect(await response.text()).toContain('[DONE]')
    // The next turns of the conversation find the document already read, on any worker.
    for (let turn = 0; turn < 4; turn++)
      expect(await (await ask(product.demo().apiKey, body)).text()).toContain('[DONE]')
    expect(await eventually(product.counters, isZero, 15_000)).toEqual(zero)
  })

  it('[MRD2] a storm of PDFs of one tenant leaves another tenant’s stream, first token and documents within a second of their time without it', async () => {
    const alone = [await neighbour(), await neighbour(), await neighbour()]
    const left = new AbortController()
    const answers = storm(44).map(async (body) => {
      const response = await ask(harmful, body, left.signal).catch(() => undefined)
      const text = await response?.text().catch(() => '')
      return { status: response?.status, text }
    })
    await eventually(storming, ({ openReservations }) => openReservations >= 10, 10_000)
    const during: typeof alone = []
    for (let round = 0; round < 5; round++) during.push(await neighbour())
    // The neighbour's own lease is released a moment after its last byte.
    expect((await eventually(storming, ({ leased }) => leased === 0)).leased).toBe(0)
    expect((await storming()).openReservations).toBeGreaterThan(0)
    // One reader is reserved for other tenants.
    const begun = performance.now()
    const own = await ask(
      product.demo().apiKey,
      bodyOf([file(pdf([['in the storm']])), { type: 'text', text: 'Sum?' }]),
    )
    expect(await own.text()).toContain('[DONE]')
    expect(performance.now() - begun).toBeLessThan(5_000)
    const most = (runs: typeof alone, name: 'firstMs' | 'pauseMs') => Math.max(...runs.map((run) => run[name]))
    const figures = ['firstMs', 'pauseMs'].map((name) => [
      most(alone, name as 'firstMs'),
      most(during, name as 'firstMs'),
    ])
    process.stderr.write(
      `neighbour alone and during the storm, first token and longest pause in ms: ${JSON.stringify(figures)}\n`,
    )
    expect(most(during, 'firstMs')).toBeLessThan(most(alone, 'firstMs') + 1_000)
    expect(most(during, 'pauseMs')).toBeLessThan(most(alone, 'pauseMs') + 1_000)
    left.abort()
    const ended = await Promise.all(answers)
    // Excess requests were refused; a stream that had started reports that in its event.
    expect(ended.filter(({ text }) => text?.includes('rate_limit_exceeded')).length).toBeGreaterThan(10)
    const atRest = ({ openReservations, leased }: Awaited<ReturnType<typeof storming>>) =>
      openReservations === 0 && leased === 0
    expect(await eventually(storming, atRest, 5_000)).toEqual({
      openReservations: 0,
      leased: 0,
    })
    expect(await eventually(product.counters, isZero, 15_000)).toEqual(zero)
  }, 180_000)

  it('[MRD3] a client that leaves while its media are read frees its reservation and the readers at once', async () => {
    await Promise.all(storm(12).map((body) => sendAndLeave(harmful, body, 1_500)))
    const startedAt = performance.now()
    expect(await eventually(storming, ({ openReservations }) => openReservations === 0, 10_000)).toEqual({
      openReservations: 0,
      leased: 0,
    })
    expect(performance.now() - startedAt).toBeLessThan(3_000)
    // The readers are free as well: the next document is read at once.
    const begun = performance.now()
    const response = await ask(harmful, bodyOf([file(pdf([['free again']])), { type: 'text', text: 'Sum?' }]))
    expect(await response.text()).toContain('[DONE]')
    expect(performance.now() - begun).toBeLessThan(5_000)
    expect(await eventually(product.counters, isZero, 15_000)).toEqual(zero)
  })

  it('[MRD4] large documents of one tenant that are refused unread return 429, and no worker is counted as lost', async () => {
    const padding = Buffer.alloc(256 * 1024, 0x20)
    const bodies = storm(26, 1, padding)
    const left = new AbortController()
    const answers = bodies.map(async (body) => {
      const response = await ask(harmful, body.replace('"stream":true', '"stream":false'), left.signal)
      return { status: response.status, retryAfter: response.headers.get('retry-after'), text: await response.text() }
    })
    const watched = { most: 0, lost: 0 }
    let watching = true
    const watch = (async () => {
      while (watching) {
        const pools = await product.admin<Record<string, { workers: { state: string }[] }>>('GET', '/admin/pools')
        const states = Object.values(pools).flatMap((pool) => pool.workers.map(({ state }) => state))
        watched.most = Math.max(watched.most, states.length)
        if (states.some((state) => state !== 'ready') || states.length < 2) watched.lost += 1
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
    })()
    const soon = await Promise.all(
      answers.map((answer) =>
        Promise.race([
          answer.catch(() => undefined),
          new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), 8_000)),
        ]),
      ),
    )
    watching = false
    await watch
    left.abort()
    await Promise.allSettled(answers)
    const refused = soon.filter((answer) => answer?.status === 429)
    // A reader may find such a document damaged before it times out.
    const wrong = soon.filter(
      (answer) => answer && answer.status !== 429 && !/"code":"invalid_value"/.test(answer.text),
    )
    expect(wrong).toEqual([])
    expect(refused.length).toBeGreaterThan(0)
    expect(refused[0]).toMatchObject({ retryAfter: '2', text: expect.stringContaining('may wait') })
    expect(watched).toEqual({ most: 2, lost: 0 })
  })
})
