/** Processes that die: the client gets an error, the next request works, and no entry and no receipt is lost. */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { eventually, isZero, type Product, startProduct, type TenantBooks, zero } from '../support/product.ts'

let product: Product

beforeAll(async () => {
  product = await startProduct()
})

afterAll(async () => {
  await product?.stop()
})

const endless = {
  type: 'json_schema',
  json_schema: { name: 'l', schema: { type: 'array', items: { type: 'integer' }, minItems: 900 } },
}

/** Reads a stream as text, exactly as a client receives it. */
async function stream(
  effort: 'none' | 'high',
): Promise<{ text: () => string; ended: Promise<void>; requestId: string }> {
  const { baseUrl, apiKey, model } = product.demo()
  const response = await fetch(`${baseUrl}/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      model,
      stream: true,
      temperature: 1.5,
      max_tokens: 3_000,
      reasoning_effort: effort,
      response_format: endless,
      messages: [{ role: 'user', content: 'Tell me a story about a fox.' }],
    }),
  })
  expect(response.status).toBe(200)
  let text = ''
  const read = async () => {
    const decoder = new TextDecoder()
    for await (const chunk of response.body ?? []) text += decoder.decode(chunk, { stream: true })
  }
  return { text: () => text, ended: read(), requestId: response.headers.get('x-request-id') ?? '' }
}

async function books(): Promise<TenantBooks> {
  return product.tenant('demo')
}

async function oneMore(): Promise<void> {
  const answer = await product.client().chat.completions.create({
    model: product.demo().model,
    messages: [{ role: 'user', content: 'Hello!' }],
    max_tokens: 4,
  })
  expect(answer.choices[0]?.message.content).toMatch(/\w/)
}

function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number)
}

/** A worker has another child process, which compiles schemas. */
function isEngine(pid: number): boolean {
  return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('/engine/child.ts')
}

async function requestEntries(requestId: string) {
  return product.admin<{
    reservation: string
    entries: { kind: string; costNano: number; outputTokens: number | null }[]
  }>('GET', `/admin/tenants/demo/requests/${requestId}`)
}

const dataLines = (text: string) =>
  text
    .split('\n\n')
    .filter((event) => event.startsWith('data: '))
    .map((event) => event.slice(6))

describe('a process that dies', () => {
  it('[E2E30] a worker killed in mid-stream ends the stream with one well-formed error event, nothing is billed, and the next request works', async () => {
    const before = await books()
    const open = await stream('none')
    await eventually(
      async () => open.text().length,
      (length) => length > 2_000,
    )
    const killed = product.demo().pids.latency
    process.kill(killed, 'SIGKILL')
    await open.ended
    const events = dataLines(open.text())
    const last = JSON.parse(events.at(-1) ?? '')
    expect(last).toMatchObject({
      object: 'error',
      code: 'worker_lost',
      error: { code: 'worker_lost' },
      request_id: open.requestId,
    })
    for (const event of events) expect(() => JSON.parse(event)).not.toThrow()
    expect(open.text()).not.toContain('[DONE]')
    // The slot is free as soon as the death is known.
    const leased = async () => {
      const pools = await product.admin<Record<string, { leased: number }>>('GET', '/admin/pools')
      return Object.values(pools).reduce((sum, pool) => sum + pool.leased, 0)
    }
    expect(await eventually(leased, (slots) => slots === 0, 2_000)).toBe(0)
    await oneMore()
    // The restarted worker accounts for the unfinished dispatch of its predecessor.
    await eventually(
      async () => product.demo().pids.latency,
      (pid) => pid !== killed,
    )
    const record = await eventually(
      () => requestEntries(open.requestId),
      ({ entries }) => entries.some((entry) => entry.kind === 'waste'),
    )
    expect(record.reservation).toBe('voided')
    expect(record.entries.map((entry) => [entry.kind, entry.costNano]).sort()).toEqual([
      ['void', 0],
      ['waste', 0],
    ])
    const wasted = record.entries.find((entry) => entry.kind === 'waste')?.outputTokens ?? 0
    expect(wasted).toBeGreaterThan(events.length / 2)
    expect(await eventually(product.counters, isZero, 15_000)).toEqual(zero)
    expect((await books()).reservedNano).toBe(before.reservedNano)
  })

  it('[E2E31] after a native abort of the engine its requests fail, and the same worker serves with a new engine', async () => {
    const open = await stream('high')
    await eventually(
      async () => open.text().length,
      (length) => length > 1_000,
    )
    const engine = childrenOf(product.demo().pids.throughput).find(isEngine)
    if (!engine) throw new Error('the worker has no engine process')
    process.kill(engine, 'SIGABRT')
    await open.ended
    // The request has a schema, which may have crashed the engine: no other worker gets it.
    expect(JSON.parse(dataLines(open.text()).at(-1) ?? '')).toMatchObject({ code: 'preparation_failed' })
    await oneMore()
    const back = await eventually(
      () => product.admin<Record<string, { workers: { state: string }[] }>>('GET', '/admin/pools'),
      (pools) => pools.throughput?.workers[0]?.state === 'ready',
      15_000,
    )
    expect(back.throughput?.workers).toMatchObject([{ state: 'ready' }])
    expect(await eventually(product.counters, isZero, 15_000)).toEqual(zero)
  })

  it('[E2E32] a killed edge loses no posted entry and no receipt', async () => {
    await oneMore()
    await eventually(product.counters, isZero)
    const before = await books()
    const open = await stream('none')
    await eventually(
      async () => open.text().length,
      (length) => length > 1_000,
    )
    const { workerd } = product.demo().pids
    process.kill(workerd, 'SIGKILL')
    await open.ended.catch(() => undefined)
    await eventually(
      async () => product.demo().pids.workerd,
      (pid) => pid !== workerd,
    )
    const after = await eventually(
      () => books().catch(() => before),
      (tenant) => tenant.openReservations === 0 && Number(tenant.totals.entries) > Number(before.totals.entries),
      20_000,
    )
    expect(Number(after.totals.entries)).toBe(Number(before.totals.entries) + 1)
    // The engine stopped when its reader was gone, and its receipt arrived although no client was connected.
    const record = await requestEntries(open.requestId)
    expect(record.reservation).toBe('posted')
    expect(record.entries).toMatchObject([{ kind: 'post', outputTokens: expect.any(Number) }])
    expect(after.postedNano).toBeGreaterThan(before.postedNano)
    await eventually(
      () =>
        oneMore().then(
          () => true,
          () => false,
        ),
      Boolean,
      10_000,
    )
    expect(await eventually(product.counters, isZero, 15_000)).toEqual(zero)
  })

  it('[E2E33] a request gets 503 `server_is_overloaded` with `Retry-After` when no worker is up', async () => {
    // SIGTERM drains the workers. Their launcher restarts them, so send requests until one is refused.
    const { latency, throughput } = product.demo().pids
    process.kill(latency, 'SIGSTOP')
    process.kill(throughput, 'SIGSTOP')
    try {
      const gone = await eventually(
        async () => {
          const { baseUrl, apiKey, model } = product.demo()
          const response = await fetch(`${baseUrl}/chat/completions`, {
            method: 'POST',
            headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
            body: JSON.stringify({ model, messages: [{ role: 'user', content: 'hi' }] }),
            signal: AbortSignal.timeout(3_000),
          }).catch(() => undefined)
          return (
            response && {
              status: response.status,
              retryAfter: response.headers.get('retry-after'),
              body: await response.json(),
            }
          )
        },
        (answer) => answer?.status === 503,
        20_000,
      )
      expect(gone).toMatchObject({ status: 503, retryAfter: '2', body: { code: 'server_is_overloaded' } })
    } finally {
      process.kill(latency, 'SIGCONT')
      process.kill(throughput, 'SIGCONT')
    }
    await eventually(
      () =>
        oneMore().then(
          () => true,
          () => false,
        ),
      Boolean,
      10_000,
    )
    expect(await eventually(product.counters, isZero, 15_000)).toEqual(zero)
  })

  it('[E2E34] a worker that receives SIGTERM finishes its running request and gets no new one', async () => {
    const open = await stream('none')
    await eventually(
      async () => open.text().length,
      (length) => length > 500,
    )
    const leaving = product.demo().pids.latency
    process.kill(leaving, 'SIGTERM')
    await open.ended
    expect(open.text().trimEnd().endsWith('data: [DONE]')).toBe(true)
    expect(
      (
        await eventually(
          () => requestEntries(open.requestId),
          ({ reservation }) => reservation === 'posted',
        )
      ).reservation,
    ).toBe('posted')
    await oneMore()
    await eventually(
      async () => product.demo().pids.latency,
      (pid) => pid !== leaving,
    )
  })
})
