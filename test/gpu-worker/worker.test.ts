/** The worker's HTTP port on a real socket, with a scripted engine. */
import { mkdtempSync } from 'node:fs'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { carefulImage } from '../../backends/model/image.ts'
import { type CountQuestion, countPath } from '../../backends/wire/count.ts'
import { type Dispatch, dispatchPath } from '../../backends/wire/dispatch.ts'
import type { Receipt } from '../../backends/wire/receipt.ts'
import { digest, seal, sealKey } from '../../backends/wire/seal.ts'
import { createResolver } from '../../gpu-worker/media/resolver.ts'
import { Metrics } from '../../gpu-worker/metrics.ts'
import { Outbox, openOutboxDatabase } from '../../gpu-worker/outbox.ts'
import { createWorkerServer } from '../../gpu-worker/server.ts'
import { Slots } from '../../gpu-worker/slots.ts'
import { testDispatch } from '../support/fleet.ts'
import { dataUrl, png } from '../support/images.ts'
import { eventually } from '../support/product.ts'
import { EngineFailure, EngineRefused, ScriptedEngine } from '../support/scripted-engine.ts'
import { preludeOf, refusalOf } from '../support/worker-port.ts'

let engine: ScriptedEngine
let server: Server
let outbox: Outbox
let slots: Slots
let metrics: Metrics
let key: CryptoKey
let origin: string
let draining: boolean
let receipts: Receipt[]
let delivered: number
let settled: Promise<void>
let folder: string

beforeEach(async () => {
  engine = new ScriptedEngine()
  folder = mkdtempSync(join(tmpdir(), 'tramontane-worker-'))
  outbox = new Outbox(folder)
  slots = new Slots(2)
  metrics = new Metrics()
  key = await sealKey(new Uint8Array(32).fill(3))
  draining = false
  receipts = []
  delivered = 0
  settled = Promise.resolve()
  server = createWorkerServer({
    workerId: 'w1',
    key,
    engine,
    outbox,
    slots,
    metrics,
    media: createResolver(() => Date.now()),
    now: () => Date.now(),
    callId: () => 'abcdefghi',
    log: () => undefined,
    draining: () => draining,
    deliver: () => {
      delivered += 1
    },
    changed: () => undefined,
    owed: (receipt) => {
      receipts.push(receipt)
      metrics.settled(receipt)
      return settled
    },
    health: () => ({ status: 'ready' }),
    render: () => 'tramontane_engine_up 1\n',
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})

afterEach(async () => {
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
  outbox.close()
})

let serial = 0
const rates = { inputNano: 10, cachedNano: 1, outputNano: 100 }

async function send(change: Partial<Dispatch> = {}, chat: object = {}, signal?: AbortSignal): Promise<Response> {
  const body = JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'hi' }], stream: true, ...chat })
  const bytes = new TextEncoder().encode(body) as Uint8Array<ArrayBuffer>
  const requestId = change.requestId ?? `req_${serial++}`
  const dispatch = testDispatch(requestId, {
    bodyDigest: await digest(bytes),
    costNanoMax: 10 * 10 + 50 * 100,
    outputTokensMax: 50,
    rates,
    issuedAt: Date.now(),
    expiresAt: Date.now() + 1_000,
    ...change,
  })
  const authorization = `Bearer ${await seal('dispatch', dispatch, 'w1.1', key)}`
  return fetch(origin + dispatchPath, { method: 'POST', headers: { authorization }, body, ...(signal && { signal }) })
}

const refusal = async (response: Promise<Response>) => refusalOf(await response)

/** The answer without its prelude. */
const answerOf = async (answer: Promise<Response>) => (await preludeOf(await answer)).rest

async function countAt(change: Partial<CountQuestion> = {}, sealed: 'count' | 'dispatch' = 'count') {
  const body = JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'hi' }] })
  const bytes = new TextEncoder().encode(body) as Uint8Array<ArrayBuffer>
  const question: CountQuestion = {
    workerId: 'w1',
    tenantId: 't',
    effort: 'none',
    bodyDigest: await digest(bytes),
    expiresAt: Date.now() + 1_000,
    ...change,
  }
  const authorization = `Bearer ${await seal(sealed, question, 'w1.1', key)}`
  const answer = await fetch(origin + countPath, { method: 'POST', headers: { authorization }, body })
  return { status: answer.status, ...((await answer.json()) as object) }
}

describe('worker', () => {
  it('[CNT1] a prompt is counted only for the worker’s own edge, for the signed body and before the expiry; nothing runs', async () => {
    expect(await countAt()).toEqual({ status: 200, promptTokens: 10, estimated: false })
    for (const change of [{ workerId: 'w2' }, { bodyDigest: 'x'.repeat(43) }, { expiresAt: Date.now() - 60_000 }])
      expect(await countAt(change)).toMatchObject({ status: 401 })
    expect(await countAt({}, 'dispatch')).toMatchObject({ status: 401 })
    engine.refusal = { ok: false, code: 'context_length_exceeded', message: 'long', param: null, promptTokens: 9_000 }
    expect(await countAt()).toEqual({ status: 200, promptTokens: 9_000, estimated: false })
    expect(engine.runs).toHaveLength(0)
  })

  it('[WRK1] the port answers only signed dispatches: any other request gets 401, and a second use gets 409', async () => {
    expect((await fetch(origin + dispatchPath, { method: 'POST', body: '{}' })).status).toBe(401)
    expect((await refusal(send({ workerId: 'w2' }))).status).toBe(401)
    const once = send({ requestId: 'req_once' })
    expect((await once).status).toBe(200)
    await (await once).text()
    expect(await refusal(send({ requestId: 'req_once' }))).toMatchObject({ status: 409, code: 'replayed_dispatch' })
    expect(engine.runs.length).toBe(1)
  })

  it('[WRK2] the number of slots is fixed, no queue is behind them, and every end of a request frees its slot', async () => {
    let go: () => void = () => undefined
    const gate = new Promise<void>((resolve) => {
      go = resolve
    })
    engine.step = () => gate
    const running = [await send(), await send()]
    expect(await refusal(send())).toMatchObject({ status: 503, code: 'no_slot' })
    expect(slots.holders().length).toBe(2)
    go()
    for (const response of running) await response.text()
    expect(slots.holders()).toEqual([])
    expect((await send()).status).toBe(200)
  })

  it('[MED36] a worker without vision refuses a user image with no_vision, and leaves a tool’s image to the engine', async () => {
    const image = { type: 'image_url', image_url: { url: dataUrl(png(20, 20)) } }
    const sendWith = (message: object) => send({}, { messages: [{ role: 'user', content: 'Look.' }, message] })
    expect(await refusal(sendWith({ role: 'user', content: [image] }))).toMatchObject({
      status: 503,
      code: 'no_vision',
    })
    expect(engine.chats).toEqual([])
    await (await sendWith({ role: 'tool', tool_call_id: 'a', content: [image] })).text()
    expect(engine.runs.length).toBe(1)
    engine.description = { ...engine.description, vision: true }
    await (await sendWith({ role: 'user', content: [image] })).text()
    expect(engine.chats.at(-1)?.messages[1]?.content).toEqual([{ kind: 'image', url: dataUrl(png(20, 20)) }])
  })

  it('[MED37] an image that would end the engine never reaches it, and the refusal lets the gateway try another', async () => {
    engine.description = { ...engine.description, vision: true, images: carefulImage }
    const image = { type: 'image_url', image_url: { url: dataUrl(png(1, 1)) } }
    const content = [{ type: 'text', text: 'Look.' }, image]
    expect(await refusal(send({}, { messages: [{ role: 'user', content }] }))).toMatchObject({
      code: 'invalid_value',
      param: 'messages[0].content[1]',
      unsupported: true,
    })
    expect(engine.chats).toEqual([])
    expect(slots.holders()).toEqual([])
  })

  it('[WRK3] generation stops at the token where the reserved cost, the output bound or the context ends', async () => {
    engine.words = 1_000
    await (await send({ costNanoMax: 10 * 10 + 7 * 100 + 99 })).text()
    expect(receipts[0]).toMatchObject({ finishReason: 'length', counts: { outputTokens: 7 }, costNano: 800 })
    await (await send({ outputTokensMax: 3 })).text()
    expect(receipts[1]).toMatchObject({ finishReason: 'length', counts: { outputTokens: 3 } })
    engine.outputTokensFit = 2
    await (await send()).text()
    expect(receipts[2]).toMatchObject({ finishReason: 'length', counts: { outputTokens: 2 } })
  })

  it('[WRK4] a prompt over its bound is refused with its exact count before anything is generated', async () => {
    engine.promptTokens = 11
    expect(await refusal(send())).toMatchObject({ status: 200, code: 'prompt_over_bound', promptTokens: 11 })
    engine.promptTokens = 10
    expect(await refusal(send({ costNanoMax: 199 }))).toMatchObject({ code: 'prompt_over_bound', promptTokens: 10 })
    engine.refusal = {
      ok: false,
      code: 'context_length_exceeded',
      message: 'too long',
      param: 'messages',
      promptTokens: 9_999,
    }
    expect(await refusal(send())).toMatchObject({ status: 200, code: 'context_length_exceeded', promptTokens: 9_999 })
    expect(engine.runs).toEqual([])
    expect(receipts).toEqual([])
    expect(slots.holders()).toEqual([])
  })

  it('[WRK5] the receipt is on disk before the last byte is sent', async () => {
    const response = await send()
    const reader = response.body?.getReader()
    let text = ''
    for (;;) {
      const { value, done } = (await reader?.read()) ?? { value: undefined, done: true }
      if (done) break
      text += new TextDecoder().decode(value)
      if (text.includes('[DONE]')) {
        const db = openOutboxDatabase(folder)
        const rows = db.prepare('SELECT receipt FROM dispatches').all()
        expect(rows.map((row) => JSON.parse(String(row.receipt)))).toMatchObject([
          { outcome: 'finished', counts: { outputTokens: 5 } },
        ])
        db.close()
      }
    }
    expect(text).toContain('[DONE]')
  })

  it('[OBX11] a request that the outbox cannot write is refused before its engine runs, and frees its slot', async () => {
    const db = openOutboxDatabase(folder)
    db.exec(`CREATE TRIGGER full BEFORE INSERT ON dispatches BEGIN SELECT RAISE(ABORT, 'disk is full'); END`)
    expect(await refusal(send())).toMatchObject({ status: 200, code: 'outbox_down' })
    db.exec('DROP TRIGGER full')
    db.exec(`INSERT INTO dispatches VALUES ('req_before.1', 1, '{}', 1, NULL)`)
    db.close()
    // The same dispatch again, after an earlier process of this worker began it.
    expect(await refusal(send({ requestId: 'req_before' }))).toMatchObject({ status: 200, code: 'replayed_dispatch' })
    expect(engine.runs).toEqual([])
    expect(slots.holders()).toEqual([])
    expect((await send()).status).toBe(200)
  })

  it('[WRK6] a closed connection stops the engine within one token, and the receipt bills the tokens until then', async () => {
    engine.words = 100_000
    engine.step = () => new Promise((resolve) => setTimeout(resolve, 2))
    for (const stream of [true, false]) {
      const client = new AbortController()
      const response = await send({}, { stream }, client.signal)
      expect(response.status).toBe(200)
      await eventually(
        async () => engine.runs.length,
        (runs) => runs > 0,
      )
      await new Promise((resolve) => setTimeout(resolve, 50))
      client.abort()
      const aborted = receipts.length + 1
      await eventually(
        async () => receipts.length,
        (length) => length === aborted,
      )
      const receipt = receipts.at(-1)
      expect(receipt).toMatchObject({ outcome: 'aborted', finishReason: 'abort' })
      expect(receipt?.counts.outputTokens).toBeGreaterThan(0)
      expect(receipt?.costNano).toBe(100 + (receipt?.counts.outputTokens ?? 0) * 100)
      expect(
        await eventually(
          async () => slots.holders(),
          (held) => held.length === 0,
        ),
      ).toEqual([])
    }
    expect(engine.aborted).toBe(2)
  })

  it('[WRK7] an engine that dies breaks off the answer, and its receipt counts the tokens and bills nothing', async () => {
    engine.step = (index) => (index === 3 ? Promise.reject(new EngineFailure('it died')) : Promise.resolve())
    await expect(send().then((response) => response.text())).rejects.toThrow()
    await expect(send({}, { stream: false }).then((response) => response.text())).rejects.toThrow()
    expect(receipts).toMatchObject([
      { outcome: 'failed', finishReason: 'error', costNano: 0, counts: { promptTokens: 10, outputTokens: 3 } },
      { outcome: 'failed', costNano: 0, counts: { outputTokens: 3 } },
    ])
  })

  it('[WRK8] a draining worker refuses new dispatches with 503 and finishes its running requests', async () => {
    let go: () => void = () => undefined
    engine.step = () =>
      new Promise<void>((resolve) => {
        go = resolve
      })
    engine.words = 1
    const running = await send()
    draining = true
    expect(await refusal(send())).toMatchObject({ status: 503, code: 'draining' })
    go()
    expect(await running.text()).toContain('[DONE]')
  })

  it('[WRK9] a body that does not match the signed digest, or is no chat request, never reaches the engine', async () => {
    expect(await refusal(send({ bodyDigest: 'x'.repeat(43) }))).toMatchObject({ status: 401 })
    expect(await refusal(send({}, { messages: 3 }))).toMatchObject({ status: 400, code: 'invalid_value' })
    expect(engine.runs).toEqual([])
  })

  it('[WRK10] the worker writes a keep-alive every 250 ms until the first token', async () => {
    engine.step = (index) => (index === 0 ? new Promise((resolve) => setTimeout(resolve, 700)) : Promise.resolve())
    const streamed = await (await send()).text()
    expect(streamed.match(/^: working on the prompt$/gm)?.length).toBeGreaterThanOrEqual(2)
    const whole = await answerOf(send({}, { stream: false }))
    expect(whole).toMatch(/^ {2,}\{/)
    expect(JSON.parse(whole)).toMatchObject({ object: 'chat.completion', usage: { completion_tokens: 5 } })
  })

  it('[WRK11] the metrics count outcomes and refusals, and contain no label value that a client chose', async () => {
    await (await send()).text()
    await refusal(send({ workerId: 'w2' }))
    const text = metrics.render({
      load: engine.load(),
      slotsMax: 2,
      slotsHeld: 0,
      receiptsOwed: 1,
      receiptsRefused: 0,
      up: true,
    })
    expect(text).toContain('tramontane_requests_total{outcome="finished"} 1')
    expect(text).toContain('tramontane_refusals_total{code="bad_dispatch"} 1')
    expect(text).toContain('tramontane_first_token_seconds_count 1')
    for (const line of text.trim().split('\n'))
      expect(line).toMatch(/^(# (HELP|TYPE) tramontane_|tramontane_[a-z_]+(\{[a-z]+="[^"]*"\})? [\d.]+$)/)
  })

  it('[WRK12] only the worker’s own edge can query the state of requests, and a query also delivers pending receipts', async () => {
    let go: () => void = () => undefined
    const gate = new Promise<void>((resolve) => {
      go = resolve
    })
    await (await send({ requestId: 'req_done' })).text()
    engine.step = () => gate
    const running = await send({ requestId: 'req_open' })
    const inquire = async (workerId: string, expiresAt: number) => {
      const claims = { workerId, requestIds: ['req_done', 'req_open', 'req_unknown'], expiresAt }
      const authorization = `Bearer ${await seal('inquiry', claims, 'w1.1', key)}`
      return fetch(`${origin}/inquiry`, { method: 'POST', headers: { authorization } })
    }
    expect((await inquire('w2', Date.now() + 1_000)).status).toBe(401)
    expect((await inquire('w1', Date.now() - 60_000)).status).toBe(401)
    expect((await fetch(`${origin}/inquiry`, { method: 'POST' })).status).toBe(401)
    expect(delivered).toBe(0)
    expect(await (await inquire('w1', Date.now() + 1_000)).json()).toMatchObject({
      running: [{ dispatchId: 'req_open.1', proof: expect.any(String) }],
      owed: [{ dispatchId: 'req_done.1', proof: expect.any(String) }],
    })
    expect(delivered).toBe(1)
    go()
    await running.text()
  })

  it('[WRK13] with settleFirst the last chunk waits for the settlement, and no other chunk waits', async () => {
    let settle: () => void = () => undefined
    settled = new Promise<void>((resolve) => {
      settle = resolve
    })
    expect(await (await send()).text()).toContain('[DONE]')
    let text = ''
    const response = await send({ settleFirst: true })
    const read = (async () => {
      const decoder = new TextDecoder()
      for await (const chunk of response.body ?? []) text += decoder.decode(chunk, { stream: true })
    })()
    await eventually(
      async () => text,
      (current) => current.includes('w4'),
    )
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(text).not.toContain('[DONE]')
    settle()
    await read
    expect(text).toContain('[DONE]')
  })

  it('[WRK37] a slot is free for another request when its receipt is delivered, before its last chunk is sent', async () => {
    let settle: () => void = () => undefined
    settled = new Promise<void>((resolve) => {
      settle = resolve
    })
    const waiting = [await send({ settleFirst: true }), await send({ settleFirst: true })]
    await eventually(
      async () => receipts.length,
      (count) => count === 2,
    )
    expect([slots.holders(), slots.idle]).toEqual([[], false])
    expect(await (await send()).text()).toContain('[DONE]')
    settle()
    for (const response of waiting) expect(await response.text()).toContain('[DONE]')
    expect(slots.idle).toBe(true)
  })

  it('[WRK30] an engine that fails before the prelude causes a refusal engine_down without a receipt', async () => {
    engine.runError = new EngineFailure('the connection to the engine was lost')
    expect(await refusal(send())).toMatchObject({ status: 200, code: 'engine_down' })
    expect([receipts, outbox.counts(), slots.holders()]).toEqual([[], { running: 0, owed: 0, refused: 0 }, []])
    engine.runError = undefined
    expect((await send()).status).toBe(200)
  })

  it('[WRK31] a refusal that the engine reports only when the request runs is returned as that refusal', async () => {
    const refused = { ok: false, code: 'context_length_exceeded', message: 'too long', param: 'messages' } as const
    engine.runError = new EngineRefused({ ...refused, promptTokens: 9_000 })
    for (const stream of [true, false]) {
      const answer = await refusal(send({}, { stream }))
      expect(answer).toMatchObject({ status: 200, code: 'context_length_exceeded', promptTokens: 9_000 })
    }
    expect(outbox.counts()).toEqual({ running: 0, owed: 0, refused: 0 })
  })

  it('[WRK32] a count that is not exact is marked as estimated in the receipt', async () => {
    await (await send()).text()
    engine.estimated = true
    await (await send()).text()
    expect(receipts.map(({ estimated }) => estimated)).toEqual([false, true])
  })

  it('[WRK33] the prelude names the fields that the engine does not apply', async () => {
    engine.warnings = ['seed: not supported by this backend, ignored', 'naïve\nsecond']
    const { prelude } = await preludeOf(await send())
    expect(prelude).toEqual({ kind: 'prepared', promptTokens: 10, warnings: engine.warnings })
    engine.warnings = []
    expect((await preludeOf(await send())).prelude).toMatchObject({ warnings: [] })
  })

  it('[WRK38] the prelude has the bound of the output if the reservation pays for less than was dispatched', async () => {
    const bound = async (change: Partial<Dispatch> = {}) => (await preludeOf(await send(change))).prelude
    expect(await bound({ costNanoMax: 10 * 10 + 7 * 100 + 99 })).toMatchObject({ outputTokensMax: 7 })
    expect(await bound({ outputTokensMax: 3 })).not.toHaveProperty('outputTokensMax')
    engine.outputTokensFit = 2
    expect(await bound({ costNanoMax: 10 * 10 + 7 * 100 + 99 })).not.toHaveProperty('outputTokensMax')
  })
})
