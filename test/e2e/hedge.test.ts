/** Hedging: when a worker does not start, another one answers, one attempt is billed, and every slot is freed. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { eventually, isZero, type Product, startProduct, zero } from '../support/product.ts'
import { type ScriptedWorker, startScriptedWorker } from '../support/scripted-worker.ts'

/** Words of an answer that outlasts every client in this file. */
const longWords = 1_000

let product: Product
let workers: ScriptedWorker[]
/** How many of the next runs do not start, on any worker, until the test ends. */
let stalls = 0
let release: () => void = () => undefined

beforeAll(async () => {
  product = await startProduct({ env: { TRAMONTANE_HEDGE_AFTER_MS: '500' } })
  workers = []
  for (const workerId of ['one', 'two']) workers.push(await startScriptedWorker(product, { workerId, slots: 1 }))
  await workers[0]?.alone()
})

beforeEach(() => {
  const gate = new Promise<void>((resolve) => {
    release = resolve
  })
  for (const { engine } of workers) {
    engine.aborted = 0
    engine.words = 5
    engine.runs.length = 0
    engine.step = (index) => (index === 0 && stalls-- > 0 ? gate : Promise.resolve())
  }
})

afterAll(async () => {
  release()
  await Promise.all((workers ?? []).map((worker) => worker.stop()))
  await product?.stop()
})

function ask(signal?: AbortSignal): Promise<Response> {
  const { baseUrl, apiKey, model } = product.demo()
  const messages = [{ role: 'user', content: 'hi' }]
  return fetch(`${baseUrl}/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      model,
      stream: true,
      max_tokens: 2 * longWords,
      messages,
      stream_options: { include_usage: true },
    }),
    ...(signal && { signal }),
  })
}

interface RequestRecord {
  reservation: string
  entries: { kind: string; cost_nano: number; prompt_tokens: number | null; output_tokens: number | null }[]
}

/** The request's record, once every counter is zero. */
async function booked(response: Response): Promise<RequestRecord> {
  expect(await eventually(product.counters, isZero, 15_000)).toEqual(zero)
  return product.admin('GET', `/admin/tenants/demo/requests/${response.headers.get('x-request-id')}`)
}

const runs = () => workers.map(({ engine }) => engine.runs.length)
const aborted = () => workers.reduce((sum, { engine }) => sum + engine.aborted, 0)

describe('a hedge', () => {
  it('[HDG1] a request whose worker does not start in time gets one whole answer from a second worker, and its tenant pays for that answer only', async () => {
    stalls = 1
    const before = await product.tenant('demo')
    const response = await ask()
    const text = await response.text()
    expect(response.status).toBe(200)
    expect(text.match(/w\d /g)).toEqual(['w0 ', 'w1 ', 'w2 ', 'w3 ', 'w4 '])
    expect(text.trimEnd().endsWith('data: [DONE]')).toBe(true)
    const { reservation, entries } = await booked(response)
    expect(runs()).toEqual([1, 1])
    expect(aborted()).toBe(1)
    expect(reservation).toBe('posted')
    const post = entries.find(({ kind }) => kind === 'post')
    expect(entries.filter(({ kind }) => kind !== 'post')).toMatchObject([
      { kind: 'waste', cost_nano: 0, prompt_tokens: 10, output_tokens: 0 },
    ])
    expect(post).toMatchObject({ prompt_tokens: 10, output_tokens: 5 })
    expect(post?.cost_nano).toBeGreaterThan(0)
    expect((await product.tenant('demo')).postedNano - before.postedNano).toBe(post?.cost_nano)
  })

  it('[HDG2] a client that disconnects before either worker started stops both workers and pays nothing', async () => {
    stalls = 2
    const before = await product.tenant('demo')
    const client = new AbortController()
    const response = await ask(client.signal)
    await eventually(
      async () => runs(),
      ([one, two]) => one === 1 && two === 1,
    )
    client.abort()
    const { reservation, entries } = await booked(response)
    expect(
      await eventually(
        async () => aborted(),
        (count) => count === 2,
      ),
    ).toBe(2)
    expect(reservation).toBe('voided')
    expect(entries.map(({ kind, cost_nano }) => `${kind} ${cost_nano}`).sort()).toEqual([
      'void 0',
      'waste 0',
      'waste 0',
    ])
    expect((await product.tenant('demo')).postedNano).toBe(before.postedNano)
  })

  it('[HDG3] a request is not hedged when no other worker has a free slot: its first attempt continues and is billed', async () => {
    stalls = 2
    const responses = await Promise.all([ask(), ask()])
    // Longer than the hedge delay.
    await new Promise((resolve) => setTimeout(resolve, 800))
    expect(runs()).toEqual([1, 1])
    release()
    for (const response of responses) expect((await response.text()).trimEnd().endsWith('data: [DONE]')).toBe(true)
    for (const response of responses) {
      const { entries } = await booked(response)
      expect(entries).toMatchObject([{ kind: 'post', output_tokens: 5 }])
    }
    expect(runs()).toEqual([1, 1])
  })

  it('[HDG5] a client that disconnects during the answer of the winning worker pays for the tokens that this worker generated', async () => {
    stalls = 1
    for (const { engine } of workers) {
      const { step } = engine
      engine.words = longWords
      engine.step = async (index) => {
        await step(index)
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    }
    const client = new AbortController()
    const response = await ask(client.signal)
    let text = ''
    const decoder = new TextDecoder()
    for await (const chunk of response.body ?? []) {
      text += decoder.decode(chunk, { stream: true })
      if (text.includes('w1 ')) break
    }
    client.abort()
    const { reservation, entries } = await booked(response)
    expect(reservation).toBe('posted')
    expect(entries.map(({ kind }) => kind).sort()).toEqual(['post', 'waste'])
    const written = (of: string) => entries.find(({ kind }) => kind === of)?.output_tokens
    expect(written('waste')).toBe(0)
    expect(written('post')).toBeGreaterThan(1)
    expect(written('post')).toBeLessThan(longWords)
  })

  it('[HDG4] a request whose worker starts in time is dispatched once', async () => {
    stalls = 0
    const response = await ask()
    expect((await response.text()).trimEnd().endsWith('data: [DONE]')).toBe(true)
    const { entries } = await booked(response)
    expect(entries).toMatchObject([{ kind: 'post' }])
    expect(runs().sort()).toEqual([0, 1])
  })
})
